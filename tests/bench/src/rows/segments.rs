//! Writes of many segments.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io;
use std::rc::Rc;

use faultless_filemap::WriteOptions;
use faultless_page::PAGE_SIZE;

use super::shared::{MIB, TWICE, user_memory};
use crate::frames::Layout;
use crate::kernel::Rig;
use crate::measure::{Contestant, Role};
use crate::memory::{Arena, Copier, copy};

/// A page from `count` pieces of `len` bytes that do not touch, against a `memcpy` for each.
pub(super) fn writev(count: usize, len: usize) -> io::Result<Vec<Contestant>> {
    assert_eq!(count * len, PAGE_SIZE, "one page");
    let rig = Rc::new(Rig::new(Arena::new(8 * MIB)?, Layout::Contiguous, user_memory()?));
    rig.write(&WriteOptions::at(0), MIB);
    let segments = Rc::new(rig.segments(count, len));
    let mut all: Vec<Contestant> = TWICE
        .map(|role| {
            let (rig, segments) = (rig.clone(), segments.clone());
            Contestant::new(role, move |n| {
                for _ in 0..n {
                    let options = WriteOptions::at(black_box(64 * PAGE_SIZE as u64));
                    rig.writev(&segments, &options, PAGE_SIZE);
                }
            })
        })
        .into();
    let plain = Arena::new(PAGE_SIZE)?;
    let from = rig.memory().clone();
    all.push(Contestant::new(Role::Memcpy, move |n| {
        for _ in 0..n {
            for number in 0..count {
                let (to, from) = ((&plain, number * len), (&*from, number * 2 * len));
                copy(Copier::Libc, to, from, black_box(len));
            }
        }
    }));
    Ok(all)
}
