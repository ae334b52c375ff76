//! Which pages move at the moment: none of them comes into the cache.
//!
//! While the store moves the tail of a file, a page of the tail that was read before would show old
//! bytes at their old place afterwards. So a shift *begins* here, then removes the tail from the
//! cache; and a caller that is about to have a page read, or prepares one that is not there, looks
//! here *after* it has put the page in. With a fence in each, one of the two sees the other: the
//! shift finds the page and waits for its lock, or the caller leaves the page as it is, lets its
//! locks go, and waits.
//!
//! A hit does not look here: a page that is uptodate is found and removed under its lock. A fault
//! does, under the page's lock, so that no page of the tail is dirtied again by a mapping once the
//! shift has had its lock.
//!
//! A caller that waits here, or whose page was removed before it was used, begins another round,
//! and the next shift can come before it in that one, too. So its rounds are counted
//! ([`Patience`]), and once there are too many it takes the shifts' own lock, in the order of
//! arrival: none begins until the page was used (L1).
//!
//! Neighbours: [`shift`](crate::shift) moves pages, [`uptodate`](crate::uptodate) reads them,
//! `write` prepares them.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use faultless_page::{
    Errno, Kernel, LockId, PageIndex, SleepGuard, SleepMutex, SyncFamily, Word, Word64,
};

use crate::pos::FilePos;
use crate::task::{Caller, Task};

/// Rounds that a caller loses to shifts before it keeps later ones off.
const MAX_OVERTAKINGS: u32 = 3;

/// No page moves.
const NONE: u64 = u64::MAX;

/// The pages of a file that move.
pub(crate) struct MovingPages<K: Kernel> {
    /// Where the first one begins.
    from: Word64<K>,
    /// Held while there are any.
    lock: SleepMutex<K>,
}

impl<K: Kernel> MovingPages<K> {
    /// None, for the mapping with this id.
    pub(crate) fn none(id: u64) -> Self {
        Self { from: Word::new(NONE), lock: SleepMutex::new(LockId::Shift(id)) }
    }

    /// The pages from `first` on move until the result is dropped. May sleep: no page lock is held.
    /// I and the range of these pages are.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: `task` is to die; no page moves.
    pub(crate) fn begin<'m, T: Task>(
        &'m self,
        wait: &'m K::Wait,
        first: PageIndex,
        task: &T,
    ) -> Result<Moving<'m, K>, Errno> {
        let lock = self.lock.lock_killable(wait, &Caller(task))?;
        self.from.store(first.start(), Relaxed);
        // Pairs with the fence of `size_and_moving_after_insertion`.
        <K::Sync as SyncFamily>::fence(SeqCst);
        Ok(Moving { pages: self, _lock: lock })
    }

    /// Where the first page begins that moves; the end of the largest file if none does. Look at
    /// the size afterwards: a caller that sees the end of a move sees the size that it has left.
    #[inline(always)]
    pub(crate) fn first(&self) -> FilePos {
        FilePos::clipped(self.from.load(Acquire))
    }

    /// Whether page `index` moves.
    #[inline(always)]
    pub(crate) fn contain(&self, index: PageIndex) -> bool {
        index.start() >= self.from.load(Acquire)
    }

    /// Waits until no page moves; later ones may do so by the time this returns. May sleep: no page
    /// lock is held. I may be, a range, and M for reading.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: `task` is to die (L3).
    #[cold]
    pub(crate) fn wait<T: Task>(&self, wait: &K::Wait, task: &T) -> Result<(), Errno> {
        if self.from.load(Acquire) != NONE {
            drop(self.lock.lock_killable(wait, &Caller(task))?);
        }
        Ok(())
    }
}

/// How often shifts have overtaken a caller that brings a page in. While the value lives, no later
/// one does so once that was too often: it is dropped once the page was used, and before user
/// memory is touched or the task throttled.
pub(crate) struct Patience<'m, K: Kernel> {
    overtakings: u32,
    /// That of [`MovingPages`].
    turn: Option<SleepGuard<'m, K>>,
}

impl<'m, K: Kernel> Patience<'m, K> {
    /// Of a caller that has not been overtaken.
    pub(crate) const fn new() -> Self {
        Self { overtakings: 0, turn: None }
    }

    /// The caller's page moves, or has gone before it was used.
    pub(crate) fn overtaken(&mut self) {
        self.overtakings += 1;
    }

    /// Shifts may come again.
    pub(crate) fn let_go(&mut self) {
        self.turn = None;
    }

    /// Another round begins: takes the caller's turn if there were too many. May sleep; no page
    /// lock is held. I may be, a range, and M for reading.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: `task` is to die (L3).
    #[inline]
    pub(crate) fn begin_round<T: Task>(
        &mut self,
        pages: &'m MovingPages<K>,
        wait: &'m K::Wait,
        task: &T,
    ) -> Result<(), Errno> {
        if self.overtakings >= MAX_OVERTAKINGS && self.turn.is_none() {
            let killed = Caller(task);
            self.turn = Some(pages.lock.lock_killable(wait, &killed)?);
        }
        Ok(())
    }
}

/// Pages move while this lives.
pub(crate) struct Moving<'m, K: Kernel> {
    pages: &'m MovingPages<K>,
    /// Let go last.
    _lock: SleepGuard<'m, K>,
}

impl<K: Kernel> Drop for Moving<'_, K> {
    fn drop(&mut self) {
        self.pages.from.store(NONE, Release);
    }
}
