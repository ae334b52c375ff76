//! Read sections of a kernel's own, which cost no locked operation.

use std::cell::Cell;
use std::sync::atomic::{Ordering, compiler_fence};

use faultless_page::{ConstSync, CoreSync, Initial, SyncFamily};

/// Read sections as a kernel makes them that knows when each CPU has switched threads: a section is
/// a time without preemption, which is a count of the CPU's own.
#[derive(Debug)]
pub(super) struct PreemptionOff;

thread_local! {
    static PREEMPT_COUNT: Cell<u32> = const { Cell::new(0) };
}

// SAFETY: the words, the fence and the lock are `CoreSync`'s. A rig is used by one thread, so when
// that one waits for readers, no section is open, and what it did before comes before the next.
unsafe impl SyncFamily for PreemptionOff {
    type Word64 = <CoreSync as SyncFamily>::Word64;
    type Word32 = <CoreSync as SyncFamily>::Word32;
    type Spin<T: Send> = <CoreSync as SyncFamily>::Spin<T>;
    const HAS_READ_SECTIONS: bool = true;

    #[inline(always)]
    fn fence(order: Ordering) {
        CoreSync::fence(order);
    }

    #[inline(always)]
    fn enter_read_section() {
        PREEMPT_COUNT.set(PREEMPT_COUNT.get() + 1);
        compiler_fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn leave_read_section() {
        compiler_fence(Ordering::SeqCst);
        PREEMPT_COUNT.set(PREEMPT_COUNT.get() - 1);
    }

    fn wait_for_readers() {
        assert_eq!(PREEMPT_COUNT.get(), 0, "a section of this thread is open");
    }
}

impl ConstSync for PreemptionOff {
    type Free<T: Send + Initial> = <CoreSync as ConstSync>::Free<T>;
}
