//! The deadlocks, staged: writes whose source lies in a mapping of a file that is being written.
//!
//! On Faultless they end, with the right bytes. [`Path::UnderLock`] is the write path that Linux
//! had until 2007: it copies with the page locked, and the fault handler wants the lock of a page.
//! With it each scene hangs for ever, and the watchdog shows which thread waits for what.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::SeqCst;

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::page::{LockContext, PageRun, Trace};
use faultless::parts::RamStore;
use faultless::prelude::{MayFault, PAGE_SIZE, PageIndex, UserAddr, UserMemory, Wait, WaitKey};
use faultless_posix::{Description, Errno, MapRequest, Rights, RwFlags, Sharing};
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::arch::serial::say;
use crate::listener;
use crate::memory::{AddressSpace, FileHandle, Open, Space, get, put, user_memory, with_buffer};
use crate::process;
use crate::sched;
use crate::selftest::place::BASE;
use crate::task::Running;
use crate::waits::{key_of, waits, wake};

/// The way that bytes go from user memory into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// That of every system call.
    Faultless,
    /// The faulting copy under the page lock.
    UnderLock,
}

/// How often the threads of a scene write.
const ROUNDS: usize = 200;

/// How long the other thread has to come to a lock that is held, in nanoseconds.
const QUEUED: u64 = 200_000_000;

/// Bytes of a write: half a page, onto the other half.
const LEN: usize = PAGE_SIZE / 2;

/// A file of one page, mapped at [`BASE`] and `page` pages. Its first byte is `fill`, the next ones
/// are one more each.
fn mapped(token: &mut MayFault, space: &Space, page: usize, fill: u8) -> Result<Open, Errno> {
    let file = FileHandle::new(Arc::new(RamStore::new()), PAGE_SIZE as u64, None);
    let file: Open = Arc::new(Description::new(file, linux::O_RDWR));
    let rights = Rights::READ | Rights::WRITE;
    let (description, sharing) = (Arc::clone(&file), Sharing::Shared);
    let request = MapRequest { description, offset: 0, len: PAGE_SIZE, rights, sharing };
    let address = BASE + page * PAGE_SIZE;
    AddressSpace::map(space, address, request)?;
    let bytes: Vec<u8> = (0..PAGE_SIZE).map(|at| fill.wrapping_add(at as u8)).collect();
    put(token, address, &bytes)?;
    Ok(file)
}

/// One half of a page is written with the other half, from a mapping that has to be brought in.
///
/// # Errors
/// A mapping cannot be made.
///
/// # Panics
/// The bytes are not right.
pub(super) fn own_page(token: &mut MayFault, space: &Space, path: Path) -> Result<(), Errno> {
    let file = mapped(token, space, 0, 1)?;
    for _round in 0..ROUNDS {
        AddressSpace::discard(space, BASE, PAGE_SIZE)?;
        write(token, &file, BASE, path, &mut || ())?;
    }
    expect_halves(token, BASE, 1)?;
    AddressSpace::unmap(space, BASE, PAGE_SIZE)?;
    say!("selftest: a page written from its own mapping: {ROUNDS} writes ended");
    Ok(())
}

/// Two threads: each writes the file that the other one writes from.
///
/// # Errors
/// As [`own_page`].
///
/// # Panics
/// As [`own_page`].
pub(super) fn crossed(token: &mut MayFault, space: &Space, path: Path) -> Result<(), Errno> {
    let files = [mapped(token, space, 0, 3)?, mapped(token, space, 1, 3)?];
    let meeting = Arc::new(Meeting::default());
    let other = {
        let (files, space, meeting) = (files.clone(), Arc::clone(space), Arc::clone(&meeting));
        move || {
            // SAFETY: a new thread holds no lock.
            let mut token = unsafe { MayFault::assert() };
            let done = writes(&mut token, &space, &files[1], BASE, path, &meeting);
            assert!(done.is_ok(), "selftest: {done:?}");
            meeting.arrive();
        }
    };
    process::spawn_in_current(other)?;
    writes(token, space, &files[0], BASE + PAGE_SIZE, path, &meeting)?;
    meeting.arrive();
    meeting.wait_for(2);
    expect_halves(token, BASE, 3)?;
    expect_halves(token, BASE + PAGE_SIZE, 3)?;
    AddressSpace::unmap(space, BASE, 2 * PAGE_SIZE)?;
    say!("selftest: two pages, each written from the other's mapping: {ROUNDS} writes each ended");
    Ok(())
}

/// A list of the areas is copied to memory that has to be brought in, while another thread is about
/// to unmap something. On the old path the list is locked during the copy, whose fault then stands
/// behind the other thread, and that one behind the list.
///
/// # Errors
/// As [`own_page`].
///
/// # Panics
/// As [`own_page`].
#[inline(never)] // The watchdog's report is to have its name.
pub(super) fn nested_reader(token: &mut MayFault, space: &Space, path: Path) -> Result<(), Errno> {
    mapped(token, space, 0, 5)?;
    mapped(token, space, 1, 5)?;
    let meeting = Arc::new(Meeting::default());
    let other = {
        let (space, meeting) = (Arc::clone(space), Arc::clone(&meeting));
        move || {
            meeting.wait_for(1);
            let unmapped = AddressSpace::unmap(&space, BASE + PAGE_SIZE, PAGE_SIZE);
            assert!(unmapped.is_ok(), "selftest: {unmapped:?}");
            meeting.arrive();
        }
    };
    AddressSpace::discard(space, BASE, PAGE_SIZE)?;
    process::spawn_in_current(other)?;
    let list = match path {
        Path::Faultless => None,
        Path::UnderLock => Some(space.read_areas()?),
    };
    let areas = space.areas().len() as u8;
    meeting.arrive();
    if list.is_some() {
        // The other thread has come to the lock by then.
        sched::park_until(clock::monotonic() + QUEUED);
        listener::trace(Trace::MayFault);
    }
    store(token, BASE, areas)?;
    drop(list);
    meeting.wait_for(2);
    AddressSpace::unmap(space, BASE, PAGE_SIZE)?;
    say!("selftest: a list of areas copied to memory beside a thread that unmaps: it ended");
    Ok(())
}

/// Stores to memory that may have to be brought in. The function that faults is not among the
/// return addresses of a report: its caller is.
#[inline(never)]
fn store(token: &mut MayFault, at: usize, byte: u8) -> Result<(), Errno> {
    put(token, at, &[byte])
}

/// The writes of one thread, each from a mapping that has to be brought in. On the old path each
/// thread has locked its page before one of them copies.
fn writes(
    token: &mut MayFault,
    space: &Space,
    file: &Open,
    from: usize,
    path: Path,
    meeting: &Meeting,
) -> Result<(), Errno> {
    for _round in 0..ROUNDS {
        AddressSpace::discard(space, from, PAGE_SIZE)?;
        let mut locked = || {
            meeting.arrive();
            meeting.wait_for(2);
        };
        write(token, file, from, path, &mut locked)?;
    }
    Ok(())
}

/// Writes [`LEN`] bytes from user memory to the second half of a file's page.
fn write(
    token: &mut MayFault,
    file: &Open,
    from: usize,
    path: Path,
    locked: &mut dyn FnMut(),
) -> Result<(), Errno> {
    let written = match path {
        Path::Faultless => with_buffer(token, from, LEN, |bytes, token| {
            file.write_at(token, bytes, LEN as u64, RwFlags::empty(), &Running)
        })?,
        Path::UnderLock => write_under_lock(token, file, from, locked)?,
    };
    if written == LEN { Ok(()) } else { Err(Errno::FAULT) }
}

/// The write path of 2007.
fn write_under_lock(
    token: &mut MayFault,
    file: &Open,
    from: usize,
    locked: &mut dyn FnMut(),
) -> Result<usize, Errno> {
    // SAFETY: the promise is about deadlock, not about memory, and it is broken here on purpose:
    // the token stays free for a copy that may fault.
    let context = unsafe { LockContext::new() };
    let page = PageRun::single(PageIndex::new(0));
    let page = file.inode().mapping().lock(context, page).ok_or(Errno::FAULT)?;
    locked();
    let (to, room) = page.span(LEN as u64, LEN).ok_or(Errno::FAULT)?;
    listener::trace(Trace::MayFault);
    let len = LEN.min(room);
    // SAFETY: the source lies in the user range; the target in a page that is locked.
    let left =
        unsafe { user_memory().raw_copy_from_user(token, to.as_ptr(), UserAddr::new(from), len) };
    Ok(len - left)
}

/// The second half of the page is as the first one, which begins with `fill`.
fn expect_halves(token: &mut MayFault, address: usize, fill: u8) -> Result<(), Errno> {
    let mut bytes = alloc::vec![0; PAGE_SIZE];
    get(token, address, &mut bytes)?;
    let is_right = |at: usize| bytes[at] == fill.wrapping_add((at % LEN) as u8);
    assert!((0..PAGE_SIZE).all(is_right), "selftest: wrong bytes at {address:#x}");
    Ok(())
}

/// Where threads meet.
#[derive(Debug, Default)]
struct Meeting {
    arrived: AtomicUsize,
}

impl Meeting {
    fn key(&self) -> WaitKey {
        key_of(&self.arrived)
    }

    fn arrive(&self) {
        self.arrived.fetch_add(1, SeqCst);
        wake(self.key());
    }

    fn wait_for(&self, threads: usize) {
        waits().wait_until(self.key(), &mut || self.arrived.load(SeqCst) >= threads);
    }
}
