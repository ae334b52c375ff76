//! The disk: a virtio block device on the PCI bus, whose transfers end in its interrupt.
//!
//! | what | module |
//! |---|---|
//! | where it is, and which line it interrupts | `pci` |
//! | what it is asked for: requests in its queue | `requests` |
//! | transfers that fail, if the command line says so | `failing` |
//! | memory and addresses for the virtio crate | `hal` |
//!
//! # Locks
//! The queue has a short lock. Transfers end with it free, in the interrupt of the CPU that serves
//! it.

mod failing;
mod hal;
mod pci;
mod requests;

use alloc::boxed::Box;
use alloc::sync::Arc;

use bitflags::bitflags;
use faultless::page::StoreId;
use faultless::prelude::Errno;
use faultless_ext2::{BlockDevice, ReadTransfer, WriteTransfer};
use spin::Once;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;

use crate::arch::apic;
use crate::arch::serial::say;
use crate::arch::vectors::DISK;
use crate::memory::DISK as DISK_STORE;
use crate::sync::Lock;

pub(crate) use failing::fail_one_in;
use requests::{Flush, QUEUE, Queue, Request, SECTOR, Work};

bitflags! {
    /// What the driver and the device can agree on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
        const READ_ONLY = 1 << 5;
        const FLUSH = 1 << 9;
        const INDIRECT = 1 << 28;
        const VERSION_1 = 1 << 32;
    }
}

static DISK_DEVICE: Once<Arc<Disk>> = Once::new();

/// The disk.
pub(crate) struct Disk {
    queue: Lock<Queue>,
    sectors: u64,
    features: Features,
}

/// Finds the disk, and lets it interrupt; none if the machine has none.
pub(crate) fn init() -> Option<Arc<Disk>> {
    let (mut transport, line) = pci::find()?;
    let features = transport.begin_init(Features::all());
    let word = |at| transport.read_config_space::<u32>(at).map(u64::from);
    let sectors = transport.read_consistent(|| Ok(word(0)? | word(4)? << 32));
    let indirect = features.contains(Features::INDIRECT);
    let queue = VirtQueue::new(&mut transport, QUEUE, indirect, false);
    let (sectors, queue) = match (sectors, queue) {
        (Ok(sectors), Ok(queue)) => (sectors, queue),
        (Err(why), _) | (_, Err(why)) => {
            say!("kernel: the disk: {why}");
            return None;
        }
    };
    transport.finish_init();
    let queue = Lock::new(Queue::new(transport, queue));
    let disk = Arc::new(Disk { queue, sectors, features });
    DISK_DEVICE.call_once(|| Arc::clone(&disk));
    apic::route(line, DISK);
    Some(disk)
}

/// The interrupt of the disk. Interrupts are off.
pub(crate) fn interrupted() {
    let Some(disk) = DISK_DEVICE.get() else { return };
    disk.queue.lock().acknowledge();
    // The lock is free while a transfer ends.
    while let Some(done) = disk.take_done() {
        done.end();
    }
}

impl Disk {
    /// Whether nothing can be written to it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.features.contains(Features::READ_ONLY)
    }

    fn take_done(&self) -> Option<Box<Request>> {
        self.queue.lock().take_done()
    }

    fn add(&self, work: Work) {
        let Some(work) = failing::pass(work) else { return };
        let request = Request::new(work);
        self.queue.lock().add(request);
    }
}

/// A transfer that finds the queue full waits in a list before it, so that none sleeps.
impl BlockDevice for Disk {
    fn size(&self) -> u64 {
        self.sectors * SECTOR
    }

    fn store_id(&self) -> StoreId {
        DISK_STORE
    }

    fn read(&self, transfer: ReadTransfer) {
        self.add(Work::Read(transfer));
    }

    fn write(&self, transfer: WriteTransfer) {
        self.add(Work::Write(transfer));
    }

    fn flush(&self) -> Result<(), Errno> {
        if !self.features.contains(Features::FLUSH) {
            // What it has written is durable.
            return Ok(());
        }
        let flush = Arc::new(Flush::new());
        self.add(Work::Flush(Arc::clone(&flush)));
        flush.wait()
    }
}
