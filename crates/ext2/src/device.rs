//! The block device below the file system: what a driver implements.
//!
//! Key types: [`BlockDevice`]; [`ReadTransfer`] and [`WriteTransfer`], which a driver keeps until
//! the device has done them. A transfer owns its memory: frames of the page cache, by the request
//! that came from it, or a buffer of the allocator. Neighbour: `state` waits for transfers of
//! metadata.

use core::fmt;
use core::ptr::NonNull;

use alloc::boxed::Box;
use alloc::sync::Arc;

use faultless::page::{FailedSync, ReadRequest, Segment, StoreId, WritebackRequest};
use faultless::prelude::Errno;

/// A block device with a queue. Positions and lengths are in bytes, multiples of the block size of
/// the file system: 1024 at least.
///
/// The trait is safe: a device that lies loses data and shows no memory that it was not given.
pub trait BlockDevice: Send + Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// The number by which the kernel knows the device ([`StoreId`]): that of the files on it.
    fn store_id(&self) -> StoreId {
        StoreId::default()
    }

    /// Reads, now or later. May sleep for room in the queue, and for nothing that the end of
    /// another transfer does not bring. A page lock may be held, and the lock of the file system.
    fn read(&self, transfer: ReadTransfer);

    /// Writes, now or later; as [`read`](Self::read). The bytes may be durable only after a
    /// [`flush`](Self::flush). Transfers may land in any order.
    fn write(&self, transfer: WriteTransfer);

    /// Makes durable what was written by transfers that had ended before this call began. May
    /// sleep.
    ///
    /// # Errors
    /// [`Errno::Io`]: some of it may not be durable.
    fn flush(&self) -> Result<(), Errno>;

    /// What a [`flush`](Self::flush) that fails leaves of what was written before it.
    fn failed_flush(&self) -> FailedSync {
        FailedSync::Loses
    }
}

/// Called once, when a transfer has ended, in any context.
pub(crate) trait Ended: Send + Sync {
    /// `part` is the number that the transfer was given. `bytes` is its buffer, if it had one.
    fn ended(&self, part: usize, bytes: Option<Box<[u8]>>, result: Result<(), Errno>);
}

/// Consecutive memory: one entry of a scatter list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Kernel address of its first byte.
    pub address: NonNull<u8>,
    /// Bytes.
    pub len: usize,
}

/// What follows the end of a transfer.
struct Then {
    part: usize,
    call: Arc<dyn Ended>,
}

impl Then {
    fn ended(self, bytes: Option<Box<[u8]>>, result: Result<(), Errno>) {
        self.call.ended(self.part, bytes, result);
    }
}

/// Bytes on their way from the device. [`complete`](Self::complete), [`fill`](Self::fill) or
/// [`fail`](Self::fail) ends it, on any thread or in an interrupt handler; so does its drop, with
/// [`Errno::Io`].
///
/// An end takes short locks of the kernel's [`SyncFamily`](faultless::prelude::SyncFamily), calls
/// [`Wait::wake`](faultless::prelude::Wait::wake), and may free memory: the allocator has to be
/// callable where transfers end.
#[must_use = "dropping it fails the read"]
pub struct ReadTransfer {
    position: u64,
    memory: ReadMemory,
    then: Option<Then>,
}

enum ReadMemory {
    /// Whole pages of a file.
    Pages(ReadRequest),
    Buffer(Box<[u8]>),
    /// It has ended.
    None,
}

impl ReadTransfer {
    /// Reads whole pages of a file.
    pub(crate) fn pages(position: u64, request: ReadRequest) -> Self {
        Self { position, memory: ReadMemory::Pages(request), then: None }
    }

    /// Reads into a buffer, which `call` gets back as the one of `part`.
    pub(crate) fn buffer(
        position: u64,
        bytes: Box<[u8]>,
        part: usize,
        call: Arc<dyn Ended>,
    ) -> Self {
        Self { position, memory: ReadMemory::Buffer(bytes), then: Some(Then { part, call }) }
    }

    /// Where on the device, in bytes.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.memory {
            ReadMemory::Pages(request) => request.padded_len(),
            ReadMemory::Buffer(bytes) => bytes.len(),
            ReadMemory::None => 0,
        }
    }

    /// Whether there is nothing to read: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory to fill, front to back. It stays where it is until the transfer ends.
    pub fn stretches(&mut self) -> impl Iterator<Item = Stretch> + '_ {
        let (pages, buffer) = match &mut self.memory {
            ReadMemory::Pages(request) => (Some(request.segments()), None),
            ReadMemory::Buffer(bytes) => (None, Some(stretch(bytes))),
            ReadMemory::None => (None, None),
        };
        in_turn(pages, buffer)
    }

    /// The device has filled the memory.
    ///
    /// # Safety
    /// All [`stretches`](Self::stretches) were written, and nothing writes to them any more.
    pub unsafe fn complete(mut self) {
        match core::mem::replace(&mut self.memory, ReadMemory::None) {
            ReadMemory::Pages(request) => {
                let len = request.padded_len();
                // SAFETY: the caller's promise.
                unsafe { request.complete(len) };
                self.tell(None, Ok(()));
            }
            ReadMemory::Buffer(bytes) => self.tell(Some(bytes), Ok(())),
            ReadMemory::None => {}
        }
    }

    /// The device has these bytes, as many as [`len`](Self::len): for devices that copy. Fewer are
    /// a failure.
    pub fn fill(mut self, bytes: &[u8]) {
        if bytes.len() < self.len() {
            return self.fail(Errno::Io);
        }
        match core::mem::replace(&mut self.memory, ReadMemory::None) {
            ReadMemory::Pages(request) => {
                let pages = request.pos();
                request.fill(|index, buf| {
                    let from = (index.start() - pages) as usize;
                    buf.write(&bytes[from..]);
                    Ok(())
                });
                self.tell(None, Ok(()));
            }
            ReadMemory::Buffer(mut buffer) => {
                let len = buffer.len();
                buffer.copy_from_slice(&bytes[..len]);
                self.tell(Some(buffer), Ok(()));
            }
            ReadMemory::None => {}
        }
    }

    /// The device could not read.
    pub fn fail(mut self, errno: Errno) {
        self.end_with(errno);
    }

    fn end_with(&mut self, errno: Errno) {
        match core::mem::replace(&mut self.memory, ReadMemory::None) {
            ReadMemory::Pages(request) => request.fail(errno),
            ReadMemory::Buffer(_) | ReadMemory::None => {}
        }
        self.tell(None, Err(errno));
    }

    fn tell(&mut self, bytes: Option<Box<[u8]>>, result: Result<(), Errno>) {
        if let Some(then) = self.then.take() {
            then.ended(bytes, result);
        }
    }
}

impl Drop for ReadTransfer {
    fn drop(&mut self) {
        self.end_with(Errno::Io);
    }
}

/// Bytes on their way to the device. [`complete`](Self::complete) ends it, on any thread or in an
/// interrupt handler; its drop is a failure with [`Errno::Io`]. As for [`ReadTransfer`], an end may
/// free memory.
#[must_use = "dropping it fails the write"]
pub struct WriteTransfer {
    position: u64,
    memory: WriteMemory,
    then: Option<Then>,
}

enum WriteMemory {
    /// Whole pages of a file, all inside its size.
    Pages(WritebackRequest),
    Buffer(Box<[u8]>),
    /// It has ended.
    None,
}

impl WriteTransfer {
    /// Writes whole pages of a file.
    pub(crate) fn pages(position: u64, request: WritebackRequest, call: Arc<dyn Ended>) -> Self {
        let then = Some(Then { part: 0, call });
        Self { position, memory: WriteMemory::Pages(request), then }
    }

    /// Writes a buffer.
    pub(crate) fn buffer(
        position: u64,
        bytes: Box<[u8]>,
        part: usize,
        call: Arc<dyn Ended>,
    ) -> Self {
        Self { position, memory: WriteMemory::Buffer(bytes), then: Some(Then { part, call }) }
    }

    /// Where on the device, in bytes.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.memory {
            WriteMemory::Pages(request) => request.len(),
            WriteMemory::Buffer(bytes) => bytes.len(),
            WriteMemory::None => 0,
        }
    }

    /// Whether there is nothing to write: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory to write, front to back. It stays where it is until the transfer ends; the bytes
    /// of pages may change meanwhile.
    pub fn stretches(&mut self) -> impl Iterator<Item = Stretch> + '_ {
        let (pages, buffer) = match &mut self.memory {
            WriteMemory::Pages(request) => (Some(request.segments()), None),
            WriteMemory::Buffer(bytes) => (None, Some(stretch(bytes))),
            WriteMemory::None => (None, None),
        };
        in_turn(pages, buffer)
    }

    /// Copies the bytes, for devices that copy: as many as fit into `out`.
    pub fn copy_to(&self, out: &mut [u8]) {
        match &self.memory {
            WriteMemory::Pages(request) => request.view().copy_to(0, out),
            WriteMemory::Buffer(bytes) => {
                let len = bytes.len().min(out.len());
                out[..len].copy_from_slice(&bytes[..len]);
            }
            WriteMemory::None => {}
        }
    }

    /// The device has written the bytes, or could not.
    pub fn complete(mut self, result: Result<(), Errno>) {
        self.end_with(result);
    }

    fn end_with(&mut self, result: Result<(), Errno>) {
        match core::mem::replace(&mut self.memory, WriteMemory::None) {
            WriteMemory::Pages(request) => request.complete(result),
            WriteMemory::Buffer(_) | WriteMemory::None => {}
        }
        if let Some(then) = self.then.take() {
            then.ended(None, result);
        }
    }
}

impl Drop for WriteTransfer {
    fn drop(&mut self) {
        self.end_with(Err(Errno::Io));
    }
}

/// The memory of a transfer: the segments of pages, or a buffer.
fn in_turn<'r>(
    pages: Option<impl Iterator<Item = Segment> + 'r>,
    buffer: Option<Stretch>,
) -> impl Iterator<Item = Stretch> + 'r {
    let pages = pages.into_iter().flatten();
    pages.map(|segment| Stretch { address: segment.address, len: segment.len }).chain(buffer)
}

fn stretch(bytes: &mut [u8]) -> Stretch {
    let len = bytes.len();
    Stretch { address: NonNull::from(bytes).cast(), len }
}

impl fmt::Debug for ReadTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut read = f.debug_struct("ReadTransfer");
        read.field("position", &self.position).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for WriteTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut write = f.debug_struct("WriteTransfer");
        write.field("position", &self.position).field("len", &self.len()).finish_non_exhaustive()
    }
}
