//! A case, run by all systems in step, and compared.

#![forbid(unsafe_code)]

use std::ops::Range;

use faultless_page::PAGE_SIZE;

use super::equalize::{Copied, equalize};
use super::expected::{Expected, memory_of, pages_of};
use super::faultless::Faultless;
use super::found::{Difference, Tally};
use super::linux::Linux;
use super::op::{At, Case, Op, OpenMode, Place, Transfer, WINDOW, pattern};
use super::run::{Run, bytes_at, loaded};
use super::system::{Answer, System};
use faultless_host::mmu::Protection;
use faultless_host::model::difference;

/// Bytes at the end of the file that have contents to begin with; before them is a hole.
const FILLED: usize = 8 * PAGE_SIZE;

/// What can be seen of a file from outside.
struct Before {
    size: u64,
    position: u64,
}

/// Nothing, or the first difference.
pub(super) type Compared = Result<(), Box<Difference>>;

/// Runs the case on all systems.
pub(super) fn run(
    case: &Case,
    faultless: &mut Faultless,
    linux: &mut [Linux],
    tally: &mut Tally,
) -> Compared {
    let mut run = Run { case, faultless, linux, tally, expected: Expected::default(), step: 0 };
    run.tally.cases += 1;
    run.begin();
    for (step, op) in case.ops.iter().enumerate() {
        run.step = step;
        if run.expected.looks_at_junk(op) {
            run.tally.left_out += 1;
        } else {
            run.one(op)?;
        }
    }
    run.step = case.ops.len();
    run.end()
}

impl Run<'_> {
    fn begin(&mut self) {
        let case = self.case;
        let size = case.size as usize;
        let filled = size.min(FILLED);
        let bytes = pattern(case.seed, filled);
        for system in self.all() {
            system.begin(case);
            system.poke((size - filled) as u64, &bytes);
            let _ = system.over_limit();
        }
    }

    fn one(&mut self, op: &Op) -> Compared {
        self.tally.ops += 1;
        let before = Before { size: self.faultless.size(), position: self.faultless.position() };
        let answer = self.faultless.apply(op);
        let signals = self.faultless.over_limit();
        self.count(op, &answer, signals);
        let copied = self.copied(op, &answer, &before);
        for at in 0..self.linux.len() {
            let mut other = self.linux[at].apply(op);
            self.forgive_growth(at, op, (&answer, &mut other), &copied, &before);
            if other != answer {
                return Err(self.answers_differ(at, op, &answer, &other));
            }
            let seen = [signals.into(), self.faultless.size(), self.faultless.position()];
            let linux = &mut self.linux[at];
            let others = [linux.over_limit().into(), linux.size(), linux.position()];
            for (what, nth) in [("SIGXFSZ", 0), ("the size", 1), ("the position", 2)] {
                if seen[nth] != others[nth] {
                    let (one, other) = (seen[nth].to_string(), others[nth].to_string());
                    return Err(self.differ(at, op, what, one, other));
                }
            }
        }
        self.expected.follow(op);
        equalize(self, op, &copied, before.size);
        match op {
            Op::Read(transfer) => self.compare_targets(op, transfer),
            Op::Compare => self.compare_files(op),
            _ => Ok(()),
        }
    }

    /// What a read or a write that answered this copied.
    fn copied(&self, op: &Op, answer: &Answer, before: &Before) -> Copied {
        let (Op::Write(transfer) | Op::Read(transfer)) = op else { return Copied::default() };
        let pos = match (op, transfer.at) {
            (Op::Write(_), _) if self.case.mode == OpenMode::Append => before.size,
            (_, At::Position) => before.position,
            (_, At::Offset(pos)) => pos,
        };
        let bytes = if let Answer::Count(bytes) = answer { *bytes } else { 0 };
        Copied { pos, memory: memory_of(transfer, bytes) }
    }

    /// The whitelist's third entry: a write past the end of which no byte can be read fails, but
    /// Linux 6.18 has moved the end of the file to where it would have begun. If the source lies in
    /// a page of the file that this made part of the file, Linux then even goes on and writes.
    /// Undone, so that the case can go on.
    fn forgive_growth(
        &mut self,
        at: usize,
        op: &Op,
        (ours, theirs): (&Answer, &mut Answer),
        copied: &Copied,
        before: &Before,
    ) {
        let Op::Write(transfer) = op else { return };
        let failed = *ours == Answer::Errno(libc::EFAULT) && self.faultless.size() == before.size;
        if !failed || copied.pos <= before.size {
            return;
        }
        let linux = &mut self.linux[at];
        match theirs {
            Answer::Errno(libc::EFAULT) if linux.size() == copied.pos => {}
            Answer::Count(bytes @ 1..)
                if linux.size() == copied.pos + *bytes as u64
                    && self.expected.begins_between(transfer, before.size, copied.pos) =>
            {
                *theirs = ours.clone();
                linux.rewind(before.position);
            }
            _ => return,
        }
        linux.cut(before.size);
        self.tally.grown_by_failure += 1;
    }

    /// Compares the memory that a read was for, where it can be looked at.
    fn compare_targets(&mut self, op: &Op, transfer: &Transfer) -> Compared {
        if transfer.total().is_none() {
            return Ok(());
        }
        for segment in &transfer.segments {
            let Place::Window(page, offset) = segment.place else { continue };
            let start = page * PAGE_SIZE + offset;
            for part in pages_of(start..start + segment.len) {
                if self.expected.is_readable_private(part.start / PAGE_SIZE) {
                    self.compare_memory(op, part)?;
                }
            }
        }
        Ok(())
    }

    fn compare_memory(&mut self, op: &Op, part: Range<usize>) -> Compared {
        let at = bytes_at(&part);
        let ours = loaded(self.faultless.load(at));
        for nth in 0..self.linux.len() {
            let theirs = loaded(self.linux[nth].load(at));
            if let Some(told) = difference(&ours, &theirs) {
                let what = format!("memory at {at}");
                return Err(self.differ(nth, op, &what, told, "as expected".into()));
            }
        }
        Ok(())
    }

    fn compare_files(&mut self, op: &Op) -> Compared {
        let len = self.faultless.size() as usize;
        let ours = self.faultless.peek(0, len + 1);
        for nth in 0..self.linux.len() {
            let theirs = self.linux[nth].peek(0, len + 1);
            if let Some(told) = difference(&ours, &theirs) {
                return Err(self.differ(nth, op, "the file", told, "as expected".into()));
            }
        }
        Ok(())
    }

    /// What is left to see at the end: every byte of file and memory, and what the machine itself
    /// found.
    fn end(&mut self) -> Compared {
        let op = &Op::Compare;
        self.compare_files(op)?;
        for page in (0..WINDOW).filter(|page| self.expected.is_private(*page)).collect::<Vec<_>>() {
            let open = Op::Protect { page, pages: 1, protection: Protection::ReadWrite };
            self.all().for_each(|system| drop(system.apply(&open)));
            self.compare_memory(op, page * PAGE_SIZE..(page + 1) * PAGE_SIZE)?;
        }
        match self.faultless.complaint() {
            Some(told) => Err(self.differ(0, op, "what is right", told, "nothing".into())),
            None => Ok(()),
        }
    }

    fn count(&mut self, op: &Op, answer: &Answer, signals: u32) {
        self.tally.over_limit += u64::from(signals);
        match answer {
            Answer::Errno(_) => self.tally.errors += 1,
            Answer::Stopped(_) => self.tally.signals += 1,
            _ => {}
        }
        if let Op::Write(transfer) | Op::Read(transfer) = op {
            self.tally.transfers += 1;
            let short = matches!((answer, transfer.total()),
                (Answer::Count(bytes), Some(total)) if (1..total).contains(bytes));
            self.tally.short += u64::from(short);
        }
    }

    fn answers_differ(
        &self,
        at: usize,
        op: &Op,
        ours: &Answer,
        theirs: &Answer,
    ) -> Box<Difference> {
        match (ours, theirs) {
            (Answer::Loaded(ours), Answer::Loaded(theirs)) => {
                let told = difference(ours, theirs).unwrap_or_default();
                self.differ(at, op, "what was loaded", told, "as expected".into())
            }
            _ => self.differ(at, op, "the answer", ours.to_string(), theirs.to_string()),
        }
    }

    fn differ(
        &self,
        at: usize,
        op: &Op,
        what: &str,
        faultless: String,
        linux: String,
    ) -> Box<Difference> {
        Box::new(Difference {
            step: self.step,
            op: op.to_string(),
            what: what.into(),
            faultless,
            system: self.linux[at].name.clone(),
            linux,
        })
    }
}
