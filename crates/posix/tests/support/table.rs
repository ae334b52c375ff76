//! Page tables as maps, and their TLBs: what was changed and not flushed yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use faultless::prelude::FrameNumber;
use faultless_posix::{Entry, PageTable};

use super::frames::Physical;

type Hook = Box<dyn FnOnce() + Send>;

/// What CPUs may have cached of a table that is no longer so.
#[derive(Default)]
pub struct Tlb {
    stale: Mutex<Vec<(usize, FrameNumber)>>,
    hooks: Mutex<VecDeque<Hook>>,
}

impl Tlb {
    pub fn has(&self, frame: FrameNumber) -> bool {
        self.stale.lock().expect("no panic").iter().any(|(_, stale)| *stale == frame)
    }
}

static TLBS: Mutex<BTreeMap<usize, &'static Tlb>> = Mutex::new(BTreeMap::new());

fn tlb(root: usize) -> &'static Tlb {
    TLBS.lock().expect("no panic")[&root]
}

/// Has other threads run in the next flushes of this table, one in each, before the CPUs forget.
pub fn at_flush(root: usize, other_thread: impl FnOnce() + Send + 'static) {
    tlb(root).hooks.lock().expect("no panic").push_back(Box::new(other_thread));
}

/// How many old entries CPUs may still use.
pub fn stale_entries(root: usize) -> usize {
    tlb(root).stale.lock().expect("no panic").len()
}

pub fn flush(root: usize, pages: &Range<usize>) {
    let tlb = tlb(root);
    let at_begin = tlb.stale.lock().expect("no panic").clone();
    let hook = tlb.hooks.lock().expect("no panic").pop_front();
    if let Some(other_thread) = hook {
        other_thread();
    }
    let mut stale = tlb.stale.lock().expect("no panic");
    for gone in at_begin.iter().filter(|(page, _)| pages.contains(page)) {
        let at = stale.iter().position(|other| other == gone);
        at.map(|at| stale.swap_remove(at));
    }
}

pub struct Table {
    root: usize,
    tlb: &'static Tlb,
    prepared: BTreeSet<usize>,
    entries: BTreeMap<usize, Entry>,
}

impl Table {
    pub fn new(physical: &Physical) -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let root = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let tlb: &'static Tlb = Box::leak(Box::default());
        TLBS.lock().expect("no panic").insert(root, tlb);
        physical.add(tlb);
        Self { root, tlb, prepared: BTreeSet::new(), entries: BTreeMap::new() }
    }
}

// SAFETY: a map.
unsafe impl PageTable for Table {
    fn root(&self) -> usize {
        self.root
    }

    fn prepare(&mut self, page: usize) {
        self.prepared.insert(page);
    }

    fn get(&self, page: usize) -> Option<Entry> {
        self.entries.get(&page).copied()
    }

    fn next(&self, pages: Range<usize>) -> Option<(usize, Entry)> {
        if pages.is_empty() {
            return None;
        }
        self.entries.range(pages).next().map(|(page, entry)| (*page, *entry))
    }

    fn set(&mut self, page: usize, entry: Option<Entry>) {
        assert!(super::something_held(), "an entry is set without the lock");
        assert!(self.prepared.contains(&page), "an entry of a page that was not prepared");
        let old = match entry {
            Some(entry) => self.entries.insert(page, entry),
            None => self.entries.remove(&page),
        };
        // Another frame, or less of it: CPUs may still use the old entry.
        let is_less = |old: &Entry| {
            entry.is_none_or(|new| new.frame != old.frame || !new.rights.contains(old.rights))
        };
        if let Some(old) = old.filter(is_less) {
            self.tlb.stale.lock().expect("no panic").push((page, old.frame));
        }
    }
}
