//! What an address space promises, on both MMUs.

use std::sync::Arc;

use faultless_filemap::{Inode, WriteOptions};
use faultless_page::{PAGE_SIZE, PageIndex, Unmap, UserMappings};
use faultless_usercopy::conformance::{self, Layout};
use faultless_usercopy::{
    UserAddr, UserMemory, copy_from_user, copy_from_user_atomic, copy_to_user_atomic,
};

use super::AddressSpace;
use crate::counters::counting;
use crate::kernel::HostKernel;
use crate::machine::{Machine, MachineConfig};
use crate::mmu::{Mmu, Protection, UserFault};
use crate::on_both_mmus;
use crate::script::{Action, Event, When};
use crate::stores::MemoryStore;

type File = Arc<Inode<HostKernel>>;

/// A file of `pages` pages; page `n` is full of the byte `n + 1`.
fn file<M: Mmu>(machine: &Machine<M>, pages: usize) -> File {
    let bytes: Vec<u8> = (0..pages * PAGE_SIZE).map(|at| (at / PAGE_SIZE + 1) as u8).collect();
    machine.inode(&MemoryStore::with_contents(&bytes), bytes.len() as u64)
}

on_both_mmus! {
    fn private_memory_begins_as_zeros_and_keeps_what_is_stored(machine) {
        let space = machine.space();
        space.map_anonymous(1, 2, Protection::ReadWrite);
        assert!(!space.is_resident(1));
        assert_eq!(space.read_vec(space.at(1, 0), 2 * PAGE_SIZE), Ok(vec![0; 2 * PAGE_SIZE]));
        space.store(space.at(1, 4090), b"across two pages").expect("mapped");
        space.evict(1, 2);
        assert!(!space.is_resident(1) && !space.is_resident(2));
        assert_eq!(space.read_vec(space.at(1, 4090), 16).as_deref(), Ok(&b"across two pages"[..]));
    }

    fn discarded_private_memory_is_zero_and_a_discarded_file_page_comes_back(machine) {
        let (file, space) = (file(machine, 1), machine.space());
        space.map_anonymous(0, 1, Protection::ReadWrite);
        space.map_file(1, 1, &file, PageIndex::ZERO, Protection::ReadWrite);
        space.fill(space.at(0, 0), 9, 2 * PAGE_SIZE).expect("mapped");
        space.discard(0, 2);
        assert_eq!(space.read_vec(space.at(0, 4095), 2), Ok(vec![0, 9]));
    }

    fn what_is_not_mapped_or_not_allowed_is_a_segv(machine) {
        let space = machine.space();
        space.map_anonymous(1, 1, Protection::Read);
        assert_eq!(space.read_vec(space.at(0, 0), 1), Err(UserFault::Segv));
        assert_eq!(space.store(space.at(1, 0), b"x"), Err(UserFault::Segv));
        assert_eq!(space.read_vec(space.at(1, 0), 1), Ok(vec![0]));
        space.protect(1, 1, Protection::None);
        assert_eq!(space.read_vec(space.at(1, 0), 1), Err(UserFault::Segv));
        space.protect(1, 1, Protection::ReadWrite);
        space.store(space.at(1, 0), b"x").expect("writable now");
        space.unmap(1, 1);
        assert_eq!(space.read_vec(space.at(1, 0), 1), Err(UserFault::Segv));
    }

    fn two_aliases_of_a_file_page_see_each_others_stores(machine) {
        let file = file(machine, 2);
        let (one, two) = (machine.space(), machine.space());
        one.map_file(0, 2, &file, PageIndex::ZERO, Protection::ReadWrite);
        one.map_file(7, 1, &file, PageIndex::new(1), Protection::Read);
        two.map_file(3, 2, &file, PageIndex::ZERO, Protection::ReadWrite);
        two.store(two.at(4, 5), b"seen").expect("mapped");
        for (space, addr) in [(&one, one.at(1, 4)), (&one, one.at(7, 4)), (&two, two.at(4, 4))] {
            assert_eq!(space.read_vec(addr, 6).as_deref(), Ok(&b"\x02seen\x02"[..]));
        }
        one.store(one.at(1, 0), b"!").expect("mapped");
        assert_eq!(two.read_vec(two.at(4, 0), 1), Ok(b"!".to_vec()));
    }

    fn past_the_end_of_the_file_is_a_sigbus(machine) {
        let file = file(machine, 1);
        let space = machine.space();
        space.map_file(0, 2, &file, PageIndex::ZERO, Protection::Read);
        assert_eq!(space.read_vec(space.at(0, 4095), 1), Ok(vec![1]));
        assert_eq!(space.read_vec(space.at(0, 4095), 2), Err(UserFault::Bus));
    }

    fn a_write_protected_page_faults_again_on_a_store(machine) {
        let file = file(machine, 1);
        let space = machine.space();
        space.map_file(0, 1, &file, PageIndex::ZERO, Protection::ReadWrite);
        let faults = |byte: u8| counting(|| space.store(space.at(0, 0), &[byte])).1.faults;
        assert_eq!((faults(7), faults(8)), (1, 0));
        let (id, first, end) = (file.mapping().id(), PageIndex::ZERO, PageIndex::new(1));
        machine.user_mappings().write_protect(id, first, end);
        let (read, counted) = counting(|| space.read_vec(space.at(0, 0), 1));
        assert_eq!((read, counted.faults), (Ok(vec![8]), 0));
        assert_eq!((faults(9), faults(10)), (1, 0));
        machine.user_mappings().unmap(id, first, end, Unmap::Evict);
        assert!(!space.is_resident(0));
        assert_eq!(space.read_vec(space.at(0, 0), 1), Ok(vec![10]));
    }

    fn a_faulting_copy_resolves_and_an_atomic_one_does_not(machine) {
        let space = machine.space();
        space.map_anonymous(0, 2, Protection::ReadWrite);
        space.store(space.at(0, 0), &[5; 2 * PAGE_SIZE]).expect("mapped");
        space.evict(1, 1);
        let slice = space.slice(0, 4000, 200);
        let mut bytes = [0; 200];
        let atomic = copy_from_user_atomic(&space, &mut bytes, slice);
        assert_eq!(atomic.map_err(|fault| fault.completed), Err(96));
        assert_eq!(bytes[95..97], [5, 0]);
        assert!(!space.is_resident(1));
        let copied = machine.syscall(|token| copy_from_user(&space, token, &mut bytes, slice));
        assert_eq!((copied, bytes), (Ok(()), [5; 200]));
        assert!(space.is_resident(1));
        space.evict(0, 1);
        assert!(copy_to_user_atomic(&space, space.slice(0, 0, 1), b"x").is_err());
    }

    fn a_faulting_copy_ends_at_a_hole_to_the_byte(machine) {
        let space = machine.space();
        space.map_anonymous(0, 1, Protection::ReadWrite);
        space.fill(space.at(0, 0), 9, PAGE_SIZE).expect("mapped");
        space.evict(0, 1);
        let mut bytes = [0; 300];
        let slice = space.slice(0, 4000, 300);
        let copied = machine.syscall(|token| copy_from_user(&space, token, &mut bytes, slice));
        assert_eq!(copied.map_err(|fault| fault.completed), Err(96));
        assert_eq!((bytes[95], bytes[96]), (9, 0));
    }

    fn populate_makes_everything_resident_under_m(machine) {
        let file = file(machine, 3);
        let space = machine.space();
        space.map_file(0, 3, &file, PageIndex::ZERO, Protection::Read);
        space.map_anonymous(3, 1, Protection::ReadWrite);
        space.populate(0, 4).expect("all mapped");
        assert!((0..4).all(|page| space.is_resident(page)));
        assert_eq!(space.populate(0, 5), Err(UserFault::Segv));
    }

    fn an_unmapped_page_gives_its_frame_back(machine = MachineConfig::new().frames(8)) {
        let space = machine.space();
        for _ in 0..5 {
            space.map_anonymous(0, 6, Protection::ReadWrite);
            space.populate(0, 6).expect("six frames");
            space.unmap(0, 6);
            assert_eq!(machine.memory().in_use(), 0);
        }
        space.map_anonymous(0, 9, Protection::ReadWrite);
        let full = space.populate(0, 9);
        assert_eq!(full, Err(UserFault::Error(faultless_page::Errno::NoMemory)));
        drop(space);
        assert_eq!(machine.memory().in_use(), 0);
    }

    fn fault_in_reports_the_unreachable_tail_and_changes_nothing(machine) {
        let space = machine.space();
        space.map_anonymous(0, 2, Protection::ReadWrite);
        space.map_anonymous(2, 1, Protection::Read);
        space.store(space.at(0, 0), &[3; 2 * PAGE_SIZE]).expect("mapped");
        space.evict(0, 3);
        machine.syscall(|token| {
            assert_eq!(space.fault_in_readable(token, space.slice(0, 10, 4 * PAGE_SIZE)), PAGE_SIZE + 10);
            assert_eq!(space.fault_in_writeable(token, space.slice(1, 0, 5000)), 5000 - PAGE_SIZE);
        });
        assert_eq!(space.read_vec(space.at(1, 0), 1), Ok(vec![3]));
    }

    fn a_script_stops_a_copy_at_any_byte(machine) {
        let space = machine.space();
        space.map_anonymous(0, 1, Protection::ReadWrite);
        space.fill(space.at(0, 0), 4, PAGE_SIZE).expect("mapped");
        space.script().clear();
        for bytes in 0..50 {
            space.script().add(Event::AtomicCopy, When::Nth(bytes as u64 + 1), Action::Short(bytes));
            let mut out = [0; 64];
            let copied = copy_from_user_atomic(&space, &mut out, space.slice(0, 0, 64));
            assert_eq!(copied.map_err(|fault| fault.completed), Err(bytes));
            assert!(out.iter().enumerate().all(|(at, byte)| *byte == if at < bytes { 4 } else { 0 }));
        }
    }

    fn a_script_steals_unmaps_and_lies(machine) {
        let space = machine.space();
        space.map_anonymous(0, 2, Protection::ReadWrite);
        space.populate(0, 2).expect("mapped");
        let mut out = [0; 8];
        space.script().add(Event::AtomicCopy, When::Nth(1), Action::Steal);
        space.script().add(Event::AtomicCopy, When::Nth(2), Action::Unmap);
        space.script().add(Event::FaultIn, When::Nth(1), Action::Lie);
        space.script().add(Event::FaultIn, When::Nth(2), Action::Refuse);
        let slice = space.slice(0, 0, 8);
        machine.syscall(|token| {
            assert!(copy_from_user_atomic(&space, &mut out, slice).is_err());
            assert_eq!(space.fault_in_readable(token, slice), 0);
            assert!(!space.is_resident(0));
            assert_eq!(space.fault_in_readable(token, slice), 8);
            assert_eq!(space.fault_in_readable(token, slice), 0);
            assert!(copy_from_user_atomic(&space, &mut out, slice).is_err());
            assert_eq!(space.fault_in_readable(token, slice), 8);
        });
        assert!(space.is_resident(1));
    }

    fn a_write_from_a_mapping_of_the_same_page_completes(machine) {
        let file = file(machine, 2);
        let space = machine.space();
        space.map_file(0, 2, &file, PageIndex::ZERO, Protection::ReadWrite);
        let write = |from, pos| {
            space.sys_write(&file, &[from], &WriteOptions::at(pos)).map(|done| done.bytes)
        };
        assert_eq!(write(space.slice(1, 0, PAGE_SIZE), PAGE_SIZE as u64), Ok(PAGE_SIZE));
        assert_eq!(write(space.slice(1, 0, 100), 50), Ok(100));
        assert_eq!(space.read_vec(space.at(0, 49), 102).map(|b| (b[0], b[1], b[101])), Ok((1, 2, 1)));
        assert!(machine.check().take_report().is_none());
    }

    fn a_panic_in_the_fault_handler_reaches_the_caller(machine) {
        let space = machine.space();
        space.map_anonymous(0, 1, Protection::Read);
        let call = Action::Call(Arc::new(|_| panic!("inside the handler")));
        space.script().add(Event::Fault, When::Nth(1), call);
        let load = std::panic::AssertUnwindSafe(|| space.read_vec(space.at(0, 0), 1));
        assert!(std::panic::catch_unwind(load).is_err());
        assert_eq!(space.read_vec(space.at(0, 0), 1), Ok(vec![0]));
    }
}

#[test]
fn everything_is_given_back() {
    let machine = crate::machine::RealMachine::new();
    let file = file(&machine, 4);
    let space = machine.space();
    space.map_file(0, 4, &file, PageIndex::ZERO, Protection::ReadWrite);
    space.fill(space.at(0, 0), 1, 4 * PAGE_SIZE).expect("mapped");
    drop(file);
    drop(space);
    machine.finish();
}

/// Five pages for the conformance suite: read-write, inaccessible, read-write, read-write,
/// read-only.
struct Five<'s, M: Mmu>(&'s AddressSpace<M>);

impl<M: Mmu> Layout for Five<'_, M> {
    type User = AddressSpace<M>;

    fn user(&self) -> &AddressSpace<M> {
        self.0
    }
    fn page_size(&self) -> usize {
        PAGE_SIZE
    }
    fn base(&self) -> UserAddr {
        self.0.at(0, 0)
    }
    fn peek(&self, addr: UserAddr, bytes: &mut [u8]) {
        self.0.peek(addr, bytes);
    }
    fn poke(&self, addr: UserAddr, bytes: &[u8]) {
        self.0.poke(addr, bytes);
    }
}

on_both_mmus! {
    fn the_address_space_keeps_the_contract_of_user_memory(machine) {
        let space = machine.space();
        space.map_anonymous(0, 5, Protection::ReadWrite);
        space.populate(0, 5).expect("mapped");
        space.protect(1, 1, Protection::None);
        space.protect(4, 1, Protection::Read);
        machine.syscall(|token| conformance::check_exact(&Five(&space), token)).expect("the contract");
    }

    fn an_iovec_is_imported_from_user_memory(machine) {
        let space = machine.space();
        space.map_anonymous(0, 4, Protection::ReadWrite);
        space.store(space.at(0, 0), b"hello, world").expect("mapped");
        let segments = [(space.at(0, 7).get(), 5), (space.at(0, 0).get(), 0), (space.at(0, 4).get(), 1)];
        let vector = space.at(1, PAGE_SIZE - 20);
        space.store_vector(vector, &segments).expect("mapped");
        space.evict(0, 4);
        let file = machine.inode(&MemoryStore::new(), 0);
        let written = space.sys_writev(&file, vector, 3, &WriteOptions::append());
        assert_eq!(written.map(|done| done.bytes), Ok(6));
        assert_eq!(space.sys_read_all(&file, space.slice(2, 0, 100)).as_deref(), Ok(&b"worldo"[..]));
        assert_eq!(space.sys_truncate(&file, 2), Ok(()));
        assert_eq!(space.sys_read_all(&file, space.slice(2, 0, 1)).as_deref(), Ok(&b"wo"[..]));
        let none = space.sys_writev(&file, space.at(9, 0), 1, &WriteOptions::append());
        assert_eq!(none, Err(faultless_page::Errno::Fault));
    }
}
