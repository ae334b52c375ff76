//! Stores that keep books, and stores that lie.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless::page::{
    AddressSpaceOperations, Begun, Contents, Errno, FillBuf, PAGE_SIZE, PageIndex, Reserved,
    Strategy, SyncKind, WritebackRun,
};
use faultless_host::stores::MemoryStore;

/// What a [`Ledger`] does to what the store below it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    /// Nothing, but that every write has to begin and to end.
    None,
    /// B9: blocks that nobody has written yet count as data, and hold what the device happens to
    /// hold.
    UnwrittenIsData,
    /// B14: `write_begin` grants more than anybody asked for.
    GrantsTooMuch,
    /// B14: `write_begin` grants nothing and does not fail.
    GrantsNothing,
}

/// What the device of [`Twist::UnwrittenIsData`] happens to hold.
pub(crate) const STALE: u8 = 0xdb;

/// A store that writes down what begins and what ends.
pub(crate) struct Ledger {
    inner: Arc<dyn AddressSpaceOperations>,
    twist: Twist,
    begun: Mutex<Vec<(u64, usize)>>,
    ended: Mutex<Vec<(u64, usize)>>,
    wrong: Mutex<Vec<String>>,
    reads: AtomicUsize,
}

fn entries<T>(book: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn new(inner: Arc<dyn AddressSpaceOperations>, twist: Twist) -> Arc<Self> {
        let (begun, ended, wrong) = Default::default();
        Arc::new(Self { inner, twist, begun, ended, wrong, reads: AtomicUsize::new(0) })
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        assert_eq!(*entries(&self.begun), [], "begun and not ended");
        entries(&self.ended).clear();
        entries(&self.wrong).clear();
        self.reads.store(0, Ordering::Relaxed);
    }

    /// Up to where bytes landed, as the store was told. (A write may start over, and land the same
    /// bytes again.)
    pub(crate) fn landed_until(&self) -> u64 {
        let ended = entries(&self.ended);
        let landed = ended.iter().filter(|(_, copied)| *copied > 0);
        landed.map(|(pos, copied)| pos + *copied as u64).max().unwrap_or(0)
    }

    /// Ends without a beginning, beginnings without an end, and ends with more than was granted.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let open = entries(&self.begun).clone();
        let open = open.into_iter().map(|(pos, len)| format!("{len} bytes at {pos} never ended"));
        entries(&self.wrong).iter().cloned().chain(open).collect()
    }

    /// Pages read.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl AddressSpaceOperations for Ledger {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.twist == Twist::UnwrittenIsData {
            buf.write(&[STALE; PAGE_SIZE]);
            return Ok(());
        }
        self.inner.read(index, buf)
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let mut begun = Begun { reserved: Reserved::Partly, ..self.inner.write_begin(pos, len)? };
        let room = begun.len;
        match self.twist {
            Twist::None => {}
            Twist::UnwrittenIsData => begun.contents = Contents::Stored,
            Twist::GrantsTooMuch => begun.len = usize::MAX,
            Twist::GrantsNothing => begun.len = 0,
        }
        entries(&self.begun).push((pos, begun.len.clamp(1, room)));
        Ok(begun)
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        let mut begun = entries(&self.begun);
        match begun.iter().position(|entry| *entry == (pos, len)) {
            Some(at) => drop(begun.remove(at)),
            None => entries(&self.wrong).push(format!("{len} bytes at {pos} never began")),
        }
        if copied > len {
            entries(&self.wrong).push(format!("{copied} of {len} bytes at {pos} landed"));
        }
        entries(&self.ended).push((pos, copied));
        self.inner.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.inner.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.inner.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.inner.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.inner.sync(kind)
    }

    fn strategy(&self) -> Strategy {
        self.inner.strategy()
    }

    fn max_size(&self) -> u64 {
        self.inner.max_size()
    }
}

/// E14: a store that reads no more than so many bytes of each page, and what it says of the others.
pub(crate) struct Short {
    inner: Arc<MemoryStore>,
    answer: ShortAnswer,
    bytes: AtomicUsize,
    reads: AtomicUsize,
}

/// What a [`Short`] store says of the bytes that it did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShortAnswer {
    /// Nothing.
    Missing,
    /// That they are a hole: what a wrapper makes of a short answer below it.
    Hole,
}

impl Short {
    pub(crate) fn new(answer: ShortAnswer) -> Arc<Self> {
        let (bytes, reads) = (AtomicUsize::new(PAGE_SIZE), AtomicUsize::new(0));
        Arc::new(Self { inner: MemoryStore::new(), answer, bytes, reads })
    }

    /// From now on so many bytes of a page are read.
    pub(crate) fn shorten(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Pages read since the last call.
    pub(crate) fn take_reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }
}

impl AddressSpaceOperations for Short {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut page = vec![0; PAGE_SIZE];
        self.inner.read(index, &mut FillBuf::new(&mut page))?;
        buf.write(&page[..self.bytes.load(Ordering::Relaxed)]);
        if self.answer == ShortAnswer::Hole {
            buf.fill_hole();
        }
        Ok(())
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let begun = self.inner.write_begin(pos, len)?;
        Ok(Begun { reserved: Reserved::Partly, ..begun })
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.inner.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.inner.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.inner.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.inner.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.inner.sync(kind)
    }
}

/// E13: a store with a largest size of its own.
pub(crate) struct Bounded {
    inner: Arc<MemoryStore>,
    max_size: u64,
}

impl Bounded {
    pub(crate) fn new(max_size: u64) -> Arc<Self> {
        Arc::new(Self { inner: MemoryStore::new(), max_size })
    }
}

impl AddressSpaceOperations for Bounded {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.inner.read(index, buf)
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.inner.write_begin(pos, len)
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.inner.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.inner.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.inner.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.inner.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.inner.sync(kind)
    }

    fn max_size(&self) -> u64 {
        self.max_size
    }
}
