//! Shared memory of System V: files in memory without names, which programs find by numbers.
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Errno, MapRequest, Rights, Sharing};

use crate::calls::call::{Call, Outcome};
use crate::memory::{AddressSpace, Open, put, shared_anonymous};
use crate::process::{Layout, checked};
use crate::sched;
use crate::sync::Lock;
use crate::task::credentials;

pub(super) const PRIVATE: u32 = 0;
pub(super) const CREATE: u32 = 0o1000;
pub(super) const EXCLUSIVE: u32 = 0o2000;

/// The flags of `shmat`.
const READ_ONLY: u32 = 0o10000;
const ROUND: u32 = 0o20000;
const REPLACE: u32 = 0o40000;

/// The commands of `shmctl`.
pub(super) const REMOVE: u32 = 0;
pub(super) const SET: u32 = 1;
pub(super) const STATUS: u32 = 2;

/// Bytes of a segment, at most, and how many there are.
const LARGEST: usize = 1 << 40;
const MOST: usize = 4096;

struct Segment {
    key: u32,
    size: usize,
    mode: u32,
    owner: (u32, u32),
    creator: u32,
    memory: Open,
}

static SEGMENTS: Lock<BTreeMap<u32, Segment>> = Lock::new(BTreeMap::new());

pub(super) fn shmget(call: &mut Call<'_>) -> Outcome {
    let [key, size, flags, ..] = call.args;
    let (key, flags) = (key as u32, flags as u32);
    if key != PRIVATE {
        let segments = SEGMENTS.lock();
        let known = segments.iter().find(|(_, segment)| segment.key == key);
        if let Some((number, segment)) = known {
            return match flags {
                flags if flags & (CREATE | EXCLUSIVE) == CREATE | EXCLUSIVE => Err(Errno::EXIST),
                _ if size > segment.size => Err(Errno::INVAL),
                _ => Ok(*number as usize),
            };
        }
        if flags & CREATE == 0 {
            return Err(Errno::NOENT);
        }
    }
    if size == 0 || size > LARGEST {
        return Err(Errno::INVAL);
    }
    let memory = shared_anonymous(size, Rights::empty())?.description;
    let own = credentials();
    let segment = Segment {
        key,
        size,
        mode: flags & 0o777,
        owner: (own.user.effective, own.group.effective),
        creator: call.process.number(),
        memory,
    };
    let number = sched::next_number();
    let mut segments = SEGMENTS.lock();
    if segments.len() >= MOST {
        drop(segments);
        drop(segment);
        return Err(Errno::NOSPC);
    }
    segments.insert(number, segment);
    Ok(number as usize)
}

pub(super) fn shmat(call: &mut Call<'_>) -> Outcome {
    let [number, address, flags, ..] = call.args;
    let flags = flags as u32;
    let (description, size) = {
        let segments = SEGMENTS.lock();
        let segment = segments.get(&(number as u32)).ok_or(Errno::INVAL)?;
        (Arc::clone(&segment.memory), segment.size)
    };
    let mut rights = Rights::READ;
    rights.set(Rights::WRITE, flags & READ_ONLY == 0);
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
    Ok(0)
}

/// The words of a `struct ipc_perm`. Whoever made it counts as its owner.
pub(super) const fn ownership(key: u32, (uid, gid): (u32, u32), mode: u32) -> [u64; 6] {
    const fn pair(low: u32, high: u32) -> u64 {
        low as u64 | (high as u64) << 32
    }
    [pair(key, uid), pair(gid, uid), pair(gid, mode), 0, 0, 0]
}

/// A segment that is removed stays for as long as it is mapped.
pub(super) fn shmctl(call: &mut Call<'_>) -> Outcome {
    const LIMITS: u32 = 3;
    let [number, command, target, ..] = call.args;
    let number = number as u32;
    match command as u32 {
        REMOVE => {
            let removed = SEGMENTS.lock().remove(&number);
            removed.map(|_| 0).ok_or(Errno::INVAL)
        }
        STATUS => {
            let words = {
                let segments = SEGMENTS.lock();
                let segment = segments.get(&number).ok_or(Errno::INVAL)?;
                let [a, b, c, d, e, f] = ownership(segment.key, segment.owner, segment.mode);
                let mapped = Arc::strong_count(&segment.memory) as u64 - 1;
                let (size, creator) = (segment.size as u64, u64::from(segment.creator));
                [a, b, c, d, e, f, size, 0, 0, 0, creator, mapped, 0, 0]
            };
            put(&mut call.token, target, words.map(u64::to_ne_bytes).as_flattened())?;
            Ok(0)
        }
        SET => SEGMENTS.lock().get(&number).map(|_| 0).ok_or(Errno::INVAL),
        LIMITS => {
            let words = [LARGEST as u64, 1, MOST as u64, MOST as u64, (LARGEST / PAGE_SIZE) as u64];
            put(&mut call.token, target, words.map(u64::to_ne_bytes).as_flattened())?;
            Ok(0)
        }
        _ => Err(Errno::INVAL),
    }
}
