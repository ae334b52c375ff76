//! Transfers that are under way, and threads that wait for their ends.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use core::sync::atomic::{AtomicBool, AtomicUsize};

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;

use faultless::page::{Spin, SpinLock};
use faultless::prelude::{Errno, Kernel, Wait, WaitKey};

use crate::device::{BlockDevice, Ended, ReadTransfer};

/// Writes of data that are under way.
pub(crate) struct Flight<K: Kernel> {
    cache: K::Cache,
    count: AtomicUsize,
    has_failed: AtomicBool,
}

impl<K: Kernel> Flight<K> {
    pub(crate) fn new(cache: K::Cache) -> Arc<Self> {
        let (count, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { cache, count, has_failed })
    }

    /// Whether a write has failed since the last call.
    pub(crate) fn take_failure(&self) -> bool {
        self.has_failed.swap(false, AcqRel)
    }

    pub(crate) fn begin(&self) {
        self.count.fetch_add(1, AcqRel);
    }

    fn end(&self, result: Result<(), Errno>) {
        if result.is_err() {
            self.has_failed.store(true, Release);
        }
        self.count.fetch_sub(1, AcqRel);
        self.cache.wait().wake(self.key());
    }

    fn key(&self) -> WaitKey {
        WaitKey(core::ptr::from_ref(&self.count).addr())
    }

    /// Waits until no write of data is under way. May sleep.
    pub(crate) fn wait(&self) {
        let over = || self.count.load(Acquire) == 0;
        // `Wait` is a safe trait: it may return too early.
        while !over() {
            self.cache.wait().wait_until(self.key(), &mut || over());
        }
    }
}

/// One write of data: how it went.
pub(crate) struct DataWrite<K: Kernel> {
    flight: Arc<Flight<K>>,
    failed: AtomicBool,
}

impl<K: Kernel> DataWrite<K> {
    /// A write that begins now.
    pub(crate) fn begin(flight: &Arc<Flight<K>>) -> Arc<Self> {
        flight.begin();
        Arc::new(Self { flight: Arc::clone(flight), failed: AtomicBool::new(false) })
    }

    /// Whether it has ended with an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Acquire)
    }
}

impl<K: Kernel> Ended for DataWrite<K> {
    fn ended(&self, _part: usize, _bytes: Option<Box<[u8]>>, result: Result<(), Errno>) {
        if result.is_err() {
            self.failed.store(true, Release);
        }
        self.flight.end(result);
    }
}

/// Transfers of metadata that a thread waits for.
pub(crate) struct Awaited<K: Kernel> {
    cache: K::Cache,
    left: AtomicUsize,
    failed: SpinLock<K, Option<Errno>>,
    bytes: SpinLock<K, Option<Box<[u8]>>>,
}

impl<K: Kernel> Awaited<K> {
    pub(crate) fn new(cache: &K::Cache, transfers: usize) -> Arc<Self> {
        let cache = cache.clone();
        let (failed, bytes) = (Spin::new(None), Spin::new(None));
        Arc::new(Self { cache, left: AtomicUsize::new(transfers), failed, bytes })
    }

    fn key(&self) -> WaitKey {
        WaitKey(core::ptr::from_ref(&self.left).addr())
    }

    /// Waits for the ends of all transfers. May sleep.
    ///
    /// # Errors
    /// That of a transfer that failed.
    pub(crate) fn wait(&self) -> Result<(), Errno> {
        let over = || self.left.load(Acquire) == 0;
        while !over() {
            self.cache.wait().wait_until(self.key(), &mut || over());
        }
        self.failed.lock().map_or(Ok(()), Err)
    }
}

impl<K: Kernel> Ended for Awaited<K> {
    fn ended(&self, _part: usize, bytes: Option<Box<[u8]>>, result: Result<(), Errno>) {
        if let Err(errno) = result {
            *self.failed.lock() = Some(errno);
        }
        if bytes.is_some() {
            *self.bytes.lock() = bytes;
        }
        self.left.fetch_sub(1, AcqRel);
        self.cache.wait().wake(self.key());
    }
}

/// Reads `len` bytes of the device at `position`, and waits for them.
///
/// # Errors
/// The device's.
pub(crate) fn read_now<K: Kernel>(
    device: &dyn BlockDevice,
    cache: &K::Cache,
    position: u64,
    len: usize,
) -> Result<Box<[u8]>, Errno> {
    let awaited = Awaited::<K>::new(cache, 1);
    let call: Arc<dyn Ended> = awaited.clone();
    device.read(ReadTransfer::buffer(position, vec![0; len].into(), 0, call));
    awaited.wait()?;
    let bytes = awaited.bytes.lock().take();
    bytes.ok_or(Errno::Io)
}
