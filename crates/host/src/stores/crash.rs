//! A store that remembers what it was told, call by call, so that a crash can be played at each of
//! its calls.
//!
//! Key type: [`CrashStore`], around any other store, which does the work. What is on the disk when
//! the machine stops at a call is an [`Image`]: everything that a completed `sync` covers, and of
//! the rest nothing, all, or any part ([`Fate`]), down to sectors. A [`Lie`] is a store that does
//! not keep what it says.

#![forbid(unsafe_code)]

pub(super) mod log;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use faultless_page::{
    AddressSpaceOperations, Begun, Errno, FailedSync, Fallocate, FillBuf, PAGE_SIZE, PageIndex,
    Shift, SyncKind, WritebackRun, forward_to_store,
};

use self::log::{Effect, Entry, Sector};
pub use self::log::{Fate, Lie, Moment};
use super::faulty::Call;
use super::image::{Image, SECTOR, Sizing};
use crate::wait::Watchdog;

/// Which fallible calls fail, counted from the moment of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spell {
    /// This one, from 1.
    Once(u64),
    /// This one and all after it.
    From(u64),
}

/// A store that remembers its calls.
pub struct CrashStore {
    inner: Arc<dyn AddressSpaceOperations>,
    sizing: Sizing,
    lie: Lie,
    state: Mutex<State>,
    released: Condvar,
    watchdog: Watchdog,
}

#[derive(Debug, Default)]
struct State {
    log: Vec<Entry>,
    /// The size as it was recorded last.
    size: u64,
    /// The next writeback, or sync, fails.
    failing: Vec<(Call, Errno)>,
    /// Any call that can fail does, if it is its turn.
    spell: Option<(Spell, Errno)>,
    fallible: u64,
    failed: u64,
    holding: Holding,
}

/// Whether a writeback waits on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holding {
    #[default]
    No,
    /// The next one will.
    Next,
    /// One does.
    One,
}

impl CrashStore {
    /// `inner`, which holds an empty file.
    #[must_use]
    pub fn new(
        inner: Arc<dyn AddressSpaceOperations>,
        sizing: Sizing,
        lie: Lie,
        watchdog: &Watchdog,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner,
            sizing,
            lie,
            state: Mutex::default(),
            released: Condvar::new(),
            watchdog: watchdog.clone(),
        })
    }

    /// Calls so far: a crash can be played at each, and after the last.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.state().log.len()
    }

    /// Which call has this number, if there is one.
    #[must_use]
    pub fn call(&self, number: usize) -> Option<Call> {
        self.state().log.get(number).map(|entry| entry.call)
    }

    /// Whether the call moves more than one sector, so that it can be torn.
    #[must_use]
    pub fn can_be_torn(&self, number: usize) -> bool {
        let state = self.state();
        let entry = state.log.get(number);
        entry.is_some_and(|entry| matches!(&entry.effect, Effect::Write(all) if all.len() > 1))
    }

    /// The next such call fails: a writeback after half of it has arrived, a sync after nothing.
    pub fn fail_next(&self, call: Call, errno: Errno) {
        self.state().failing.push((call, errno));
    }

    /// Of the calls that can fail, these do from now on.
    pub fn fail(&self, spell: Spell, errno: Errno) {
        let mut state = self.state();
        (state.fallible, state.failed) = (0, 0);
        state.spell = Some((spell, errno));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut state = self.state();
        state.failing.clear();
        state.spell = None;
    }

    /// How many calls have failed since [`fail`](Self::fail).
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.state().failed
    }

    /// The next writeback waits inside the store until [`release`](Self::release): it is on its
    /// way.
    pub fn hold(&self) {
        self.state().holding = Holding::Next;
    }

    /// Whether one waits.
    #[must_use]
    pub fn is_holding_one(&self) -> bool {
        self.state().holding == Holding::One
    }

    /// It arrives.
    pub fn release(&self) {
        self.state().holding = Holding::No;
        self.released.notify_all();
    }

    /// What is on the disk when the machine stops at call `number`.
    #[must_use]
    pub fn crash(&self, number: usize, moment: Moment, mut fate: Fate) -> Image {
        let mut image = Image::empty(self.sizing);
        log::replay(&self.state().log, self.lie, number, moment, &mut fate, &mut image);
        image
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins: its number, and whether it is to fail.
    fn begin(&self, call: Call, effect: Effect) -> (usize, Result<(), Errno>) {
        let mut state = self.state();
        state.log.push(Entry { call, effect, ended: None });
        let number = state.log.len() - 1;
        if !matches!(
            call,
            Call::Read | Call::WriteBegin | Call::Writeback | Call::Sync | Call::Fallocate
        ) {
            return (number, Ok(()));
        }
        state.fallible += 1;
        let turn = match state.spell {
            Some((Spell::Once(nth), errno)) if nth == state.fallible => Some(errno),
            Some((Spell::From(nth), errno)) if nth <= state.fallible => Some(errno),
            _ => None,
        };
        let asked = state.failing.iter().position(|(failing, _)| *failing == call);
        let errno = asked.map(|at| state.failing.remove(at).1).or(turn);
        state.failed += u64::from(errno.is_some());
        if let (Some(_), Effect::Write(sectors)) = (errno, &mut state.log[number].effect) {
            sectors.truncate(sectors.len() / 2);
        } else if errno.is_some() {
            state.log[number].effect = Effect::None;
        }
        (number, errno.map_or(Ok(()), Err))
    }

    fn end(&self, number: usize) {
        let mut state = self.state();
        state.log[number].ended = Some(state.log.len());
    }

    /// A call that may fail and has no effect on the disk.
    fn passing<R>(&self, call: Call, work: impl FnOnce() -> Result<R, Errno>) -> Result<R, Errno> {
        let (number, outcome) = self.begin(call, Effect::None);
        outcome?;
        let result = work()?;
        self.end(number);
        Ok(result)
    }

    fn wait_while_held(&self) {
        let mut state = self.state();
        if state.holding == Holding::Next {
            state.holding = Holding::One;
            let what = "a writeback on its way";
            let released = |state: &mut State| state.holding == Holding::No;
            drop(self.watchdog.wait(&self.released, state, what, released));
        }
    }

    fn sectors(&self, run: &WritebackRun<'_>) -> Vec<Sector> {
        let mut sectors = Vec::new();
        for offset in (0..run.padded_len()).step_by(SECTOR) {
            let mut bytes = [0; SECTOR];
            run.copy_to(offset, &mut bytes);
            let number = (run.pos() + offset as u64) / SECTOR as u64;
            let inside = run.len().saturating_sub(offset).min(SECTOR);
            sectors.push(Sector { number, bytes: Arc::new(bytes), inside });
        }
        if self.lie == Lie::TornWriteAcknowledged {
            sectors.truncate(sectors.len().div_ceil(2));
        }
        sectors
    }
}

impl AddressSpaceOperations for CrashStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.passing(Call::Read, || self.inner.read(index, buf))
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        debug_assert!(len <= PAGE_SIZE, "a piece of one page");
        self.passing(Call::WriteBegin, || self.inner.write_begin(pos, len))
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        let (number, _) = self.begin(Call::WriteEnd, Effect::None);
        self.inner.write_end(pos, len, copied);
        self.end(number);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let (number, outcome) = self.begin(Call::Writeback, Effect::Write(self.sectors(run)));
        self.wait_while_held();
        if self.lie == Lie::SwallowsErrors && outcome.is_err() {
            return Ok(());
        }
        outcome?;
        self.inner.writeback(run)?;
        self.end(number);
        Ok(())
    }

    fn truncate_blocks(&self, size: u64) {
        let effect = match self.lie {
            Lie::TrimForgotten => Effect::None,
            _ => Effect::TruncateBlocks(size),
        };
        let (number, _) = self.begin(Call::TruncateBlocks, effect);
        self.inner.truncate_blocks(size);
        self.end(number);
    }

    fn set_size(&self, size: u64) {
        self.state().size = size;
        let (number, _) = self.begin(Call::SetSize, Effect::Size(size));
        self.inner.set_size(size);
        self.end(number);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        let size = self.state().size;
        let (number, outcome) = self.begin(Call::Sync, Effect::Sync(kind, size));
        outcome?;
        self.inner.sync(kind)?;
        self.end(number);
        Ok(())
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if range.is_empty() {
            return self.inner.fallocate(change, range);
        }
        let (number, outcome) = self.begin(Call::Fallocate, Effect::of(change, &range));
        outcome?;
        self.inner.fallocate(change, range)?;
        self.end(number);
        Ok(())
    }

    /// It happens whole or not at all, its size included: a crash finds the file as before or as
    /// after it.
    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        let effect = Effect::Shift(shift, range.clone(), size);
        let (number, outcome) = self.begin(Call::Fallocate, effect);
        outcome?;
        self.inner.shift(shift, range, size)?;
        self.state().size = size;
        self.end(number);
        Ok(())
    }

    /// The failures are its own: nothing has been asked of the store below.
    fn failed_sync(&self) -> FailedSync {
        FailedSync::Keeps
    }

    forward_to_store!(self => self.inner; strategy, max_size, is_persistent, extent, prepare_size);
    forward_to_store!(self => self.inner; wants_stable_pages, is_swap, store_id, set_times);
    forward_to_store!(self => self.inner; shift_unit);
}

impl fmt::Debug for CrashStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashStore").field("calls", &self.calls()).finish_non_exhaustive()
    }
}
