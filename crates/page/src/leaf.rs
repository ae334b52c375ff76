//! The leaf: the state of 64 pages, as one bit each in a few words, and their frames.
//!
//! Neighbours: [`page_lock`](crate::page_lock) locks slots, [`tree`](crate::tree) finds leaves,
//! [`LockedRun`](crate::LockedRun) is the only way to change one, [`pool`](crate::pool) supplies
//! them. A leaf does not own the meaning of its marks; that is filemap's.
//!
//! # Words, and what may change them
//! - `locked`: by compare-and-swap and `fetch_and`; the words below belong to the holder of the
//!   slot's lock. As slots share words, every change is an atomic and/or.
//! - `waiters` and `queue`: slots that are waited for, and the requests; see
//!   [`page_lock`](crate::page_lock).
//! - `watched`: slots whose next change a waiter without a request in the queue waits for: the end
//!   of a page's writeback, or of its lock. A waiter sets the bit before each look; the change
//!   clears it and wakes. A bit that is cleared for another reason wakes as well.
//! - `owner`, `base`: see [`Leaf::claim`] and [`Leaf::retire`].
//! - `present` is set exactly for slots with a frame; every other mark is a subset of it.
//! - `writeback` bits are cleared without the lock, by their token, which before that sets `dirty`
//!   if it failed. Pages with the bit are not removed. See [`clean`](Leaf::clean) and
//!   [`unclean`](Leaf::unclean) for the order of looks.
//! - `contiguous`: bit `s` set ⇒ slots `s` and `s + 1` are present and their frames are
//!   consecutive. Set only with *both* slots locked, cleared by removal of either under its lock;
//!   so it is exact for a holder of both, and never wrongly set.
//! - `marker`: pages whose next use is to be noticed: it asks for more to be read ahead, or, if the
//!   page is `transient`, makes it one that stays. Cleared by that use, without the lock.
//! - `transient`: pages that an operation has brought in which does not want to keep them. Each has
//!   a marker, so that a lock-free reader has a single word to look at, and is not `reserved`, so
//!   that a hot overwrite, which looks at that word, leaves it to the path that notices uses.
//! - `removals` counts removals, for lock-free readers: see [`Leaf::readable`]. 32 bits are enough:
//!   the frames of removed pages wait for the end of the reader's section, so each thread removes
//!   one batch at most while a reader is between its two looks.
#![forbid(unsafe_code)]

use core::array;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use crate::pool::Node;
use crate::replacement::{LeafWords, Ops};
use crate::slots::SlotWord;
use crate::{
    Errno, FrameNumber, PAGES_PER_LEAF, PageIndex, Patience, Replacement, RequestList, SlotMask,
    SyncFamily, Wait, WaitKey, Word,
};

/// Six cache lines for 64 pages, the first of them all that a hot overwrite touches besides the
/// frames.
#[cfg(target_has_atomic = "64")]
mod layout {
    use core::mem::{offset_of, size_of};

    use static_assertions::const_assert_eq;

    use super::Leaf;
    use crate::{CoreSync, TwoQueues};

    const_assert_eq!(size_of::<Leaf<CoreSync>>(), 384);
    const_assert_eq!(size_of::<Leaf<CoreSync, TwoQueues>>(), 448);
    const_assert_eq!(offset_of!(Leaf<CoreSync>, writeback), 64);
}

/// No mapping has this id.
const NOBODY: u64 = 0;
/// Bit of the id of a mapping whose pages may leave because memory is short.
pub(crate) const ON_BOOKS: u64 = 1;
/// Bit of the id of a mapping whose pages of zeros may: its transient ones.
pub(crate) const ZEROS_ON_BOOKS: u64 = 2;

#[repr(C, align(64))]
pub(crate) struct Leaf<S: SyncFamily, R: Ops = ()> {
    owner: S::Word64,
    base: S::Word64,
    pub(crate) locked: SlotWord<S>,
    pub(crate) waiters: SlotWord<S>,
    present: SlotWord<S>,
    pub(crate) uptodate: SlotWord<S>,
    pub(crate) dirty: SlotWord<S>,
    pub(crate) reserved: SlotWord<S>,
    // The first cache line ends here: a hot overwrite needs nothing of the second.
    pub(crate) writeback: SlotWord<S>,
    contiguous: SlotWord<S>,
    /// Of a leaf without an owner: the next free one.
    pub(crate) marker: SlotWord<S>,
    removals: S::Word32,
    pub(crate) queue: RequestList<S, Wanted>,
    /// For [`Replacement`]. With these words the second cache line is full.
    pub(crate) words: R::Words<S>,
    frames: [S::Word32; PAGES_PER_LEAF],
    pub(crate) watched: SlotWord<S>,
    pub(crate) wrote_past_eof: SlotWord<S>,
    pub(crate) transient: SlotWord<S>,
}

/// What a request in a leaf's queue wants, or has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// These slots, all at once.
    Waiting(SlotMask),
    /// It has them: the bits of `locked` are set for it.
    Granted(SlotMask),
}

impl<S: SyncFamily, R: Replacement> Node for Leaf<S, R> {
    type Word = S::Word64;

    fn fresh() -> Self {
        Self {
            owner: Word::new(NOBODY),
            base: Word::new(0),
            locked: SlotWord::empty(),
            waiters: SlotWord::empty(),
            present: SlotWord::empty(),
            uptodate: SlotWord::empty(),
            dirty: SlotWord::empty(),
            reserved: SlotWord::empty(),
            writeback: SlotWord::empty(),
            contiguous: SlotWord::empty(),
            marker: SlotWord::empty(),
            removals: Word::new(0),
            queue: RequestList::new(),
            words: LeafWords::fresh(),
            frames: array::from_fn(|_| Word::new(0)),
            watched: SlotWord::empty(),
            wrote_past_eof: SlotWord::empty(),
            transient: SlotWord::empty(),
        }
    }

    fn next(&self) -> &S::Word64 {
        self.marker.unowned()
    }
}

/// Identity.
impl<S: SyncFamily, R: Replacement> Leaf<S, R> {
    /// Gives a leaf without an owner to the mapping `owner`, at `base`. Before the leaf is linked.
    ///
    /// `base` first: a thread that reads the new owner (acquire) then reads the new base. No lock
    /// is needed, because a spurious locker sees either no owner or the new one, and is right both
    /// times.
    pub(crate) fn claim(&self, owner: u64, base: PageIndex) {
        self.marker.store(SlotMask::EMPTY, Relaxed);
        self.base.store(base.get(), Relaxed);
        self.owner.store(owner, Release);
    }

    /// Takes the leaf from its owner. All slots are locked, or the owner is being dropped.
    ///
    /// The leaf is linked no more: a thread that sees this (acquire) does not find it again. A
    /// locker that found the leaf earlier gets its slots after the unlock that follows, so it sees
    /// this. A reader that does not see it is in a section that the grace period waits for, which
    /// follows: sequentially consistent for that.
    pub(crate) fn retire(&self) {
        self.owner.store(NOBODY, SeqCst);
    }

    /// Whether the leaf belongs to a mapping.
    pub(crate) fn has_owner(&self) -> bool {
        self.owner.load(Relaxed) != NOBODY
    }

    /// Its pages that may leave because memory is short. A leaf may have come to another mapping,
    /// whose pages may not, since a policy has seen it.
    pub(crate) fn on_books(&self) -> SlotMask {
        let owner = self.owner.load(Acquire);
        if owner & ON_BOOKS != 0 {
            self.present()
        } else if owner & ZEROS_ON_BOOKS != 0 {
            self.present() & self.transient.load(Acquire)
        } else {
            SlotMask::EMPTY
        }
    }

    /// Whether the leaf belongs to mapping `owner` at `base`. The answer stays true while a slot is
    /// locked (P6).
    #[inline]
    pub(crate) fn is(&self, owner: u64, base: PageIndex) -> bool {
        self.owner.load(SeqCst) == owner && self.base.load(Relaxed) == base.get()
    }
}

impl<S: SyncFamily, R: Replacement> Leaf<S, R> {
    /// The mapping that the leaf says it belongs to, and its first page: of the same mapping, if it
    /// is still the leaf's when the leaf is locked.
    pub(crate) fn identity(&self) -> (u64, PageIndex) {
        (self.owner.load(Acquire), PageIndex::new(self.base.load(Acquire)))
    }
}

/// Pages. `slots` are locked by the caller, unless said otherwise.
impl<S: SyncFamily, R: Replacement> Leaf<S, R> {
    #[inline]
    pub(crate) fn present(&self) -> SlotMask {
        self.present.load(Acquire)
    }

    /// The frame in `slot`.
    #[inline]
    pub(crate) fn frame(&self, slot: u32) -> Option<FrameNumber> {
        FrameNumber::new(self.frames[slot as usize % PAGES_PER_LEAF].load(Acquire))
    }

    /// Puts frames into absent slots; `present` follows for all of them in
    /// [`set_present`](Self::set_present).
    #[inline]
    pub(crate) fn put(&self, slot: u32, frame: FrameNumber) {
        self.frames[slot as usize % PAGES_PER_LEAF].store(frame.get(), Release);
    }

    #[inline]
    pub(crate) fn set_present(&self, slots: SlotMask) {
        self.present.fetch_or(slots, Release);
    }

    /// Empties present `slots`, calling `each` with their frames; which of them were dirty. The
    /// frames may not be reused before a grace period.
    ///
    /// The order is what [`readable`](Self::readable) relies on.
    pub(crate) fn take(&self, slots: SlotMask, mut each: impl FnMut(FrameNumber)) -> SlotMask {
        self.uptodate.fetch_and(!slots, SeqCst);
        self.contiguous.fetch_and(!(slots | slots.predecessors()), AcqRel);
        self.removals.fetch_add(1, AcqRel);
        self.present.fetch_and(!slots, AcqRel);
        let dirty = self.dirty.load(Relaxed) & slots;
        let marks = [
            &self.dirty,
            &self.reserved,
            &self.wrote_past_eof,
            &self.writeback,
            &self.marker,
            &self.transient,
        ];
        for word in marks {
            if word.load(Relaxed).intersects(slots) {
                word.fetch_and(!slots, AcqRel);
            }
        }
        for slot in slots.iter() {
            if let Some(frame) = self.frame(slot) {
                self.frames[slot as usize].store(0, Release);
                each(frame);
            }
        }
        dirty
    }

    /// Puts `frame`, which holds the same bytes, in place of that of a present, uptodate `slot`,
    /// which is returned, and may not be reused before a grace period. All marks stay.
    ///
    /// The order is that of [`take`](Self::take), for the same reason.
    pub(crate) fn replace(&self, slot: u32, frame: FrameNumber) -> Option<FrameNumber> {
        let bit = SlotMask::single(slot);
        self.uptodate.fetch_and(!bit, SeqCst);
        self.contiguous.fetch_and(!(bit | bit.predecessors()), AcqRel);
        self.removals.fetch_add(1, AcqRel);
        let old = self.frame(slot);
        self.put(slot, frame);
        self.uptodate.fetch_or(bit, Release);
        old
    }

    /// Whether `slot + 1` holds the frame that follows `frame`, which is in `slot`, as far as one
    /// look tells, whose answer is final only if it is no: scattered frames are known by it.
    #[inline]
    pub(crate) fn continues(&self, slot: u32, frame: FrameNumber) -> bool {
        let next = self.frames[(slot as usize + 1) % PAGES_PER_LEAF].load(Relaxed);
        next == frame.get().wrapping_add(1)
    }

    /// How many pages from `slot` on lie in consecutive frames, `1..=limit`, where `frame` is in
    /// `slot`, and slots `slot..slot + limit` are locked by the caller. Remembers what it finds.
    pub(crate) fn locked_stretch(&self, slot: u32, frame: FrameNumber, limit: u32) -> u32 {
        let known = self.contiguous.load(Relaxed).run_len_from(slot) + 1;
        if known >= limit {
            return limit;
        }
        let pages = self.extend(slot, frame, known, limit);
        if pages > known {
            // Both slots of each pair are locked: neither is removed while the bit is set.
            self.contiguous.fetch_or(SlotMask::lowest(pages - 1).moved_up(slot), Release);
        }
        pages
    }

    fn extend(&self, slot: u32, frame: FrameNumber, known: u32, limit: u32) -> u32 {
        let mut pages = known;
        while pages < limit {
            let wanted = frame.checked_add(pages);
            if wanted.is_none() || self.frame(slot + pages) != wanted {
                break;
            }
            pages += 1;
        }
        pages
    }

    /// For a reader inside a read section, without locks: the frame of `slot` and how many uptodate
    /// pages from there, at most `limit`, lie in consecutive frames. `None` if `slot` is not
    /// uptodate.
    ///
    /// Why no recycled byte is seen (W5). A frame is used only if its slot's uptodate bit was
    /// loaded, sequentially consistent, before [`take`](Self::take) cleared it; so the section
    /// began before the grace period that `take` is followed by, and the frame outlives the
    /// section. A frame put into the slot *after* such a load would be taken for uptodate wrongly;
    /// but `take` counts in `removals` between the two, and a reader of the new frame, or a
    /// contiguous bit made from it (acquire), reads the new count too, and starts again.
    #[inline(always)]
    pub(crate) fn readable(&self, slot: u32, limit: u32) -> Option<(FrameNumber, u32)> {
        loop {
            let removals = self.removals.load(Acquire);
            let uptodate = self.uptodate.load(SeqCst).run_len_from(slot);
            if uptodate == 0 {
                return None;
            }
            let limit = limit.min(uptodate);
            let known = self.contiguous.load(Acquire).run_len_from(slot) + 1;
            let frame = self.frame(slot);
            let pages = match frame {
                Some(_) if known >= limit => limit,
                Some(frame) => self.extend(slot, frame, known, limit),
                None => 0,
            };
            if self.removals.load(Relaxed) == removals {
                return frame.map(|frame| (frame, pages));
            }
            S::relax();
        }
    }

    /// [`readable`](Self::readable) for one page; `None` also if pages were removed meanwhile.
    #[inline(always)]
    pub(crate) fn readable_page(&self, slot: u32) -> Option<FrameNumber> {
        let removals = self.removals.load(Acquire);
        if !self.uptodate.load(SeqCst).contains(SlotMask::single(slot)) {
            return None;
        }
        let frame = self.frame(slot);
        if self.removals.load(Relaxed) != removals {
            return None;
        }
        frame
    }
}

/// Marks that a use of the page changes, with or without its lock.
impl<S: SyncFamily, R: Replacement> Leaf<S, R> {
    /// Which of `slots` have a marker that asks for more to be read ahead.
    pub(crate) fn asks_for_more(&self, slots: SlotMask) -> SlotMask {
        (self.marker.load(Relaxed) & slots) - self.transient.load(Relaxed)
    }

    /// The pages are used by an operation that keeps what it uses; those that were transient.
    /// Writes nothing if none of them is.
    pub(crate) fn keep(&self, slots: SlotMask) -> SlotMask {
        let transient = self.transient.load(Relaxed) & slots;
        if !transient.is_empty() {
            // In this order: a marker of a page that is not transient asks for more.
            self.marker.fetch_and(!transient, Relaxed);
            self.transient.fetch_and(!transient, Relaxed);
        }
        transient
    }
}

/// Writeback, which ends without a page lock.
impl<S: SyncFamily, R: Replacement> Leaf<S, R> {
    /// The pages are no longer under writeback; wakes waiters. By the token that set the mark.
    pub(crate) fn clear_writeback(&self, slots: SlotMask, wait: &impl Wait) {
        self.writeback.fetch_and(!slots, SeqCst);
        let awaited = self.watched.load(SeqCst) & slots;
        if !awaited.is_empty() {
            self.wake_slowly(awaited, wait);
        }
    }

    /// Wakes those that watch `slots`.
    ///
    /// Clears before it wakes: a bit set in between belongs to a waiter that is registered by then,
    /// so the wake reaches it and it announces itself again.
    #[cold]
    pub(crate) fn wake_slowly(&self, slots: SlotMask, wait: &impl Wait) {
        self.watched.fetch_and(!slots, SeqCst);
        for slot in slots.iter() {
            wait.wake(self.slot_key(slot));
        }
    }

    /// Waits for each page in `slots` that is under writeback until it was seen without, once, one
    /// after the other; or until `stale` says yes. Sleeps, if the caller does.
    ///
    /// # Errors
    /// [`Errno::Interrupted`] if `killed` says yes before; [`Errno::WouldBlock`] if the caller does
    /// not sleep.
    pub(crate) fn wait_writeback<P: Patience>(
        &self,
        slots: SlotMask,
        wait: &impl Wait,
        stale: &impl Fn() -> bool,
        killed: &P,
    ) -> Result<(), Errno> {
        for slot in (slots & self.writeback.load(Acquire)).iter() {
            if !P::SLEEPS {
                killed.would_wait(self.slot_key(slot));
                if self.writeback_announced(slot) && !stale() {
                    return Err(Errno::WouldBlock);
                }
                continue;
            }
            let mut end = None;
            // `Wait` is a safe trait: it may return too early, or ask again after a yes.
            while end.is_none() {
                wait.wait_until(self.slot_key(slot), &mut || {
                    if end.is_none() && (!self.writeback_announced(slot) || stale()) {
                        end = Some(Ok(()));
                    } else if end.is_none() && killed.is_killed() {
                        end = Some(Err(Errno::Interrupted));
                    }
                    end.is_some()
                });
            }
            end.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Whether the page in `slot` is under writeback, as seen by a waiter, which announces itself
    /// first.
    ///
    /// The announcement and this look, against the end of a writeback and its look at the waiters,
    /// are all sequentially consistent, so one of the two sees the other.
    fn writeback_announced(&self, slot: u32) -> bool {
        let slot = SlotMask::single(slot);
        self.watched.fetch_or(slot, SeqCst);
        self.writeback.load(SeqCst).contains(slot)
    }

    /// What a waiter for the next change of a page sleeps on: an address of its slot's own.
    pub(crate) fn slot_key(&self, slot: u32) -> WaitKey {
        WaitKey(core::ptr::from_ref(&self.frames[slot as usize % PAGES_PER_LEAF]).addr())
    }
}
