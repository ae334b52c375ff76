//! What the write path asks of the calling task and the clock. Every method has a default that says no.
#![forbid(unsafe_code)]

/// The calling task, as far as file I/O cares. None of these sleeps, except [`throttle`](Self::throttle).
pub trait Task {
    /// The time that a write stamps on the file, in nanoseconds of the embedder's clock (W12).
    #[inline(always)]
    fn now(&self) -> u64 {
        0
    }

    /// Whether a fatal signal is pending: the write ends between pages (W10).
    #[inline(always)]
    fn fatal_signal_pending(&self) -> bool {
        false
    }

    /// `RLIMIT_FSIZE` in bytes (W8).
    #[doc(alias = "RLIMIT_FSIZE")]
    #[inline(always)]
    fn file_size_limit(&self) -> u64 {
        u64::MAX
    }

    /// A write began at or beyond [`file_size_limit`](Self::file_size_limit): raise `SIGXFSZ` (W8).
    #[doc(alias = "SIGXFSZ")]
    #[inline(always)]
    fn file_size_exceeded(&self) {}

    /// Lets a heavy writer wait for writeback. May sleep; called with no page lock held (P3).
    #[doc(alias = "balance_dirty_pages")]
    #[inline(always)]
    fn throttle(&self) {}
}

/// A task without limits, signals or clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTask;

impl Task for NoTask {}
