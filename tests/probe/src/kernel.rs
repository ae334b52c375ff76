//! The kernel in miniature: frames, a store and user memory in static memory, and every seam
//! filled.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};

use faultless::prelude::*;
use faultless::usercopy::arch::NoWindow;

/// Frames of physical memory.
const FRAMES: usize = 64;
/// Bytes of the one process.
pub(crate) const USER_BYTES: usize = 8 * PAGE_SIZE;

/// Memory that is reached by address only.
#[repr(C, align(4096))]
struct Raw<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

// SAFETY: no reference to the content is ever made.
unsafe impl<const BYTES: usize> Sync for Raw<BYTES> {}

impl<const BYTES: usize> Raw<BYTES> {
    fn start(&'static self) -> NonNull<u8> {
        NonNull::from_ref(self).cast()
    }
}

static RAM: Raw<{ FRAMES * PAGE_SIZE }> = Raw(UnsafeCell::new([0; FRAMES * PAGE_SIZE]));
static USER: Raw<USER_BYTES> = Raw(UnsafeCell::new([0; USER_BYTES]));

/// The frame allocator: a count beside each frame, zero for a free one.
pub(crate) struct StaticFrames([AtomicU8; FRAMES]);

impl StaticFrames {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU8::new(0) }; FRAMES])
    }

    fn count(&self, frame: FrameNumber) -> &AtomicU8 {
        &self.0[frame.get() as usize - 1]
    }
}

// SAFETY: a frame is taken by one compare-and-exchange of its count from 0 and is free at 0 again;
// addresses are linear in the number, inside one static.
unsafe impl Frames for StaticFrames {
    fn allocate(&self, _pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let take = |count: &AtomicU8| {
            count.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let slot = self.0.iter().position(take).ok_or(Errno::NoMemory)?;
        Ok((FrameNumber::new(slot as u32 + 1).ok_or(Errno::NoMemory)?, 1))
    }

    fn retain(&self, frame: FrameNumber) {
        self.count(frame).fetch_add(1, Ordering::Relaxed);
    }

    fn references(&self, frame: FrameNumber) -> u32 {
        u32::from(self.count(frame).load(Ordering::Acquire))
    }

    unsafe fn release(&self, frame: FrameNumber) {
        self.count(frame).fetch_sub(1, Ordering::AcqRel);
    }

    fn address(&self, frame: FrameNumber) -> NonNull<u8> {
        // SAFETY: numbers are 1..=FRAMES, so the offset lies inside the static.
        unsafe { RAM.start().add((frame.get() as usize - 1) * PAGE_SIZE) }
    }
}

/// The kernel.
pub(crate) struct Probe;
impl Kernel for Probe {
    type Sync = CoreSync;
    type Frames = StaticFrames;
    type Wait = SpinWait;
    type Cache = &'static PageCache<Self>;
    type Store = &'static dyn AddressSpaceOperations;
    type UserMappings = NoUserMappings;
    type Replacement = ();
}

/// A store of the old kind that keeps nothing.
pub(crate) struct Nowhere;

impl PrepareCommit for Nowhere {
    fn read(&self, _index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        buf.fill_hole();
        Ok(())
    }
    fn prepare_write(
        &self,
        _index: PageIndex,
        _from: usize,
        _to: usize,
    ) -> Result<Contents, Errno> {
        Ok(Contents::Hole)
    }
    fn commit_write(&self, _index: PageIndex, _from: usize, _to: usize) {}
    fn writeback(&self, _run: &WritebackRun<'_>) -> Result<(), Errno> {
        Ok(())
    }
    fn truncate_blocks(&self, _size: u64) {}
    fn set_size(&self, _size: u64) {}
    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }
    fn is_persistent(&self) -> bool {
        false
    }
}

/// The process: its memory, as the kernel reaches it.
pub(crate) struct Process {
    memory: CurrentUser<NoWindow>,
    start: usize,
}

impl Process {
    pub(crate) fn new() -> Self {
        let start = USER.start().as_ptr().expose_provenance();
        // SAFETY: the static is reached by the user copies alone, and by `poke` and `peek` between
        // them; all of it is mapped, so no trap handler is needed.
        let memory = unsafe { CurrentUser::new(start..start + USER_BYTES) };
        Self { memory, start }
    }

    pub(crate) fn memory(&self) -> &CurrentUser<NoWindow> {
        &self.memory
    }

    /// A range that the process passes to a system call.
    pub(crate) fn slice(&self, offset: usize, len: usize) -> Result<UserSlice, Errno> {
        let address = UserAddr::new(self.start + offset);
        UserSlice::new(&self.memory, address, len).map_err(|_| Errno::Fault)
    }

    /// The process sets a byte of its memory.
    pub(crate) fn poke(&self, offset: usize, byte: u8) {
        assert!(offset < USER_BYTES, "outside the process");
        // SAFETY: inside the static, as was checked.
        let place = unsafe { USER.start().add(offset) };
        // SAFETY: there is one thread, and no reference to the memory.
        unsafe { place.write_volatile(byte) };
    }

    /// The process reads a byte of its memory.
    pub(crate) fn peek(&self, offset: usize) -> u8 {
        assert!(offset < USER_BYTES, "outside the process");
        // SAFETY: inside the static, as was checked.
        let place = unsafe { USER.start().add(offset) };
        // SAFETY: there is one thread, and no reference to the memory.
        unsafe { place.read_volatile() }
    }
}
