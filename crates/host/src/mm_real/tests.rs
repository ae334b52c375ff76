//! What is special about real faults. What both MMUs have in common is tested in `space`.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::counters::counting;
use crate::machine::RealMachine;
use crate::mmu::Protection;

/// Set in the child process of the test below.
const CHILD: &str = "FAULTLESS_TEST_CRASHES";

#[test]
fn a_fault_that_is_no_access_to_user_memory_kills_the_process_as_ever() {
    if std::env::var_os(CHILD).is_some() {
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
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("a child");
    let segv = child.status.signal() == Some(libc::SIGSEGV);
    assert!(segv, "{:?}\n{}", child.status, String::from_utf8_lossy(&child.stderr));
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
