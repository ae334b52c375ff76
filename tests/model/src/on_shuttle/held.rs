//! How many runs of pages each of shuttle's threads holds.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;

use shuttle::thread::{self, ThreadId};

use crate::plant::{self, Plant};

thread_local! {
    /// Page locks held, by thread. Shuttle's threads share one thread of the host.
    static HELD: RefCell<HashMap<ThreadId, u64>> = RefCell::new(HashMap::new());
}

/// Forgets what threads of an earlier execution held.
pub fn forget_locks() {
    HELD.with(|held| held.borrow_mut().clear());
}

/// How many runs of pages this thread holds.
#[must_use]
pub fn held_runs() -> u64 {
    let me = thread::current().id();
    HELD.with(|held| held.borrow().get(&me).copied().unwrap_or(0))
}

/// This thread holds one run more, or one less.
///
/// # Panics
/// If it holds none and one less is asked for.
pub fn change(by: i64) {
    let me = thread::current().id();
    HELD.with(|held| {
        let mut held = held.borrow_mut();
        let count = held.entry(me).or_insert(0);
        *count = count.checked_add_signed(by).expect("more unlocked than locked (P5)");
    });
}

/// Who must not hold a page lock now does: DL4. The historical controls do, and hang for it; then
/// it is the deadlock that is to be found.
///
/// # Panics
/// If this thread holds a page lock.
pub fn assert_no_page_lock() {
    if !plant::is(Plant::FaultUnderLock) && !plant::is(Plant::PrefaultOnly) {
        assert_eq!(held_runs(), 0, "a page lock is held where none may be (P3)");
    }
}
