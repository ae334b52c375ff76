//! The rest of the core as it was before November 2026, on top of the pages and their locks: a
//! sync, an eviction, a read, and how many pages were locked at once. What does not end is ended by
//! a budget.

use std::sync::{Mutex, PoisonError};

use faultless::filemap::{Inode, PageLocks, Task};
use faultless::page::{
    AddressSpaceOperations, Errno, FrameBatch, Frames, Kernel, LockContext, LockedRun, Mark,
    PAGE_SIZE, PageIndex, PageRun, SyncKind, Unmap, UserMappings,
};
use faultless::usercopy::{IovIter, MayFault, UserMemory};

use crate::failure::Failure;

/// Past the last page.
const END: PageIndex = PageIndex::new(u64::MAX >> 12);

/// E1 to E4, E11: a sync that looks at dirty pages and believes what others send; that takes the
/// error of the inode; that chases pages as long as there are dirty ones; that does not tell the
/// store the size, and stamps no times.
#[derive(Debug)]
pub(crate) struct OldSync<'f, K: Kernel> {
    file: &'f Inode<K>,
    failed: Mutex<Option<Errno>>,
    steps: u64,
}

impl<'f, K: Kernel> OldSync<'f, K> {
    pub(crate) fn new(file: &'f Inode<K>, steps: u64) -> Self {
        Self { file, failed: Mutex::new(None), steps }
    }

    /// Sends what is dirty.
    pub(crate) fn writeback(&self, token: &mut impl PageLocks) -> Result<(), Failure> {
        let mut left = self.steps;
        while let Some(run) = self.find(Mark::Dirty) {
            left = left.checked_sub(1).ok_or(Failure::Livelock)?;
            if let Err(errno) = self.send(token, run) {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(errno);
                return Err(errno.into());
            }
        }
        Ok(())
    }

    pub(crate) fn fsync(
        &self,
        token: &mut impl PageLocks,
        task: &impl Task,
    ) -> Result<(), Failure> {
        let sent = self.writeback(token);
        if sent == Err(Failure::Livelock) {
            return sent;
        }
        let mapping = self.file.mapping();
        let killed = || task.fatal_signal_pending();
        while let Some(run) = self.find(Mark::Writeback) {
            let locked = mapping.lock(token.page_locks(), run).ok_or(Errno::Invalid)?;
            locked.wait_writeback(locked.mask(), &killed)?;
        }
        mapping.store().sync(SyncKind::All)?;
        match self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(errno) => Err(errno.into()),
        }
    }

    /// The first pages of the file that have this mark.
    fn find(&self, mark: Mark) -> Option<PageRun> {
        let end = PageIndex::new(self.file.size().div_ceil(PAGE_SIZE as u64));
        self.file.mapping().find(PageIndex::ZERO, end, mark)
    }

    fn send(&self, token: &mut impl PageLocks, run: PageRun) -> Result<(), Errno> {
        let mapping = self.file.mapping();
        let Some(mut locked) = mapping.lock(token.page_locks(), run) else { return Ok(()) };
        let (first, end) = (run.first(), run.end());
        mapping.user_mappings().write_protect(mapping.id(), first, end);
        locked.clear_wrote_past_eof(run.mask());
        let Some(writeback) = locked.begin_writeback(run, self.file.size()) else { return Ok(()) };
        drop(locked);
        let sent = mapping.store().writeback(&writeback.view());
        writeback.complete(sent);
        sent
    }
}

/// E9, E10: an eviction that wants all pages of a leaf or none, and asks nothing of the frames; how
/// many pages it dropped.
pub(crate) fn evict<K: Kernel>(file: &Inode<K>, token: &mut impl PageLocks) -> u64 {
    let mapping = file.mapping();
    let (mut from, mut evicted) = (PageIndex::ZERO, 0);
    while let Some(run) = mapping.find(from, END, Mark::Present) {
        from = run.end();
        let Some(mut locked) = mapping.try_lock(token.page_locks(), run) else { continue };
        mapping.user_mappings().unmap(mapping.id(), run.first(), run.end(), Unmap::Evict);
        let clean = locked.clean();
        evicted += u64::from(locked.remove(clean).slots().count());
    }
    evicted
}

/// E18: a change of the size on the store is a number, and the pages stay.
pub(crate) fn size_changed<K: Kernel>(file: &Inode<K>, size: u64) {
    file.mapping().truncate_size(size);
}

/// E19: an eviction that looks which pages are clean and not pinned, and then takes their locks
/// anew, and them out; how many pages it dropped.
pub(crate) fn evict_what_was_clean<K: Kernel>(file: &Inode<K>, token: &mut impl PageLocks) -> u64 {
    let mapping = file.mapping();
    let frames = mapping.cache().frames();
    let (mut from, mut evicted) = (PageIndex::ZERO, 0);
    while let Some(run) = mapping.find(from, END, Mark::Present) {
        from = run.end();
        let Some(locked) = mapping.try_lock(token.page_locks(), run) else { continue };
        let (clean, frame) = (locked.clean(), locked.frame(run.first()));
        drop(locked);
        if frame.is_none_or(|frame| frames.references(frame) > 1) {
            continue;
        }
        let Some(mut locked) = mapping.try_lock(token.page_locks(), run) else { continue };
        evicted += u64::from(locked.remove(clean).slots().count());
    }
    evicted
}

/// E6, E8: locks a run when all its pages are free at once, and does not queue. `next` waits until
/// it is worth while to try again.
pub(crate) fn lock_all_at_once<'t, K: Kernel>(
    file: &'t Inode<K>,
    mut context: impl FnMut() -> LockContext<'t>,
    run: PageRun,
    steps: u64,
    mut next: impl FnMut(),
) -> Result<LockedRun<'t, K>, Failure> {
    for _ in 0..steps {
        if let Some(locked) = file.mapping().try_lock(context(), run) {
            return Ok(locked);
        }
        next();
    }
    Err(Failure::Livelock)
}

/// E7: a read of the cached page at `pos` that starts again whenever the size has changed.
pub(crate) fn read_again<K: Kernel, U: UserMemory<Token = MayFault>>(
    file: &Inode<K>,
    token: &mut MayFault,
    to: &mut IovIter<'_, U>,
    pos: u64,
    steps: u64,
) -> Result<usize, Failure> {
    for _ in 0..steps {
        let size = file.size();
        let section = file.mapping().read_section(token.page_locks());
        let (page, room) = section.span(pos, to.count()).ok_or(Errno::Io)?;
        // SAFETY: `room` bytes of a frame that is not reused while the section lasts.
        let got = unsafe { to.copy_to_atomic(page.as_ptr(), room) };
        drop(section);
        if file.size() == size {
            return Ok(got);
        }
        to.revert(got);
    }
    Err(Failure::Livelock)
}

/// E16: makes all pages of a run uptodate, and does not go on with less.
pub(crate) fn bring_in_all<K: Kernel>(
    file: &Inode<K>,
    token: &mut impl PageLocks,
    run: PageRun,
    steps: u64,
) -> Result<(), Failure> {
    let mapping = file.mapping();
    for _ in 0..steps {
        let missing = mapping
            .lock_or_create(token.page_locks(), run)
            .map(|locked| (locked.mask() - locked.uptodate()).count())?;
        if missing == 0 {
            return Ok(());
        }
        let mut batch = mapping.cache().allocate(missing)?;
        let mut locked = mapping.lock_or_create(token.page_locks(), run)?;
        fill(&mut locked, &mut batch)?;
    }
    Err(Failure::Livelock)
}

/// E21: sends what is dirty, and takes it for clean before the store has answered; how many pages.
pub(crate) fn send_clean<K: Kernel>(file: &Inode<K>, token: &mut impl PageLocks) -> u32 {
    let mapping = file.mapping();
    let (mut from, mut sent) = (PageIndex::ZERO, 0);
    while let Some(run) = mapping.find(from, END, Mark::Dirty) {
        from = run.end();
        let Some(mut locked) = mapping.lock(token.page_locks(), run) else { continue };
        mapping.user_mappings().write_protect(mapping.id(), run.first(), run.end());
        let Some(request) = locked.begin_writeback(run, file.size()) else { continue };
        drop(locked);
        sent += run.pages();
        let _nothing_can_be_done = mapping.store().writeback(&request.view());
        request.complete(Ok(()));
    }
    sent
}

/// E22: reads a page until it is uptodate.
pub(crate) fn read_until_uptodate<K: Kernel>(
    file: &Inode<K>,
    token: &mut impl PageLocks,
    page: PageIndex,
    steps: u64,
) -> Result<(), Failure> {
    let (mapping, run) = (file.mapping(), PageRun::single(page));
    for _ in 0..steps {
        let mut batch = mapping.cache().allocate(1)?;
        let mut locked = mapping.lock_or_create(token.page_locks(), run)?;
        if locked.uptodate().contains(page.bit()) {
            return Ok(());
        }
        // What has failed is tried again.
        let _again = fill(&mut locked, &mut batch);
    }
    Err(Failure::Livelock)
}

/// Fills the absent pages of a run for which there are frames.
fn fill<K: Kernel>(
    locked: &mut LockedRun<'_, K>,
    batch: &mut FrameBatch<'_, K>,
) -> Result<(), Errno> {
    let absent = locked.mask() - locked.present();
    let inserted = locked.insert_batch(absent, batch);
    let store = locked.mapping().store();
    for number in locked.run().first().get()..locked.run().end().get() {
        let index = PageIndex::new(number);
        if inserted.contains(index.bit()) {
            locked.fill(index, 0, |buf| store.read(index, buf))?;
            locked.set_uptodate(index.bit());
        }
    }
    Ok(())
}
