//! What a write asks for, and what the parts of the write path tell each other about it.
//!
//! Neighbours: [`hot`](super::hot), [`chunk`](super::chunk) and [`writer`](super::writer) work on a
//! [`Request`]. It does not know where the bytes land.
#![forbid(unsafe_code)]

use core::pin::Pin;

use faultless_page::{Errno, Kernel, Strategy};
use faultless_usercopy::{IovIter, UserMemory};

use crate::inode::Inode;
use crate::ranges::{ByteRange, RangeGuard, RangeRequest};
use crate::size_changes::Moment;
use crate::task::Task;

/// One write request, as its caller made it.
pub(super) struct Request<'w, 'i, U: UserMemory + ?Sized, T> {
    /// Permission to fault, or to lock pages.
    pub(super) token: &'w mut U::Token,
    /// The bytes that have not landed yet, clipped to the limits.
    pub(super) from: &'w mut IovIter<'i, U>,
    pub(super) task: &'w T,
    pub(super) strategy: Strategy,
    /// Position of the first byte.
    pub(super) start: u64,
    /// Bytes that were asked for, before clipping.
    pub(super) asked: usize,
    /// Before the first look at the size that counts: what was cut off since has to be written
    /// again.
    pub(super) then: Moment,
}

/// The two kinds of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// All bytes lie inside the size; I is not held.
    Overwrite,
    /// The size may change; I is held.
    Grow,
}

/// What one attempt to land bytes achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// This many bytes landed, not 0.
    Landed(usize),
    /// Nothing landed: the source did not answer.
    Nothing,
    /// Nothing landed: not every page is ready for this kind of attempt. So many have no frame.
    NotReady(u32),
    /// Nothing landed: pages have to be read first, and the store has been asked.
    Reading,
    /// Nothing landed: another writer claims these bytes.
    Foreign,
}

/// Why a write ended before its request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The request no longer lies inside the size: go on under I. Truncation need not hold the page
    /// locks (P6).
    MustGrow,
    /// An error; what landed before it stands.
    Failed(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// A writer's claim on the bytes of its request.
pub(super) struct Claim<'w, K: Kernel> {
    /// Its entry in the queue of claims.
    entry: Pin<&'w RangeRequest<'w, K>>,
    /// Held once the request needs more than one step.
    range: Option<RangeGuard<'w, K>>,
}

impl<'w, K: Kernel> Claim<'w, K> {
    /// No claim yet; it will be made with `entry`.
    pub(super) const fn none(entry: Pin<&'w RangeRequest<'w, K>>) -> Self {
        Self { entry, range: None }
    }

    /// Whether another writer's claim forbids to write `bytes`, whose pages are locked.
    #[inline(always)]
    pub(super) fn is_refused(&self, inode: &Inode<K>, bytes: ByteRange) -> bool {
        inode.ranges.conflicts(bytes, self.range.as_ref())
    }

    /// Whether a claim is held.
    #[inline(always)]
    pub(super) const fn is_held(&self) -> bool {
        self.range.is_some()
    }

    /// Whether a truncation has cut off claimed bytes since `then`. It has not waited for a claim
    /// that came ahead of it, of bytes that are gone; the file may have grown again.
    #[inline(always)]
    pub(super) fn is_cut(&self, inode: &Inode<K>, then: Moment) -> bool {
        let lowest = || inode.size_changes.lowest_cut_since(then).get();
        self.range.as_ref().is_some_and(|range| lowest() < range.end())
    }

    /// Claims `bytes` ahead of all others, unless a claim is held. Their pages are all locked, and
    /// some are about to land.
    #[cold]
    pub(super) fn get_ahead(&mut self, inode: &'w Inode<K>, bytes: ByteRange) {
        if self.range.is_none() {
            let wait = inode.mapping().cache().wait();
            self.range = Some(inode.ranges.get_ahead(self.entry, wait, bytes));
        }
    }

    /// Claims `bytes` in turn, unless a claim is held. May sleep; no page lock is held.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: `task` is to die; nothing is claimed.
    #[cold]
    pub(super) fn hold<T: Task>(
        &mut self,
        inode: &'w Inode<K>,
        bytes: ByteRange,
        task: &T,
    ) -> Result<(), Errno> {
        if self.range.is_none() {
            let wait = inode.mapping().cache().wait();
            self.range = Some(inode.ranges.acquire(self.entry, wait, bytes, task)?);
        }
        Ok(())
    }

    /// After a refusal of `bytes`, a part of what is held: waits for the claim that came ahead. May
    /// sleep; no page lock is held.
    ///
    /// # Errors
    /// [`Errno::Interrupted`]: `task` is to die.
    #[cold]
    pub(super) fn wait<T: Task>(
        &self,
        inode: &Inode<K>,
        bytes: ByteRange,
        task: &T,
    ) -> Result<(), Errno> {
        match &self.range {
            Some(own) => inode.ranges.wait_for(bytes, own, task),
            None => Ok(()),
        }
    }

    /// Gives the claim up, before I is taken: I ranks first.
    #[cold]
    pub(super) fn release(&mut self) {
        self.range = None;
    }
}

impl<U: UserMemory + ?Sized, T> Request<'_, '_, U, T> {
    /// The bytes from the first one to before `end`.
    #[inline(always)]
    pub(super) const fn range_to(&self, end: u64) -> ByteRange {
        ByteRange { start: self.start, end }
    }
}
