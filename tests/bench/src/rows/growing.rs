//! The rows in which a file gets new pages.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::hint::black_box;
use std::io;
use std::rc::Rc;

use faultless_filemap::{Strategy, WriteOptions};
use faultless_page::PAGE_SIZE;

use super::shared::{COLD, TWICE, nothing, user_memory};
use crate::frames::Layout;
use crate::kernel::Rig;
use crate::measure::{Contestant, Role};
use crate::memory::{Arena, Copier, bytes_of, copy, fill};
use crate::rivals::TreeCache;
use crate::tmpfs::{self, Pages, pwrite};

/// Bytes that a growing file may reach before it is emptied, outside the measured time.
const GROWN: usize = COLD / 2;

/// A file of `size` bytes, all holes, over cold frames, and the subject's two contestants: `write`
/// gets the number of the operation since the file was like that.
fn growing(
    size: u64,
    bytes_per_operation: usize,
    write: impl Fn(&Rig, u64) + Clone + 'static,
) -> io::Result<(Rc<Rig>, Vec<Contestant>)> {
    let frames = Arena::new(COLD)?;
    let rig = Rc::new(Rig::new(frames, Layout::Contiguous, user_memory()?));
    rig.set_size(size);
    let most = (GROWN / bytes_per_operation) as u64;
    let contestant = |role| {
        let (subject, emptied, write) = (rig.clone(), rig.clone(), write.clone());
        let next = Rc::new(Cell::new(0));
        let first = next.clone();
        let run = move |n| {
            for operation in next.get()..next.get() + n {
                write(&subject, operation);
            }
            next.set(next.get() + n);
        };
        Contestant::new(role, run).with_reset(most, move || {
            emptied.set_size(0);
            emptied.set_size(size);
            first.set(0);
        })
    };
    let both = TWICE.map(contestant).into();
    Ok((rig, both))
}

pub(super) fn append(len: usize) -> io::Result<Vec<Contestant>> {
    let (rig, mut all) = growing(0, len, move |rig, _| rig.write(&WriteOptions::append(), len))?;
    let source = bytes_of(rig.memory(), 0, len);

    let plain = Rc::new(Arena::new(COLD)?);
    // Far apart, so that neither finds what the other has just touched.
    for (how, start) in [(Copier::Libc, 0), (Copier::RepMovsb, COLD / 2)] {
        let (to, from, mut at) = (plain.clone(), rig.memory().clone(), start);
        all.push(Contestant::new(Role::Memcpy, move |n| {
            for _ in 0..n {
                copy(how, (&to, at), (&from, 0), black_box(len));
                at = (at + len) % to.bytes();
            }
        }));
    }

    let most = (GROWN / len) as u64;
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
    const LEN: usize = 64 << 10;
    let appends = |strategy| {
        let options = WriteOptions::append().with_strategy(strategy);
        growing(0, LEN, move |rig, _| rig.write(&options, LEN))
    };
    let (_, mut all) = appends(Strategy::PrepareCommit)?;
    let (_, mut other) = appends(Strategy::BeginEnd)?;
    other.truncate(1);
    all.extend(other.into_iter().map(|contestant| contestant.playing(Role::Twin)));
    Ok(all)
}

pub(super) fn new_page() -> io::Result<Vec<Contestant>> {
    let (_, mut all) = growing(GROWN as u64, PAGE_SIZE, |rig, operation| {
        rig.write(&WriteOptions::at(operation * PAGE_SIZE as u64), 1);
    })?;
    let plain = Rc::new(Arena::new(COLD)?);
    let mut at = 0;
    all.push(Contestant::new(Role::Memcpy, move |n| {
        for _ in 0..n {
            fill(&plain, at, black_box(PAGE_SIZE));
            at = (at + PAGE_SIZE) % plain.bytes();
        }
    }));
    Ok(all)
}
