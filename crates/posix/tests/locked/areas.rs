//! M: who waits for whom, the nested reader that waits for ever, and waits that end by a signal.

use std::thread;

use faultless_posix::{Errno, Signal};

use crate::support::*;

#[test]
fn a_call_waits_for_a_fault_that_holds_m_and_later_faults_wait_for_the_call() {
    let rig = Rig::new();
    let open = rig.numbered(3).open_rw();
    let process = rig.process();
    process.share(0, 3, &open);
    let held = process.space.read_areas().expect("not killed");
    thread::scope(|scope| {
        let call = scope.spawn(|| process.unmap(0, 1));
        until(|| writers(&process.space) == 1);
        let fault = scope.spawn(|| process.load(1));
        until(|| readers(&process.space) == 1);
        assert!(process.space.area_at(at(0)).is_some(), "the call has changed nothing yet");
        drop(held);
        assert_eq!(call.join().expect("no panic"), Ok(()));
        assert_eq!(fault.join().expect("no panic"), Ok(2));
    });
    assert_eq!(process.load(0), Err(Signal::Segv));
}

/// The control: what old kernels did that copied to user memory with the lock held.
#[test]
fn dl3_a_reader_that_faults_behind_a_queued_writer_waits_for_ever() {
    let rig = Rig::new();
    let open = rig.numbered(2).open_rw();
    let process = rig.process();
    process.share(0, 2, &open);
    let held = process.space.read_areas().expect("not killed");
    thread::scope(|scope| {
        let call = scope.spawn(|| process.unmap(0, 1));
        until(|| writers(&process.space) == 1);
        // A copy to user memory with M held. The fault looks for a signal again and again.
        die_after(1_000);
        assert_eq!(process.load(1), Err(Signal::Kill), "the circle: M, and M behind the writer");
        die_after(u64::MAX);
        assert_eq!(writers(&process.space), 1, "the writer has waited all the time");
        drop(held);
        assert_eq!(call.join().expect("no panic"), Ok(()));
    });
    // The same copy once M was let go.
    assert_eq!(process.load(1), Ok(2));
}

#[test]
fn l3_a_call_that_waits_for_m_ends_by_a_signal_and_changes_nothing() {
    let rig = Rig::new();
    let open = rig.numbered(1).open_rw();
    let process = rig.process();
    process.share(0, 1, &open);
    let child = rig.process();
    let held = process.space.read_areas().expect("not killed");
    thread::scope(|scope| {
        let killed = scope.spawn(|| {
            die_after(0);
            let again =
                [process.unmap(0, 1), process.protect(0, 1, crate::R), process.extend(1, 1)];
            let forked = Space::fork(&process.space, &child.space);
            (again, forked)
        });
        let interrupted = Err(Errno::INTR);
        assert_eq!(killed.join().expect("no panic"), ([interrupted; 3], interrupted));
    });
    drop(held);
    assert_eq!((process.load(0), child.space.areas().len()), (Ok(1), 0));
    assert_eq!(process.store(0, 9), Ok(()), "not protected");
}

#[test]
fn the_last_handle_of_a_file_is_dropped_without_m() {
    let rig = Rig::new();
    let process = rig.process();
    let file = rig.numbered(1);
    process.share(0, 1, &file.open_rw());
    // The drop checks that nothing is held.
    drop(file);
    assert_eq!(process.unmap(0, 1), Ok(()));
    let file = rig.numbered(1);
    process.share(0, 1, &file.open_rw());
    drop(file);
    process.share(0, 1, &rig.numbered(2).open_rw());
    assert_eq!(process.load(0), Ok(1));
}
