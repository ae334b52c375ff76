//! What giving pages up costs, and what a kernel that does pays when it does not.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::hint::black_box;
use std::io;
use std::rc::Rc;

use faultless_filemap::WriteOptions;
use faultless_host::stores::MemoryStore;
use faultless_page::PAGE_SIZE;

use super::shared::{MIB, TWICE, user_memory};
use crate::frames::Layout;
use crate::kernel::{Bare, Measured, Rig, Whole};
use crate::measure::{Contestant, Role};
use crate::memory::Arena;
use crate::rivals::{ListedCache, State};

/// Pages of the file.
const PAGES: usize = 4096;
/// Looks of a step that finds nothing: see `Reclaimer::step`.
const LOOKS: u32 = 3 * PAGES as u32;
/// Pages of a file that is read from end to end: when one comes again, it was forgotten.
const READ: usize = 16 * PAGES;
/// Pages that a step gives up.
const FREED: u32 = 64;

/// A kernel with a file that has its bytes in a store, and all of them in the cache: dirty.
fn dirty<K: Measured>() -> io::Result<Rc<Rig<K>>> {
    let frames = Arena::new(PAGES * PAGE_SIZE + 4 * MIB)?;
    let rig = Rig::over(MemoryStore::new(), frames, Layout::Contiguous, user_memory()?);
    rig.set_capacity(PAGES as u64);
    for pos in (0..PAGES * PAGE_SIZE).step_by(MIB) {
        rig.write(&WriteOptions::at(pos as u64), MIB);
    }
    Ok(Rc::new(rig))
}

/// Steps that look at dirty pages only, each of them three times.
pub(super) fn looks() -> io::Result<Vec<Contestant>> {
    let rig = dirty::<Whole>()?;
    let mut all: Vec<Contestant> = TWICE
        .map(|role| {
            let rig = rig.clone();
            Contestant::new(role, move |n| {
                for _ in 0..n {
                    let done = rig.reclaim(1);
                    assert_eq!((done.dropped, done.kept), (0, LOOKS));
                }
            })
        })
        .into();
    let listed = ListedCache::default();
    listed.fill(PAGES as u64, State::Dirty);
    all.push(Contestant::new(Role::Tree, move |n| {
        for _ in 0..n {
            assert_eq!(listed.reclaim(1, LOOKS), 0);
        }
    }));
    Ok(all)
}

/// A cache that is full of a file that is read from end to end, again and again: of pages that were
/// used once, and long ago if ever before.
pub(crate) struct ReadThrough {
    rig: Rc<Rig<Whole>>,
    next: Cell<usize>,
}

impl ReadThrough {
    pub(crate) fn new() -> io::Result<Self> {
        let rig = dirty::<Whole>()?;
        rig.fsync();
        rig.set_size((READ * PAGE_SIZE) as u64);
        let all = Self { rig, next: Cell::new(0) };
        // The pages that were written are gone then.
        for _ in 0..16 * PAGES as u32 / FREED {
            all.free();
            all.read_on();
        }
        Ok(all)
    }

    /// Reads on until the cache is full.
    pub(crate) fn read_on(&self) {
        while self.rig.reclaimable() < PAGES as u64 {
            let page = self.next.replace((self.next.get() + 1) % READ);
            self.rig.read((page * PAGE_SIZE) as u64, PAGE_SIZE);
        }
    }

    /// A step that gives pages up.
    pub(crate) fn free(&self) {
        assert_eq!(self.rig.reclaim(FREED).dropped, FREED);
    }
}

/// Steps that give up clean pages.
pub(super) fn freed() -> io::Result<Vec<Contestant>> {
    let read = Rc::new(ReadThrough::new()?);
    let most = PAGES as u64 / u64::from(FREED) / 2;
    let mut all: Vec<Contestant> = TWICE
        .map(|role| {
            let (read, filled) = (read.clone(), read.clone());
            Contestant::new(role, move |n| (0..n).for_each(|_| read.free()))
                .with_reset(most, move || filled.read_on())
        })
        .into();
    let listed = Rc::new(ListedCache::default());
    listed.fill(PAGES as u64, State::Clean);
    let filled = listed.clone();
    let rival = Contestant::new(Role::Tree, move |n| {
        for _ in 0..n {
            assert_eq!(listed.reclaim(FREED, FREED), FREED);
        }
    });
    all.push(rival.with_reset(most, move || filled.fill(PAGES as u64, State::Clean)));
    Ok(all)
}

/// A hot call in the middle of the file, of a kernel with everything and of one with nothing.
pub(super) fn all_on(call: Call) -> io::Result<Vec<Contestant>> {
    let (whole, bare) = (dirty::<Whole>()?, dirty::<Bare>()?);
    let mut all: Vec<Contestant> = TWICE.map(|role| call.contestant(role, &whole)).into();
    all.push(call.contestant(Role::Twin, &bare));
    Ok(all)
}

/// A call on bytes in the middle of the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    /// An overwrite.
    Write(usize),
    /// A read.
    Read(usize),
}

impl Call {
    fn contestant<K: Measured>(self, role: Role, rig: &Rc<Rig<K>>) -> Contestant {
        const MIDDLE: u64 = (PAGES / 2 * PAGE_SIZE) as u64;
        let rig = rig.clone();
        Contestant::new(role, move |n| {
            for _ in 0..n {
                let at = black_box(MIDDLE);
                match self {
                    Self::Write(len) => rig.write(&WriteOptions::at(at), len),
                    Self::Read(len) => rig.read(at, len),
                }
            }
        })
    }
}
