//! A scripted MMU: an address space of a few pages, its page table, its lock M, and the fault
//! handler an embedder would write.
//!
//! Lock order as in the architecture: M, then pages, then the page table.
//! [`user`](crate::on_shuttle::user) makes the accesses.

use std::ops::Range;
use std::sync::{Arc, Mutex as Plain, MutexGuard as PlainGuard, PoisonError, Weak};

use faultless_filemap::{Access, InFault, Inode, MappedFrame, NoTask, Protection};
use faultless_page::{FrameNumber, Frames, Kernel, PAGE_SIZE, PageIndex, Spin};

use crate::kernel::ModelKernel;
use crate::memory::{Memory, ModelFrames};
use crate::on_shuttle::checker::Shuttle;
use crate::on_shuttle::held::assert_no_page_lock;
use crate::on_shuttle::lock::SpaceLock;
use crate::on_shuttle::rmap::{Change, Rmap, ShowsFiles};
use crate::on_shuttle::words::{ShuttleSpin, ShuttleSpinGuard};

/// The kernel under shuttle.
pub type K = ModelKernel<Shuttle>;

/// Pages of an address space.
pub const PAGES: usize = 4;

/// What is mapped at a page.
#[derive(Clone, Debug)]
pub enum Area {
    /// Nothing.
    Nothing,
    /// Memory of the process alone.
    Private,
    /// A page of a file, shared.
    File(Arc<Inode<K>>, PageIndex),
}

/// A page-table entry that is present.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    /// The private page.
    Private,
    /// A frame of a file's page, of which the entry owns a count.
    File { frame: FrameNumber, id: u64, index: PageIndex, writable: bool },
}

/// An address space.
#[derive(Debug)]
pub struct Space {
    pub(crate) memory: Arc<Memory<Shuttle>>,
    frames: ModelFrames<Shuttle>,
    /// M.
    pub lock: SpaceLock,
    /// Changed under M for writing.
    areas: Plain<[Area; PAGES]>,
    table: ShuttleSpin<[Option<Entry>; PAGES]>,
    pub(crate) private: Plain<Vec<u8>>,
}

/// An access that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segv;

impl Space {
    /// An address space of [`PAGES`] private pages, not present, filled with `byte`.
    #[must_use]
    pub fn new(memory: &Arc<Memory<Shuttle>>, rmap: &Rmap, byte: u8) -> Arc<Self> {
        let space = Arc::new(Self {
            memory: Arc::clone(memory),
            frames: ModelFrames(Arc::clone(memory)),
            lock: SpaceLock::new(),
            areas: Plain::new([Area::Private, Area::Private, Area::Private, Area::Private]),
            table: ShuttleSpin::new([None; PAGES]),
            private: Plain::new(vec![byte; PAGES * PAGE_SIZE]),
        });
        let shows: Weak<dyn ShowsFiles> = Arc::<Self>::downgrade(&space);
        rmap.add(shows);
        space
    }

    /// Maps a page of a file, shared, at `page`.
    pub fn map(&self, page: usize, inode: &Arc<Inode<K>>, index: PageIndex) {
        self.change(page, Area::File(Arc::clone(inode), index));
    }

    /// Unmaps `page`.
    pub fn unmap(&self, page: usize) {
        self.change(page, Area::Nothing);
    }

    fn change(&self, page: usize, area: Area) {
        let _m = self.lock.write();
        let before = std::mem::replace(&mut self.areas()[page], area);
        self.clear(page);
        drop(before);
    }

    /// `mlock`, populate: makes `page` present while M is held for writing.
    ///
    /// # Errors
    /// As a fault's.
    pub fn populate(&self, page: usize, access: Access) -> Result<(), Segv> {
        let _m = self.lock.write();
        self.resolve(page, access)
    }

    /// Takes the page-table entry away, as reclaim of user pages does. No lock but the page
    /// table's.
    pub fn steal(&self, page: usize) {
        self.clear(page);
    }

    /// The fault handler.
    ///
    /// # Errors
    /// No such mapping, or past the end of the file.
    pub fn fault(&self, page: usize, access: Access) -> Result<(), Segv> {
        assert_no_page_lock();
        let _m = self.lock.read();
        self.resolve(page, access)
    }

    /// Makes `page` present. M is held.
    fn resolve(&self, page: usize, access: Access) -> Result<(), Segv> {
        let area = self.areas()[page].clone();
        match area {
            Area::Nothing => Err(Segv),
            Area::Private => {
                self.table()[page] = Some(Entry::Private);
                Ok(())
            }
            Area::File(inode, index) => {
                // SAFETY: the handler of this thread, entered by an access that holds no page lock
                // (the controls' do, which is their bug; it endangers no memory).
                let mut in_fault = unsafe { InFault::enter() };
                let id = inode.mapping().id();
                let install = |mapped: MappedFrame<'_, _>| self.install(page, mapped, id, index);
                inode.fault(&mut in_fault, index, access, &NoTask, install).map_err(|_| Segv)
            }
        }
    }

    fn install<K: Kernel>(
        &self,
        page: usize,
        mapped: MappedFrame<'_, K>,
        id: u64,
        index: PageIndex,
    ) {
        let writable = mapped.protection == Protection::Writable;
        let entry = Entry::File { frame: mapped.frame.into_number(), id, index, writable };
        let before = self.table()[page].replace(entry);
        self.release(before);
    }

    fn clear(&self, page: usize) {
        let before = self.table()[page].take();
        self.release(before);
    }

    fn release(&self, entry: Option<Entry>) {
        if let Some(Entry::File { frame, .. }) = entry {
            // SAFETY: the entry owned a count, and is gone from the table.
            unsafe { self.frames.release(frame) };
        }
    }

    pub(crate) fn table(&self) -> ShuttleSpinGuard<'_, [Option<Entry>; PAGES]> {
        self.table.lock()
    }

    fn areas(&self) -> PlainGuard<'_, [Area; PAGES]> {
        self.areas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Space {
    /// Ends the address space: no page table holds a frame any more.
    pub fn end(&self) {
        (0..PAGES).for_each(|page| self.unmap(page));
    }
}

impl ShowsFiles for Space {
    fn change(&self, id: u64, pages: &Range<PageIndex>, change: Change) {
        for page in 0..PAGES {
            let mut table = self.table();
            let entry = &mut table[page];
            let taken = match entry {
                Some(Entry::File { id: of, index, writable, .. })
                    if *of == id && pages.contains(index) =>
                {
                    match change {
                        Change::Unmap => entry.take(),
                        Change::WriteProtect => {
                            *writable = false;
                            None
                        }
                    }
                }
                _ => None,
            };
            drop(table);
            self.release(taken);
        }
    }
}
