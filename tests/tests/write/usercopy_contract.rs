//! U1–U7 on both MMUs: the conformance suite, and what the rules mean for a file.

use faultless::filemap::{Strategy, WriteOptions};
use faultless::page::{Errno, PAGE_SIZE};
use faultless::usercopy::conformance::{Layout, check_exact};
use faultless::usercopy::{
    MayFault, UserAddr, UserMemory, UserSlice, clear_user, copy_from_user, copy_from_user_atomic,
    copy_from_user_zeroing, copy_to_user, copy_to_user_atomic,
};
use faultless_host::stores::MemoryStore;
use faultless_host::{
    Action, AddressSpace, Event, Machine, Mmu, Protection, UserFault, When, counting, syscall,
};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{FREE, PAGE, Process, assert_bytes, make_cold, pattern, set_size};

const FIRST: usize = 8;

/// The five pages of the suite, in an address space of the host.
struct FivePages<M: Mmu>(AddressSpace<M>);

impl<M: Mmu> FivePages<M> {
    fn new(machine: &Machine<M>) -> Self {
        let space = machine.space();
        space.map_anonymous(FIRST, 5, Protection::ReadWrite);
        space.populate(FIRST, 5).expect("memory");
        space.protect(FIRST + 1, 1, Protection::None);
        space.protect(FIRST + 4, 1, Protection::Read);
        space.populate(FIRST + 4, 1).expect("memory");
        Self(space)
    }
}

impl<M: Mmu> Layout for FivePages<M> {
    type User = AddressSpace<M>;

    fn user(&self) -> &AddressSpace<M> {
        &self.0
    }

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn base(&self) -> UserAddr {
        self.0.at(FIRST, 0)
    }

    fn peek(&self, addr: UserAddr, bytes: &mut [u8]) {
        self.0.peek(addr, bytes);
    }

    fn poke(&self, addr: UserAddr, bytes: &[u8]) {
        self.0.poke(addr, bytes);
    }
}

/// As above, with the pages of a file in place of private memory.
struct FivePagesOfAFile<M: Mmu>(FivePages<M>);

impl<M: Mmu> FivePagesOfAFile<M> {
    fn new(machine: &Machine<M>) -> Self {
        let store = MemoryStore::new();
        let file = machine.inode(&store, 0);
        set_size(&file, 5 * PAGE).expect("a size");
        let process = Process::new(machine);
        process.space.unmap(0, FIRST + 5);
        process.map(FIRST, 5, &file, 0, Protection::ReadWrite);
        process.space.populate(FIRST, 5).expect("memory");
        // What is to be inaccessible lies past the end for some, and is protected for others: here
        // it is protected.
        process.space.protect(FIRST + 1, 1, Protection::None);
        process.space.protect(FIRST + 4, 1, Protection::Read);
        process.space.populate(FIRST + 4, 1).expect("memory");
        Self(FivePages(process.space))
    }
}

fn in_kernel<R>(work: impl FnOnce(&mut MayFault) -> R) -> R {
    syscall(work)
}

balanced_on_both_mmus! {
    /// And more than the contract asks: to the byte.
    fn u1_to_u7_hold_at_every_offset_and_length_around_a_fault(machine) {
        let pages = FivePages::new(machine);
        if let Err(failure) = in_kernel(|token| check_exact(&pages, token)) {
            panic!("{failure}");
        }
    }

    fn u1_to_u7_hold_for_pages_of_a_mapped_file(machine) {
        let pages = FivePagesOfAFile::new(machine);
        if let Err(failure) = in_kernel(|token| check_exact(&pages.0, token)) {
            panic!("{failure}");
        }
    }

    /// The file sees exactly the bytes that could be read, at every distance from the fault.
    fn u1_a_write_lands_the_readable_prefix_to_the_byte(machine) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
            process.space.unmap(2, 1);
            for readable in (1..=40).chain([63, 64, 65, 255, 256, 1000, 4095, 4096, 4097, 8000]) {
                let old = pattern(1, 10_000);
                set_size(&file, 0).unwrap();
                assert_eq!(process.thread(4).write(&file, 0, &old), Ok(10_000));
                let new = pattern(100, readable);
                let at = 2 * PAGE_SIZE - readable;
                process.space.store(process.space.at(0, at), &new).unwrap();
                let source = process.space.slice(0, at, readable + 1000);
                let options = WriteOptions::at(13).with_strategy(strategy);
                assert_eq!(process.write_from(&file, source, &options), Ok(readable));
                let mut want = old;
                want[13..13 + readable].copy_from_slice(&new);
                let got = process.thread(4).contents(&file);
                assert_bytes(&got, &want, &format!("{strategy:?} {readable}"));
            }
        }
    }

    /// The second page of the source is not there, and while the copy finds that out the first one
    /// goes, too. What lies behind the bytes that the write counts is as it was, inside the file
    /// and, when the file grows, past its old end.
    fn u1_a_source_that_goes_at_the_fault_leaves_nothing_behind_what_is_counted(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        process.space.script().add(Event::AtomicFault, When::From(1), Action::UnmapBefore);
        let old = pattern(1, 5000);
        for before in (1..=130).chain([255, 500, 511, 1000, 1023]) {
            for len in [before + 1, before + 24, before + 64, before + 900] {
                for at in [0, 13, 4900] {
                    let what = format!("{before} of {len} bytes, at {at}");
                    process.space.map_anonymous(FREE, 1, Protection::ReadWrite);
                    let new = pattern(100, before);
                    let from = process.space.at(FREE, PAGE_SIZE - before);
                    process.space.store(from, &new).unwrap();
                    set_size(&file, 0).unwrap();
                    assert_eq!(process.thread(4).write(&file, 0, &old), Ok(old.len()));
                    let source = process.space.slice(FREE, PAGE_SIZE - before, len);
                    let result = process.write_from(&file, source, &WriteOptions::at(at as u64));
                    let landed = match result {
                        Ok(landed) => landed,
                        Err(Errno::Fault) => 0,
                        Err(error) => panic!("{what}: {error:?}"),
                    };
                    assert!(landed <= before, "{what}: {landed}");
                    let end = at + landed;
                    let mut want = old.clone();
                    want.resize(old.len().max(end), 0);
                    want[at..end].copy_from_slice(&new[..landed]);
                    assert_bytes(&process.thread(4).contents(&file), &want, &what);
                    set_size(&file, 8000).unwrap();
                    want.resize(8000, 0);
                    assert_bytes(&process.thread(4).contents(&file), &want, &what);
                }
            }
        }
        assert!(process.space.script().count(Event::AtomicFault) > 1000);
    }

    /// U1 in the other direction: nothing behind the bytes that were read is touched.
    fn u1_a_read_changes_nothing_behind_what_arrived(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let content = pattern(2, 3 * PAGE_SIZE);
        assert_eq!(process.write(&file, 0, &content), Ok(3 * PAGE_SIZE));
        process.space.fill(process.space.at(10, 0), 0x99, 2 * PAGE_SIZE).unwrap();
        process.space.unmap(12, 1);
        let target = process.space.slice(10, PAGE_SIZE + 7, 2 * PAGE_SIZE);
        assert_eq!(process.read_to(&file, 5, target), Ok(PAGE_SIZE - 7));
        let got = process.space.read_vec(process.space.at(10, 0), 2 * PAGE_SIZE).unwrap();
        assert!(got[..PAGE_SIZE + 7].iter().all(|&byte| byte == 0x99));
        assert_bytes(&got[PAGE_SIZE + 7..], &content[5..PAGE_SIZE - 2], "what arrived");
        // The end of the file stops it, too.
        process.space.fill(process.space.at(10, 0), 0x99, PAGE_SIZE).unwrap();
        let target = process.space.slice(10, 0, PAGE_SIZE);
        assert_eq!(process.read_to(&file, 3 * PAGE - 3, target), Ok(3));
        let got = process.space.read_vec(process.space.at(10, 0), PAGE_SIZE).unwrap();
        assert!(got[3..].iter().all(|&byte| byte == 0x99));
    }

    /// Museum A8: one byte before the fault is a byte, at every alignment: never "nothing, again".
    fn u2_a_single_readable_byte_is_progress(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        process.space.unmap(1, 1);
        process.space.store(process.space.at(0, PAGE_SIZE - 1), b"Z").unwrap();
        for len in [2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 128, 4000, 4096, 9000] {
            for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
                set_size(&file, 0).unwrap();
                let source = process.space.slice(0, PAGE_SIZE - 1, len);
                let options = WriteOptions::at(0).with_strategy(strategy);
                assert_eq!(process.write_from(&file, source, &options), Ok(1), "{len}");
                assert_eq!(process.thread(4).contents(&file), b"Z");
            }
        }
    }

    /// Copies that give up early now and then, as U2 allows, cost time and nothing else.
    fn u2_copies_shorter_than_possible_still_land_everything(machine) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            for short in [1, 2, 17, 4095] {
                let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
                process.space.script().add(Event::AtomicCopy, When::From(1), Action::Short(short));
                process.space.script().add(Event::FaultingCopy, When::From(1), Action::Short(short));
                let content = pattern(3, if short < 17 { 300 } else { 20_000 });
                let options = WriteOptions::at(4090).with_strategy(strategy);
                assert_eq!(process.write_with(&file, &content, &options), Ok(content.len()));
                process.space.script().clear();
                assert_bytes(&process.contents(&file)[4090..], &content, "all of it");
            }
        }
    }

    fn u3_an_atomic_copy_resolves_no_fault(machine) {
        let (process, _) = (Process::new(machine), ());
        process.space.fill(process.space.at(0, 0), 0x42, 2 * PAGE_SIZE).unwrap();
        process.space.evict(1, 1);
        let slice = process.space.slice(0, 0, 2 * PAGE_SIZE);
        let mut bytes = vec![0; 2 * PAGE_SIZE];
        let (fault, counted) = counting(|| {
            syscall(|_| copy_from_user_atomic(&process.space, &mut bytes, slice).unwrap_err())
        });
        assert_eq!((fault.completed, counted.faults), (PAGE_SIZE, 0));
        let (fault, counted) = counting(|| {
            syscall(|_| copy_to_user_atomic(&process.space, slice, &bytes).unwrap_err())
        });
        assert_eq!((fault.completed, counted.faults), (PAGE_SIZE, 0));
        assert!(!process.space.is_resident(1));
        let (result, counted) =
            counting(|| syscall(|token| copy_from_user(&process.space, token, &mut bytes, slice)));
        assert_eq!((result, counted.faults), (Ok(()), 1));
        assert!(bytes.iter().all(|&byte| byte == 0x42));
    }

    /// Cold source, cold file: faults are taken, none of them under a page lock.
    fn u3_no_fault_is_taken_under_a_page_lock(machine) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
            assert_eq!(process.write(&file, 0, &pattern(4, 20_000)), Ok(20_000));
            make_cold(&file);
            let source = process.map(FREE, 5, &file, 0, Protection::Read);
            let source = UserSlice::new(&process.space, source, 20_000).unwrap();
            let ((), counted) = counting(|| {
                let options = WriteOptions::at(100).with_strategy(strategy);
                assert_eq!(process.write_from(&file, source, &options), Ok(20_000));
                process.space.evict(0, 20);
                let _ = process.read(&file, 0, 20_000).unwrap();
            });
            assert!(counted.faults > 0, "{strategy:?}");
            assert_eq!(counted.faults_under_page_lock, 0, "{strategy:?}");
        }
    }

    fn u4_only_the_zeroing_copy_zeroes_the_uncopied_tail(machine) {
        let process = Process::new(machine);
        process.space.unmap(1, 1);
        process.space.fill(process.space.at(0, PAGE_SIZE - 6), 7, 6).unwrap();
        let slice = process.space.slice(0, PAGE_SIZE - 6, 10);
        let mut object = [9; 10];
        let fault = in_kernel(|token| copy_from_user(&process.space, token, &mut object, slice));
        assert_eq!(fault.unwrap_err().completed, 6);
        assert_eq!(object, [7, 7, 7, 7, 7, 7, 9, 9, 9, 9]);
        let mut object = [9; 10];
        let fault = in_kernel(|_| copy_from_user_atomic(&process.space, &mut object, slice));
        assert_eq!(fault.unwrap_err().completed, 6);
        assert_eq!(object, [7, 7, 7, 7, 7, 7, 9, 9, 9, 9]);
        let mut object = [9; 10];
        let fault =
            in_kernel(|token| copy_from_user_zeroing(&process.space, token, &mut object, slice));
        assert_eq!(fault.unwrap_err().completed, 6);
        assert_eq!(object, [7, 7, 7, 7, 7, 7, 0, 0, 0, 0]);
    }

    /// Museum B3: an uptodate page behind a short copy keeps its old bytes, not zeros.
    fn u4_a_short_copy_into_an_uptodate_page_keeps_its_old_tail(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let old = pattern(5, PAGE_SIZE);
        assert_eq!(process.write(&file, 0, &old), Ok(PAGE_SIZE));
        process.space.unmap(1, 1);
        for short in [1, 8, 100, 2000] {
            process.space.fill(process.space.at(0, PAGE_SIZE - short), 0x40, short).unwrap();
            let source = process.space.slice(0, PAGE_SIZE - short, 3000);
            assert_eq!(process.write_from(&file, source, &WriteOptions::at(0)), Ok(short));
            let mut want = old.clone();
            want[..short].fill(0x40);
            assert_bytes(&process.thread(4).contents(&file), &want, "old tail");
        }
    }

    /// Museum A7: refused before anything is accessed, wherever the range lies.
    fn u5_addresses_outside_the_user_range_are_refused_before_any_access(machine) {
        let process = Process::new(machine);
        let range = process.space.user_range();
        let ((), counted) = counting(|| {
            for (base, len) in [
                (range.end, 1),
                (range.end - 1, 2),
                (range.start - 1, 1),
                (range.start - 1, 2),
                (usize::MAX, 1),
                (usize::MAX - 4095, 4096),
                (usize::MAX, usize::MAX),
                (range.start, usize::MAX),
                (range.start, range.len() + 1),
                (0, 1),
            ] {
                let slice = UserSlice::new(&process.space, UserAddr::new(base), len);
                assert_eq!(slice.unwrap_err().completed, 0, "{base:#x}+{len:#x}");
            }
        });
        assert_eq!((counted.faults, counted.accesses), (0, 0));
        assert!(UserSlice::new(&process.space, UserAddr::new(range.start), range.len()).is_ok());
    }

    /// A slice that was checked against another, larger address space is refused by this one.
    fn u5_a_slice_of_another_address_space_writes_nothing(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let large = machine.space_of(4096);
        let foreign = [large.slice(4000, 0, 10)];
        let result = process.writev_as(&file, &foreign, &WriteOptions::at(0), &faultless::filemap::NoTask);
        let own = process.space.user_range().contains(&foreign[0].addr().get());
        assert!(result == Err(Errno::Fault) || own, "{result:?}");
        assert_eq!(file.size(), 0);
    }

    fn u6_faulting_in_reaches_every_page_and_changes_no_byte(machine) {
        let process = Process::new(machine);
        let content = pattern(6, 5 * PAGE_SIZE);
        process.space.store(process.space.at(0, 0), &content).unwrap();
        for from in [0, 1, 4095] {
            for writable in [false, true] {
                process.space.evict(0, 6);
                let slice = process.space.slice(0, from, 4 * PAGE_SIZE);
                let left = in_kernel(|token| match writable {
                    true => process.space.fault_in_writeable(token, slice),
                    false => process.space.fault_in_readable(token, slice),
                });
                assert_eq!(left, 0);
                let touched = (from + 4 * PAGE_SIZE).div_ceil(PAGE_SIZE);
                for page in 0..6 {
                    assert_eq!(process.space.is_resident(page), page < touched, "page {page}");
                }
            }
        }
        let got = process.space.read_vec(process.space.at(0, 0), 5 * PAGE_SIZE).unwrap();
        assert_bytes(&got, &content, "unchanged");
    }

    fn u6_faulting_in_says_truthfully_where_it_stopped(machine) {
        let process = Process::new(machine);
        process.space.unmap(3, 1);
        process.space.protect(5, 1, Protection::Read);
        let reach = |from: usize, len: usize, writable: bool| {
            let slice = process.space.slice(from / PAGE_SIZE, from % PAGE_SIZE, len);
            in_kernel(|token| match writable {
                true => len - process.space.fault_in_writeable(token, slice),
                false => len - process.space.fault_in_readable(token, slice),
            })
        };
        assert_eq!(reach(0, 2 * PAGE_SIZE, false), 2 * PAGE_SIZE);
        assert_eq!(reach(5, 4 * PAGE_SIZE, false), 3 * PAGE_SIZE - 5);
        assert_eq!(reach(3 * PAGE_SIZE, 1, false), 0);
        assert_eq!(reach(4 * PAGE_SIZE + 1, 2 * PAGE_SIZE, true), PAGE_SIZE - 1);
        assert_eq!(reach(4 * PAGE_SIZE + 1, 2 * PAGE_SIZE, false), 2 * PAGE_SIZE);
    }

    /// A probe for writing dirties a page of a file at most; it must not change what it holds, nor
    /// touch a read-only one.
    fn u6_probing_a_mapping_changes_nothing_in_the_file(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let content = pattern(7, 2 * PAGE_SIZE);
        assert_eq!(process.write(&file, 0, &content), Ok(2 * PAGE_SIZE));
        process.map(FREE, 2, &file, 0, Protection::ReadWrite);
        let slice = process.space.slice(FREE, 0, 2 * PAGE_SIZE);
        assert_eq!(in_kernel(|token| process.space.fault_in_writeable(token, slice)), 0);
        assert_bytes(&process.contents(&file), &content, "unchanged");
        process.map(FREE, 2, &file, 0, Protection::Read);
        assert_eq!(in_kernel(|token| process.space.fault_in_writeable(token, slice)), 2 * PAGE_SIZE);
        assert_eq!(process.space.store(process.space.at(FREE, 0), b"x"), Err(UserFault::Segv));
    }

    /// A fault-in that lies, for ever (5fe17237): the write still ends, and with everything (W6).
    fn u6_a_fault_in_that_does_nothing_cannot_spin_a_write_for_ever(machine) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
            let content = pattern(8, 10_000);
            process.space.store(process.space.at(0, 0), &content).unwrap();
            process.space.evict(0, 4);
            process.space.script().add(Event::FaultIn, When::From(1), Action::Lie);
            let source = process.space.slice(0, 0, 10_000);
            let options = WriteOptions::at(77).with_strategy(strategy);
            assert_eq!(process.write_from(&file, source, &options), Ok(10_000), "{strategy:?}");
            process.space.script().clear();
            assert_bytes(&process.contents(&file)[77..], &content, "all of it");
        }
    }

    /// The pages go away before every single atomic copy: neither for ever nor an error (W6).
    fn u6_a_source_that_is_stolen_before_every_copy_still_arrives(machine) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            for warm in [false, true] {
                let store = MemoryStore::with_contents(&pattern(9, 3 * PAGE_SIZE));
                let (process, file) = (Process::new(machine), machine.inode(&store, 3 * PAGE));
                if warm {
                    let _ = process.contents(&file);
                }
                let content = pattern(200, 9000);
                process.space.store(process.space.at(0, 0), &content).unwrap();
                process.space.script().add(Event::AtomicCopy, When::From(1), Action::StealAll);
                let source = process.space.slice(0, 0, 9000);
                let options = WriteOptions::at(1000).with_strategy(strategy);
                assert_eq!(process.write_from(&file, source, &options), Ok(9000), "{strategy:?}");
                process.space.script().clear();
                assert_bytes(&process.contents(&file)[1000..10_000], &content, "all of it");
            }
        }
    }

    fn u6_a_target_that_is_stolen_before_every_copy_is_still_filled(machine) {
        let store = MemoryStore::with_contents(&pattern(10, 3 * PAGE_SIZE));
        let (process, file) = (Process::new(machine), machine.inode(&store, 3 * PAGE));
        process.space.script().add(Event::AtomicCopy, When::From(1), Action::StealAll);
        let target = process.space.slice(0, 10, 3 * PAGE_SIZE);
        assert_eq!(process.read_to(&file, 0, target), Ok(3 * PAGE_SIZE));
        process.space.script().clear();
        let got = process.space.read_vec(process.space.at(0, 10), 3 * PAGE_SIZE).unwrap();
        assert_bytes(&got, &pattern(10, 3 * PAGE_SIZE), "all of it");
    }

    fn u7_length_zero_succeeds_and_touches_nothing(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        file.mark_set_id();
        let nowhere = UserSlice::new(&process.space, UserAddr::new(usize::MAX), 0).unwrap();
        let hole = process.space.slice(FREE, 5, 0);
        let before = file.times();
        let ((), counted) = counting(|| {
            for slice in [nowhere, hole, UserSlice::EMPTY] {
                assert_eq!(process.write_from(&file, slice, &WriteOptions::at(1 << 40)), Ok(0));
                assert_eq!(process.write_from(&file, slice, &WriteOptions::append()), Ok(0));
                assert_eq!(process.read_to(&file, 0, slice), Ok(0));
                syscall(|token| {
                    assert_eq!(copy_from_user(&process.space, token, &mut [], slice), Ok(()));
                    assert_eq!(copy_to_user(&process.space, token, slice, &[]), Ok(()));
                    assert_eq!(clear_user(&process.space, token, slice), Ok(()));
                    assert_eq!(process.space.fault_in_readable(token, slice), 0);
                    assert_eq!(process.space.fault_in_writeable(token, slice), 0);
                });
            }
        });
        assert_eq!((counted.faults, counted.accesses, counted.page_locks), (0, 0, 0));
        assert_eq!((file.size(), file.times(), file.is_set_id()), (0, before, true));
    }
}
