//! Who is told of the events of the cache and of the locks of address spaces: nobody, until
//! somebody asks.
#![forbid(unsafe_code)]

use faultless::page::Trace;
use faultless::parts::Lock;
use faultless_posix::AreasEvent;
use spin::Once;

/// What a listener is told of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// Something in the cache.
    Cache(Trace),
    /// The lock of an address space.
    Areas(Lock, AreasEvent),
}

static LISTENER: Once<fn(Event)> = Once::new();

/// Has `tell` called for each event from here on. The first one to ask is told.
pub(crate) fn listen(tell: fn(Event)) {
    LISTENER.call_once(|| tell);
}

/// An event of the cache, on the current thread.
#[inline]
pub(crate) fn trace(event: Trace) {
    if let Some(tell) = LISTENER.get() {
        tell(Event::Cache(event));
    }
}

/// An event of the lock of an address space, on the current thread.
#[inline]
pub(crate) fn trace_areas(lock: Lock, event: AreasEvent) {
    if let Some(tell) = LISTENER.get() {
        tell(Event::Areas(lock, event));
    }
}
