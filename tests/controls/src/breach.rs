//! **The breach.** The one place of the workspace where a page is locked without a borrow of the
//! token, so that a faulting copy can be made under its lock. That is the bug of the controls;
//! production code cannot even say it.

use faultless_page::LockContext;

/// Permission to lock a page, out of nothing: the token stays free, and a fault may be taken under
/// the lock.
pub(super) fn context_without_token<'t>() -> LockContext<'t> {
    // SAFETY: the promise of `LockContext::new` is about deadlock, not about memory, and it is
    // broken here on purpose: these are the historical controls, which exist to deadlock. Each
    // holds one page lock at a time, and the pages of a `LockedRun` stay sound whatever faults
    // meanwhile.
    unsafe { LockContext::new() }
}
