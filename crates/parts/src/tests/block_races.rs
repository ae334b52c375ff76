//! Truncation and writeback of the same block: whichever the device serves last, no byte is lost.
//!
//! The device stops a truncation between its read of the last block and its write, and lets a
//! writeback of that block go on until it is over, or waits for the store's lock.

use std::boxed::Box;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use faultless_page::{AddressSpaceOperations, Errno, Wait, WaitKey};

use super::block_model::{Flaky, Map, N};
use super::{Rig, Truncation, Twisted};
use crate::{BlockDevice, BlockMap, BlockStore};

/// Where the two threads meet.
struct Scene {
    /// The next read of the device is the truncation's.
    armed: AtomicBool,
    /// The truncation has read.
    read: Mutex<Sender<()>>,
    /// The writeback is over, or waits.
    met: Mutex<Receiver<()>>,
    go_on: Mutex<Sender<()>>,
}

struct Stopping(&'static Flaky, Arc<Scene>);

impl BlockDevice for Stopping {
    fn block_size(&self) -> usize {
        self.0.block_size()
    }
    fn blocks(&self) -> u64 {
        self.0.blocks()
    }
    fn read(&self, first: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.0.read(first, into)?;
        if self.1.armed.swap(false, SeqCst) {
            self.1.read.lock().expect("no panic").send(()).expect("the other thread");
            self.1.met.lock().expect("no panic").recv().expect("the other thread");
        }
        Ok(())
    }
    fn write(&self, first: u64, from: &[u8]) -> Result<(), Errno> {
        self.0.write(first, from)
    }
    fn flush(&self) -> Result<(), Errno> {
        self.0.flush()
    }
}

/// Tells the scene that a thread waits, and spins.
struct Telling(Arc<Scene>);

impl Wait for Telling {
    fn wait_until(&self, _key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        let _over = self.0.go_on.lock().expect("no panic").send(());
        while !condition() {
            thread::yield_now();
        }
    }
    fn wake(&self, _key: WaitKey) {}
}

type Inner = BlockStore<Stopping, &'static Map, Telling>;

/// Truncates a file to 600 while a write to its begin is sent; what the device holds there then.
fn meet<S: AddressSpaceOperations + 'static>(make: impl Fn(Inner) -> S) -> u8 {
    let (disk, map) = (Flaky::leak(1024), &*Box::leak(Box::new(Map::new(0..N as u64))));
    let (read, has_read) = channel();
    let (go_on, met) = channel();
    let scene = Arc::new(Scene {
        armed: AtomicBool::new(false),
        read: Mutex::new(read),
        met: Mutex::new(met),
        go_on: Mutex::new(go_on.clone()),
    });
    let device = Stopping(disk, scene.clone());
    let store = BlockStore::with_wait(device, map, Telling(scene.clone())).expect("a block size");
    let rig = Rig::new(make(store), 0, 64);
    rig.write(0, &[1; 1000]).expect("room");
    rig.fsync().expect("works");
    scene.armed.store(true, SeqCst);
    let (store, file) = (rig.store.clone(), rig.file());
    thread::scope(|scope| {
        // By hand, with the steps of `Inode::set_size` that matter: the rig's buffer is one.
        let truncation = scope.spawn(move || store.truncate_blocks(600));
        has_read.recv().expect("the truncation");
        rig.write(0, &[2; 100]).expect("room");
        let _sent = file.writeback(&mut super::token(), 0..1000, &faultless_filemap::NoTask);
        let _over = go_on.send(());
        truncation.join().expect("no panic");
    });
    let mut block = [0; 1024];
    let device_block = map.find(0).expect("a map").expect("room");
    disk.read(device_block, &mut block).expect("works");
    block[0]
}

#[test]
fn a_writeback_that_meets_a_truncation_of_its_block_is_not_lost() {
    assert_eq!(meet(|store| store), 2);
}

/// A `truncate_blocks` that does not take the lock.
fn truncate_unlocked(store: &Inner, size: u64) {
    let mut block = [0; 1024];
    store.map().truncate(size.div_ceil(1024));
    let Ok(Some(device_block)) = store.map().find(size / 1024) else { return };
    let _failed = store.device().read(device_block, &mut block);
    block[(size % 1024) as usize..].fill(0);
    let _failed = store.device().write(device_block, &block);
}

#[test]
fn a_truncation_without_the_lock_loses_a_writeback_and_is_found() {
    assert_eq!(
        meet(|store| Twisted(store, Truncation(truncate_unlocked))),
        1,
        "the planted bug is found by the byte that is lost"
    );
}
