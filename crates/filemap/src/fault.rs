//! The fault handler's part for file pages.
//!
//! The embedder's handler has found a shared mapping of the file at the faulting address and holds
//! M for reading. It calls [`Inode::fault`], which locks the page, fills it, prepares the store for
//! a store, and calls back to set the page-table entry *while the page is locked*: truncation,
//! which takes pages out under their locks and removes user mappings before and after, can then not
//! miss one.
//!
//! Never takes I, never waits for a range, never touches user memory. It waits for a shift of the
//! page's part of the file: see [`moving`](crate::moving).
#![forbid(unsafe_code)]

use core::ops::{ControlFlow, Range};

use faultless_page::{
    AddressSpaceOperations, Count, Errno, Kernel, LockedRun, OwnedFrame, PageIndex, PageRun,
    Reserved, SharedFrame, Unmap,
};
use faultless_policy::readahead::Run;

use crate::eof::zero_to_page_end;
use crate::inode::Inode;
use crate::moving::Patience;
use crate::options::Retention;
use crate::pos::FilePos;
use crate::read_ahead::ReadAhead;
use crate::task::{Caller, Task};
use crate::token::{InFault, PageLocks};
use crate::uptodate::{Kept, pages_before};

/// What the faulting instruction wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
}

/// Whether the page-table entry may allow stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Loads only: a store has to fault, so that the page becomes dirty and the store gets to
    /// prepare.
    ReadOnly,
    /// Loads and stores.
    Writable,
}

/// The frame to map.
#[derive(Debug)]
pub struct MappedFrame<'f, K: Kernel> {
    /// The frame, with a count for the page-table entry: an entry that is set takes it by
    /// [`into_number`](SharedFrame::into_number). Otherwise it is given back by itself.
    pub frame: SharedFrame<'f, K>,
    /// What the entry may allow, at most.
    pub protection: Protection,
    /// How many pages from this one on are installed in the same lock hold, by as many calls that
    /// follow, have frames that follow each other, and are valid: an embedder may set their entries
    /// together, as one with the contiguous hint of arm64. 1 for the page of the fault. A run ends
    /// with its leaf, 64 pages; for an entry of 2 MiB there is
    /// [`install_huge`](Inode::install_huge).
    pub contiguous: u32,
}

/// Why a fault cannot be resolved. Each is `SIGBUS`, but for [`Errno::NoMemory`], where the
/// embedder may retry or kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// The page lies wholly past the end of the file.
    PastEnd,
    /// The page could not be filled, or the store has no room for it.
    Failed(Errno),
}

/// A promise that a page may become dirty, in the course of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// None was asked for.
    None,
    /// It was given.
    Unused,
    /// So many pages have become dirty.
    Used(u32),
}

impl Promise {
    /// Whether a fault of kind `access`, of a task that asks, needs a promise for a clean page, and
    /// has none.
    fn is_missing(self, access: Access) -> bool {
        access == Access::Write && self == Self::None
    }
}

impl From<Errno> for FaultError {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

impl<K: Kernel> Inode<K> {
    /// Resolves a fault of kind `access` on page `index` of a shared mapping of this file:
    /// `install` sets the page-table entry, with the page locked, and its result is returned.
    ///
    /// # What `install` does
    /// It runs on this thread with the page locked. It takes page-table locks only: not M, not a
    /// page lock. It does not sleep for long, does not touch user memory, and does not reclaim
    /// (P3): page tables are allocated before this call. It calls no operation of an inode but
    /// those that only look: a [`read`](Self::read), a [`set_size`](Self::set_size) or a sync of
    /// this file would wait for the page that its own caller has locked.
    ///
    /// Under the page-table lock it looks at the entry again:
    /// - none: it sets the entry to [`MappedFrame::frame`], whose count becomes the entry's;
    /// - an entry with the same frame: another thread has resolved the fault. If stores may now be
    ///   allowed, it raises the protection and flushes this CPU's TLB entry; other CPUs fault once
    ///   more at worst;
    /// - an entry with another frame is a private copy, and stays: while the page is locked, this
    ///   file has no other frame for it.
    ///
    /// The removal of the entry gives the count back
    /// ([`Frames::release`](faultless_page::Frames::release)). If `install` unwinds, the page is
    /// unlocked, and stays prepared for the access.
    ///
    /// May sleep (for the page's lock, for the store; for writeback, if the task
    /// [limits](Task::LIMITS_DIRTY_PAGES) its dirty pages and the page is clean). M may be held for
    /// reading; no page lock is.
    /// A fault for a CPU store stamps the times with `task`'s clock (F7).
    ///
    /// # Errors
    /// [`FaultError`]; `install` was not called. [`Errno::Interrupted`] in it: `task` is to die,
    /// and waited for the page's lock (L3).
    #[doc(alias = "filemap_fault")]
    #[doc(alias = "page_mkwrite")]
    pub fn fault<T: Task, R>(
        &self,
        fault: &mut InFault,
        index: PageIndex,
        access: Access,
        task: &T,
        install: impl FnOnce(MappedFrame<'_, K>) -> R,
    ) -> Result<R, FaultError> {
        self.fault_with(fault, index, access, None, task, install)
    }

    /// [`fault`](Self::fault), with the page that a call that does not sleep waits for.
    pub(crate) fn fault_with<'i, T: Task, R>(
        &'i self,
        fault: &mut InFault,
        index: PageIndex,
        access: Access,
        kept: Kept<'_, 'i, K>,
        task: &T,
        install: impl FnOnce(MappedFrame<'_, K>) -> R,
    ) -> Result<R, FaultError> {
        let mut promise = Promise::None;
        let install = |_: &LockedRun<'_, K>, mapped: MappedFrame<'_, K>| install(mapped);
        let resolved = self.fault_limited(fault, index, access, kept, task, &mut promise, install);
        match promise {
            Promise::None => {}
            Promise::Unused => task.settle_dirty(0),
            Promise::Used(pages) => task.settle_dirty(pages),
        }
        resolved
    }

    /// Resolves a fault for a CPU store on page `index` of a private mapping of this file: copies
    /// the page to `copy`, and has `install` set the entry to that, with the page locked. So a
    /// truncation takes the copy away with the page, and no store of a shared mapping lies between
    /// the copy and the entry by which the program sees it.
    ///
    /// `install` is as for [`fault`](Self::fault). It may find that another thread has made a copy
    /// meanwhile, which stays. An entry that showed the page itself is replaced; its count goes
    /// back after a flush, with nothing locked. The frame is allocated before this call (P3), and
    /// freed by an `install` that does not take it. The file is only read; no page is brought in
    /// for a hole of one that is nowhere but in the cache.
    ///
    /// # Errors
    /// As [`fault`](Self::fault) for a load. The frame is freed.
    #[doc(alias = "do_cow_fault")]
    #[doc(alias = "cow_user_page")]
    pub fn fault_copy<'f, T: Task, R>(
        &self,
        fault: &mut InFault,
        index: PageIndex,
        copy: OwnedFrame<'f, K>,
        task: &T,
        install: impl FnOnce(OwnedFrame<'f, K>) -> R,
    ) -> Result<R, FaultError> {
        self.fault_copy_with(fault, index, copy, None, task, install)
    }

    /// [`fault_copy`](Self::fault_copy), with the page that a call that does not sleep waits for.
    pub(crate) fn fault_copy_with<'f, 'i, T: Task, R>(
        &'i self,
        fault: &mut InFault,
        index: PageIndex,
        copy: OwnedFrame<'f, K>,
        kept: Kept<'_, 'i, K>,
        task: &T,
        install: impl FnOnce(OwnedFrame<'f, K>) -> R,
    ) -> Result<R, FaultError> {
        let (mut copy, install) = match self.copy_hole(fault, index, copy, task, install)? {
            ControlFlow::Break(installed) => return Ok(installed),
            ControlFlow::Continue(rest) => rest,
        };
        let copy_and_install = |locked: &LockedRun<'_, K>, _: MappedFrame<'_, K>| {
            locked.copy_page(index, &mut copy)?;
            Ok(install(copy))
        };
        let mut none = Promise::None;
        self.fault_limited(fault, index, Access::Read, kept, task, &mut none, copy_and_install)?
    }

    /// [`fault_with`](Self::fault_with), with what it was promised in `promise`.
    #[expect(clippy::too_many_arguments, reason = "a fault, and what outlives a round of it")]
    fn fault_limited<'i, T: Task, R>(
        &'i self,
        fault: &mut InFault,
        index: PageIndex,
        access: Access,
        mut kept: Kept<'_, 'i, K>,
        task: &T,
        promise: &mut Promise,
        install: impl FnOnce(&LockedRun<'_, K>, MappedFrame<'_, K>) -> R,
    ) -> Result<R, FaultError> {
        let (run, slot) = (PageRun::single(index), index.bit());
        let killed = Caller(task);
        // Once it was brought in, the page stays until it is locked.
        let mut brought = None;
        let (mut patience, wait) = (Patience::new(), self.mapping().cache().wait());
        loop {
            if index >= self.eof().page_from() {
                return Err(FaultError::PastEnd);
            }
            patience.begin_round(&self.moving, wait, task)?;
            let locks = fault.page_locks();
            let mut locked = self.mapping().lock_or_create_killable(locks, run, &killed)?;
            if self.moving.contain(index) {
                drop(locked);
                patience.overtaken();
                self.moving.wait(wait, task)?;
                continue;
            }
            if !locked.uptodate().contains(slot) {
                drop(locked);
                if brought.is_some() {
                    patience.overtaken();
                }
                let (kept, patience) = (kept.as_deref_mut(), &mut patience);
                brought = Some(self.bring_in(fault, run, Retention::Kept, kept, patience, task)?);
                continue;
            }
            // Before the entry is set: between that and the access, each step is one in which an
            // eviction may unmap the page again (L1).
            if brought.take().is_none() {
                locked.mark_used(slot);
            }
            match access {
                Access::Read => locked.keep_read(slot),
                Access::Write => {
                    locked.keep(slot);
                    self.wait_stable(&locked, task)?;
                }
            }
            let is_dirty = || locked.dirty().contains(slot);
            if self.limits_dirty::<T>() && promise.is_missing(access) && !is_dirty() {
                drop(locked);
                patience.let_go();
                if task.admit_dirty(self.mapping().store_id(), 1) == 0 {
                    let refused = if T::SLEEPS { Errno::Interrupted } else { Errno::WouldBlock };
                    return Err(refused.into());
                }
                *promise = Promise::Unused;
                continue;
            }
            // Otherwise truncation came first (P6): the size is set before it takes pages out.
            let Some(frame) = locked.share_frame(index) else { continue };
            let size = self.eof();
            if index.start() >= size.get() {
                continue;
            }
            let protection = match access {
                Access::Read => Protection::ReadOnly,
                Access::Write => self.make_writable(&mut locked, index, task, promise)?,
            };
            let mapped = MappedFrame { frame, protection, contiguous: 1 };
            let installed = self.install_locked(&mut locked, index, size, mapped, install);
            self.mapping().count(Count::Used, 1);
            self.mapping().count(Count::Faulted, 1);
            return Ok(installed);
        }
    }

    /// As [`fault`](Self::fault), for an area that maps the pages `mapped` of the file: pages
    /// around the fault that are uptodate are installed as well, for loads, with one lock for each
    /// stretch of them; and the store is asked for pages that the faults of `ahead` are likely to
    /// want next.
    ///
    /// `install` is called for `index` first; its result is returned. Then for each page around it,
    /// in ascending order, under the same rules, with that page's lock held; and for `index` once
    /// more, so that runs of [contiguous](MappedFrame::contiguous) frames are whole. It leaves an
    /// entry that is there as it is. None is called for a page that is locked, or whose first use
    /// is to ask for more to be read ahead, or that is to be dropped [behind](crate::DropBehind) an
    /// operation.
    ///
    /// # Errors
    /// As [`fault`](Self::fault). Errors of pages around it are none of the caller's.
    #[doc(alias = "do_fault_around")]
    #[doc(alias = "filemap_map_pages")]
    #[expect(clippy::too_many_arguments, reason = "a fault, the area and the stream it belongs to")]
    pub fn fault_around<T: Task, R>(
        &self,
        fault: &mut InFault,
        index: PageIndex,
        access: Access,
        mapped: Range<PageIndex>,
        ahead: &ReadAhead<K>,
        task: &T,
        mut install: impl FnMut(PageIndex, MappedFrame<'_, K>) -> R,
    ) -> Result<R, FaultError> {
        let mapped = Run::between(mapped.start.get(), mapped.end.get());
        ahead.faults(self, fault, index, mapped);
        let installed = self.fault(fault, index, access, task, |frame| install(index, frame))?;
        let around = ahead.around(self, index, mapped);
        let (mut from, end) = (PageIndex::new(around.first), PageIndex::new(around.end()));
        while from < end {
            let piece = PageRun::new(from, end.get() - from.get());
            from = self.install_free(fault, piece, &mut install).unwrap_or(piece.end());
        }
        Ok(installed)
    }

    /// Installs uptodate pages of the first stretch of `piece` that is free; where to go on, unless
    /// nothing is free.
    fn install_free<R>(
        &self,
        fault: &mut InFault,
        piece: PageRun,
        install: &mut impl FnMut(PageIndex, MappedFrame<'_, K>) -> R,
    ) -> Option<PageIndex> {
        let mut locked = self.mapping().try_lock_free(fault.page_locks(), piece)?;
        let (next, base) = (locked.run().end(), piece.leaf_base());
        let size = self.eof();
        let inside = pages_before(locked.run(), size);
        let mut ready = (locked.uptodate() - locked.marker() - locked.transient()) & inside;
        while let Some(stretch) = PageRun::first_of(base, ready) {
            let first = stretch.first();
            let contiguous = locked.contiguous(first, stretch.pages());
            let run = PageRun::new(first, u64::from(contiguous));
            ready -= run.mask();
            self.install_run(&mut locked, run, size, install);
        }
        Some(next)
    }

    /// Installs locked pages that are uptodate, lie before `size`, the end of the file, and have
    /// frames that follow each other. A size that is smaller meanwhile is found out afterwards.
    fn install_run<R>(
        &self,
        locked: &mut LockedRun<'_, K>,
        run: PageRun,
        size: FilePos,
        install: &mut impl FnMut(PageIndex, MappedFrame<'_, K>) -> R,
    ) {
        for (index, contiguous) in (run.first().get()..).zip((1..=run.pages()).rev()) {
            let index = PageIndex::new(index);
            let Some(frame) = locked.share_frame(index) else { return };
            let mapped = MappedFrame { frame, protection: Protection::ReadOnly, contiguous };
            let install = |_: &LockedRun<'_, K>, mapped: MappedFrame<'_, K>| install(index, mapped);
            self.install_locked(locked, index, size, mapped, install);
        }
    }

    /// Has a mapping of a locked page installed that begins before `size`, the end of the file.
    fn install_locked<R>(
        &self,
        locked: &mut LockedRun<'_, K>,
        index: PageIndex,
        size: FilePos,
        mapped: MappedFrame<'_, K>,
        install: impl FnOnce(&LockedRun<'_, K>, MappedFrame<'_, K>) -> R,
    ) -> R {
        self.note_user_mapping();
        self.zero_past_incomplete_cut(locked, index, size);
        let installed = install(locked, mapped);
        self.recheck_size(locked, index);
        installed
    }

    /// After a mapping of a locked page was installed: removes it if the file ends before the page,
    /// and zeroes what was cut off in the page of the end.
    ///
    /// A truncation sets the size and then unmaps; a fault installs and then looks at the size.
    /// With a fence in each, one of them sees the other. The truncation unmaps once more with the
    /// page locked, but does not come to that if its task is killed.
    pub(crate) fn recheck_size(&self, locked: &mut LockedRun<'_, K>, index: PageIndex) {
        let size = self.size_after_insertion();
        if index.start() >= size.get() {
            self.unmap(index, index.plus(1), Unmap::Truncate);
        } else {
            self.zero_past_incomplete_cut(locked, index, size);
        }
    }

    /// Zeroes a locked page from `size` on, the end of the file, if a truncation has not come to
    /// that: its task was killed, or it still waits. The end does not move up meanwhile (P7).
    ///
    /// `size` is the caller's, and not looked at again: between the setting of an entry and the
    /// access that needs it, each step is one in which an eviction may take the page again (L1).
    fn zero_past_incomplete_cut(
        &self,
        locked: &mut LockedRun<'_, K>,
        index: PageIndex,
        size: FilePos,
    ) {
        debug_assert!(index.start() < size.get(), "the page lies in the file");
        if size.page() == index && self.size_changes.is_cut_incomplete() {
            zero_to_page_end(locked, size);
        }
    }

    /// Prepares an uptodate, locked page for CPU stores through a mapping.
    fn make_writable<T: Task>(
        &self,
        locked: &mut LockedRun<'_, K>,
        index: PageIndex,
        task: &T,
        promise: &mut Promise,
    ) -> Result<Protection, Errno> {
        let slot = index.bit();
        if !locked.reserved().contains(slot) {
            self.reserve_page(locked, index)?;
        }
        self.stamp(task.now());
        locked.set_wrote_past_eof(slot);
        let dirtied = self.set_dirty(locked, slot, task).count();
        if dirtied > 0 && self.limits_dirty::<T>() {
            *promise = Promise::Used(dirtied);
        }
        Ok(Protection::Writable)
    }

    /// Has the store make room for a page up to the end of the page or of the file, so that no CPU
    /// store lands in the file without. The end cannot move up over the locked page meanwhile, and
    /// what moves it up later write-protects the page first: see
    /// [`write_protect_eof_page`](Self::write_protect_eof_page).
    ///
    /// # Errors
    /// The store's; room it made before stays with blocks that lie inside the file.
    pub(crate) fn reserve_page(
        &self,
        locked: &mut LockedRun<'_, K>,
        index: PageIndex,
    ) -> Result<(), Errno> {
        let end = self.size().min(index.plus(1).start());
        let mut pos = index.start();
        while pos < end {
            let len = (end - pos) as usize;
            let begun = self.mapping().store().write_begin(pos, len)?;
            let granted = begun.len.clamp(1, len);
            self.mapping().store().write_end(pos, granted, granted);
            pos += granted as u64;
            if begun.reserved == Reserved::Fully {
                locked.set_reserved(index.bit());
                break;
            }
        }
        Ok(())
    }
}
