//! What the calling thread did: exact counts, made from the core's trace.
//!
//! Key type: [`Counters`]. Each thread counts for itself; a test takes a [snapshot](Counters::now)
//! before and one after, or wraps the work in [`counting`].

#![forbid(unsafe_code)]

use std::cell::Cell;

use faultless_page::Trace;

/// Counts of events, since the thread began or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes copied between user memory and pages.
    pub copied: u64,
    /// Bytes of frames set to zero.
    pub zeroed: u64,
    /// Bytes that a temporary page carried.
    pub bounced: u64,
    /// Temporary pages that carried them.
    pub temporary_pages: u64,
    /// Pages that took the fast path.
    pub fast_path_pages: u64,
    /// Atomic copies that fell short.
    pub short_copies: u64,
    /// Times that user memory was faulted in.
    pub fault_ins: u64,
    /// Frames allocated by the core.
    pub allocations: u64,
    /// Faults that the address spaces' handler took.
    pub faults: u64,
    /// Of these, those that came while the thread held a page lock. Always 0 in a correct kernel.
    pub faults_under_page_lock: u64,
    /// Accesses to user memory besides the copies of the core: probes of the fault-in.
    pub accesses: u64,
    /// Page-lock acquisitions.
    pub page_locks: u64,
    /// Grace periods waited for.
    pub grace_periods: u64,
    /// Dirty pages that were lost with the last handle of their file.
    pub dropped_dirty: u64,
}

thread_local! {
    static COUNTERS: Cell<Counters> = const { Cell::new(Counters::ZERO) };
}

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        copied: 0,
        zeroed: 0,
        bounced: 0,
        temporary_pages: 0,
        fast_path_pages: 0,
        short_copies: 0,
        fault_ins: 0,
        allocations: 0,
        faults: 0,
        faults_under_page_lock: 0,
        accesses: 0,
        page_locks: 0,
        grace_periods: 0,
        dropped_dirty: 0,
    };

    /// The calling thread's counts.
    #[must_use]
    pub fn now() -> Self {
        COUNTERS.get()
    }

    /// What was counted since `earlier`, on the same thread.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            copied: self.copied - earlier.copied,
            zeroed: self.zeroed - earlier.zeroed,
            bounced: self.bounced - earlier.bounced,
            temporary_pages: self.temporary_pages - earlier.temporary_pages,
            fast_path_pages: self.fast_path_pages - earlier.fast_path_pages,
            short_copies: self.short_copies - earlier.short_copies,
            fault_ins: self.fault_ins - earlier.fault_ins,
            allocations: self.allocations - earlier.allocations,
            faults: self.faults - earlier.faults,
            faults_under_page_lock: self.faults_under_page_lock - earlier.faults_under_page_lock,
            accesses: self.accesses - earlier.accesses,
            page_locks: self.page_locks - earlier.page_locks,
            grace_periods: self.grace_periods - earlier.grace_periods,
            dropped_dirty: self.dropped_dirty - earlier.dropped_dirty,
        }
    }

    /// Changes the calling thread's counts. Does nothing while the thread is being torn down.
    pub(crate) fn update(change: impl FnOnce(&mut Self)) {
        let _ = COUNTERS.try_with(|cell| {
            let mut counters = cell.get();
            change(&mut counters);
            cell.set(counters);
        });
    }

    /// Counts an event of the core.
    pub(crate) fn count(event: Trace) {
        Self::update(|counters| match event {
            Trace::Copied(bytes) => counters.copied += bytes as u64,
            Trace::Zeroed(bytes) => counters.zeroed += bytes as u64,
            Trace::Bounced(bytes) => {
                counters.bounced += bytes as u64;
                counters.temporary_pages += 1;
            }
            Trace::FastPath(pages) => counters.fast_path_pages += u64::from(pages),
            Trace::ShortCopy => counters.short_copies += 1,
            Trace::FaultIn(_) => counters.fault_ins += 1,
            Trace::Allocated => counters.allocations += 1,
            Trace::GracePeriod => counters.grace_periods += 1,
            Trace::Acquired(faultless_page::LockId::Pages { .. }) => counters.page_locks += 1,
            _ => {}
        });
    }
}

/// Runs `work` and says what the calling thread counted meanwhile.
pub fn counting<R>(work: impl FnOnce() -> R) -> (R, Counters) {
    let before = Counters::now();
    let result = work();
    (result, Counters::now().since(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_the_threads_own() {
        let ((), counted) = counting(|| {
            Counters::count(Trace::Copied(10));
            Counters::count(Trace::Copied(5));
            let other = std::thread::spawn(|| Counters::count(Trace::Zeroed(1)));
            other.join().expect("the thread");
        });
        assert_eq!(counted, Counters { copied: 15, ..Counters::ZERO });
    }
}
