//! A store whose calls take time: it takes a writeback's data at one point and lets them land at
//! another, and its caller can be interrupted, delayed or refused inside each call.
//!
//! Key types: [`PhasedStore`], around a [`BlockStore`], and [`Pace`], which says what happens
//! inside its calls. A sync covers the writebacks that had returned when it began.
//! [`PhasedStore::durable`] is what the disk holds if everything else is lost;
//! [`PhasedStore::crash`] is what it holds when the machine stops at some moment.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_page::{
    AddressSpaceOperations, Begun, Errno, FailedSync, Fallocate, FillBuf, PAGE_SIZE, PageIndex,
    Shift, Strategy, SyncKind, WritebackRun,
};

use super::crash::log::{self, Effect, Entry, Fate, Lie, Moment, Sector};
use super::faulty::Call;
use super::image::{Image, SECTOR, Sizing};
use super::{BlockStore, Medium};

/// What happens inside the calls of a [`PhasedStore`].
pub trait Pace: Send + Sync {
    /// A point inside a call, at which other threads may run. The store holds no lock of its own.
    fn point(&self);

    /// A call that can fail has begun; its answer. May take as long as it likes.
    ///
    /// # Errors
    /// What the call is to fail with.
    fn answer(&self, call: Call) -> Result<(), Errno>;

    /// Which threads wait at this moment, as a mask of their numbers.
    fn waiting(&self) -> u64 {
        0
    }
}

/// How a writeback ended, and for which pages.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The pages, by number.
    pub pages: Range<u64>,
    /// The store's answer.
    pub outcome: Result<(), Errno>,
    /// The threads that waited when it ended, as [`Pace::waiting`] said.
    pub waiting: u64,
}

/// A store with points inside its calls, and writebacks in two phases.
pub struct PhasedStore {
    inner: Arc<BlockStore>,
    pace: Box<dyn Pace>,
    lie: Lie,
    state: Mutex<State>,
}

struct State {
    /// What the disk held at first.
    base: Image,
    log: Vec<Entry>,
    completions: Vec<Completion>,
    /// The size as it was recorded last.
    size: u64,
    /// Calls of writeback and sync that failed.
    failures: usize,
}

impl PhasedStore {
    /// `inner`, whose contents are durable, and how it breaks its word about what is.
    #[must_use]
    pub fn new(inner: Arc<BlockStore>, pace: Box<dyn Pace>, lie: Lie) -> Arc<Self> {
        let size = inner.size();
        let mut base = Image::empty(Sizing::Recorded);
        base.record_size(size);
        for (number, piece) in (0..).zip(inner.contents().chunks(SECTOR)) {
            if piece != &[0; SECTOR][..piece.len()] {
                let mut bytes = [0; SECTOR];
                bytes[..piece.len()].copy_from_slice(piece);
                base.write(number, &Arc::new(bytes), piece.len());
            }
        }
        let state = State { base, log: Vec::new(), completions: Vec::new(), size, failures: 0 };
        Arc::new(Self { inner, pace, lie, state: Mutex::new(state) })
    }

    /// The store that keeps the data.
    #[must_use]
    pub fn inner(&self) -> &Arc<BlockStore> {
        &self.inner
    }

    /// How many writebacks have ended so far.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.state().completions.len()
    }

    /// How the first writeback of a page ended that was not among the first `from` to end.
    #[must_use]
    pub fn first_completion(&self, page: u64, from: usize) -> Option<Completion> {
        let state = self.state();
        let later = state.completions.get(from..).unwrap_or_default();
        later.iter().find(|one| one.pages.contains(&page)).cloned()
    }

    /// Writebacks and syncs that have failed so far.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.state().failures
    }

    /// Moments so far at which the machine can stop: before each of its calls' effects, and after
    /// the last.
    #[must_use]
    pub fn moments(&self) -> usize {
        self.state().log.len()
    }

    /// What is on the disk when the machine stops now, and all is lost that no completed sync
    /// covers.
    #[must_use]
    pub fn durable(&self) -> Image {
        self.crash(self.moments(), Moment::Before, Fate::Lost)
    }

    /// What is on the disk when the machine stops at a moment.
    #[must_use]
    pub fn crash(&self, number: usize, moment: Moment, mut fate: Fate) -> Image {
        let state = self.state();
        let mut image = state.base.clone();
        log::replay(&state.log, self.lie, number, moment, &mut fate, &mut image);
        image
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an effect; its number.
    fn begin(&self, call: Call, effect: Effect) -> usize {
        let mut state = self.state();
        state.log.push(Entry { call, effect, ended: None });
        state.log.len() - 1
    }

    fn end(&self, numbers: Range<usize>, mine: impl Fn(usize) -> bool) {
        let mut state = self.state();
        let now = state.log.len();
        for number in numbers.filter(|number| mine(*number)) {
            state.log[number].ended = Some(now);
        }
    }

    /// The effect of a call that cannot fail.
    fn at_once(&self, call: Call, effect: Effect, work: impl FnOnce()) {
        self.pace.point();
        let number = self.begin(call, effect);
        work();
        self.end(number..number + 1, |_| true);
        self.pace.point();
    }

    /// The pages of a run, as they are now, one after another: their bytes, and how many of them
    /// lie inside the file.
    fn take(&self, run: &WritebackRun<'_>) -> Vec<(PageIndex, Vec<u8>, usize)> {
        let mut taken = Vec::new();
        for page in 0..u64::from(run.pages()) {
            self.pace.point();
            let offset = page as usize * PAGE_SIZE;
            let mut bytes = vec![0; PAGE_SIZE];
            run.copy_to(offset, &mut bytes);
            let inside = run.len().saturating_sub(offset).min(PAGE_SIZE);
            taken.push((run.first().plus(page), bytes, inside));
        }
        taken
    }
}

/// A page in sectors.
fn sectors(index: PageIndex, bytes: &[u8], inside: usize) -> Vec<Sector> {
    let first = index.start() / SECTOR as u64;
    let sector = |(nth, bytes): (usize, &[u8; SECTOR])| Sector {
        number: first + nth as u64,
        bytes: Arc::new(*bytes),
        inside: inside.saturating_sub(nth * SECTOR).min(SECTOR),
    };
    bytes.as_chunks().0.iter().enumerate().map(sector).collect()
}

impl AddressSpaceOperations for PhasedStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.pace.answer(Call::Read)?;
        let read = self.inner.read(index, buf);
        self.pace.point();
        read
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.pace.answer(Call::WriteBegin)?;
        let begun = self.inner.write_begin(pos, len);
        self.pace.point();
        begun
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.pace.point();
        self.inner.write_end(pos, len, copied);
    }

    /// One that fails has landed half of its pages.
    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let taken = self.take(run);
        let outcome = self.pace.answer(Call::Writeback);
        let all = taken.len();
        let lands = if outcome.is_ok() { all } else { all / 2 };
        let mut landed = Vec::new();
        for (index, bytes, inside) in &taken[..lands] {
            self.pace.point();
            landed
                .push(self.begin(Call::Writeback, Effect::Write(sectors(*index, bytes, *inside))));
            self.inner.put_page(*index, bytes, *inside)?;
        }
        let first = run.first().get();
        let pages = first..first + all as u64;
        let completion = Completion { pages, outcome, waiting: self.pace.waiting() };
        if outcome.is_ok()
            && let (Some(from), Some(to)) = (landed.first(), landed.last())
        {
            self.end(*from..*to + 1, |number| landed.contains(&number));
        }
        {
            let mut state = self.state();
            state.failures += usize::from(outcome.is_err());
            state.completions.push(completion);
        }
        self.pace.point();
        outcome
    }

    fn prepare_size(&self, size: u64) -> Result<(), Errno> {
        self.inner.prepare_size(size)
    }

    fn truncate_blocks(&self, size: u64) {
        self.at_once(Call::TruncateBlocks, Effect::TruncateBlocks(size), || {
            self.inner.truncate_blocks(size)
        });
    }

    fn set_size(&self, size: u64) {
        self.at_once(Call::SetSize, Effect::Size(size), || {
            self.state().size = size;
            self.inner.set_size(size);
        });
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        let size = self.state().size;
        let number = self.begin(Call::Sync, Effect::Sync(kind, size));
        let outcome = self.pace.answer(Call::Sync).and_then(|()| self.inner.sync(kind));
        match outcome {
            Ok(()) => self.end(number..number + 1, |_| true),
            Err(_) => self.state().failures += 1,
        }
        self.pace.point();
        outcome
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if range.is_empty() {
            return self.inner.fallocate(change, range);
        }
        self.pace.answer(Call::Fallocate)?;
        let number = self.begin(Call::Fallocate, Effect::of(change, &range));
        let changed = self.inner.fallocate(change, range);
        if changed.is_ok() {
            self.end(number..number + 1, |_| true);
        }
        self.pace.point();
        changed
    }

    fn shift_unit(&self) -> Option<u64> {
        self.inner.shift_unit()
    }

    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        self.pace.answer(Call::Fallocate)?;
        let number = self.begin(Call::Fallocate, Effect::Shift(shift, range.clone(), size));
        self.state().size = size;
        let moved = self.inner.shift(shift, range, size);
        self.end(number..number + 1, |_| true);
        self.pace.point();
        moved
    }

    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        self.inner.extent(pos)
    }

    fn failed_sync(&self) -> FailedSync {
        self.inner.failed_sync()
    }

    fn strategy(&self) -> Strategy {
        self.inner.strategy()
    }

    fn max_size(&self) -> u64 {
        self.inner.max_size()
    }
}

impl fmt::Debug for PhasedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhasedStore").field("moments", &self.moments()).finish_non_exhaustive()
    }
}
