//! Pages that leave a file, side by side and each other one, while a thread reads elsewhere.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use faultless_filemap::WriteOptions;
use faultless_host::stores::MemoryStore;
use faultless_page::{AddressSpaceOperations, PAGE_SIZE, forward_to_store};

use super::shared::{MIB, TWICE, user_memory};
use crate::beside::Beside;
use crate::frames::Layout;
use crate::kernel::Rig;
use crate::measure::{Contestant, Role};
use crate::memory::{Arena, Cpus};

/// Pages that an operation takes away.
const PAGES: usize = 128;
/// Operations before the file is filled again.
const OPERATIONS: usize = 16;

/// How far the pages lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spacing {
    Contiguous = 1,
    EachOther = 2,
}

/// How they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Truncate,
    Evict,
}

pub(super) fn truncate(cpus: Cpus) -> io::Result<Vec<Contestant>> {
    removals(cpus, Way::Truncate)
}

pub(super) fn evict(cpus: Cpus) -> io::Result<Vec<Contestant>> {
    removals(cpus, Way::Evict)
}

/// A store that takes what it is sent, keeps nothing, and costs nothing beside the cache: pages of
/// its files may go.
struct Sink(Arc<MemoryStore>);

impl Sink {
    fn new() -> Arc<Self> {
        Arc::new(Self(MemoryStore::volatile()))
    }
}

impl AddressSpaceOperations for Sink {
    forward_to_store!(self => self.0; read, writeback, write_begin, write_begin_run, write_end);
    forward_to_store!(self => self.0; truncate_blocks, set_size, sync);
}

/// All files are in one cache, so that one reader is beside each of them.
fn removals(cpus: Cpus, way: Way) -> io::Result<Vec<Contestant>> {
    let contestants = [TWICE[0], TWICE[1], Role::Twin];
    let frames = Arena::new((contestants.len() + 1) * OPERATIONS * PAGES * PAGE_SIZE + 4 * MIB)?;
    let read = Rig::over(Sink::new(), frames, Layout::Contiguous, user_memory()?);
    read.write(&WriteOptions::at(0), MIB);
    let read = Arc::new(read);
    let removal = |role| {
        let spacing = if role == Role::Twin { Spacing::Contiguous } else { Spacing::EachOther };
        removal(role, read.beside(Sink::new()), way, spacing)
    };
    let mut all: Vec<Contestant> = contestants.map(removal).into();
    // The reader's bytes go to the second half of the user's memory.
    let reader = Beside::start(cpus, 1, move |_| read.read_to(MIB, 0, 64));
    if let Some(last) = all.pop() {
        all.push(last.keeping(reader));
    }
    Ok(all)
}

/// One operation takes the last pages that are there.
fn removal(role: Role, rig: Rig, way: Way, spacing: Spacing) -> Contestant {
    let piece = (PAGES * spacing as usize * PAGE_SIZE) as u64;
    let size = OPERATIONS as u64 * piece;
    fill(&rig, size, spacing);
    let rig = Rc::new(rig);
    let (filled, left) = (rig.clone(), Rc::new(Cell::new(size)));
    let full = left.clone();
    let run = move |n| {
        for _ in 0..n {
            let end = left.get();
            left.set(end - piece);
            match way {
                Way::Truncate => rig.set_size(end - piece),
                Way::Evict => assert_eq!(rig.evict_range(end - piece..end), PAGES as u64),
            }
        }
    };
    Contestant::new(role, run).with_reset(OPERATIONS as u64, move || {
        fill(&filled, size, spacing);
        full.set(size);
    })
}

/// Puts the pages in, clean.
fn fill(rig: &Rig, size: u64, spacing: Spacing) {
    rig.set_size(size);
    for pos in (0..size).step_by(spacing as usize * PAGE_SIZE) {
        rig.write(&WriteOptions::at(pos), PAGE_SIZE);
    }
    rig.fsync();
}
