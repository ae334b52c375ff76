//! What the device is asked for: requests in its queue.
//!
//! Key types: [`Request`], which owns the memory that the device uses until it is done; [`Queue`].

use core::slice;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::{Errno, Wait};
use faultless_ext2::{ReadTransfer, Stretch, WriteTransfer};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::{InterruptStatus, Transport};

use crate::disk::hal::Direct;
use crate::sync::Lock;
use crate::waits::{key_of, waits, wake};

/// Descriptors of the queue, and the most that a request has: a transfer has up to 64 pieces of
/// memory, the pages of a leaf.
pub(super) const SIZE: usize = 128;

/// The number of the only queue.
pub(super) const QUEUE: u16 = 0;

/// The unit of the device's positions.
pub(super) const SECTOR: u64 = 512;

/// The queue as the device sees it.
type DeviceQueue = VirtQueue<Direct, SIZE>;

/// A status that the device never writes.
const NONE: u8 = 0xff;

/// What a request begins with, as the device reads it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

/// What a request is for.
pub(super) enum Work {
    Read(ReadTransfer),
    Write(WriteTransfer),
    Flush(Arc<Flush>),
}

/// A flush that is waited for.
pub(super) struct Flush(Lock<Option<Result<(), Errno>>>);

impl Flush {
    pub(super) const fn new() -> Self {
        Self(Lock::new(None))
    }

    /// The device is done.
    fn end(&self, result: Result<(), Errno>) {
        *self.0.lock() = Some(result);
        wake(key_of(self));
    }

    /// Sleeps until the device is done; what it has said.
    pub(super) fn wait(&self) -> Result<(), Errno> {
        waits().wait_until(key_of(self), &mut || self.0.lock().is_some());
        self.0.lock().take().unwrap_or(Err(Errno::Io))
    }
}

/// A request. Boxed: the device has addresses of its parts.
pub(super) struct Request {
    header: Header,
    status: [u8; 1],
    memory: Vec<Stretch>,
    work: Work,
}

// SAFETY: the memory is that of `work`, which may be sent.
unsafe impl Send for Request {}

impl Request {
    pub(super) fn new(mut work: Work) -> Box<Self> {
        let (kind, position, memory) = match &mut work {
            Work::Read(transfer) => (0, transfer.position(), transfer.stretches().collect()),
            Work::Write(transfer) => (1, transfer.position(), transfer.stretches().collect()),
            Work::Flush(_) => (4, 0, Vec::new()),
        };
        let header = Header { kind, reserved: 0, sector: position / SECTOR };
        Box::new(Self { header, status: [NONE], memory, work })
    }

    /// What the device reads, and what it writes.
    ///
    /// # Safety
    /// The addresses and lengths alone are used, unless the device has not been given the request,
    /// or is done with it.
    unsafe fn buffers(&mut self) -> (Vec<&[u8]>, Vec<&mut [u8]>) {
        let header = (&raw const self.header).cast::<u8>();
        // SAFETY: the bytes of a header, which has no padding.
        let header = unsafe { slice::from_raw_parts(header, size_of::<Header>()) };
        let (mut read, mut written) = (Vec::new(), Vec::<&mut [u8]>::new());
        read.push(header);
        for stretch in &self.memory {
            let (start, len) = (stretch.address.as_ptr(), stretch.len);
            if matches!(self.work, Work::Read(_)) {
                // SAFETY: memory of the transfer, which the request owns; the caller's promise.
                written.push(unsafe { slice::from_raw_parts_mut(start, len) });
            } else {
                // SAFETY: as above.
                read.push(unsafe { slice::from_raw_parts(start, len) });
            }
        }
        written.push(&mut self.status);
        (read, written)
    }

    /// Gives it to the device; its number in the queue.
    ///
    /// # Errors
    /// There is no room.
    ///
    /// # Safety
    /// The request stays where it is until the queue gives it back.
    unsafe fn put_into(&mut self, queue: &mut DeviceQueue) -> virtio_drivers::Result<u16> {
        // SAFETY: the device has not been given it.
        let (read, mut written) = unsafe { self.buffers() };
        // SAFETY: the caller's promise; a request owns its memory.
        unsafe { queue.add(&read, &mut written) }
    }

    /// Takes it from the device, which is done with it.
    ///
    /// # Errors
    /// It is not the next one that the device is done with.
    ///
    /// # Safety
    /// `token` is its number.
    unsafe fn take_from(&mut self, queue: &mut DeviceQueue, token: u16) -> virtio_drivers::Result {
        // SAFETY: the queue looks at the addresses alone if the device is not done with them.
        let (read, mut written) = unsafe { self.buffers() };
        // SAFETY: the same buffers as in `put_into`.
        unsafe { queue.pop_used(token, &read, &mut written) }?;
        Ok(())
    }

    /// The device is done with it, or it never got it. With no short lock held.
    pub(super) fn end(self) {
        let result = if self.status == [0] { Ok(()) } else { Err(Errno::Io) };
        match (self.work, result) {
            // SAFETY: the device has filled all of it, as its status says.
            (Work::Read(transfer), Ok(())) => unsafe { transfer.complete() },
            (Work::Read(transfer), Err(errno)) => transfer.fail(errno),
            (Work::Write(transfer), result) => transfer.complete(result),
            (Work::Flush(flush), result) => flush.end(result),
        }
    }
}

/// The device's queue, and what is in it.
pub(super) struct Queue {
    transport: PciTransport,
    queue: DeviceQueue,
    /// By the numbers that the queue gives them.
    under_way: [Option<Box<Request>>; SIZE],
    /// What waits for room, in order.
    waiting: VecDeque<Box<Request>>,
}

impl Queue {
    pub(super) const fn new(transport: PciTransport, queue: DeviceQueue) -> Self {
        let under_way = [const { None }; SIZE];
        Self { transport, queue, under_way, waiting: VecDeque::new() }
    }

    /// Puts a request into the queue, or has it wait for room.
    pub(super) fn add(&mut self, request: Box<Request>) {
        self.waiting.push_back(request);
        self.fill();
    }

    /// Puts what waits into the queue, as far as there is room.
    fn fill(&mut self) {
        let mut added = false;
        while let Some(mut request) = self.waiting.pop_front() {
            // SAFETY: boxed, and in the table until the queue gives it back.
            let token = unsafe { request.put_into(&mut self.queue) };
            let Ok(token) = token else {
                self.waiting.push_front(request);
                break;
            };
            self.under_way[usize::from(token)] = Some(request);
            added = true;
        }
        if added && self.queue.should_notify() {
            self.transport.notify(QUEUE);
        }
    }

    /// Takes the interrupt away from its line; whether the device had one.
    pub(super) fn acknowledge(&mut self) -> bool {
        self.transport.ack_interrupt().contains(InterruptStatus::QUEUE_INTERRUPT)
    }

    /// A request that the device is done with.
    pub(super) fn take_done(&mut self) -> Option<Box<Request>> {
        let token = self.queue.peek_used()?;
        let mut request = self.under_way.get_mut(usize::from(token))?.take()?;
        // SAFETY: the number that it has in the table.
        let popped = unsafe { request.take_from(&mut self.queue, token) };
        debug_assert!(popped.is_ok(), "the queue has told its number");
        self.fill();
        Some(request)
    }
}
