//! Random cases. The numbers are drawn near what matters: page boundaries, the end of the file, the
//! limit, the page of the destination.

#![forbid(unsafe_code)]

use faultless_filemap::{FileSize, Strategy};
use faultless_page::{Fallocate, PAGE_SIZE, Shift};

use super::op::{
    At, Backing, Bytes, Case, Form, MAX_SEGMENT, Op, OpenMode, Place, Segment, Transfer, WINDOW,
};
use faultless_host::mmu::Protection;
use faultless_host::rng::Rng;

/// Pages that a file has, more or less, from the page on around which the case plays.
const FILE_PAGES: usize = 6;

/// The page around which some cases play: the end of a leaf of the index is not far.
const FAR: usize = 61;

impl Case {
    /// The case for this seed. Even seeds are written by strategy B, odd ones by strategy A.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let mut case = Self {
            seed,
            strategy: if seed.is_multiple_of(2) {
                Strategy::BeginEnd
            } else {
                Strategy::PrepareCommit
            },
            backing: draw.backing(),
            mode: if draw.one_in(5) { OpenMode::Append } else { OpenMode::Plain },
            limit: None,
            size: draw.size(),
            ops: Vec::new(),
        };
        draw.end = case.size;
        if draw.one_in(6) {
            case.limit = Some(draw.position());
        }
        draw.first_ops(&mut case.ops);
        for _ in 0..draw.rng.range(4..20) {
            // tmpfs looks at the limit where others do not.
            let op = match case.limit {
                None if draw.one_in(20) => draw.fallocate(case.backing),
                _ => draw.op(),
            };
            case.ops.push(op);
        }
        case
    }

    /// The same case without what the historical controls do not know: limits of size, and stores
    /// through mappings of the file, which may lie past its end.
    #[must_use]
    pub fn for_control(mut self) -> Self {
        self.limit = None;
        for op in &mut self.ops {
            match op {
                Op::MapFile { protection: protection @ Protection::ReadWrite, .. } => {
                    *protection = Protection::Read;
                }
                Op::Protect { protection: protection @ Protection::ReadWrite, .. } => {
                    *protection = Protection::Read;
                }
                _ => {}
            }
        }
        self
    }
}

/// The source of random choices, with a rough idea of the world.
struct Draw {
    rng: Rng,
    /// The page around which the case plays.
    base: usize,
    /// About where the file ends.
    end: u64,
    /// Pages of the window that showed a page of the file at some time, and which.
    shown: Vec<(usize, u64)>,
}

impl Draw {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let base = if rng.below(8) == 0 { FAR } else { 0 };
        Self { rng, base, end: 0, shown: Vec::new() }
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.rng.below(n) == 0
    }

    fn backing(&mut self) -> Backing {
        match self.rng.below(6) {
            0 | 1 => Backing::Memory,
            2 => Backing::Blocks(512),
            3 => Backing::Blocks(1024),
            4 => Backing::Blocks(4096),
            _ => Backing::HostFile,
        }
    }

    /// A number of bytes near a multiple of the page size, or anywhere.
    fn offset(&mut self, pages: usize) -> usize {
        let page = self.rng.range(0..pages) * PAGE_SIZE;
        match self.rng.below(5) {
            0 => page,
            1 => page + self.rng.range(1..17),
            2 => page + PAGE_SIZE - self.rng.range(1..17),
            _ => page + self.rng.range(0..PAGE_SIZE),
        }
    }

    fn size(&mut self) -> u64 {
        if self.one_in(5) {
            return 0;
        }
        (self.base * PAGE_SIZE + self.offset(FILE_PAGES)) as u64
    }

    /// A position in the file.
    fn position(&mut self) -> u64 {
        match self.rng.below(8) {
            0 => self.end,
            1 => self.end.saturating_sub(self.rng.below(40)),
            2 => self.end + self.rng.below(2 * PAGE_SIZE as u64),
            _ => (self.base * PAGE_SIZE + self.offset(FILE_PAGES + 2)) as u64,
        }
    }

    fn length(&mut self) -> usize {
        match self.rng.below(8) {
            0 => self.rng.range(1..9),
            1 | 2 => self.rng.range(1..200),
            3 => PAGE_SIZE,
            4 => self.rng.range(1..MAX_SEGMENT + 1),
            _ => self.rng.range(1..PAGE_SIZE + 1),
        }
    }

    fn protection(&mut self) -> Protection {
        match self.rng.below(4) {
            0 => Protection::None,
            1 => Protection::Read,
            _ => Protection::ReadWrite,
        }
    }

    /// Some pages of the window.
    fn pages(&mut self) -> (usize, usize) {
        let page = self.rng.range(0..WINDOW);
        (page, self.rng.range(1..(WINDOW - page).min(4) + 1))
    }

    /// A page of the file.
    fn file_page(&mut self) -> u64 {
        (self.base + self.rng.range(0..FILE_PAGES)) as u64
    }

    /// A program has memory before it does anything.
    fn first_ops(&mut self, ops: &mut Vec<Op>) {
        let half = WINDOW / 2;
        let protection = Protection::ReadWrite;
        let seed = self.rng.next();
        ops.push(Op::MapPrivate { page: 0, pages: half, protection, seed });
        let first = self.file_page();
        let pages = self.rng.range(1..half);
        ops.push(self.map_file(half, pages, first));
        if self.one_in(2) {
            ops.push(Op::Chill);
        }
    }

    fn map_file(&mut self, page: usize, pages: usize, first: u64) -> Op {
        self.shown.extend((page..page + pages).zip(first..));
        Op::MapFile { page, pages, protection: self.protection(), first }
    }

    /// A page of the window that may show a page of the file, and which.
    fn shown(&mut self) -> Option<(usize, u64)> {
        let nth = self.rng.below(self.shown.len() as u64) as usize;
        self.shown.get(nth).copied()
    }

    fn op(&mut self) -> Op {
        let (page, pages) = self.pages();
        match self.rng.below(100) {
            0..38 => Op::Write(self.write()),
            38..50 => Op::Read(self.read()),
            50..54 => {
                let (protection, seed) = (self.protection(), self.rng.next());
                Op::MapPrivate { page, pages, protection, seed }
            }
            54..60 => {
                let first = self.file_page();
                self.map_file(page, pages, first)
            }
            60..62 => Op::Unmap { page, pages },
            62..70 => Op::Protect { page, pages, protection: self.protection() },
            70..76 => {
                self.end = self.position();
                Op::Truncate(self.end)
            }
            76..79 => Op::Seek(self.position()),
            79..86 => Op::Store { at: self.bytes(), seed: self.rng.next() },
            86..89 => Op::Load(self.bytes()),
            89..93 => Op::Chill,
            93..97 => Op::Steal { page, pages },
            _ => Op::Compare,
        }
    }

    fn fallocate(&mut self, backing: Backing) -> Op {
        // The store of a host's file has no blocks to move.
        if backing != Backing::HostFile && self.one_in(3) {
            return self.shift();
        }
        let changes = [Fallocate::Allocate, Fallocate::PunchHole, Fallocate::ZeroRange];
        let change = changes[self.rng.range(0..3)];
        let size = match change {
            Fallocate::PunchHole => FileSize::Stays,
            _ if self.one_in(2) => FileSize::Stays,
            _ => FileSize::Grows,
        };
        let (at, len) = (self.position(), self.length() as u64);
        if size == FileSize::Grows {
            self.end = self.end.max(at + len);
        }
        Op::Fallocate { change, at, len, size }
    }

    /// Mostly whole pages of the file.
    fn shift(&mut self) -> Op {
        let page = PAGE_SIZE as u64;
        let shift = if self.one_in(2) { Shift::Collapse } else { Shift::Insert };
        let (mut at, len) = (self.position() / page * page, page * self.rng.range(1..3) as u64);
        if self.one_in(10) {
            at += 100;
        }
        match shift {
            Shift::Collapse if at + len < self.end => self.end -= len,
            Shift::Insert if at < self.end => self.end += len,
            _ => {}
        }
        Op::Shift { shift, at, len }
    }

    /// A range of the window that is sometimes in one page.
    fn bytes(&mut self) -> Bytes {
        let last = self.end / PAGE_SIZE as u64;
        let shows_end = self.shown.iter().rev().find(|(_, index)| *index == last).copied();
        if let Some((page, _)) = shows_end.filter(|_| self.rng.below(3) == 0) {
            // Around the end of the file.
            let end = (self.end % PAGE_SIZE as u64) as usize;
            let offset = end.saturating_sub(self.rng.range(0..20));
            return Bytes { page, offset, len: self.rng.range(1..60).min(PAGE_SIZE - offset) };
        }
        let (page, offset) = (self.rng.range(0..WINDOW), self.offset(1));
        let len = self.length();
        let inside = PAGE_SIZE - offset;
        let len = if self.one_in(4) { len } else { len.min(inside) };
        Bytes { page, offset, len }
    }

    fn write(&mut self) -> Transfer {
        let transfer = self.transfer();
        if let Some(total) = transfer.total() {
            let start = match transfer.at {
                At::Position => self.end,
                At::Offset(pos) => pos,
            };
            self.end = self.end.max(start + total as u64);
        }
        transfer
    }

    fn read(&mut self) -> Transfer {
        self.transfer()
    }

    /// From a page of the file to the same one, or one nearby, often a little shifted.
    fn onto_itself(&mut self, window: usize, index: u64) -> Transfer {
        let offset = self.offset(1);
        let page = index.saturating_add(self.rng.below(3)).saturating_sub(self.rng.below(2));
        let shifted = match self.rng.below(4) {
            0 => offset,
            1 => self.offset(1),
            _ => (offset + self.rng.range(0..40)).saturating_sub(20),
        };
        let mut segments =
            vec![Segment { place: Place::Window(window, offset), len: self.length() }];
        let form = if self.one_in(2) { Form::Plain } else { Form::Vector };
        if form == Form::Vector && self.one_in(2) {
            let more = self.segment(form);
            segments.insert(self.rng.range(0..2), more);
        }
        let at = At::Offset(page * PAGE_SIZE as u64 + shifted as u64);
        Transfer { at, form, segments }
    }

    fn transfer(&mut self) -> Transfer {
        if let Some((window, index)) = self.shown()
            && self.one_in(5)
        {
            return self.onto_itself(window, index);
        }
        let at = if self.one_in(2) { At::Position } else { At::Offset(self.position()) };
        let form = match self.rng.below(40) {
            0..16 => Form::Plain,
            16..39 => Form::Vector,
            _ => Form::LostVector,
        };
        let count = match form {
            Form::Plain => 1,
            _ if self.one_in(150) => return self.odd_vector(at),
            _ => self.rng.range(0..6),
        };
        let segments = (0..count).map(|_| self.segment(form)).collect();
        Transfer { at, form, segments }
    }

    /// Vectors that are refused as a whole (W7).
    fn odd_vector(&mut self, at: At) -> Transfer {
        let mut segments: Vec<Segment> =
            (0..self.rng.range(1..4)).map(|_| self.segment(Form::Vector)).collect();
        if self.one_in(2) {
            let one = Segment { place: Place::Window(0, 0), len: 1 };
            segments.resize(faultless_usercopy::MAX_SEGMENTS + self.rng.range(0..2), one);
        } else {
            let negative = 0_usize.wrapping_sub(self.rng.range(1..10_000));
            let place = self.rng.range(0..segments.len());
            segments[place].len = negative;
        }
        Transfer { at, form: Form::Vector, segments }
    }

    fn segment(&mut self, form: Form) -> Segment {
        let len = if self.one_in(10) { 0 } else { self.length() };
        match self.rng.below(60) {
            0 => {
                let before = self.rng.range(0..PAGE_SIZE);
                Segment { place: Place::BeforeEnd(before), len }
            }
            // A plain request for nothing at no address: see the documentation.
            1 if form != Form::Plain || len > 0 => {
                let place = match self.rng.below(3) {
                    0 => Place::PastEnd(1 + self.rng.range(0..PAGE_SIZE)),
                    1 => Place::PastEnd(1 << self.rng.range(12..40)),
                    _ => Place::Last(1 + self.rng.range(0..2 * PAGE_SIZE)),
                };
                Segment { place, len }
            }
            _ => {
                let (page, offset) = (self.rng.range(0..WINDOW), self.offset(1));
                // Up to the end of the page, or across it.
                let len = match self.rng.below(6) {
                    0 if len > 0 => PAGE_SIZE - offset,
                    1 if len > 0 => PAGE_SIZE - offset + self.rng.range(1..40),
                    _ => len,
                };
                Segment { place: Place::Window(page, offset), len }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_case_and_the_strategies_alternate() {
        assert_eq!(Case::generate(7), Case::generate(7));
        assert_ne!(Case::generate(7).strategy, Case::generate(8).strategy);
    }

    #[test]
    fn no_segment_reaches_across_the_guard_and_no_total_overflows_without_a_negative_length() {
        for seed in 0..2000 {
            for op in Case::generate(seed).ops {
                let (Op::Write(transfer) | Op::Read(transfer)) = op else { continue };
                for segment in &transfer.segments {
                    let fits = segment.len <= MAX_SEGMENT || isize::try_from(segment.len).is_err();
                    assert!(fits, "seed {seed}: {segment}");
                }
            }
        }
    }
}
