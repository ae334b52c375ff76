//! The store of the tests: a ready-made one, whose calls are recorded, fail as planned, and are
//! accompanied by a hook; and which can be made to lie, for tests that must see it.
#![forbid(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FailedSync, Fallocate, FillBuf, PAGE_SIZE,
    PageIndex, Reserved, Shift, StoreId, Strategy, SyncKind, WritebackRun, forward_to_store,
};
use faultless_parts::{BlockStore, Call, FaultyStore, FixedMap, RamDisk};

/// Bytes of a block.
pub(super) const BLOCK: usize = 1024;
/// Blocks that a file can have, holes included.
const BLOCKS: usize = 1024;
/// What the disk holds where the file has no block: never a byte of a test's data, nor zero.
const STALE: u8 = 0xdb;

/// A file on a disk in memory.
pub(super) type Disk = BlockStore<RamDisk<Vec<u8>>, FixedMap<BLOCKS>>;

/// A disk that has room for so many blocks.
pub(super) fn disk(blocks: usize) -> Disk {
    let device = RamDisk::new(std::vec![STALE; blocks * BLOCK], BLOCK).expect("a block size");
    BlockStore::new(device, FixedMap::new(0..blocks as u64)).expect("a block size")
}

/// A disk whose store keeps the defaults of the calls that are about its blocks.
pub(super) struct Plain(Disk);

/// Such a disk, with room for so many blocks.
pub(super) fn without_fallocate(blocks: usize) -> Plain {
    Plain(disk(blocks))
}

impl AddressSpaceOperations for Plain {
    forward_to_store!(self => self.0; read, writeback, write_begin, write_end, truncate_blocks);
    forward_to_store!(self => self.0; set_size, sync, max_size);
}

/// A call that was made. Positions and lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Of a page.
    Read(u64),
    /// With the length that was granted.
    Begin(u64, usize),
    /// With the length, and how much of it landed.
    End(u64, usize, usize),
    /// From this page on, so many pages, so many bytes inside the file.
    Writeback(u64, u32, usize),
    TruncateBlocks(u64),
    Size(u64),
    Sync(SyncKind),
    /// From byte to byte.
    Fallocate(Fallocate, u64, u64),
    /// From byte to byte, and the size that is left.
    Shift(Shift, u64, u64, u64),
}

/// What a lying store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// A page with data is a hole.
    Hole,
    /// A writeback that was not done has succeeded.
    Sent,
    /// Room that nothing landed in was given back.
    Trimmed,
}

/// Something that happens once, in a call.
type Hook = Box<dyn FnOnce() + Send>;

/// A store that keeps a record.
pub(super) struct TestStore<S> {
    pub(super) faults: FaultyStore<S>,
    pub(super) strategy: Strategy,
    events: Mutex<Vec<Event>>,
    hook: Mutex<Option<(Call, Hook)>>,
    lie: Mutex<Option<Lie>>,
    /// For how many new pages it makes room at once, at most.
    pub(super) at_once: AtomicU32,
    /// Pages must not change while they are written back.
    pub(super) stable: AtomicBool,
    /// A sync that fails loses what was sent.
    loses: AtomicBool,
    /// What the kernel knows it by.
    number: u32,
    /// The times that were told last.
    pub(super) times: Mutex<Option<(u64, u64)>>,
}

impl<S: AddressSpaceOperations> TestStore<S> {
    pub(super) fn new(inner: S, strategy: Strategy) -> Self {
        let (events, hook, lie) = (Mutex::new(Vec::new()), Mutex::new(None), Mutex::new(None));
        let (faults, loses) = (FaultyStore::new(inner), AtomicBool::new(false));
        let (stable, at_once) = (AtomicBool::new(false), AtomicU32::new(1));
        let times = Mutex::new(None);
        Self { faults, strategy, events, hook, lie, at_once, stable, loses, number: 0, times }
    }

    /// The kernel knows it by this number.
    pub(super) fn numbered(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// From now on a sync that fails loses what was sent.
    pub(super) fn loses(&self) {
        self.loses.store(true, Relaxed);
    }

    /// The store below.
    pub(super) fn inner(&self) -> &S {
        self.faults.inner()
    }

    /// The calls so far, in order.
    pub(super) fn events(&self) -> Vec<Event> {
        self.events.lock().expect("not held in a panic").clone()
    }

    /// The calls since the last time, between two operations: begins and ends are paired (P5).
    #[track_caller]
    pub(super) fn take_events(&self) -> Vec<Event> {
        let events = core::mem::take(&mut *self.events.lock().expect("not held in a panic"));
        assert_eq!(unpaired(&events), None, "P5: a begin without its end");
        events
    }

    /// What happens in the next call of this kind, before the store below sees it.
    pub(super) fn at_next(&self, call: Call, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().expect("not held in a panic") = Some((call, Box::new(hook)));
    }

    /// From now on the store tells this lie.
    pub(super) fn lies(&self, lie: Lie) {
        *self.lie.lock().expect("not held in a panic") = Some(lie);
    }

    /// What the store below has of a page.
    pub(super) fn page(&self, index: u64) -> Vec<u8> {
        let mut bytes = std::vec![0xee; PAGE_SIZE];
        let mut buf = FillBuf::new(&mut bytes);
        self.inner().read(PageIndex::new(index), &mut buf).expect("a store that can be read");
        assert_eq!(buf.remaining(), 0, "page {index} of the store");
        bytes
    }

    fn note(&self, event: Event) {
        self.events.lock().expect("not held in a panic").push(event);
    }

    fn run_hook(&self, call: Call) {
        let mut hook = self.hook.lock().expect("not held in a panic");
        let now = hook.take_if(|(at, _)| *at == call);
        drop(hook);
        if let Some((_, hook)) = now {
            hook();
        }
    }

    fn is_lying(&self, lie: Lie) -> bool {
        *self.lie.lock().expect("not held in a panic") == Some(lie)
    }
}

/// The first begin without an end of the same bytes, or an end without a begin.
pub(super) fn unpaired(events: &[Event]) -> Option<Event> {
    let mut open = Vec::new();
    for event in events {
        match *event {
            Event::Begin(pos, len) => open.push((pos, len)),
            Event::End(pos, len, copied) => {
                let at = open.iter().position(|begun| *begun == (pos, len) && copied <= len);
                let Some(at) = at else { return Some(*event) };
                open.remove(at);
            }
            _ => {}
        }
    }
    open.first().map(|(pos, len)| Event::Begin(*pos, *len))
}

impl<S: AddressSpaceOperations> AddressSpaceOperations for TestStore<S> {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.note(Event::Read(index.get()));
        self.run_hook(Call::Read);
        self.faults.read(index, buf)
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.run_hook(Call::WriteBegin);
        let mut begun = self.faults.write_begin(pos, len)?;
        self.note(Event::Begin(pos, begun.len));
        if self.is_lying(Lie::Hole) {
            begun.contents = Contents::Hole;
        }
        Ok(begun)
    }

    fn write_begin_run(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        self.run_hook(Call::WriteBegin);
        let mut all: Option<Begun> = None;
        for _ in 0..self.at_once.load(Relaxed) {
            let done = all.map_or(0, |all| all.len);
            let at = pos + done as u64;
            let piece = PageIndex::bytes_from(at).min(len - done);
            let begun = match (self.faults.write_begin(at, piece), all) {
                (Err(errno), None) => return Err(errno),
                (Ok(begun), None) => begun,
                // The answer holds for each page.
                (Ok(begun), Some(all)) if begun.contents == all.contents => begun,
                _ => break,
            };
            let reserved = match all {
                Some(Begun { reserved: Reserved::Partly, .. }) => Reserved::Partly,
                _ => begun.reserved,
            };
            all = Some(Begun { len: done + begun.len, reserved, ..begun });
            if begun.len < piece || done + begun.len == len {
                break;
            }
        }
        let begun = all.ok_or(Errno::NoSpace)?;
        self.note(Event::Begin(pos, begun.len));
        Ok(begun)
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        self.note(Event::End(pos, len, copied));
        self.run_hook(Call::WriteEnd);
        self.faults.write_end(pos, len, copied);
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.note(Event::Writeback(run.first().get(), run.pages(), run.len()));
        self.run_hook(Call::Writeback);
        if self.is_lying(Lie::Sent) { Ok(()) } else { self.faults.writeback(run) }
    }

    fn prepare_size(&self, size: u64) -> Result<(), Errno> {
        self.run_hook(Call::PrepareSize);
        self.faults.prepare_size(size)
    }

    fn truncate_blocks(&self, size: u64) {
        self.note(Event::TruncateBlocks(size));
        self.run_hook(Call::TruncateBlocks);
        if !self.is_lying(Lie::Trimmed) {
            self.faults.truncate_blocks(size);
        }
    }

    fn set_size(&self, size: u64) {
        self.note(Event::Size(size));
        self.run_hook(Call::SetSize);
        self.faults.set_size(size);
    }

    fn set_times(&self, modified: u64, changed: u64) {
        *self.times.lock().expect("not held in a panic") = Some((modified, changed));
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.note(Event::Sync(kind));
        self.run_hook(Call::Sync);
        self.faults.sync(kind)
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if !range.is_empty() {
            self.note(Event::Fallocate(change, range.start, range.end));
            self.run_hook(Call::Fallocate);
        }
        self.faults.fallocate(change, range)
    }

    fn shift_unit(&self) -> Option<u64> {
        self.faults.shift_unit()
    }

    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        self.note(Event::Shift(shift, range.start, range.end, size));
        self.run_hook(Call::Fallocate);
        self.faults.shift(shift, range, size)
    }

    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        self.faults.extent(pos)
    }

    fn failed_sync(&self) -> FailedSync {
        if self.loses.load(Relaxed) { FailedSync::Loses } else { FailedSync::Keeps }
    }

    fn strategy(&self) -> Strategy {
        self.strategy
    }

    fn max_size(&self) -> u64 {
        self.faults.max_size()
    }

    fn is_persistent(&self) -> bool {
        self.faults.is_persistent()
    }

    fn is_swap(&self) -> bool {
        self.faults.is_swap()
    }

    fn store_id(&self) -> StoreId {
        StoreId(self.number)
    }

    fn wants_stable_pages(&self) -> bool {
        self.stable.load(Relaxed)
    }
}
