//! The smallest kernel that embeds Faultless: every seam, on memory that is simply there.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use faultless::prelude::*;
use faultless::usercopy::arch::NoWindow;

/// Physical memory: 64 frames, numbered from 1, with a count beside each.
#[repr(C, align(4096))]
struct Ram([[u8; PAGE_SIZE]; 64]);

struct MyFrames {
    base: NonNull<u8>,
    counts: [AtomicU8; 64],
    allocating: Mutex<()>,
}

// SAFETY: `base` is a leaked allocation that only frames' owners access.
unsafe impl Send for MyFrames {}
// SAFETY: as above; the counts are atomic.
unsafe impl Sync for MyFrames {}

impl MyFrames {
    fn new() -> Self {
        let ram = Box::leak(Box::new(Ram([[0; PAGE_SIZE]; 64])));
        Self {
            base: NonNull::from(ram).cast(),
            counts: [const { AtomicU8::new(0) }; 64],
            allocating: Mutex::new(()),
        }
    }

    fn count(&self, frame: FrameNumber) -> &AtomicU8 {
        &self.counts[frame.get() as usize - 1]
    }
}

// SAFETY: a frame is handed out when its count is 0 and is free again at 0; addresses are linear in the number,
// inside one allocation that is never freed.
unsafe impl Frames for MyFrames {
    fn allocate(&self, _pages: u32) -> Result<(FrameNumber, u32), Errno> {
        let _guard = self.allocating.lock();
        let free = self.counts.iter().position(|count| count.load(Ordering::Acquire) == 0);
        let slot = free.ok_or(Errno::NoMemory)?;
        self.counts[slot].store(1, Ordering::Relaxed);
        // One at a time is allowed: runs are an optimisation.
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
        // SAFETY: numbers are 1..=64, so the offset lies inside `Ram`.
        unsafe { self.base.add((frame.get() as usize - 1) * PAGE_SIZE) }
    }
}

/// The kernel itself: six lines.
struct MyKernel;
impl Kernel for MyKernel {
    type Sync = CoreSync;
    type Frames = MyFrames;
    type Wait = SpinWait;
    type Cache = &'static PageCache<Self>;
    type Store = &'static Disk;
    type UserMappings = NoUserMappings;
}

/// Where the file's bytes are kept: here, a vector.
struct Disk(Mutex<Vec<u8>>);

impl Disk {
    fn bytes(&self) -> impl Deref<Target = Vec<u8>> + '_ {
        self.0.lock().expect("no panic under the lock")
    }
}

impl AddressSpaceOperations for Disk {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let bytes = self.bytes();
        let start = bytes.len().min(index.start() as usize);
        let end = bytes.len().min(start + PAGE_SIZE);
        buf.write(&bytes[start..end]);
        // What lies past the end reads as zeros.
        buf.fill_hole();
        Ok(())
    }

    fn write_begin(&self, _pos: u64, len: usize) -> Result<Begun, Errno> {
        Ok(Begun { len, contents: Contents::Stored, backed: Backed::Fully })
    }

    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let mut bytes = self.0.lock().expect("no panic under the lock");
        let start = run.pos() as usize;
        let end = start + run.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        run.copy_to(0, &mut bytes[start..end]);
        Ok(())
    }

    fn trim(&self, size: u64) {
        let mut bytes = self.0.lock().expect("no panic under the lock");
        let len = bytes.len().min(size as usize);
        bytes.truncate(len);
    }

    fn set_size(&self, _size: u64) {}

    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }
}

/// The system call `write(file, address, len)` at byte `pos`.
fn sys_write(
    file: &Inode<MyKernel>,
    user: &impl UserMemory,
    address: usize,
    len: usize,
    pos: u64,
) -> Result<usize, Errno> {
    // SAFETY: at the entry of a system call no lock is held.
    let mut may_fault = unsafe { MayFault::assert() };
    let slice = UserSlice::new(user, UserAddr::new(address), len).map_err(|_| Errno::Fault)?;
    let mut from = IovIter::from_slice(&slice);
    let options = WriteOptions::at(pos);
    file.write(&mut may_fault, user, &mut from, &options, &NoTask).map(|written| written.bytes)
}

/// The system call `read(file, address, len)` at byte `pos`.
fn sys_read(
    file: &Inode<MyKernel>,
    user: &impl UserMemory,
    address: usize,
    len: usize,
    pos: u64,
) -> Result<usize, Errno> {
    // SAFETY: at the entry of a system call no lock is held.
    let mut may_fault = unsafe { MayFault::assert() };
    let slice = UserSlice::new(user, UserAddr::new(address), len).map_err(|_| Errno::Fault)?;
    let mut to = IovIter::from_slice(&slice);
    file.read(&mut may_fault, user, &mut to, pos, &NoTask)
}

fn main() -> Result<(), Errno> {
    // User memory: a buffer that stands for a process. A kernel names its user half instead.
    let process: &mut [u8] = Box::leak(vec![0; 3 * PAGE_SIZE].into_boxed_slice());
    process[..5].copy_from_slice(b"hello");
    let range = process.as_mut_ptr_range();
    let (start, end) = (range.start.expose_provenance(), range.end.addr());
    // SAFETY: the buffer is leaked and from here on reached through the user copies alone; all of it is mapped.
    let user = unsafe { CurrentUser::<NoWindow>::new(start..end) };

    let cache: &'static PageCache<MyKernel> =
        Box::leak(Box::new(PageCache::new(MyFrames::new(), SpinWait)));
    let disk: &'static Disk = Box::leak(Box::new(Disk(Mutex::new(Vec::new()))));
    let file = Inode::<MyKernel>::new(cache, disk, NoUserMappings, 0);

    assert_eq!(sys_write(&file, &user, start, 5, 4094)?, 5, "across a page boundary");
    assert_eq!(file.size(), 4099);
    assert_eq!(sys_read(&file, &user, start + PAGE_SIZE, 8, 4093)?, 6, "up to the end");

    // SAFETY: no lock is held.
    let mut may_fault = unsafe { MayFault::assert() };
    file.fsync(&mut may_fault, SyncKind::All, &NoTask)?;
    assert_eq!(&disk.bytes()[4093..], b"\0hello");

    // A bad address is an error, and nothing has changed (W1).
    assert_eq!(sys_write(&file, &user, end - 1, 5, 0), Err(Errno::Fault));
    println!("{} bytes on the disk", disk.bytes().len());
    Ok(())
}
