//! A host kernel that gives cues: it tells a scene when a thread is about to wait for a page.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;

use faultless_page::{LockId, Trace};

use crate::kernel::{Checked, Flavor, sealed};

/// As [`Checked`], with [`at_page_lock`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Staged {}

impl sealed::Sealed for Staged {}

impl Flavor for Staged {
    type Sync = <Checked as Flavor>::Sync;
    const CHECKED: bool = true;

    fn trace(event: Trace) {
        Checked::trace(event);
        if let Trace::Acquiring(LockId::Pages { mapping, .. }) = event {
            give_cue(mapping);
        }
    }
}

struct Cue {
    mapping: u64,
    call: Box<dyn FnOnce()>,
}

impl fmt::Debug for Cue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cue({})", self.mapping)
    }
}

thread_local! {
    static CUE: RefCell<Option<Cue>> = const { RefCell::new(None) };
}

/// Calls `call` on this thread, the next time that it is about to take a page lock of the mapping
/// with this id.
pub(super) fn at_page_lock(mapping: u64, call: impl FnOnce() + 'static) {
    CUE.set(Some(Cue { mapping, call: Box::new(call) }));
}

fn give_cue(mapping: u64) {
    // Not called while borrowed: it may lock and wait.
    let cue = CUE.try_with(|cue| {
        cue.try_borrow_mut().ok().and_then(|mut cue| cue.take_if(|cue| cue.mapping == mapping))
    });
    if let Ok(Some(cue)) = cue {
        (cue.call)();
    }
}
