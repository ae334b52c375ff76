//! Runs that do not come to an end are ended. Those that come to no point end their process, so
//! they are played by child processes.

#![forbid(unsafe_code)]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::scheduler::{Order, Wakes, Work, point, run};

/// Set in the child processes of the tests below.
const CHILD: &str = "FAULTLESS_TEST_HANGS";

const ORDER: Order<'_> =
    Order { first: 0, decisions: &[0, 0, 0], wakes: Wakes::Lazy, favour: None };

/// Runs `threads` in a child process, which has to end with a story that has `told` in it.
fn hangs(test: &str, threads: impl FnOnce() -> Vec<Work>, told: &str) {
    if std::env::var_os(CHILD).is_some() {
        run(threads(), ORDER, None);
        std::process::exit(0);
    }
    let module = module_path!().split_once("::").expect("a module of the crate").1;
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("{module}::{test}"), "--test-threads=1"])
        .env(CHILD, "1")
        .env("FAULTLESS_WATCHDOG", "2")
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{:?}\n{text}", child.status);
    assert!(text.contains("hang: a run has come to no point for 2 s"), "{text}");
    assert!(text.contains(told), "{text}");
}

#[test]
#[should_panic(expected = "W6: no end in sight: thread 0 runs")]
fn a_loop_of_points_ends_the_run() {
    let round: Work = Box::new(|| {
        while std::hint::black_box(true) {
            point();
        }
    });
    run(vec![round], ORDER, None);
}

#[test]
fn a_loop_without_a_point_ends_the_process() {
    let spin: Work = Box::new(|| {
        point();
        while std::hint::black_box(true) {
            std::hint::spin_loop();
        }
    });
    hangs("a_loop_without_a_point_ends_the_process", || vec![spin], "thread 0 runs");
}

#[test]
fn a_plain_lock_that_another_coroutine_holds_ends_the_process() {
    let lock = Arc::new(Mutex::new(()));
    let hold = |lock: Arc<Mutex<()>>| -> Work {
        Box::new(move || {
            point();
            let held = lock.lock().expect("no panic under it");
            point();
            drop(held);
        })
    };
    let threads = || vec![hold(Arc::clone(&lock)), hold(Arc::clone(&lock))];
    let test = "a_plain_lock_that_another_coroutine_holds_ends_the_process";
    hangs(test, threads, "thread 1 runs");
}
