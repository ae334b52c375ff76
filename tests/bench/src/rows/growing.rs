//! The rows in which a file gets new pages.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::hint::black_box;
use std::io;
use std::rc::Rc;

use faultless_filemap::{Strategy, WriteOptions};
use faultless_page::PAGE_SIZE;

use super::shared::{TWICE, nothing, user_memory};
use crate::frames::Layout;
use crate::kernel::Rig;
use crate::measure::{Contestant, Role};
use crate::memory::{Copier, Part, bytes_of, cold_bytes, copy, fill};
use crate::rivals::TreeCache;
use crate::tmpfs::{self, Pages, pwrite};

/// Bytes that a growing file may reach before it is emptied, outside the measured time.
fn grown() -> usize {
    cold_bytes() / 2
}

/// A file that grows over cold frames, and is emptied now and then.
struct Growing {
    rig: Rc<Rig>,
    /// The size of the file when it is empty: all holes.
    size: u64,
    bytes_per_operation: usize,
}

impl Growing {
    /// The file, and as much memory that nothing uses.
    fn new(size: u64, bytes_per_operation: usize) -> io::Result<(Self, Part)> {
        let [frames, plain] = Part::two(cold_bytes())?;
        let rig = Rc::new(Rig::new(frames, Layout::Contiguous, user_memory()?));
        rig.set_size(size);
        Ok((Self { rig, size, bytes_per_operation }, plain))
    }

    /// Who writes to it: `write` gets the number of the operation since the file was empty.
    fn contestant(&self, role: Role, write: impl Fn(&Rig, u64) + 'static) -> Contestant {
        let (subject, emptied, size) = (self.rig.clone(), self.rig.clone(), self.size);
        let next = Rc::new(Cell::new(0));
        let first = next.clone();
        let run = move |n| {
            for operation in next.get()..next.get() + n {
                write(&subject, operation);
            }
            next.set(next.get() + n);
        };
        let most = (grown() / self.bytes_per_operation) as u64;
        Contestant::new(role, run).with_reset(most, move || {
            emptied.set_size(0);
            emptied.set_size(size);
            first.set(0);
        })
    }

    /// Who appends to it.
    fn appender(&self, role: Role, strategy: Strategy) -> Contestant {
        let (len, options) = (self.bytes_per_operation, WriteOptions::append());
        let options = options.with_strategy(strategy);
        self.contestant(role, move |rig, _| rig.write(&options, len))
    }
}

pub(super) fn append(len: usize) -> io::Result<Vec<Contestant>> {
    let (file, plain) = Growing::new(0, len)?;
    let mut all: Vec<Contestant> = TWICE.map(|role| file.appender(role, Strategy::BeginEnd)).into();
    let rig = file.rig;
    let source = bytes_of(rig.memory(), 0, len);

    // Far apart, so that neither finds what the other has just touched.
    for (how, start) in [(Copier::Libc, 0), (Copier::RepMovsb, cold_bytes() / 2)] {
        let (to, from, mut at) = (plain.clone(), rig.memory().clone(), start);
        all.push(Contestant::new(Role::Memcpy, move |n| {
            for _ in 0..n {
                copy(how, to.place(at), (&from, 0), black_box(len));
                at = (at + len) % to.bytes();
            }
        }));
    }

    let most = (grown() / len) as u64;
    let tree = Rc::new(TreeCache::default());
    let end = Rc::new(Cell::new(0));
    let (cleared, start, data) = (tree.clone(), end.clone(), source.clone());
    let run = move |n| {
        for _ in 0..n {
            tree.write(end.get(), black_box(&data));
            end.set(end.get() + len as u64);
        }
    };
    all.push(Contestant::new(Role::Tree, run).with_reset(most, move || {
        cleared.clear();
        start.set(0);
    }));

    for pages in Pages::ALL {
        let Some(file) = tmpfs::file(pages)?.map(Rc::new) else { continue };
        let (end, source) = (Rc::new(Cell::new(0)), source.clone());
        let (emptied, start) = (file.clone(), end.clone());
        let run = move |n| {
            for _ in 0..n {
                pwrite(&file, end.get(), &source);
                end.set(end.get() + len as u64);
            }
        };
        all.push(Contestant::new(pages.role(), run).with_reset(most, move || {
            let emptied = emptied.set_len(0);
            assert!(emptied.is_ok(), "tmpfs: {emptied:?}");
            start.set(0);
        }));
    }
    all.push(nothing());
    Ok(all)
}

/// Strategy A, with its temporary pages, against strategy B.
pub(super) fn strategies() -> io::Result<Vec<Contestant>> {
    let (file, _) = Growing::new(0, 64 << 10)?;
    let appender = |role, strategy| file.appender(role, strategy);
    let mut all: Vec<Contestant> = TWICE.map(|role| appender(role, Strategy::PrepareCommit)).into();
    all.push(appender(Role::Twin, Strategy::BeginEnd));
    Ok(all)
}

pub(super) fn new_page() -> io::Result<Vec<Contestant>> {
    let (file, plain) = Growing::new(grown() as u64, PAGE_SIZE)?;
    let writer = |role| {
        file.contestant(role, |rig, operation| {
            rig.write(&WriteOptions::at(operation * PAGE_SIZE as u64), 1);
        })
    };
    let mut all: Vec<Contestant> = TWICE.map(writer).into();
    let mut at = 0;
    all.push(Contestant::new(Role::Memcpy, move |n| {
        for _ in 0..n {
            fill(plain.place(at), black_box(PAGE_SIZE));
            at = (at + PAGE_SIZE) % plain.bytes();
        }
    }));
    Ok(all)
}
