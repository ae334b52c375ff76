//! Reading pages from the store.
//!
//! A thread that needs a page submits its read, with the page locked, and then waits for the lock,
//! which the read has taken over. It holds no lock while it waits, and no thread of the cache holds
//! one while a store is read.
#![forbid(unsafe_code)]

use faultless_page::{
    Errno, FileEnd, FrameBatch, Kernel, LockedRun, PageIndex, PageRun, SharedFrame, SlotMask,
};
use faultless_usercopy::UserAddr;

use crate::inode::Inode;
use crate::moving::Patience;
use crate::options::Retention;
use crate::pos::FilePos;
use crate::task::{Caller, Task};
use crate::token::PageLocks;
use crate::transfer::MAX_FRUITLESS_ROUNDS;

/// What became of a page that was wanted.
pub(crate) enum Brought<'i, K: Kernel> {
    /// It was uptodate a moment ago. While the value lives, only a truncation takes it away: an
    /// eviction leaves a page whose frame is counted twice.
    Uptodate(SharedFrame<'i, K>),
    /// It lies past the end of the file.
    PastEnd,
}

/// How a first round went.
enum Round<'i, K: Kernel> {
    Done(Brought<'i, K>),
    /// So many frames are missing.
    Frames(u32),
    /// A read of the first page was submitted.
    Submitted(Reading<'i, K>),
    /// The first page moves, or was cut off: the next round tells.
    Moving,
}

/// A page that this thread has submitted. While the value lives, only a truncation takes it away.
pub(crate) struct Reading<'i, K: Kernel> {
    page: SharedFrame<'i, K>,
    index: PageIndex,
    /// Bytes that the store had to have.
    needed: usize,
}

/// What a call that does not sleep leaves to the next one.
pub(crate) struct Unfinished<'i, K: Kernel> {
    /// The page that it waits for.
    pub(crate) reading: Option<Reading<'i, K>>,
    /// The byte of user memory that was missing last, and how often one was since a byte landed.
    missing: Option<UserAddr>,
    fruitless: u32,
    /// Whether that byte was missing the time before.
    is_same: bool,
}

/// The same, for code that calls share. `None`: the call sleeps, and there is no next one.
pub(crate) type Kept<'k, 'i, K> = Option<&'k mut Unfinished<'i, K>>;

impl<K: Kernel> Unfinished<'_, K> {
    /// Nothing: the first call is to come.
    pub(crate) const fn nothing() -> Self {
        Self { reading: None, missing: None, fruitless: 0, is_same: false }
    }

    /// A byte of user memory is missing.
    pub(crate) fn missed(&mut self, at: UserAddr) {
        self.is_same = self.missing.replace(at) == Some(at);
        self.fruitless += 1;
    }

    /// Whether the caller is to be asked for the byte that is missing: it is another one than the
    /// last time, and not one too many.
    pub(crate) fn is_worth_a_fault(&self) -> bool {
        !self.is_same && self.fruitless <= MAX_FRUITLESS_ROUNDS
    }

    /// The request has come to byte `end`: it waits for no page before that.
    pub(crate) fn passed(&mut self, end: u64) {
        let last = end.checked_sub(1).map(PageIndex::containing);
        self.reading.take_if(|reading| Some(reading.index) <= last);
    }

    /// Bytes have landed.
    pub(crate) fn progressed(&mut self) {
        self.missing = None;
        self.fruitless = 0;
    }
}

impl<'i, K: Kernel> Reading<'i, K> {
    /// Page `index` of a locked run, which is about to be submitted. `None` if it is absent.
    pub(crate) fn of(
        inode: &'i Inode<K>,
        locked: &LockedRun<'_, K>,
        index: PageIndex,
    ) -> Option<Self> {
        let needed = inode.bytes_on_store(index);
        locked.pin(inode.mapping(), index).map(|page| Self { page, index, needed })
    }

    /// Its slot, if it lies in the locked run.
    pub(crate) fn slot_in(&self, locked: &LockedRun<'_, K>) -> SlotMask {
        if locked.run().contains(self.index) { self.index.bit() } else { SlotMask::EMPTY }
    }

    /// What has become of it, now that its lock was had: `Ok` as well if it has to be submitted
    /// once more, because it was cut off meanwhile, or the file is shorter than the store was to
    /// have; and if it does not lie in the locked run.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn result(&self, inode: &Inode<K>, locked: &LockedRun<'_, K>) -> Result<(), Errno> {
        if self.slot_in(locked).is_empty()
            || locked.frame(self.index) != Some(self.page.number())
            || locked.uptodate().contains(self.index.bit())
            || inode.bytes_on_store(self.index) < self.needed
        {
            return Ok(());
        }
        Err(locked.read_error(self.index))
    }
}

impl<K: Kernel> Inode<K> {
    /// Makes the first page of `run` present and uptodate, and reads others along with it: those
    /// that are not uptodate, not locked, and for which frames can be had at once. They may still
    /// be on their way when it returns, or have failed. Pages past the end are left alone. Whether
    /// the pages are to stay in the cache is `retention`.
    ///
    /// To insist on all of them would not end: an allocator that reclaims may take for the last
    /// pages what the first ones got (L1).
    ///
    /// May sleep: for the store, for locks, for memory. No page lock is held. Shifts come before it
    /// a bounded number of times, over all calls with the same `patience`; in the end it holds
    /// their lock until that is dropped. A caller that does not sleep finds the page that it waits
    /// for in `kept`, and goes on with it by the next call.
    ///
    /// # Errors
    /// [`Errno::NoMemory`], the store's error for the first page, or [`Errno::Interrupted`];
    /// [`Errno::WouldBlock`], if `task` does not sleep.
    pub(crate) fn bring_in<'i, T: Task>(
        &'i self,
        token: &mut impl PageLocks,
        run: PageRun,
        retention: Retention,
        kept: Kept<'_, 'i, K>,
        patience: &mut Patience<'i, K>,
        task: &T,
    ) -> Result<Brought<'i, K>, Errno> {
        let (first, killed) = (run.first(), Caller(task));
        let mut none = None;
        let reading = kept.map_or(&mut none, |kept| &mut kept.reading);
        if reading.as_ref().is_some_and(|reading| reading.index == first)
            && let Some(brought) = self.read_result(token, reading, task)?
        {
            return Ok(brought);
        }
        // The first page is waited for, and no other: a slow read of one is not this caller's.
        let (single, mut is_alone) = (PageRun::single(first), false);
        let wait = self.mapping().cache().wait();
        let mut wanted = 0;
        loop {
            if task.fatal_signal_pending() {
                return Err(Errno::Interrupted);
            }
            patience.begin_round(&self.moving, wait, task)?;
            let mut batch = match wanted {
                0 => None,
                pages => {
                    let locks = token.page_locks();
                    Some(self.mapping().cache().allocate_or_reclaim(locks, pages)?)
                }
            };
            let locks = token.page_locks();
            let locked = if is_alone {
                Some(self.mapping().lock_or_create_killable(locks, single, &killed)?)
            } else {
                self.mapping().try_lock_free_or_create(locks, run)?
            };
            let Some(locked) = locked.filter(|locked| locked.run().first() == first) else {
                is_alone = true;
                continue;
            };
            match self.submit(locked, &mut batch, retention) {
                Round::Done(brought) => return Ok(brought),
                Round::Frames(missing) => wanted = missing,
                Round::Moving => {
                    patience.overtaken();
                    self.moving.wait(wait, task)?;
                    wanted = 0;
                }
                Round::Submitted(submitted) => {
                    *reading = Some(submitted);
                    if let Some(brought) = self.read_result(token, reading, task)? {
                        return Ok(brought);
                    }
                    patience.overtaken();
                    wanted = 0;
                }
            }
        }
    }

    /// Waits for the read of a page; the page, unless it has to be submitted once more. The value
    /// is taken, but for a caller that does not sleep and finds the page locked.
    ///
    /// # Errors
    /// As [`bring_in`](Self::bring_in).
    fn read_result<'i, T: Task>(
        &'i self,
        token: &mut impl PageLocks,
        reading: &mut Option<Reading<'i, K>>,
        task: &T,
    ) -> Result<Option<Brought<'i, K>>, Errno> {
        let Some(index) = reading.as_ref().map(|reading| reading.index) else { return Ok(None) };
        let (locks, single) = (token.page_locks(), PageRun::single(index));
        let locked = self.mapping().lock_killable(locks, single, &Caller(task))?;
        let (Some(locked), Some(reading)) = (locked, reading.take()) else { return Ok(None) };
        reading.result(self, &locked)?;
        let is_uptodate = locked.uptodate().contains(index.bit());
        Ok(is_uptodate.then_some(Brought::Uptodate(reading.page)))
    }

    /// Puts frames from `batch` in, and hands the pages that are not uptodate to the store.
    fn submit<'i>(
        &'i self,
        mut locked: LockedRun<'_, K>,
        batch: &mut Option<FrameBatch<'_, K>>,
        retention: Retention,
    ) -> Round<'i, K> {
        let first = locked.run().first();
        let inside = pages_before(locked.run(), self.eof());
        if !inside.contains(first.bit()) {
            return Round::Done(Brought::PastEnd);
        }
        let is_uptodate = locked.uptodate().contains(first.bit());
        let at_rest = inside & pages_before(locked.run(), self.moving.first());
        if !is_uptodate && !at_rest.contains(first.bit()) {
            return Round::Moving;
        }
        if let Some(frames) = batch
            && !is_uptodate
        {
            let inserted = locked.insert_batch(at_rest, frames);
            // Zeros can be had again, until they are written to.
            let is_zeros = self.mapping().holes_are_zeros();
            let retention = if is_zeros { Retention::Transient } else { retention };
            retention.mark(&mut locked, inserted);
        }
        let Some(reading) = Reading::of(self, &locked, first) else {
            return Round::Frames((at_rest - locked.present()).count());
        };
        if is_uptodate {
            return Round::Done(Brought::Uptodate(reading.page));
        }
        if !self.hand_over(locked, at_rest).contains(first.bit()) {
            return Round::Moving;
        }
        Round::Submitted(reading)
    }

    /// Hands those of `slots` that are present and not uptodate to the store; the slots that lie
    /// inside the file and do not move.
    pub(crate) fn hand_over(&self, locked: LockedRun<'_, K>, slots: SlotMask) -> SlotMask {
        // After the insertion: a truncation or a shift may not have seen these pages.
        let (size, moving) = self.size_and_moving_after_insertion();
        let (visible, on_store) = (size.get(), size.get().min(self.size_changes.known()));
        let slots = slots & pages_before(locked.run(), size.min(moving));
        locked.submit_read(slots, FileEnd { visible, on_store });
        slots
    }
}

/// The slots of the pages of `run` that begin before `end`.
pub(crate) fn pages_before(run: PageRun, end: FilePos) -> SlotMask {
    match end.page_from().get().saturating_sub(run.first().get()) {
        0 => SlotMask::EMPTY,
        pages => PageRun::new(run.first(), pages.min(u64::from(run.pages()))).mask(),
    }
}
