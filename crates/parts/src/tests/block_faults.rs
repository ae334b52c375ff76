//! A `BlockStore` call by call: what it allocates, sends and flushes, and what it says when its
//! device fails at the worst moment.

use core::ops::Range;
use std::boxed::Box;
use std::format;
use std::string::String;
use std::sync::Mutex;
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FillBuf, PageIndex, Reserved, SyncKind,
};

use super::block_model::{Flaky, Map, N, STALE};
use super::{Rig, Truncation, Twisted};
use crate::{BlockDevice, BlockMap, BlockStore, FixedMap, RamDisk};

/// A disk of blocks of 1 KiB, and the map of an empty file on it.
fn parts() -> (&'static Flaky, &'static Map) {
    (Flaky::leak(1024), Box::leak(Box::new(Map::new(0..N as u64))))
}

fn store_of(parts: (&'static Flaky, &'static Map)) -> BlockStore<&'static Flaky, &'static Map> {
    BlockStore::new(parts.0, parts.1).expect("a block size")
}

/// A page as the store reads it.
fn read_page(store: &impl AddressSpaceOperations, index: u64) -> Result<Vec<u8>, Errno> {
    let mut bytes = std::vec![0xee; 4096];
    let mut buf = FillBuf::new(&mut bytes);
    store.read(PageIndex::new(index), &mut buf)?;
    let filled = buf.filled();
    bytes.truncate(filled);
    Ok(bytes)
}

#[test]
fn a_write_takes_the_blocks_of_its_bytes_and_no_others() {
    let (disk, map) = parts();
    let store = store_of((disk, map));
    let begun = store.write_begin(4096 + 1500, 600);
    let expected = Begun { len: 600, contents: Contents::Hole, reserved: Reserved::Partly };
    assert_eq!(begun, Ok(expected));
    let has: Vec<u64> = (0..N as u64).filter(|at| map.find(*at) != Ok(None)).collect();
    assert_eq!(has, [5, 6]);
    let begun = store.write_begin(4096, 4096);
    let expected = Begun { len: 4096, contents: Contents::Stored, reserved: Reserved::Fully };
    assert_eq!(begun, Ok(expected));
}

#[test]
fn a_page_has_room_when_its_blocks_below_the_largest_size_do() {
    let map: FixedMap<6> = FixedMap::new(0..6);
    let disk: RamDisk<_> = RamDisk::new([STALE; 6 * 1024], 1024).expect("a block size");
    let store: BlockStore<_, _> = BlockStore::new(disk, map).expect("a block size");
    assert_eq!(store.max_size(), 6 * 1024);
    let begun = store.write_begin(4096, 2048).expect("room");
    assert_eq!((begun.len, begun.reserved), (2048, Reserved::Fully));
    assert_eq!(read_page(&store, 1), Ok(std::vec![0; 4096]));
    assert_eq!(read_page(&store, 7), Ok(std::vec![0; 4096]), "past the largest size");
}

#[test]
fn a_fresh_block_that_cannot_be_zeroed_is_not_the_files() {
    let (disk, map) = parts();
    let store = store_of((disk, map));
    disk.fail_every(1);
    assert_eq!(store.write_begin(0, 10), Err(Errno::Io));
    disk.fail_every(0);
    assert_eq!((map.find(0), map.free()), (Ok(None), N));
}

#[test]
fn a_buffer_of_half_a_page_gets_whole_blocks() {
    let (disk, map) = parts();
    let store = store_of((disk, map));
    store.write_begin(0, 4096).expect("room");
    let mut bytes = [0xee; 2500];
    let mut buf = FillBuf::new(&mut bytes);
    assert_eq!(store.read(PageIndex::ZERO, &mut buf), Ok(()));
    assert_eq!(buf.filled(), 2048);
}

#[test]
fn a_device_with_a_strange_block_size_is_refused() {
    for block_size in [0, 256, 1000, 8192] {
        assert_eq!(RamDisk::new([0; 8192], block_size).err(), Some(Errno::Invalid));
    }
    struct Strange;
    impl BlockDevice for Strange {
        fn block_size(&self) -> usize {
            520
        }
        fn blocks(&self) -> u64 {
            1
        }
        fn read(&self, _first: u64, _into: &mut [u8]) -> Result<(), Errno> {
            Ok(())
        }
        fn write(&self, _first: u64, _from: &[u8]) -> Result<(), Errno> {
            Ok(())
        }
        fn flush(&self) -> Result<(), Errno> {
            Ok(())
        }
    }
    let refused = BlockStore::new(Strange, Map::new(0..1)).err();
    assert_eq!(refused, Some(Errno::Invalid));
}

#[test]
fn a_disk_refuses_blocks_that_it_has_not() {
    let disk: RamDisk<_> = RamDisk::new([0; 2048], 512).expect("a block size");
    let mut two = [0; 1024];
    assert_eq!(disk.read(2, &mut two), Ok(()));
    assert_eq!(disk.read(3, &mut two), Err(Errno::Io));
    assert_eq!(disk.write(u64::MAX, &two), Err(Errno::Io));
    assert_eq!(disk.write(0, &two[..100]), Err(Errno::Io));
}

/// Cuts a file off at 100 while the device fails, lets it grow, and looks. `make` makes the store.
fn cut_with_a_failing_device<S: AddressSpaceOperations + 'static>(
    make: impl Fn(BlockStore<&'static Flaky, &'static Map>) -> S,
) -> Result<(), String> {
    let (disk, map) = parts();
    let mut rig = Rig::new(make(store_of((disk, map))), 0, 64);
    rig.write(0, &[7; 1024]).map_err(|errno| format!("write: {errno}"))?;
    rig.fsync().map_err(|errno| format!("fsync: {errno}"))?;
    rig.evict();
    disk.fail_every(1);
    rig.set_size(100).map_err(|errno| format!("set_size: {errno}"))?;
    if rig.fsync() != Err(Errno::Io) {
        return Err("a sync says Ok while what was cut off is on the device".into());
    }
    disk.fail_every(0);
    rig.set_size(1024).map_err(|errno| format!("set_size: {errno}"))?;
    let expected: Vec<u8> = [[7; 100].as_slice(), &[0; 924]].concat();
    let found = rig.read(0, 1024).map_err(|errno| format!("read: {errno}"))?;
    super::difference(&found, &expected)?;
    let _reported = rig.fsync();
    rig.reopen(1024);
    let mut block = std::vec![0; 1024];
    let device_block = map.find(0).ok().flatten().ok_or("the block is gone")?;
    disk.read(device_block, &mut block).map_err(|errno| format!("device: {errno}"))?;
    super::difference(&block, &expected).map_err(|what| format!("on the device: {what}"))
}

#[test]
fn what_a_failing_device_could_not_zero_counts_as_zeros_until_it_is() {
    cut_with_a_failing_device(|store| store).expect("zeros");
}

#[test]
fn a_trim_that_gives_up_is_found() {
    // Frees the blocks, and zeroes nothing.
    let gives_up =
        |store: &BlockStore<_, _>, size: u64| store.truncate_blocks(size.next_multiple_of(1024));
    cut_with_a_failing_device(|store| Twisted(store, Truncation(gives_up))).expect_err("planted");
}

#[test]
fn more_failed_ends_than_can_be_noted_make_reads_fail() {
    let (disk, map) = parts();
    let store = store_of((disk, map));
    for block in 0..9 {
        assert!(block == 0 || read_page(&store, 0).is_ok(), "{block} are noted");
        store.write_begin(block * 1024, 1).expect("room");
        disk.fail_every(1);
        store.truncate_blocks(block * 1024 + 10);
        disk.fail_every(0);
    }
    assert_eq!(read_page(&store, 0), Err(Errno::Io));
    assert_eq!(store.sync(SyncKind::All), Err(Errno::Io));
}

/// The calls of a device and a map, in order.
struct Log(Mutex<Vec<&'static str>>);

impl Log {
    fn add(&self, call: &'static str) {
        self.0.lock().expect("no panic").push(call);
    }
}

struct Logged<T>(T, &'static Log);

impl BlockDevice for Logged<&'static Flaky> {
    fn block_size(&self) -> usize {
        self.0.block_size()
    }
    fn blocks(&self) -> u64 {
        self.0.blocks()
    }
    fn read(&self, first: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.1.add("read");
        self.0.read(first, into)
    }
    fn write(&self, first: u64, from: &[u8]) -> Result<(), Errno> {
        self.1.add("write");
        self.0.write(first, from)
    }
    fn flush(&self) -> Result<(), Errno> {
        self.1.add("flush");
        self.0.flush()
    }
}

impl BlockMap for Logged<&'static Map> {
    fn find(&self, block: u64) -> Result<Option<u64>, Errno> {
        self.0.find(block)
    }
    fn allocate(&self, block: u64) -> Result<u64, Errno> {
        self.0.allocate(block)
    }
    fn release(&self, device_block: u64) {
        self.0.release(device_block);
    }
    fn insert(&self, block: u64, device_block: u64) -> Result<(), Errno> {
        self.1.add("insert");
        self.0.insert(block, device_block)
    }
    fn truncate(&self, first: u64) {
        self.0.truncate(first);
    }
    fn punch(&self, blocks: Range<u64>) {
        self.1.add("punch");
        self.0.punch(blocks);
    }
    fn set_size(&self, size: u64) {
        self.1.add("set_size");
        self.0.set_size(size);
    }
    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        self.1.add("map");
        Ok(())
    }
    fn max_blocks(&self) -> u64 {
        self.0.max_blocks()
    }
}

#[test]
fn blocks_are_zeroed_before_they_are_the_files_and_the_map_is_written_between_two_flushes() {
    let (disk, map) = parts();
    let log: &'static Log = Box::leak(Box::new(Log(Mutex::new(Vec::new()))));
    let store = BlockStore::new(Logged(disk, log), Logged(map, log)).expect("a block size");
    let rig = Rig::new(store, 0, 64);
    rig.write(1000, &[1; 1500]).expect("room");
    rig.fsync().expect("works");
    let calls = log.0.lock().expect("no panic").clone();
    let fresh = ["write", "insert"].repeat(3);
    let rest = ["set_size", "write", "flush", "map", "flush"];
    assert_eq!(calls, [fresh.as_slice(), &rest].concat());
}
