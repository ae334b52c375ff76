//! What must hold when all threads have ended.

#![forbid(unsafe_code)]

use faultless_filemap::{NoTask, SyncKind};
use faultless_page::{Fallocate, PAGE_SIZE};
use faultless_usercopy::IovIter;

use super::look::is_uniform;
use super::order;
use super::script::{CELL, CELLS, Crashes, FileNumber, Op, Operation, PAGES, PER_PAGE};
use super::world::{MAPPED, OPS, WINDOW, WINDOWS, World, enter};

impl World {
    /// The script's part of a file, by read.
    pub(super) fn contents(&self, file: FileNumber) -> Vec<u8> {
        let window = WINDOWS + 3 * WINDOW;
        let mut bytes = Vec::new();
        loop {
            let slice = self.slice((window, 0), WINDOW * PAGE_SIZE);
            let (mut to, mut token) = (IovIter::from_slice(&self.space, &slice), enter());
            let pos = self.pos(0) + bytes.len() as u64;
            let read = self.files[file].read(&mut token, &mut to, pos, &NoTask);
            let got = read.expect("a store that works");
            if got == 0 {
                return bytes;
            }
            let mut piece = vec![0; got];
            self.space.load(window, 0, &mut piece).expect("the program's own memory");
            bytes.extend(piece);
        }
    }

    /// When all threads have ended.
    pub(super) fn check(&self) {
        if self.control().is_some() {
            return;
        }
        if self.script.setting.crashes == Crashes::Everywhere {
            self.crash_everywhere();
        }
        self.check_books();
        for file in 0..2 {
            let bytes = self.contents(file);
            self.check_mapped(file, &bytes);
            self.check_order(file, &bytes);
            let size = self.files[file].size();
            assert_eq!(
                size.saturating_sub(self.pos(0)),
                bytes.len() as u64,
                "W3: size of file {file}"
            );
            self.make_durable(file);
            let durable = self.stores[file].durable().contents_from(self.pos(0));
            assert!(durable == bytes, "F1: not all of file {file} is durable at the end");
            let stored = self.stores[file].inner().contents();
            let start = (self.pos(0) as usize).min(stored.len());
            assert!(stored[start..] == bytes, "W2: the store does not hold what file {file} does");
            self.check_room(file);
            let _ = self.files[file].evict(&mut enter(), 0..u64::MAX);
            let cached = self.files[file].mapping().cached_pages();
            assert_eq!(cached, 0, "pages of file {file} stay in the cache");
            assert!(self.contents(file) == bytes, "W2: file {file} changes when it is read back");
        }
    }

    /// The books have the pages that are cached, and no other.
    fn check_books(&self) {
        let cached: u64 = self.files.iter().map(|file| file.mapping().cached_pages()).sum();
        let booked = self.files[0].mapping().cache().reclaimable_pages();
        assert_eq!(booked, cached, "pages on the books, and in the cache");
    }

    /// Nothing fails any more: a sync succeeds, once it has told what failed before.
    fn make_durable(&self, file: FileNumber) {
        let mut synced = self.files[file].fsync(&mut enter(), SyncKind::All, &NoTask);
        if self.troubles.came() && synced.is_err() {
            synced = self.files[file].fsync(&mut enter(), SyncKind::All, &NoTask);
        }
        assert_eq!(synced, Ok(()), "fsync");
    }

    /// No room is kept past the end, and data was only sent where there is room.
    fn check_room(&self, file: FileNumber) {
        let size = self.files[file].size();
        // What a fault asked for beside a change of the size goes back with the next one.
        assert_eq!(self.files[file].set_size(&mut enter(), size, &NoTask), Ok(()), "the same size");
        let makes_room = |op: &Op| {
            op.file == file
                && matches!(op.operation, Operation::Blocks { change, .. } if change != Fallocate::PunchHole)
        };
        let past = self.stores[file].inner().blocks_past(size);
        let excused = self.script.ops().any(makes_room);
        assert!(past == 0 || excused, "W9: {past} blocks past the end of file {file}");
        let complaints = self.stores[file].inner().complaints();
        assert!(complaints.is_empty(), "W9, P2: file {file}: {complaints:?}");
    }

    /// The mapping, as the threads left it, shows the file.
    fn check_mapped(&self, file: FileNumber, bytes: &[u8]) {
        for page in 0..PAGES {
            let mut seen = vec![0; PAGE_SIZE];
            let loaded = self.space.load(MAPPED + file * PAGES + page, 0, &mut seen);
            let rest = bytes.get(page * PAGE_SIZE..).unwrap_or_default();
            let inside = &rest[..rest.len().min(PAGE_SIZE)];
            assert_eq!(loaded.is_ok(), !inside.is_empty(), "P6: a mapping of page {page}");
            let same = seen[..inside.len()] == *inside;
            assert!(loaded.is_err() || same, "P6: a mapping of page {page} shows something else");
            if loaded.is_ok() {
                self.check_past_end(file, page, &seen, inside.len());
            }
        }
    }

    /// Behind the end, the last page shows zeros, or what was stored there through a mapping.
    fn check_past_end(&self, file: FileNumber, page: usize, seen: &[u8], from: usize) {
        // Nearly always zeros.
        if is_uniform(&seen[from..]) && seen.get(from).is_none_or(|byte| *byte == 0) {
            return;
        }
        for (offset, &byte) in seen.iter().enumerate().skip(from) {
            let cell = page * PER_PAGE + offset / CELL;
            let mapping_stored = |op: &Op| {
                op.file == file
                    && op.tag == byte
                    && matches!(op.operation, Operation::Store { cell: to } if to == cell)
            };
            let known = byte == 0 || self.script.threads.iter().flatten().any(mapping_stored);
            assert!(
                known,
                "P2: a mapping of file {file} shows {byte:#x} in cell {cell}, past the end"
            );
        }
    }

    fn check_order(&self, file: FileNumber, bytes: &[u8]) {
        if order::depends_on_order(&self.script, file) || self.unknown.borrow().contains(&file) {
            return;
        }
        let cells: Vec<u8> = bytes.chunks(CELL).map(|cell| cell[0]).collect();
        let torn = bytes.chunks(CELL).any(|cell| !is_uniform(cell));
        assert!(!torn, "a cell of file {file} holds parts of two writes");
        let landed = |tag: u8| self.landed.borrow().get(&tag).copied();
        let explained = order::explains(&self.script, file, &cells, &landed);
        assert!(explained, "no order of the operations leaves {cells:x?} in file {file}");
        debug_assert!(cells.len() <= CELLS + OPS * PER_PAGE, "a file of many cells");
    }
}
