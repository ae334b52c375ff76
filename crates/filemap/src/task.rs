//! What the write path asks of the calling task and the clock. Every method has a default that says
//! no.
#![forbid(unsafe_code)]

use faultless_page::{Patience, StoreId, WaitKey};
use faultless_usercopy::UserSlice;

/// The calling task, as far as file I/O cares. None of these sleeps, except
/// [`throttle`](Self::throttle) and [`admit_dirty`](Self::admit_dirty).
///
/// All but these two may be called with page locks held, or while a wait looks whether it is over:
/// they look at the task, and call no operation of an inode. The throttle may wait for writeback,
/// and send pages itself.
pub trait Task {
    /// The time that a write stamps on the file, in nanoseconds of the embedder's clock (W12).
    #[inline(always)]
    fn now(&self) -> u64 {
        0
    }

    /// Whether a fatal signal is pending: the operation ends (W10, L2), and so does every wait of
    /// the task (L3). The embedder's [`Wait`](faultless_page::Wait) evaluates a sleeper's condition
    /// again when a fatal signal arrives.
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

    /// Whether set-id attributes stay when the task writes (W12).
    #[doc(alias = "CAP_FSETID")]
    #[inline(always)]
    fn keeps_set_id(&self) -> bool {
        false
    }

    /// Lets a task that has dirtied pages wait for writeback. May sleep. Called after each write
    /// that landed, however small, with no lock held (L6); and between the steps of a long one,
    /// with no page lock held (P3) but with the range of the write, and I if it grows the file:
    /// writeback needs neither.
    #[doc(alias = "balance_dirty_pages")]
    #[inline(always)]
    fn throttle(&self) {}

    /// Whether the task asks before it dirties pages. If not, the two methods below are not called,
    /// and no code is compiled for them.
    const LIMITS_DIRTY_PAGES: bool = false;

    /// Asks for a promise that up to `wanted` pages of a file on `store` may become dirty,
    /// `1..=64`; for how many. Zero: the task is to die. May sleep until writeback ends.
    ///
    /// Called before a step that may dirty a clean page, never for pages that are dirty already. No
    /// page lock is held (P3); I and the range of the write may be, and M in a fault: writeback
    /// needs none of them.
    #[inline(always)]
    fn admit_dirty(&self, _store: StoreId, wanted: u32) -> u32 {
        wanted
    }

    /// The step that [`admit_dirty`](Self::admit_dirty) was called for is over: `dirtied` pages
    /// have become dirty that were not, no more than were promised. No page lock is held. It is
    /// not called if a callback of the step unwinds.
    #[inline(always)]
    fn settle_dirty(&self, _dirtied: u32) {}

    /// As [`admit_dirty`](Self::admit_dirty), for a call that does not sleep. Zero: `would_wait`
    /// was told what has to happen first, before the look that counts.
    /// [`DirtyWriter::try_admit`](crate::DirtyWriter::try_admit) does that.
    #[inline(always)]
    fn try_admit_dirty(&self, _store: StoreId, wanted: u32, _would_wait: &dyn Fn(WaitKey)) -> u32 {
        wanted
    }

    /// Whether calls for this task may sleep and fault. Only the tasks that
    /// [`NonBlocking`](crate::NonBlocking) makes of others say no; a read or a write for such a
    /// task fails with [`Errno::WouldBlock`](faultless_page::Errno::WouldBlock), after one of the
    /// two methods below was told why.
    const SLEEPS: bool = true;

    /// Of a call that does not sleep: it is about to end, and can go on after a
    /// [`wake`](faultless_page::Wait::wake) of `key`. An asynchronous kernel registers the task
    /// that is polled: see [`Patience::would_wait`], which says what may be done here.
    #[inline(always)]
    fn would_wait(&self, _key: WaitKey) {}

    /// Of a call that does not sleep: it is about to end, and can go on once user memory from the
    /// start of `range` on is there.
    #[inline(always)]
    fn would_fault(&self, _range: UserSlice) {}
}

/// A task, as its waits ask it.
pub(crate) struct Caller<'t, T>(pub(crate) &'t T);

impl<T: Task> Patience for Caller<'_, T> {
    const SLEEPS: bool = T::SLEEPS;

    #[inline(always)]
    fn is_killed(&self) -> bool {
        self.0.fatal_signal_pending()
    }

    #[inline(always)]
    fn would_wait(&self, key: WaitKey) {
        self.0.would_wait(key);
    }
}

/// A task whose call ends for a reason that it was told. What is tidied up behind that is left to
/// another call where it would wait, and is not told.
pub(crate) struct Leaving<'t, T>(pub(crate) &'t T);

impl<T: Task> Task for Leaving<'_, T> {
    const SLEEPS: bool = T::SLEEPS;

    #[inline(always)]
    fn fatal_signal_pending(&self) -> bool {
        self.0.fatal_signal_pending()
    }
}

/// A task without limits, signals or clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTask;

impl Task for NoTask {}
