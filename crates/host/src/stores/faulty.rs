//! A store that fails, defers, shortens and reorders on request, and that can crash.
//!
//! Key type: [`FaultyStore`], around any [`Medium`]. A crash brings back what was durable at the
//! last successful `sync`, plus, when writeback is reordered, any part of what was sent since.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use faultless_page::{
    AddressSpaceOperations, Begun, Errno, Fallocate, FillBuf, PageIndex, Shift, SyncKind,
    WritebackRun, forward_to_store,
};

use super::Medium;
use crate::rng::Rng;
use crate::script::When;
use crate::wait::Watchdog;

/// A call of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, arbitrary::Arbitrary)]
pub enum Call {
    /// `read`.
    Read,
    /// `write_begin`.
    WriteBegin,
    /// `write_end`.
    WriteEnd,
    /// `writeback`.
    Writeback,
    /// `truncate_blocks`.
    TruncateBlocks,
    /// `set_size`.
    SetSize,
    /// `sync`.
    Sync,
    /// `fallocate`, of a range that is not empty.
    Fallocate,
    /// `prepare_size`.
    PrepareSize,
}

const CALLS: usize = 9;

/// A store with a plan of failures.
#[derive(Debug)]
pub struct FaultyStore<S: Medium> {
    inner: Arc<S>,
    plan: Mutex<Plan<S::State>>,
    released: Condvar,
    watchdog: Watchdog,
}

#[derive(Debug)]
struct Plan<State> {
    counts: [u64; CALLS],
    failures: Vec<(Call, When, Errno)>,
    failing_pages: Vec<(Call, PageIndex, Errno)>,
    /// Calls that wait until they are released.
    deferred: Vec<(Call, When)>,
    /// How many calls wait.
    waiting: usize,
    longest_grant: usize,
    reordering: Option<Rng>,
    /// Pages sent but not yet handed on, in the order in which they were sent.
    pending: Vec<Sent>,
    durable: State,
}

#[derive(Clone, Debug)]
struct Sent {
    index: PageIndex,
    bytes: Vec<u8>,
    inside: usize,
}

impl Sent {
    /// The file ends at `size` now: the bytes from there on are zeros (P2).
    fn cut_off(&mut self, size: u64) {
        let inside = size.saturating_sub(self.index.start());
        if inside < self.inside as u64 {
            self.inside = inside as usize;
            self.bytes[self.inside..].fill(0);
        }
    }
}

impl<S: Medium> FaultyStore<S> {
    /// `inner`, without failures yet; what it holds counts as durable. The watchdog watches
    /// deferred calls.
    #[must_use]
    pub fn new(inner: Arc<S>, watchdog: &Watchdog) -> Arc<Self> {
        let plan = Plan {
            counts: [0; CALLS],
            failures: Vec::new(),
            failing_pages: Vec::new(),
            deferred: Vec::new(),
            waiting: 0,
            longest_grant: usize::MAX,
            reordering: None,
            pending: Vec::new(),
            durable: inner.save(),
        };
        Arc::new(Self {
            inner,
            plan: Mutex::new(plan),
            released: Condvar::new(),
            watchdog: watchdog.clone(),
        })
    }

    /// The store below.
    #[must_use]
    pub fn inner(&self) -> &Arc<S> {
        &self.inner
    }

    /// Calls so far.
    #[must_use]
    pub fn count(&self, call: Call) -> u64 {
        self.plan().counts[call as usize]
    }

    /// The calls with these numbers (from 1, since the store was made) fail. `write_end`,
    /// `truncate_blocks` and `set_size` cannot.
    pub fn fail(&self, call: Call, when: When, errno: Errno) {
        self.plan().failures.push((call, when, errno));
    }

    /// The next call fails.
    pub fn fail_next(&self, call: Call, errno: Errno) {
        let next = self.count(call) + 1;
        self.fail(call, When::Nth(next), errno);
    }

    /// Every such call that touches this page fails: `read`, `write_begin`, `writeback`.
    pub fn fail_page(&self, call: Call, index: PageIndex, errno: Errno) {
        self.plan().failing_pages.push((call, index, errno));
    }

    /// Nothing fails any more, nothing is deferred, shortened or reordered; what was reordered is
    /// handed on.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.failures.clear();
        plan.failing_pages.clear();
        plan.longest_grant = usize::MAX;
        plan.deferred.clear();
        let _ = self.hand_on(&mut plan);
        plan.reordering = None;
        self.released.notify_all();
    }

    /// Such calls wait from now on, until [`release`](Self::release).
    pub fn defer(&self, call: Call) {
        self.plan().deferred.push((call, When::From(0)));
    }

    /// The next such call waits, until [`release`](Self::release); those after it do not.
    pub fn defer_next(&self, call: Call) {
        let mut plan = self.plan();
        let next = plan.counts[call as usize] + 1;
        plan.deferred.push((call, When::Nth(next)));
    }

    /// Calls that wait at the moment.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.plan().waiting
    }

    /// Such calls go on, and later ones do not wait.
    pub fn release(&self, call: Call) {
        self.plan().deferred.retain(|(deferred, _)| *deferred != call);
        self.released.notify_all();
    }

    /// `write_begin` grants at most so many bytes (at least 1).
    pub fn shorten_grants(&self, longest: usize) {
        self.plan().longest_grant = longest.max(1);
    }

    /// Pages written back stay under way until the next `sync`, which hands them on in an order by
    /// chance.
    pub fn reorder(&self, seed: u64) {
        self.plan().reordering = Some(Rng::new(seed));
    }

    /// Loses everything that was not synced; of what was sent since and is still under way, each
    /// page arrives or not by chance. The cache must be thrown away, too: start again with a new
    /// inode.
    pub fn crash(&self) {
        let mut plan = self.plan();
        self.inner.restore(&plan.durable);
        let pending = std::mem::take(&mut plan.pending);
        for sent in pending {
            if plan.reordering.as_mut().is_some_and(|rng| rng.below(2) == 0) {
                let _ = self.inner.put_page(sent.index, &sent.bytes, sent.inside);
            }
        }
        plan.durable = self.inner.save();
    }

    fn plan(&self) -> MutexGuard<'_, Plan<S::State>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call on `pages`, waits if it is deferred, and says whether it fails.
    fn enter(&self, call: Call, pages: Range<u64>) -> Result<(), Errno> {
        let mut plan = self.plan();
        plan.counts[call as usize] += 1;
        let number = plan.counts[call as usize];
        let deferred = |plan: &mut Plan<_>| {
            plan.deferred.iter().any(|(which, when)| *which == call && when.is(number))
        };
        if deferred(&mut plan) {
            plan.waiting += 1;
            plan = self
                .watchdog
                .wait(&self.released, plan, "a deferred call of a store", |plan| !deferred(plan));
            plan.waiting -= 1;
        }
        let by_number = plan.failures.iter().find(|(c, when, _)| *c == call && when.is(number));
        let by_page =
            plan.failing_pages.iter().find(|(c, p, _)| *c == call && pages.contains(&p.get()));
        match (by_number, by_page) {
            (Some((.., errno)), _) | (None, Some((.., errno))) => Err(*errno),
            (None, None) => Ok(()),
        }
    }

    /// Hands the pending pages on, by chance, but each page's in the order in which they were sent.
    fn hand_on(&self, plan: &mut Plan<S::State>) -> Result<(), Errno> {
        while !plan.pending.is_empty() {
            let len = plan.pending.len() as u64;
            let any = plan.reordering.as_mut().map_or(0, |rng| rng.below(len)) as usize;
            let index = plan.pending[any].index;
            let first = plan.pending.iter().position(|sent| sent.index == index).unwrap_or(any);
            let sent = plan.pending.remove(first);
            self.inner.put_page(sent.index, &sent.bytes, sent.inside)?;
        }
        Ok(())
    }

    /// Hands on what is pending of one page.
    fn hand_on_page(&self, plan: &mut Plan<S::State>, index: PageIndex) -> Result<(), Errno> {
        let (of_page, others) = plan.pending.drain(..).partition(|sent| sent.index == index);
        plan.pending = others;
        let of_page: Vec<Sent> = of_page;
        of_page.iter().try_for_each(|sent| self.inner.put_page(index, &sent.bytes, sent.inside))
    }
}

impl<S: Medium> AddressSpaceOperations for FaultyStore<S> {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.enter(Call::Read, index.get()..index.get() + 1)?;
        self.hand_on_page(&mut self.plan(), index)?;
        self.inner.read(index, buf)
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let index = PageIndex::containing(pos);
        self.enter(Call::WriteBegin, index.get()..index.get() + 1)?;
        let longest = {
            let mut plan = self.plan();
            self.hand_on_page(&mut plan, index)?;
            plan.longest_grant
        };
        self.inner.write_begin(pos, len.min(longest))
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        // It cannot fail, whatever the plan says.
        let _ = self.enter(Call::WriteEnd, 0..0);
        self.inner.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let first = run.first().get();
        self.enter(Call::Writeback, first..first + u64::from(run.pages()))?;
        let mut plan = self.plan();
        if plan.reordering.is_none() {
            drop(plan);
            return self.inner.writeback(run);
        }
        super::each_page(run, |index, bytes, inside| {
            plan.pending.push(Sent { index, bytes: bytes.to_vec(), inside });
            Ok(())
        })
    }

    fn prepare_size(&self, size: u64) -> Result<(), Errno> {
        self.enter(Call::PrepareSize, 0..0)?;
        self.inner.prepare_size(size)
    }

    fn truncate_blocks(&self, size: u64) {
        let _ = self.enter(Call::TruncateBlocks, 0..0);
        // What is under way is cut off as what has arrived is.
        let mut plan = self.plan();
        plan.pending.retain(|sent| sent.index.start() < size);
        plan.pending.iter_mut().for_each(|sent| sent.cut_off(size));
        drop(plan);
        self.inner.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        // Never sleeps: counted, but not deferred.
        self.plan().counts[Call::SetSize as usize] += 1;
        self.inner.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.enter(Call::Sync, 0..0)?;
        let mut plan = self.plan();
        self.hand_on(&mut plan)?;
        self.inner.sync(kind)?;
        plan.durable = self.inner.save();
        Ok(())
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if !range.is_empty() {
            let pages = PageIndex::containing(range.start).get()
                ..PageIndex::containing(range.end - 1).get() + 1;
            self.enter(Call::Fallocate, pages.clone())?;
            let mut plan = self.plan();
            pages
                .clone()
                .try_for_each(|page| self.hand_on_page(&mut plan, PageIndex::new(page)))?;
        }
        self.inner.fallocate(change, range)
    }

    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        let first = PageIndex::containing(range.start).get();
        self.enter(Call::Fallocate, first..PageIndex::containing(range.end - 1).get() + 1)?;
        self.hand_on(&mut self.plan())?;
        self.inner.shift(shift, range, size)
    }

    forward_to_store!(self => self.inner; strategy, max_size, is_persistent, extent, shift_unit);
    forward_to_store!(self => self.inner; wants_stable_pages, is_swap, store_id);
    forward_to_store!(self => self.inner; failed_sync, set_times);
}
