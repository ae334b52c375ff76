//! What is special about real faults. What both MMUs have in common is tested in `space`.

use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use faultless_usercopy::arch::{Faulting, NoWindow, native};

use super::{RealMmu, Trap, Trapped, on_trap};
use crate::counters::counting;
use crate::machine::RealMachine;
use crate::memory::{FrameOrder, PhysicalMemory, Poisoning};
use crate::mmu::{Access, Mmu, Protection};

/// Set in the child processes of the test below: which trap entry takes the fault.
const CHILD: &str = "FAULTLESS_TEST_CRASHES";

#[test]
fn a_fault_that_is_no_access_to_user_memory_kills_the_process_as_ever() {
    if let Some(entry) = std::env::var_os(CHILD) {
        if entry == "own" {
            on_trap(|_| Trapped::Bug);
        }
        let machine = RealMachine::new();
        let space = machine.space();
        space.map_anonymous(0, 1, Protection::ReadWrite);
        let user = std::ptr::with_exposed_provenance_mut::<u8>(space.at(0, 0).get());
        // SAFETY: not sound, and meant to be: the page is not there, and this instruction is in no
        // table.
        unsafe { user.write_volatile(1) };
        std::process::exit(0);
    }
    let test = "mm_real::tests::a_fault_that_is_no_access_to_user_memory_kills_the_process_as_ever";
    for entry in ["the shim's", "own"] {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--test-threads=1"])
            .env(CHILD, entry)
            .output()
            .expect("a child");
        let segv = child.status.signal() == Some(libc::SIGSEGV);
        assert!(segv, "{:?}\n{}", child.status, String::from_utf8_lossy(&child.stderr));
    }
}

#[test]
fn faults_of_many_threads_are_each_resolved_by_their_own_space() {
    let machine = RealMachine::new();
    std::thread::scope(|scope| {
        for byte in 1..5 {
            let space = machine.space_of(64);
            scope.spawn(move || {
                space.map_anonymous(0, 64, Protection::ReadWrite);
                for round in 0..50 {
                    let page = round % 63;
                    space.fill(space.at(page, 4000), byte, 200).expect("mapped");
                    space.evict(0, 64);
                    let (read, counted) = counting(|| space.read_vec(space.at(page, 4000), 200));
                    assert_eq!((read, counted.faults), (Ok(vec![byte; 200]), 2));
                }
            });
        }
    });
    machine.finish();
}

thread_local! {
    static TRAPS: RefCell<Vec<Trap>> = const { RefCell::new(Vec::new()) };
    static MAP: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

#[test]
fn a_thread_with_a_trap_handler_takes_the_faults_of_its_own_copies() {
    let memory = PhysicalMemory::new(1, FrameOrder::Contiguous, Poisoning::Checked);
    let frame = memory.allocate_user().expect("a frame");
    let mmu = RealMmu::reserve(2);
    let address = mmu.base() + 10;
    let copy = move |byte: &u8| {
        let user = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: the kernel side is a reference; the user side faults into the exception table.
        unsafe { native::copy_to::<NoWindow, Faulting>(user, byte, 1) }
    };
    on_trap(|trap| {
        TRAPS.with_borrow_mut(|traps| traps.push(*trap));
        MAP.with_borrow_mut(|map| map.as_mut().expect("a handler")());
        Trapped::Handled
    });
    // A thread without one: the access ends.
    assert_eq!(std::thread::spawn(move || copy(&7)).join().expect("no panic"), 1);
    MAP.set(Some(Box::new(move || mmu.map(0, &memory, frame, Protection::ReadWrite))));
    assert_eq!(copy(&7), 0);
    let traps = TRAPS.take();
    assert_eq!((traps.len(), traps[0].address), (1, address));
    if cfg!(target_arch = "x86_64") {
        assert_eq!(traps[0].access, Some(Access::Write));
    }
    // An access by an MMU of this crate goes to its address space, as ever.
    let machine = RealMachine::new();
    let space = machine.space();
    space.map_anonymous(0, 1, Protection::ReadWrite);
    assert_eq!(space.read_vec(space.at(0, 0), 1), Ok(vec![0]));
    assert!(TRAPS.take().is_empty());
    MAP.take();
}
