//! Random requests against the reference model (W1–W4, W8): both strategies, every store, with
//! scripted trouble. A failure prints the seed; `FAULTLESS_SEED` replays it.

use faultless::filemap::NoTask;
use faultless::page::{Errno, PageIndex};
use faultless::usercopy::UserSlice;
use faultless_host::model::{Limits, Model, Piece};
use faultless_host::rng::{Rng, seed};
use faultless_host::{
    Action, Event, Machine, MachineConfig, Mmu, Protection, Rule, When, on_both_mmus,
};
use faultless_tests::{PAGE, Rig, Setup, TestTask, assert_same, calls};

/// Where the pieces of a request lie in the program: nine pages, of which the last is never mapped.
const SOURCE: usize = 8;
const SOURCE_PAGES: usize = 8;
const BAD: usize = SOURCE + SOURCE_PAGES;

/// The file stays below this.
const MOST: u64 = 90 * PAGE as u64;

struct Run<'m, M: Mmu> {
    rig: Rig<'m, M>,
    model: Model,
    rng: Rng,
    source: Vec<u8>,
}

impl<'m, M: Mmu> Run<'m, M> {
    fn new(machine: &'m Machine<M>, setup: Setup, rng: Rng) -> Self {
        let rig = Rig::new(machine, setup);
        Self { rig, model: Model::new(), rng, source: Vec::new() }
    }

    /// A position that is often near something: a page's edge, the end of the file, a leaf's edge.
    fn position(&mut self) -> u64 {
        let base = match self.rng.below(5) {
            0 => 0,
            1 => self.model.size(),
            2 => self.rng.below(80) * PAGE as u64,
            3 => 64 * PAGE as u64,
            _ => self.rng.below(MOST - 20 * PAGE as u64),
        };
        base.saturating_sub(self.rng.below(3)) + self.rng.below(3) * self.rng.below(700)
    }

    /// Pieces of a request, and the segments that say the same.
    fn request(&mut self) -> (Vec<Piece>, Vec<UserSlice>) {
        self.source = faultless_tests::pattern(self.rng.next(), SOURCE_PAGES * PAGE);
        let _ = self.rig.source_at(SOURCE, 0, &self.source);
        let (mut pieces, mut segments) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.rng.below(5) {
            let (piece, segment) = self.piece();
            pieces.push(piece);
            segments.push(segment);
        }
        for _ in 0..self.rng.below(3) {
            let page = SOURCE + self.rng.range(0..SOURCE_PAGES);
            self.rig.user().evict(page, 1);
        }
        (pieces, segments)
    }

    fn piece(&mut self) -> (Piece, UserSlice) {
        let user = self.rig.user();
        let end = SOURCE_PAGES * PAGE;
        match self.rng.below(12) {
            0 => (Piece::good(&[]), user.slice(BAD, 3, 0)),
            1 => {
                let len = self.rng.range(1..5000);
                (Piece::bad(len), user.slice(BAD, 0, len))
            }
            2 => {
                // Runs off the end of what is mapped.
                let readable = self.rng.range(1..2 * PAGE);
                let more = self.rng.range(1..PAGE);
                let mut bytes = self.source[end - readable..].to_vec();
                bytes.resize(readable + more, 0);
                let page = SOURCE + (end - readable) / PAGE;
                let segment = user.slice(page, (end - readable) % PAGE, readable + more);
                (Piece::cut(&bytes, readable), segment)
            }
            kind => {
                let most = if kind < 8 { 200 } else { 4 * PAGE };
                let len = self.rng.range(1..most);
                let at = self.rng.range(0..end - len);
                let segment = user.slice(SOURCE + at / PAGE, at % PAGE, len);
                (Piece::good(&self.source[at..at + len]), segment)
            }
        }
    }

    fn write(&mut self) {
        let (pieces, segments) = self.request();
        let pos = self.position();
        let append = self.rng.below(4) == 0 && self.model.size() < MOST - 25 * PAGE as u64;
        let limit = match self.rng.below(4) {
            0 => self.rng.below(MOST),
            _ => u64::MAX,
        };
        for _ in 0..self.rng.below(3) {
            let rule = Rule::random(&mut self.rng);
            self.rig.user().script().add_rule(rule);
        }
        let task = TestTask::new().limited_to(limit);
        let (options, pos) = match append {
            true => (self.rig.append(), self.model.size()),
            false => (self.rig.at(pos), pos),
        };
        let got = self.rig.write_as(&segments, &options, &task);
        self.rig.user().script().clear();
        let limits = Limits { file_size: limit, ..Limits::NONE };
        let ought = self.model.write_within(pos, &pieces, limits);
        let lens: Vec<usize> = segments.iter().map(UserSlice::len).collect();
        println!("write {lens:?} at {pos}, append {append}, limit {limit}: {ought:?}");
        assert_eq!(got.map(|written| written.bytes), ought);
        let blocked = ought == Err(Errno::FileTooBig) && limit <= pos;
        assert_eq!(task.exceeded(), u64::from(blocked), "SIGXFSZ");
        self.rig.store().assert_in_order(self.model.size());
    }

    /// Writes a part of the file to a place that does not overlap with it, from its own mapping.
    fn copy_within(&mut self) {
        let size = self.model.size() as usize;
        if size < 10 {
            return;
        }
        let from = self.rng.range(0..size - 1);
        let len = self.rng.range(1..(size - from).min(6 * PAGE) + 1);
        let to = self.position();
        let end = to + len as u64;
        if to < (from + len) as u64 && (from as u64) < end {
            return;
        }
        let user = self.rig.user();
        let pages = (from + len).div_ceil(PAGE);
        user.map_file(100, pages, self.rig.file(), PageIndex::ZERO, Protection::Read);
        let segment = user.slice(100, from, len);
        let bytes = self.model.bytes()[from..from + len].to_vec();
        println!("copy {len} from {from} to {to}");
        let got = self.rig.write(to, segment);
        self.rig.user().unmap(100, pages);
        assert_eq!(got, Ok(len));
        self.model.put(to, &bytes);
    }

    fn read(&mut self) {
        let pos = self.position();
        let len = self.rng.range(1..9000);
        println!("read {len} at {pos}");
        assert_same(&self.rig.read(pos, len), self.model.read(pos, len), "a read");
    }

    fn store_through_mapping(&mut self) {
        let size = self.model.size() as usize;
        if size == 0 {
            return;
        }
        let at = self.rng.range(0..size);
        let len = (size - at).min(self.rng.range(1..3000));
        let bytes = faultless_tests::pattern(self.rng.next(), len);
        println!("store {len} at {at}");
        let user = self.rig.user();
        let pages = size.div_ceil(PAGE);
        user.map_file(100, pages, self.rig.file(), PageIndex::ZERO, Protection::ReadWrite);
        user.store(user.at(100, at), &bytes).expect("a store inside the file");
        if self.rng.below(2) == 0 {
            // Scribbles past the end are nobody's business (P2).
            let behind = pages * PAGE - size;
            user.fill(user.at(100, size), 0xEE, behind).expect("the last page");
        }
        user.unmap(100, pages);
        self.model.put(at as u64, &bytes);
    }

    fn truncate(&mut self) {
        let size = match self.rng.below(3) {
            0 => self.rng.below(MOST),
            1 => self.model.size().saturating_sub(self.rng.below(3000)),
            _ => self.model.size() + self.rng.below(3000),
        };
        self.set_size(size);
    }

    fn set_size(&mut self, size: u64) {
        println!("truncate to {size}");
        assert_eq!(calls::truncate(self.rig.file(), size), Ok(()));
        self.model.truncate(size);
        self.rig.store().assert_in_order(size);
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..=9 => self.write(),
            10..=11 => self.copy_within(),
            12..=13 => self.read(),
            14 => self.store_through_mapping(),
            15 => self.truncate(),
            16 => {
                println!("chill");
                self.rig.chill();
            }
            17 => {
                println!("evict");
                let _ = calls::evict(self.rig.file());
            }
            18 => {
                println!("fsync");
                assert_eq!(calls::fsync(self.rig.file()), Ok(()));
            }
            _ => self.rig.assert_holds(self.model.bytes()),
        }
    }

    fn run(mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            if self.model.size() > MOST {
                self.set_size(100);
            }
        }
        self.rig.assert_holds_for_good(self.model.bytes());
    }
}

on_both_mmus! {
    fn w2_random_requests_do_what_the_model_does_on_every_store(machine = MachineConfig::new().frames(1024)) {
        let seed = seed();
        for (number, setup) in Setup::all().enumerate() {
            Run::new(machine, setup, Rng::new(seed ^ number as u64)).run(150);
        }
    }

    /// Little memory: frames go round quickly, and what a recycled one held must never show (W5).
    fn w5_random_requests_on_scattered_recycled_frames_show_no_old_bytes(machine = MachineConfig::new().frames(300).order(faultless_host::FrameOrder::Scattered)) {
        let seed = seed();
        for (number, setup) in Setup::distinct().enumerate() {
            for round in 0..4 {
                let rng = Rng::new(seed ^ (number as u64) << 8 ^ round);
                Run::new(machine, setup, rng).run(40);
            }
        }
    }

    /// One allocation in a while fails: short counts and ENOMEM, and never a wrong byte.
    fn w9_random_requests_with_failing_allocations_stay_true_to_their_counts(machine = MachineConfig::new().frames(1024)) {
        let seed = seed();
        for (number, setup) in Setup::distinct().enumerate() {
            let mut run = Run::new(machine, setup, Rng::new(seed ^ number as u64));
            for _ in 0..100 {
                let (pieces, segments) = run.request();
                let pos = run.position();
                machine.memory().fail_allocation(1 + run.rng.below(4));
                let got = run.rig.write_as(&segments, &run.rig.at(pos), &NoTask);
                machine.memory().stop_failing();
                let mut longest = run.model.clone();
                let ought = longest.write(pos, &pieces);
                match (got.map(|written| written.bytes), ought) {
                    (got, ought) if got == ought => run.model = longest,
                    (Ok(landed), Ok(most)) if landed > 0 && landed < most => {
                        let bytes = longest.read(pos, landed).to_vec();
                        run.model.put(pos, &bytes);
                    }
                    (Err(Errno::NoMemory), _) => {}
                    other => panic!("{other:?}"),
                }
                run.rig.store().assert_in_order(run.model.size());
                run.rig.assert_holds(run.model.bytes());
            }
            run.rig.assert_holds_for_good(run.model.bytes());
        }
    }

    /// 5fe17237: fault-in switched off, and short copies at every turn, for whole runs.
    fn w6_random_requests_without_fault_in_do_what_the_model_does(machine = MachineConfig::new().frames(1024)) {
        let seed = seed();
        for (number, setup) in Setup::distinct().enumerate() {
            let mut run = Run::new(machine, setup, Rng::new(seed ^ number as u64));
            for _ in 0..60 {
                let (pieces, segments) = run.request();
                let pos = run.position();
                let script = run.rig.user().script();
                script.add(Event::FaultIn, When::Every(1), Action::Lie);
                let short = 1 + run.rng.below(5000) as usize;
                script.add(Event::AtomicCopy, When::Every(2), Action::Short(short));
                let got = run.rig.write(pos, segments[0]);
                script.clear();
                assert_eq!(got, run.model.write(pos, &pieces[..1]));
                let got = run.rig.writev(pos, &segments);
                assert_eq!(got, run.model.write(pos, &pieces));
            }
            run.rig.assert_holds_for_good(run.model.bytes());
        }
    }
}
