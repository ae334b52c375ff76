//! What the device is asked for: requests in its queue.
//!
//! Key types: [`Request`], which owns the memory that the device uses until it is done; [`Queue`].

use core::slice;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::Errno;
use faultless_ext2::{ReadTransfer, Stretch, WriteTransfer};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::{InterruptStatus, Transport};

use crate::disk::Flush;
use crate::disk::hal::Direct;

/// Descriptors of the queue, and the most that a request has: a transfer has up to 64 pieces of
/// memory, the pages of a leaf.
pub(super) const SIZE: usize = 128;

/// The number of the only queue.
pub(super) const QUEUE: u16 = 0;

/// The unit of the device's positions.
pub(super) const SECTOR: u64 = 512;

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

    /// Calls `act` with what the device reads and what it writes.
    ///
    /// # Safety
    /// `act` uses addresses and lengths alone, unless the device has not been given the request, or
    /// is done with it.
    unsafe fn with_buffers<R>(
        &mut self,
        act: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
    ) -> R {
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
        act(&read, &mut written)
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
    queue: VirtQueue<Direct, SIZE>,
    /// By the numbers that the queue gives them.
    under_way: [Option<Box<Request>>; SIZE],
    /// What waits for room, in order.
    waiting: VecDeque<Box<Request>>,
}

impl Queue {
    pub(super) const fn new(transport: PciTransport, queue: VirtQueue<Direct, SIZE>) -> Self {
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
            let queue = &mut self.queue;
            // SAFETY: the request stays in the table until the queue gives it back; the queue
            // takes the addresses.
            let token = unsafe { request.with_buffers(|read, written| queue.add(read, written)) };
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
        let queue = &mut self.queue;
        // SAFETY: the same buffers as in `fill`, and the device is done with them.
        let popped =
            unsafe { request.with_buffers(|read, written| queue.pop_used(token, read, written)) };
        debug_assert!(popped.is_ok(), "the queue has told its number");
        self.fill();
        Some(request)
    }
}
