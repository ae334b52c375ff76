//! Who is told of the events of the cache: nobody, until somebody asks.
#![forbid(unsafe_code)]

use faultless::page::Trace;
use spin::Once;

static LISTENER: Once<fn(Trace)> = Once::new();

/// Has `tell` called for each event from here on. The first one to ask is told.
pub(crate) fn listen(tell: fn(Trace)) {
    LISTENER.call_once(|| tell);
}

/// An event of the cache, on the current thread.
#[inline]
pub(crate) fn trace(event: Trace) {
    if let Some(tell) = LISTENER.get() {
        tell(event);
    }
}
