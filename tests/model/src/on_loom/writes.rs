//! Whole operations of `filemap`: overlapping writes, truncation, reads.

// A model asserts: that it panics is what it is for.
#![allow(clippy::missing_panics_doc)]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use faultless_filemap::{Inode, NoTask, WriteOptions};
use faultless_page::PAGE_SIZE;
use faultless_usercopy::{IovIter, MayFault, UserAddr, UserMemory, UserSlice};

use crate::memory::Memory;
use crate::on_loom::Loom;
use crate::on_loom::explore::Run;
use crate::on_loom::world::{K, World};

type Thread = Box<dyn FnOnce() + Send>;

/// First address of user memory.
const BASE: usize = 0x10_0000;
/// Two pages.
const LEN: usize = 2 * PAGE_SIZE;

/// One thread's user memory: two pages, of which the second may have to be faulted in.
struct User {
    memory: Arc<Memory<Loom>>,
    bytes: Mutex<Vec<u8>>,
    second_present: AtomicBool,
}

impl User {
    fn new(world: &World) -> Self {
        Self {
            memory: Arc::clone(&world.memory),
            bytes: Mutex::new(vec![0; LEN]),
            second_present: AtomicBool::new(true),
        }
    }

    /// How many of `len` bytes at `addr` are there.
    fn reachable(&self, addr: UserAddr, len: usize) -> usize {
        let end = if self.second_present.load(Relaxed) { LEN } else { PAGE_SIZE };
        len.min((BASE + end).saturating_sub(addr.get()))
    }

    fn fetch(&self, dst: *mut u8, src: UserAddr, len: usize) {
        let at = src.get() - BASE;
        let bytes = self.bytes.lock().expect("one thread")[at..at + len].to_vec();
        if self.memory.contains(dst) {
            self.memory.poke(dst, &bytes);
        } else {
            // SAFETY: the callers' contract: valid for writes of `len` bytes.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), dst, len) };
        }
    }

    fn deliver(&self, dst: UserAddr, src: *const u8, len: usize) {
        let bytes = if self.memory.contains(src) {
            self.memory.peek(src, len)
        } else {
            // SAFETY: the callers' contract: valid for reads of `len` bytes.
            unsafe { std::slice::from_raw_parts(src, len) }.to_vec()
        };
        let at = dst.get() - BASE;
        self.bytes.lock().expect("one thread")[at..at + len].copy_from_slice(&bytes);
    }
}

// SAFETY: copies do what they say, up to the first byte that is not there; the range does not
// change.
unsafe impl UserMemory for User {
    type Token = MayFault;

    fn user_range(&self) -> Range<usize> {
        BASE..BASE + LEN
    }

    unsafe fn raw_copy_from_user(
        &self,
        _may: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        self.second_present.store(true, Relaxed);
        self.fetch(dst, src, len);
        0
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        let there = self.reachable(src, len);
        self.fetch(dst, src, there);
        len - there
    }

    unsafe fn raw_copy_to_user(
        &self,
        _may: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        self.deliver(dst, src, len);
        0
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        self.deliver(dst, src, len);
        0
    }

    unsafe fn raw_clear_user(&self, _may: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        let at = dst.get() - BASE;
        self.bytes.lock().expect("one thread")[at..at + len].fill(0);
        0
    }
}

/// The system call's token.
fn token() -> MayFault {
    // SAFETY: no fault handler exists in these models.
    unsafe { MayFault::assert() }
}

/// Whether the source is all there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Present,
    /// All but the second half.
    Half,
}

/// Writes `len` bytes `byte` at `pos`; all of them land.
fn write(world: &World, inode: &Inode<K>, pos: u64, byte: u8, len: usize, source: Source) {
    let user = User::new(world);
    user.bytes.lock().expect("one thread").fill(byte);
    user.second_present.store(source == Source::Present, Relaxed);
    let start = match source {
        Source::Present => BASE,
        Source::Half => BASE + PAGE_SIZE - len / 2,
    };
    let slice = UserSlice::new(&user, UserAddr::new(start), len).expect("in range");
    let mut from = IovIter::from_slice(&user, &slice);
    let written = inode.write(&mut token(), &mut from, &WriteOptions::at(pos), &NoTask);
    assert_eq!(written.map(|written| written.bytes), Ok(len));
}

/// Reads up to `len` bytes from `pos` on.
fn read(world: &World, inode: &Inode<K>, pos: u64, len: usize) -> Vec<u8> {
    let user = User::new(world);
    let slice = UserSlice::new(&user, UserAddr::new(BASE), len).expect("in range");
    let mut to = IovIter::from_slice(&user, &slice);
    let got = inode.read(&mut token(), &mut to, pos, &NoTask).expect("no fault");
    user.bytes.lock().expect("one thread")[..got].to_vec()
}

fn cut(inode: &Inode<K>, size: u64) {
    inode.set_size(&mut token(), size, &NoTask).expect("a small file");
}

/// A write in two steps and a write in one step, over the same bytes of two pages.
pub fn two_steps_and_one() -> Run {
    two_writes(Source::Half, Source::Present)
}

/// Two writes, each in two steps.
pub fn two_steps_each() -> Run {
    two_writes(Source::Half, Source::Half)
}

fn two_writes(first: Source, second: Source) -> Run {
    let world = World::new(6);
    let pos = PAGE_SIZE as u64 - 4;
    let inode = world.inode(&vec![b'.'; PAGE_SIZE + 8]);
    write(&world, &inode, pos, b'.', 8, Source::Present);
    let writer = |byte, source| {
        let (world, inode) = (world.clone(), Arc::clone(&inode));
        Box::new(move || write(&world, &inode, pos, byte, 8, source)) as Thread
    };
    let threads = vec![writer(b'1', first), writer(b'2', second)];
    let end = move || {
        let bytes = read(&world, &inode, pos, 8);
        assert!(bytes == b"11111111" || bytes == b"22222222", "interleaved: {bytes:?}");
    };
    Run { threads, end: Box::new(end) }
}

/// A file of eight bytes, cached.
fn small_file(world: &World) -> Arc<Inode<K>> {
    let inode = world.inode(b"........");
    write(world, &inode, 0, b'a', 8, Source::Present);
    inode
}

fn reader(world: &World, inode: &Arc<Inode<K>>, allowed: fn(&[u8]) -> bool) -> Thread {
    let (world, inode) = (world.clone(), Arc::clone(inode));
    Box::new(move || {
        let bytes = read(&world, &inode, 0, 16);
        assert!(allowed(&bytes), "a reader saw {bytes:02x?}");
    })
}

fn cutter(inode: &Arc<Inode<K>>) -> Thread {
    let inode = Arc::clone(inode);
    Box::new(move || cut(&inode, 4))
}

fn writer(world: &World, inode: &Arc<Inode<K>>, len: usize) -> Thread {
    let (world, inode) = (world.clone(), Arc::clone(inode));
    Box::new(move || write(&world, &inode, 0, b'b', len, Source::Present))
}

/// Truncation to half, and a reader.
pub fn truncate_and_read() -> Run {
    let world = World::new(4);
    let inode = small_file(&world);
    let threads =
        vec![reader(&world, &inode, |b| b == b"aaaa" || b == b"aaaaaaaa"), cutter(&inode)];
    let end = move || assert_eq!(read(&world, &inode, 0, 16), b"aaaa");
    Run { threads, end: Box::new(end) }
}

/// Truncation while a reader brings the page in from the store: what the store had is not to be
/// seen again.
fn truncate_and_fill(size: u64) -> Run {
    let world = World::new(4);
    let inode = world.inode(b"aaaaaaaa");
    let mapping = inode.mapping();
    drop(mapping.lock_or_create(crate::on_loom::world::cx(), crate::on_loom::world::PAGE));
    let cutting = Arc::clone(&inode);
    let threads: Vec<Thread> = vec![
        reader(&world, &inode, |bytes| bytes.iter().all(|byte| *byte == b'a')),
        Box::new(move || cut(&cutting, size)),
    ];
    let end = move || {
        inode.set_size(&mut token(), 8, &NoTask).expect("a small file");
        let bytes = read(&world, &inode, 0, 16);
        let kept = size as usize;
        assert_eq!(bytes[..kept], b"aaaaaaaa"[..kept]);
        assert_eq!(bytes[kept..], [0; 8][kept..], "cut off, and back again");
    };
    Run { threads, end: Box::new(end) }
}

/// `truncate_and_fill` to nothing.
pub fn truncate_to_nothing_and_fill() -> Run {
    truncate_and_fill(0)
}

/// `truncate_and_fill` to half.
pub fn truncate_to_half_and_fill() -> Run {
    truncate_and_fill(4)
}

/// Truncation to nothing: the page goes, and its frame is poisoned.
pub fn truncate_to_nothing_and_read() -> Run {
    let world = World::new(4);
    let inode = small_file(&world);
    let all = Arc::clone(&inode);
    let threads: Vec<Thread> = vec![
        reader(&world, &inode, |b| b.is_empty() || b == b"aaaaaaaa"),
        Box::new(move || cut(&all, 0)),
    ];
    let end = move || {
        assert_eq!(read(&world, &inode, 0, 16), b"");
        assert_eq!(inode.mapping().cached_pages(), 0);
    };
    Run { threads, end: Box::new(end) }
}

fn cut_or_written(bytes: &[u8]) {
    assert!(bytes == b"bbbb" || bytes == b"bbbbbbbb", "neither order: {bytes:02x?}");
}

/// Truncation to half, and a write of the whole.
pub fn truncate_and_overwrite() -> Run {
    let world = World::new(4);
    let inode = small_file(&world);
    let threads = vec![writer(&world, &inode, 8), cutter(&inode)];
    let end = move || {
        cut_or_written(&read(&world, &inode, 0, 16));
        inode.set_size(&mut token(), 16, &NoTask).expect("a small file");
        let tail = read(&world, &inode, 8, 8);
        assert_eq!(tail, [0; 8], "bytes past the end");
    };
    Run { threads, end: Box::new(end) }
}

/// Truncation to nothing, and a write that brings the page in: the bytes are cut off, or written
/// after the cut.
pub fn truncate_and_overwrite_uncached() -> Run {
    let world = World::new(5);
    let inode = world.inode(b"aaaaaaaa");
    let mapping = inode.mapping();
    drop(mapping.lock_or_create(crate::on_loom::world::cx(), crate::on_loom::world::PAGE));
    let cutting = Arc::clone(&inode);
    let threads = vec![writer(&world, &inode, 8), Box::new(move || cut(&cutting, 0)) as Thread];
    let end = move || {
        if inode.size() == 0 {
            inode.set_size(&mut token(), 8, &NoTask).expect("a small file");
            assert_eq!(read(&world, &inode, 0, 16), [0; 8], "cut off, and back again");
        } else {
            assert_eq!(read(&world, &inode, 0, 16), b"bbbbbbbb");
        }
    };
    Run { threads, end: Box::new(end) }
}

/// A write in two steps, and a truncation to `size` with growth after it: all bytes of the write
/// are there, or those that were not cut off.
fn truncate_grow_and_overwrite(size: u64) -> Run {
    let world = World::new(4);
    let inode = small_file(&world);
    let (machine, file, resized) = (world.clone(), Arc::clone(&inode), Arc::clone(&inode));
    let threads: Vec<Thread> = vec![
        Box::new(move || write(&machine, &file, 0, b'b', 8, Source::Half)),
        Box::new(move || {
            cut(&resized, size);
            cut(&resized, 8);
        }),
    ];
    let end = move || {
        let bytes = read(&world, &inode, 0, 16);
        let (kept, gone) = bytes.split_at(size as usize);
        assert!(kept.iter().all(|byte| *byte == b'b'), "written in part: {bytes:02x?}");
        assert!(gone.iter().all(|byte| *byte == gone[0]), "neither order: {bytes:02x?}");
        assert!(gone.len() == 8 - kept.len() && b"\0b".contains(&gone[0]), "{bytes:02x?}");
    };
    Run { threads, end: Box::new(end) }
}

/// `truncate_grow_and_overwrite` to nothing.
pub fn truncate_to_nothing_grow_and_overwrite() -> Run {
    truncate_grow_and_overwrite(0)
}

/// `truncate_grow_and_overwrite` to less than the write's first step.
pub fn truncate_to_two_grow_and_overwrite() -> Run {
    truncate_grow_and_overwrite(2)
}

/// All three.
pub fn truncate_overwrite_and_read() -> Run {
    let world = World::new(4);
    let inode = small_file(&world);
    let known = |bytes: &[u8]| bytes.iter().all(|byte| b"ab".contains(byte));
    let threads = vec![writer(&world, &inode, 8), cutter(&inode), reader(&world, &inode, known)];
    let end = move || cut_or_written(&read(&world, &inode, 0, 16));
    Run { threads, end: Box::new(end) }
}

/// A write past the end, and a reader: it sees the old bytes, or those and all new ones up to the
/// size it read.
pub fn grow_and_read() -> Run {
    let world = World::new(4);
    let inode = small_file(&world);
    let (machine, file) = (world.clone(), Arc::clone(&inode));
    let append = move || write(&machine, &file, 8, b'b', 4, Source::Present);
    let allowed = |b: &[u8]| b == b"aaaaaaaa" || b == b"aaaaaaaabbbb";
    let threads: Vec<Thread> = vec![reader(&world, &inode, allowed), Box::new(append)];
    let end = move || assert_eq!(read(&world, &inode, 0, 16), b"aaaaaaaabbbb");
    Run { threads, end: Box::new(end) }
}

/// A write into a hole far past the end, and a reader of the hole: zeros, never a frame's old
/// contents.
pub fn hole_and_read() -> Run {
    let world = World::new(4);
    let inode = small_file(&world);
    let (machine, file) = (world.clone(), Arc::clone(&inode));
    let append = move || write(&machine, &file, 12, b'b', 4, Source::Present);
    let allowed = |b: &[u8]| b == b"aaaaaaaa" || b == b"aaaaaaaa\0\0\0\0bbbb";
    let threads: Vec<Thread> = vec![reader(&world, &inode, allowed), Box::new(append)];
    Run { threads, end: Box::new(move || drop((world, inode))) }
}
