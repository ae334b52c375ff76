//! [`FaultyStore`]: a store whose calls are counted, and fail or come short as planned.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use faultless_page::{
    AddressSpaceOperations, Begun, CoreSync, Errno, Fallocate, FillBuf, PageIndex, Reserved, Shift,
    Spin, SyncFamily, SyncKind, WritebackRun, forward_to_store,
};

use crate::direct;

/// A call of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`read`](AddressSpaceOperations::read).
    Read,
    /// [`write_begin`](AddressSpaceOperations::write_begin).
    WriteBegin,
    /// [`write_end`](AddressSpaceOperations::write_end). Cannot fail.
    WriteEnd,
    /// [`writeback`](AddressSpaceOperations::writeback).
    Writeback,
    /// [`truncate_blocks`](AddressSpaceOperations::truncate_blocks). Cannot fail.
    TruncateBlocks,
    /// [`set_size`](AddressSpaceOperations::set_size). Cannot fail.
    SetSize,
    /// [`sync`](AddressSpaceOperations::sync).
    Sync,
    /// [`fallocate`](AddressSpaceOperations::fallocate), of a range that is not empty, or
    /// [`shift`](AddressSpaceOperations::shift).
    Fallocate,
    /// [`prepare_size`](AddressSpaceOperations::prepare_size).
    PrepareSize,
}

/// Kinds of calls.
const CALLS: usize = 9;

/// Which calls of a kind are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The `n`-th one since the plan was made, counted from 1, and no other.
    Nth(u64),
    /// Each `n`-th one since the plan was made: all of them for 1, none for 0.
    EveryNth(u64),
}

/// What happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call fails, and the store below does not see it.
    Fail(Errno),
    /// A read fills at most half of its page and says Ok; `write_begin` has room for half of the
    /// bytes, rounded up. Only for these two.
    Short,
}

/// A store around another one, for tests of a kernel: counts the calls, and makes those of a plan
/// fail or come short.
///
/// There is one plan for each kind of call. `S` is the family of its short lock, which is free
/// during the calls of the store below. Sleeps where that one does.
///
/// ```
/// use faultless_page::{AddressSpaceOperations, Errno, SyncKind};
/// use faultless_parts::{Answer, Call, FaultyStore, RamStore, When};
///
/// let store: FaultyStore<RamStore> = FaultyStore::new(RamStore::new());
/// store.plan(Call::Sync, When::Nth(2), Answer::Fail(Errno::Io))?;
/// assert_eq!(store.sync(SyncKind::All), Ok(()));
/// assert_eq!(store.sync(SyncKind::All), Err(Errno::Io));
/// assert_eq!(store.sync(SyncKind::All), Ok(()));
/// assert_eq!(store.count(Call::Sync), 3);
/// # Ok::<(), Errno>(())
/// ```
pub struct FaultyStore<T, S: SyncFamily = CoreSync> {
    inner: T,
    calls: S::Spin<[Planned; CALLS]>,
}

/// What is known of one kind of call.
#[derive(Clone, Copy)]
struct Planned {
    count: u64,
    /// With the count at which the plan was made.
    plan: Option<(When, Answer, u64)>,
}

impl Planned {
    /// Counts a call; what is to happen to it.
    fn next(&mut self) -> Option<Answer> {
        self.count += 1;
        let (when, answer, since) = self.plan?;
        let number = self.count - since;
        let is_meant = match when {
            When::Nth(n) => number == n,
            When::EveryNth(n) => n != 0 && number.is_multiple_of(n),
        };
        is_meant.then_some(answer)
    }
}

impl<T> FaultyStore<T> {
    /// `inner` without a plan, with the locks of [`CoreSync`].
    #[must_use]
    pub fn new(inner: T) -> Self {
        Self::with_locks(inner)
    }
}

impl<T, S: SyncFamily> FaultyStore<T, S> {
    /// `inner` without a plan, with the locks of `S`.
    #[must_use]
    pub fn with_locks(inner: T) -> Self {
        Self { inner, calls: Spin::new([Planned { count: 0, plan: None }; CALLS]) }
    }

    /// The store below.
    #[must_use]
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// How many calls of this kind came, those that failed included.
    #[must_use]
    pub fn count(&self, call: Call) -> u64 {
        self.calls.lock()[call as usize].count
    }

    /// From now on, calls of this kind get this answer. Replaces the plan for the kind.
    ///
    /// # Errors
    /// [`Errno::Invalid`] if a call of this kind cannot give such an answer: then no plan changes.
    pub fn plan(&self, call: Call, when: When, answer: Answer) -> Result<(), Errno> {
        match (call, answer) {
            (Call::Read | Call::WriteBegin, _) => {}
            (
                Call::Writeback | Call::Sync | Call::Fallocate | Call::PrepareSize,
                Answer::Fail(_),
            ) => {}
            _ => return Err(Errno::Invalid),
        }
        let planned = &mut self.calls.lock()[call as usize];
        planned.plan = Some((when, answer, planned.count));
        Ok(())
    }

    /// Drops all plans. The counts stay.
    pub fn clear(&self) {
        self.calls.lock().iter_mut().for_each(|planned| planned.plan = None);
    }

    /// Counts a call; whether it is to be short.
    fn enter(&self, call: Call) -> Result<Length, Errno> {
        match self.calls.lock()[call as usize].next() {
            None => Ok(Length::Full),
            Some(Answer::Short) => Ok(Length::Short),
            Some(Answer::Fail(errno)) => Err(errno),
        }
    }
}

/// How much of an answer is given.
enum Length {
    Full,
    Short,
}

impl<T: AddressSpaceOperations, S: SyncFamily> AddressSpaceOperations for FaultyStore<T, S> {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        match self.enter(Call::Read)? {
            Length::Full => self.inner.read(index, buf),
            Length::Short => direct::fill(buf, buf.remaining() / 2, |half| {
                let mut half = FillBuf::new(half);
                self.inner.read(index, &mut half)?;
                Ok(half.filled())
            }),
        }
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        match self.enter(Call::WriteBegin)? {
            Length::Full => self.inner.write_begin(pos, len),
            Length::Short => {
                let begun = self.inner.write_begin(pos, len.div_ceil(2))?;
                Ok(Begun { reserved: Reserved::Partly, ..begun })
            }
        }
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        let _planned = self.enter(Call::WriteEnd);
        self.inner.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.enter(Call::Writeback)?;
        self.inner.writeback(run)
    }

    fn prepare_size(&self, size: u64) -> Result<(), Errno> {
        self.enter(Call::PrepareSize)?;
        self.inner.prepare_size(size)
    }

    fn truncate_blocks(&self, size: u64) {
        let _planned = self.enter(Call::TruncateBlocks);
        self.inner.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        let _planned = self.enter(Call::SetSize);
        self.inner.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.enter(Call::Sync)?;
        self.inner.sync(kind)
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if !range.is_empty() {
            self.enter(Call::Fallocate)?;
        }
        self.inner.fallocate(change, range)
    }

    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        self.enter(Call::Fallocate)?;
        self.inner.shift(shift, range, size)
    }

    // Without `is_empty`: reads are called, so that they can fail.
    forward_to_store!(self => self.inner; strategy, max_size, is_persistent, extent, shift_unit);
    forward_to_store!(self => self.inner; wants_stable_pages, is_swap, store_id);
    forward_to_store!(self => self.inner; failed_sync, set_times);
}

impl<T: fmt::Debug, S: SyncFamily> fmt::Debug for FaultyStore<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.calls.lock().map(|planned| planned.count);
        f.debug_struct("FaultyStore").field("inner", &self.inner).field("calls", &counts).finish()
    }
}
