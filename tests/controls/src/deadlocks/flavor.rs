//! A host kernel with hooks: it tells a scenario when a thread is about to wait for a page.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;

use faultless_page::{LockId, Trace};

use faultless_host::kernel::{Checked, Flavor};

/// As [`Checked`], with [`at_page_lock`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Notifying {}

impl Flavor for Notifying {
    type Sync = <Checked as Flavor>::Sync;
    type Replacement = <Checked as Flavor>::Replacement;
    const CHECKED: bool = true;

    fn trace(event: Trace) {
        Checked::trace(event);
        if let Trace::Acquiring(LockId::Pages { mapping, .. }) = event {
            call_hook(mapping);
        }
    }
}

struct Hook {
    mapping: u64,
    call: Box<dyn FnOnce()>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hook({})", self.mapping)
    }
}

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Calls `call` on this thread, the next time that it is about to take a page lock of the mapping
/// with this id.
pub(super) fn at_page_lock(mapping: u64, call: impl FnOnce() + 'static) {
    HOOK.set(Some(Hook { mapping, call: Box::new(call) }));
}

fn call_hook(mapping: u64) {
    // Not called while borrowed: it may lock and wait.
    let hook = HOOK.try_with(|hook| {
        hook.try_borrow_mut().ok().and_then(|mut hook| hook.take_if(|hook| hook.mapping == mapping))
    });
    if let Ok(Some(hook)) = hook {
        (hook.call)();
    }
}
