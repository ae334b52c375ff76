//! An address space whose accesses go in pieces, with points in between, as those of a processor
//! do: for checkers that decide at each point which thread goes on.
//!
//! Key types: [`SteppedSpace`], generic over the kernel, and [`Mappings`], its reverse map. A
//! checker supplies [`Threads`], its scheduler, and [`UserFrames`], its memory. `lock` is M,
//! `table` the page table, `user` makes the accesses.
//!
//! Lock order: M → page lock (inside `Inode::fault`) → page table. All threads of a checker share
//! one thread of the host, so its short locks are held across no point.
//!
//! Next to [`space`](crate::space) it is small: an area is a page, all of it may be written, and
//! no private copies of a file's pages are made. Each fault asks the file, also if another thread
//! was faster.

mod lock;
mod seams;
mod short;
mod table;
mod user;

use std::sync::{Arc, Mutex};

use faultless_filemap::{Inode, Protection};
use faultless_page::{Kernel, PAGE_SIZE, PageIndex};
use faultless_usercopy::UserAddr;

use self::lock::M;
use self::short::short;
use self::table::{Entry, PageTable, Swapped};
use crate::lockcheck::Mode;
use crate::mm_scripted::BASE;
use crate::mmu::{Access, UserFault};
use crate::space::fault_page;

pub use self::seams::{Point, Threads, UserFrames};
pub use self::table::{Far, Mappings, Omitted};

/// What a page of the space is.
#[derive(Debug)]
pub enum Area<K: Kernel> {
    /// Memory of the program's own. It can be swapped out.
    Private,
    /// A page of a file, shared.
    File(Arc<Inode<K>>, PageIndex),
    /// Nothing.
    Nothing,
}

impl<K: Kernel> Clone for Area<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Private => Self::Private,
            Self::File(file, index) => Self::File(Arc::clone(file), *index),
            Self::Nothing => Self::Nothing,
        }
    }
}

/// The address space. [`tear_down`](Self::tear_down) ends it.
#[derive(Debug)]
pub struct SteppedSpace<K: Kernel, T> {
    /// Changed under M for writing.
    areas: Mutex<Vec<Area<K>>>,
    table: Arc<PageTable<K::Frames, T>>,
    m: M,
}

impl<K: Kernel<Frames: UserFrames>, T: Threads> SteppedSpace<K, T> {
    /// A space of these areas, a page each, whose entries `mappings` finds. Its private pages are
    /// resident.
    ///
    /// # Panics
    /// If `mappings` is for fewer pages, or memory is full.
    #[must_use]
    pub fn new(mappings: &Mappings<K::Frames, T>, areas: Vec<Area<K>>) -> Self {
        let table = mappings.table();
        for (page, area) in areas.iter().enumerate() {
            if matches!(area, Area::Private) {
                let frame = table.frames.allocate_user().expect("memory");
                let protection = Protection::Writable;
                let entry = Entry { frame, protection, shows: None, swapped: Swapped::In };
                table.replace(page, Some(entry));
            }
        }
        Self { areas: Mutex::new(areas), table, m: M::default() }
    }

    /// User address of byte `offset` of page `page`.
    #[must_use]
    pub fn at(&self, page: usize, offset: usize) -> UserAddr {
        UserAddr::new(BASE + page * PAGE_SIZE + offset)
    }

    /// `munmap` or `mmap`: what is at `page` becomes `area`. Takes M for writing.
    pub fn map(&self, page: usize, area: Area<K>) {
        let m = self.m.lock(&self.table.threads, Mode::Write);
        let old = std::mem::replace(&mut short(&self.areas)[page], area);
        self.table.replace(page, None);
        drop(m);
        // To drop the last handle of a file is to drop its pages: not under M.
        drop(old);
    }

    /// `mlock`: makes the page resident, with M held for writing.
    ///
    /// # Errors
    /// As a fault's.
    pub fn populate(&self, page: usize, access: Access) -> Result<(), UserFault> {
        let _m = self.m.lock(&self.table.threads, Mode::Write);
        self.resolve(page, access)
    }

    /// What is at `page` stops being resident, without M. A page of the program's own takes as
    /// long as it can to come back if it is `far` out.
    pub fn swap_out(&self, page: usize, far: Far) {
        self.table.swap_out(page, far);
    }

    /// All pages of files stop being resident, without M.
    pub fn steal(&self) {
        self.table.remove_if(|entry| entry.shows.is_some());
    }

    /// Gives everything back, while no other thread uses the space.
    pub fn tear_down(&self) {
        self.table.remove_if(|_| true);
        short(&self.areas).clear();
    }

    /// Makes a page resident. M is held.
    fn resolve(&self, page: usize, access: Access) -> Result<(), UserFault> {
        let area = short(&self.areas)[page].clone();
        match area {
            Area::Private => {
                self.table.swap_in(page);
                Ok(())
            }
            Area::File(file, index) => fault_page(&file, index, access, |mapped, shows| {
                let protection = mapped.protection;
                let frame = mapped.frame.into_number();
                let entry = Entry { frame, protection, shows: Some(shows), swapped: Swapped::In };
                self.table.replace(page, Some(entry));
            }),
            Area::Nothing => Err(UserFault::Segv),
        }
    }
}
