//! How a program wants a thread to be scheduled. It is kept and given back: all threads take turns.
#![forbid(unsafe_code)]

/// What is set by `sched_setscheduler` and `setpriority`. A new thread has that of the one that
/// makes it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Schedule {
    /// `SCHED_OTHER`, `SCHED_FIFO`, …
    pub(crate) class: u32,
    /// From 1 to 99 in the classes for real time; 0 in others.
    pub(crate) priority: u32,
    /// From -20 to 19; a lower one means more time.
    pub(crate) nice: i32,
}
