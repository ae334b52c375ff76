//! After an operation on which all systems agreed: finds the bytes that the whitelist leaves open,
//! counts them, and gives them the same contents everywhere, so that the case can go on and
//! everything else be compared.

#![forbid(unsafe_code)]

use std::ops::Range;

use faultless_page::PAGE_SIZE;

use super::expected::Window;
use super::linux::Linux;
use super::op::{Op, pattern};
use super::overlap::unspecified;
use super::run::{Run, bytes_at, loaded};
use super::system::System;

/// What a read or a write copied.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// The first byte of the file.
    pub(super) pos: u64,
    /// Where in the window each byte came from, or went to.
    pub(super) memory: Vec<Window>,
}

impl Copied {
    fn file(&self) -> Range<u64> {
        self.pos..self.pos + self.memory.len() as u64
    }
}

/// Settles what `op` left open. The file had `old` bytes before.
pub(super) fn equalize(run: &mut Run<'_>, op: &Op, copied: &Copied, old: u64) {
    let new = run.faultless.size();
    match op {
        Op::Write(_) => equalize_write(run, copied),
        Op::Read(_) => equalize_read(run, copied, old),
        Op::Store { at, seed } => run.expected.stored(*at, *seed, old),
        _ => {}
    }
    if new != old {
        let written = if matches!(op, Op::Write(_)) { copied.file() } else { 0..0 };
        let exposed = run.expected.resized(old, new, &written);
        forgive_junk(run, op, &exposed);
    }
}

fn equalize_write(run: &mut Run<'_>, copied: &Copied) {
    let from: Vec<Option<u64>> =
        copied.memory.iter().map(|at| at.and_then(|at| run.expected.file_byte(at))).collect();
    let to: Vec<Option<u64>> = copied.file().map(Some).collect();
    let Some(open) = unspecified(&from, &to) else { return };
    run.tally.overlaps += 1;
    let mut differed = false;
    for part in runs(&open) {
        let (pos, len) = (copied.pos + part.start as u64, part.len());
        let all: Vec<Vec<u8>> = run.all().map(|system| system.peek(pos, len)).collect();
        differed |= all.iter().any(|bytes| *bytes != all[0]);
        let bytes = pattern(pos, len);
        run.all().for_each(|system| system.poke(pos, &bytes));
    }
    run.tally.overlaps_differed += u64::from(differed);
}

fn equalize_read(run: &mut Run<'_>, copied: &Copied, size: u64) {
    let from: Vec<Option<u64>> = copied.file().map(Some).collect();
    let to: Vec<Option<u64>> =
        copied.memory.iter().map(|at| at.and_then(|at| run.expected.file_byte(at))).collect();
    if let Some(open) = unspecified(&from, &to) {
        run.tally.overlaps += 1;
        let mut differed = false;
        for part in runs(&open) {
            for part in in_window(&copied.memory[part]) {
                let at = bytes_at(&part);
                let all: Vec<Vec<u8>> = run.all().map(|system| loaded(system.load(at))).collect();
                differed |= all.iter().any(|bytes| *bytes != all[0]);
                let store = Op::Store { at, seed: part.start as u64 };
                run.all().for_each(|system| drop(system.apply(&store)));
            }
        }
        run.tally.overlaps_differed += u64::from(differed);
    }
    for part in in_window(&copied.memory) {
        let page_end = run.expected.file_byte(part.start).map(|at| at + part.len() as u64);
        if page_end.is_some_and(|end| end > size) {
            let bytes = loaded(run.linux[0].load(bytes_at(&part)));
            run.expected.arrived(part, &bytes, size);
        }
    }
}

/// The whitelist's second entry: junk that the case stored past the end and that tmpfs shows when
/// the end moves up; other file systems, when `fallocate` moves it.
fn forgive_junk(run: &mut Run<'_>, op: &Op, exposed: &[(u64, u8)]) {
    let by_fallocate = matches!(op, Op::Fallocate { .. });
    let shows = |linux: &&mut Linux| by_fallocate || linux.keeps_junk();
    for linux in run.linux.iter_mut().filter(shows) {
        let mut shown = false;
        for (at, junk) in exposed {
            let (ours, theirs) = (run.faultless.peek(*at, 1), linux.peek(*at, 1));
            if ours == [0] && theirs == [*junk] {
                linux.poke(*at, &[0]);
                shown = true;
            }
        }
        run.tally.junk_shown += u64::from(shown);
    }
}

/// The ranges in which `open` is true.
fn runs(open: &[bool]) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for at in (0..open.len()).filter(|at| open[*at]) {
        match all.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => all.push(at..at + 1),
        }
    }
    all
}

/// The ranges of the window, in one page each, that these bytes are.
fn in_window(memory: &[Window]) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for at in memory.iter().flatten() {
        match all.last_mut() {
            Some(last) if last.end == *at && at % PAGE_SIZE != 0 => last.end += 1,
            _ => all.push(*at..*at + 1),
        }
    }
    all
}
