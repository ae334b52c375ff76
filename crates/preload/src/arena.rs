//! The memory that all processes of a run share, at the same address in each: parts of the machine,
//! their heap, kernel stacks, a disk, and frames.
//!
//! It is one file without a name, mapped as a whole, and begins as zeros. User mappings show frames
//! of it.

use core::alloc::{GlobalAlloc, Layout};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{null_mut, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

use syscalls::Sysno;
use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use crate::raw;
use crate::sync::Short;

/// Where it begins: far from where Linux puts programs, libraries, heaps and stacks.
pub(crate) const BASE: usize = 0x1000_0000_0000;

/// Room for the header and the parts.
const PARTS_BYTES: usize = 8 << 20;

/// Room for the heap.
const HEAP_BYTES: usize = 8 << 30;

/// A kernel stack, with what is known of its thread. A power of two.
pub(crate) const STACK_BYTES: usize = 256 << 10;

/// Threads that can exist at a time, in all processes.
pub(crate) const THREADS: usize = 4096;

/// Room for a disk.
pub(crate) const DISK_BYTES: usize = 4 << 30;

const HEAP: usize = BASE + PARTS_BYTES;
pub(crate) const STACKS: usize = HEAP + HEAP_BYTES;
pub(crate) const STACKS_END: usize = STACKS + THREADS * STACK_BYTES;
pub(crate) const DISK: usize = STACKS_END;
pub(crate) const FRAMES: usize = DISK + DISK_BYTES;

/// The end of the arena, however many frames it has.
const END: usize = BASE + (1 << 42);

/// Whether an address lies in what belongs to the machine.
pub(crate) const fn contains(address: usize) -> bool {
    BASE <= address && address < END
}

/// The machine has not been made; it is being made; it can be used.
const NEW: u32 = 0;
const BEGUN: u32 = 1;
const READY: u32 = 2;

/// What lies at the start.
#[repr(C)]
struct Header {
    state: AtomicU32,
    has_heap: AtomicBool,
    last_number: AtomicU64,
    /// Records of threads that were ever used.
    threads: AtomicUsize,
    heap: Short<Talc<Manual, DefaultBinning>>,
}

/// Room for the header.
const HEADER_BYTES: usize = 64 << 10;

const _: () = assert!(size_of::<Header>() <= HEADER_BYTES);

/// Room for each part.
const PART_BYTES: usize = 512 << 10;

static IS_MAPPED: AtomicBool = AtomicBool::new(false);

/// The header, once this process has mapped the arena.
fn header() -> Option<&'static Header> {
    // SAFETY: the arena is mapped, and never goes. Zeros are a header, of a machine that is not
    // made; its heap is not looked at before it is there.
    IS_MAPPED.load(Acquire).then(|| unsafe { &*pointer(BASE) })
}

/// A part of the machine, at a place of its own.
pub(crate) struct Part<T> {
    address: usize,
    of: PhantomData<fn() -> T>,
}

impl<T: Sync + 'static> Part<T> {
    /// The part with this number. Each number is one part's.
    pub(crate) const fn new(number: usize) -> Self {
        assert!(size_of::<T>() <= PART_BYTES, "there is room for the part");
        assert!(HEADER_BYTES + (number + 1) * PART_BYTES <= PARTS_BYTES, "and a place");
        Self { address: BASE + HEADER_BYTES + number * PART_BYTES, of: PhantomData }
    }

    /// The part. The machine has been made.
    pub(crate) fn get(&self) -> &'static T {
        // SAFETY: `make` has written it; nothing moves or drops it.
        unsafe { &*pointer(self.address) }
    }

    /// Makes the part.
    ///
    /// # Safety
    /// The machine is being made, by this thread, and nothing uses the part yet.
    pub(crate) unsafe fn make(&self, part: T) {
        let place: *mut MaybeUninit<T> = pointer(self.address);
        // SAFETY: the place is the part's alone, by its number, and mapped.
        unsafe { place.write(MaybeUninit::new(part)) };
    }
}

/// Maps the file `fd`, with room for so many bytes of frames, and has `make` make the parts if no
/// process has done so.
///
/// # Errors
/// Why that is not possible.
pub(crate) fn attach(fd: i32, frame_bytes: usize, make: impl FnOnce()) -> Result<(), &'static str> {
    if !map(fd, FRAMES - BASE + frame_bytes) {
        return Err("the memory of the machine cannot be mapped");
    }
    IS_MAPPED.store(true, Release);
    let state = &header().ok_or("no memory")?.state;
    if state.compare_exchange(NEW, BEGUN, Acquire, Acquire).is_ok() {
        make_heap()?;
        make();
        state.store(READY, Release);
    }
    while state.load(Acquire) != READY {
        raw::yield_now();
    }
    Ok(())
}

fn map(fd: i32, bytes: usize) -> bool {
    let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let args = [BASE, bytes, rights as usize, flags as usize, fd as usize, 0];
    // SAFETY: nothing is mapped there.
    let at = unsafe { raw::call(Sysno::mmap, args) };
    at == BASE as isize
}

/// Makes the heap. The machine is being made, by this thread.
fn make_heap() -> Result<(), &'static str> {
    let mut heap = Talc::<Manual, DefaultBinning>::new(Manual);
    // SAFETY: the region is the heap's alone.
    let claimed = unsafe { heap.claim(pointer(HEAP), STACKS - HEAP) };
    claimed.ok_or("no heap")?;
    let header: *mut Header = pointer(BASE);
    // SAFETY: it lies in the arena.
    let place = unsafe { &raw mut (*header).heap };
    // SAFETY: nothing uses the heap yet.
    unsafe { place.write(Short::new(heap)) };
    self::header().ok_or("no memory")?.has_heap.store(true, Release);
    Ok(())
}

/// A number that is larger than all before.
pub(crate) fn unique() -> u64 {
    header().map_or(0, |header| header.last_number.fetch_add(1, Relaxed) + 1)
}

/// How many records of threads were ever used.
pub(crate) fn threads() -> usize {
    header().map_or(0, |header| header.threads.load(Relaxed))
}

/// The record of this thread is used.
pub(crate) fn uses_thread(number: usize) {
    if let Some(header) = header() {
        header.threads.fetch_max(number + 1, Relaxed);
    }
}

/// An address of the arena as a pointer.
pub(crate) fn pointer<T>(address: usize) -> *mut T {
    debug_assert!(contains(address), "an address of the arena");
    with_exposed_provenance_mut(address)
}

/// The heap as the allocator of this library.
struct Heap;

#[global_allocator]
static HEAP_OF_MACHINE: Heap = Heap;

impl Heap {
    fn get() -> Option<&'static Short<Talc<Manual, DefaultBinning>>> {
        header().filter(|header| header.has_heap.load(Acquire)).map(|header| &header.heap)
    }
}

// SAFETY: `Talc` allocates from the region that it was given, under a lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(heap) = Self::get() else { return null_mut() };
        // SAFETY: the layout is not empty, by the caller.
        let allocated = unsafe { heap.lock().allocate(layout) };
        allocated.map_or(null_mut(), |pointer| pointer.as_ptr())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(heap) = Self::get() {
            // SAFETY: it was allocated above, by the caller.
            unsafe { heap.lock().deallocate(pointer, layout) };
        }
    }
}
