//! Shared memory of System V: files in memory without names, which programs find by numbers.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Errno, MapRequest, Rights, Sharing};

use crate::arch::clock;
use crate::calls::call::{Call, Outcome};
use crate::calls::ipc::{LIMITS, New, Object, Objects, Owned, PRIVATE, REMOVE, SET, STATUS};
use crate::credentials::{EXECUTE, READ, WRITE};
use crate::memory::{AddressSpace, Open, put_words, shared_anonymous};
use crate::process::{Layout, checked};

/// The flags of `shmat`.
const READ_ONLY: u32 = 0o10000;
const ROUND: u32 = 0o20000;
const REPLACE: u32 = 0o40000;
const EXECUTES: u32 = 0o100_000;

/// The mode bits of a segment that goes with its last mapping, and of one that is locked.
const GOES: u32 = 0o1000;
const LOCKED: u32 = 0o2000;

/// The commands of `shmctl`, beside those that all kinds know.
const LOCK: u32 = 11;
const UNLOCK: u32 = 12;
const STATUS_AT: u32 = 13;
const USE: u32 = 14;
const ANY_STATUS_AT: u32 = 15;

/// Bytes of a segment, at most, and how many there are.
const LARGEST: usize = 1 << 40;
const MOST: usize = 4096;

struct Segment {
    owned: Owned,
    size: usize,
    creator: u32,
    /// The process that mapped it or took it away last, and when; when it changed.
    last: u32,
    mapped: u64,
    unmapped: u64,
    changed: u64,
    memory: Open,
}

impl Segment {
    /// How often it is mapped.
    fn count(&self) -> usize {
        Arc::strong_count(&self.memory) - 1
    }

    /// Whether it was to go, and is not mapped any more.
    fn is_over(&self) -> bool {
        self.owned.mode & GOES != 0 && self.count() == 0
    }
}

static SEGMENTS: Objects<Segment> = Objects::new();

impl Object for Segment {
    fn owned(&self) -> &Owned {
        &self.owned
    }

    fn len(&self) -> usize {
        self.size
    }
}

/// Calls `body` with a segment.
///
/// # Errors
/// `EINVAL`: there is none; those of `body`.
fn with<R>(number: u32, body: impl FnOnce(&mut Segment) -> Result<R, Errno>) -> Result<R, Errno> {
    drop(take_over());
    SEGMENTS.with(number, body)
}

/// Takes those out that are over: the end of a mapping does not tell. They are dropped by the
/// caller, with the lock free.
fn take_over() -> Vec<Segment> {
    let mut segments = SEGMENTS.lock();
    let over = segments.iter().filter(|(_, segment)| segment.is_over());
    let over: Vec<u32> = over.map(|(number, _)| *number).collect();
    over.iter().filter_map(|number| segments.remove(number)).collect()
}

pub(super) fn shmget(call: &mut Call<'_>) -> Outcome {
    let [key, size, flags, ..] = call.args;
    let (key, flags) = (key as u32, flags as u32);
    drop(take_over());
    if let Some(known) = SEGMENTS.find(key, flags, size)? {
        return Ok(known as usize);
    }
    if flags & LARGE_PAGES != 0 {
        return Err(Errno::NOMEM);
    }
    if size == 0 || size > LARGEST {
        return Err(Errno::INVAL);
    }
    let memory = shared_anonymous(size, Rights::empty())?.description;
    let segment = Segment {
        owned: Owned::new(key, flags),
        size,
        creator: call.process.number(),
        last: 0,
        mapped: 0,
        unmapped: 0,
        changed: clock::real(),
        memory,
    };
    SEGMENTS.add(segment, flags, size, MOST)
}

/// `SHM_HUGETLB`.
const LARGE_PAGES: u32 = 0o4000;

pub(super) fn shmat(call: &mut Call<'_>) -> Outcome {
    let [number, address, flags, ..] = call.args;
    let flags = flags as u32;
    let mut rights = Rights::READ;
    rights.set(Rights::WRITE, flags & READ_ONLY == 0);
    rights.set(Rights::EXECUTE, flags & EXECUTES != 0);
    if (address == 0 && flags & REPLACE != 0)
        || (flags & ROUND == 0 && !address.is_multiple_of(PAGE_SIZE))
    {
        return Err(Errno::INVAL);
    }
    let process = call.process.number();
    let (description, size) = with(number as u32, |segment| {
        let wanted = if rights.contains(Rights::WRITE) { READ | WRITE } else { READ };
        let executes = if rights.contains(Rights::EXECUTE) { EXECUTE } else { 0 };
        segment.owned.need(wanted | executes)?;
        (segment.last, segment.mapped) = (process, clock::real());
        Ok((Arc::clone(&segment.memory), segment.size))
    })?;
    let len = size.next_multiple_of(PAGE_SIZE);
    let request = MapRequest { description, offset: 0, len, rights, sharing: Sharing::Shared };
    let address = if flags & ROUND == 0 { address } else { address / PAGE_SIZE * PAGE_SIZE };
    let memory = call.process.memory()?;
    let space = memory.space();
    let layout = memory.layout.lock();
    if address == 0 {
        return layout.map(space, Layout::ANYWHERE, len, |_| Ok(request));
    }
    let range = checked(address, len).map_err(|_| Errno::INVAL)?;
    if flags & REPLACE == 0 && space.has_mapping_in(range) {
        return Err(Errno::INVAL);
    }
    AddressSpace::map(space, address, request)?;
    Ok(address)
}

pub(super) fn shmdt(call: &mut Call<'_>) -> Outcome {
    let address = call.args[0];
    let memory = call.process.memory()?;
    let _layout = memory.layout.lock();
    let area = memory.space().area_at(address).ok_or(Errno::INVAL)?;
    let is_start = area.pages.start * PAGE_SIZE == address && area.sharing == Sharing::Shared;
    if !is_start {
        return Err(Errno::INVAL);
    }
    AddressSpace::unmap(memory.space(), address, area.pages.len() * PAGE_SIZE)?;
    let process = call.process.number();
    for segment in SEGMENTS.lock().values_mut() {
        if Arc::ptr_eq(&segment.memory, &area.description) {
            (segment.last, segment.unmapped) = (process, clock::real());
        }
    }
    drop(area);
    drop(take_over());
    Ok(0)
}

/// The words of a `struct shmid_ds`.
fn status(segment: &Segment) -> [u64; 14] {
    const SECOND: u64 = 1_000_000_000;
    let [a, b, c, d, e, f] = segment.owned.words();
    let times = [segment.mapped, segment.unmapped, segment.changed].map(|time| time / SECOND);
    let processes = u64::from(segment.creator) | u64::from(segment.last) << 32;
    let [mapped, unmapped, changed] = times;
    let (size, count) = (segment.size as u64, segment.count() as u64);
    [a, b, c, d, e, f, size, mapped, unmapped, changed, processes, count, 0, 0]
}

pub(super) fn shmctl(call: &mut Call<'_>) -> Outcome {
    let [number, command, target, ..] = call.args;
    let number = number as u32;
    if number.cast_signed() < 0 {
        return Err(Errno::INVAL);
    }
    match command as u32 {
        REMOVE => {
            with(number, |segment| {
                segment.owned.need_owner()?;
                segment.owned.mode |= GOES;
                segment.owned.key = PRIVATE;
                Ok(())
            })?;
            drop(take_over());
            Ok(0)
        }
        STATUS => {
            let words = with(number, |segment| {
                segment.owned.need(READ)?;
                Ok(status(segment))
            })?;
            put_words(&mut call.token, target, words)?;
            Ok(0)
        }
        command @ (STATUS_AT | ANY_STATUS_AT) => {
            let wanted = if command == STATUS_AT { READ } else { 0 };
            let (found, words) = SEGMENTS.at(number, wanted, status)?;
            put_words(&mut call.token, target, words)?;
            Ok(found)
        }
        SET => {
            let new = New::get(call, target)?;
            with(number, |segment| {
                segment.owned.set(new)?;
                segment.changed = clock::real();
                Ok(0)
            })
        }
        command @ (LOCK | UNLOCK) => with(number, |segment| {
            segment.owned.need_owner()?;
            segment.owned.mode &= !LOCKED;
            segment.owned.mode |= if command == LOCK { LOCKED } else { 0 };
            Ok(0)
        }),
        LIMITS => {
            let words = [LARGEST as u64, 1, MOST as u64, MOST as u64, (LARGEST / PAGE_SIZE) as u64];
            put_words(&mut call.token, target, words)?;
            Ok(SEGMENTS.lock().len().saturating_sub(1))
        }
        USE => {
            let (count, pages) = {
                let segments = SEGMENTS.lock();
                let pages = segments.values().map(|segment| segment.size.div_ceil(PAGE_SIZE));
                (segments.len(), pages.sum::<usize>())
            };
            put_words(
                &mut call.token,
                target,
                [count as u64, pages as u64, pages as u64, 0, 0, 0],
            )?;
            Ok(count.saturating_sub(1))
        }
        _ => Err(Errno::INVAL),
    }
}
