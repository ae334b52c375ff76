//! What programs are told of a file.
#![forbid(unsafe_code)]

use faultless_posix::{Errno, Follow, Kind};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::names;
use crate::files::{self, Attributes, Handle, PipeEnd, Space};
use crate::memory::{put, put_words};

const NANOSECONDS: i64 = 1_000_000_000;
const BLOCK: u64 = 4096;
/// What `fstatfs` calls the file system of pipes.
const PIPES: u64 = 0x5049_5045;
/// The flags that say which file is meant.
const FLAGS: u32 = linux::AT_SYMLINK_NOFOLLOW | linux::AT_NO_AUTOMOUNT | linux::AT_EMPTY_PATH;

/// Seconds and nanoseconds of a time, which may lie before 1970.
const fn parts(time: u64) -> (i64, u32) {
    let time = time as i64;
    (time.div_euclid(NANOSECONDS), time.rem_euclid(NANOSECONDS) as u32)
}

/// `struct stat`.
fn put_stat(call: &mut Call<'_>, target: usize, attributes: &Attributes) -> Outcome {
    let status = &attributes.status;
    let [accessed, modified, changed] = [status.accessed, status.modified, status.changed]
        .map(parts)
        .map(|(seconds, fraction)| (seconds as u64, u64::from(fraction)));
    let words = [
        status.device,
        status.number,
        status.links,
        u64::from(status.mode) | u64::from(status.uid) << 32,
        status.gid.into(),
        status.special,
        status.size,
        BLOCK,
        attributes.sectors,
        accessed.0,
        accessed.1,
        modified.0,
        modified.1,
        changed.0,
        changed.1,
        0,
        0,
        0,
    ];
    put_words(&mut call.token, target, words)?;
    Ok(0)
}

pub(super) fn stat(call: &mut Call<'_>) -> Outcome {
    of_path(call, Follow::Last)
}

pub(super) fn lstat(call: &mut Call<'_>) -> Outcome {
    of_path(call, Follow::NotLast)
}

fn of_path(call: &mut Call<'_>, follow: Follow) -> Outcome {
    let path = names::path(call, 0)?;
    let attributes = files::attributes_at(&names::cwd(call), &path, follow)?;
    put_stat(call, call.args[1], &attributes)
}

pub(super) fn fstat(call: &mut Call<'_>) -> Outcome {
    let attributes = call.process.any_file(call.args[0])?.attributes()?;
    put_stat(call, call.args[1], &attributes)
}

/// The attributes of a directory, a path and flags, and the node if there is one.
fn attributes(call: &mut Call<'_>, flags: usize) -> Result<(Attributes, Option<Handle>), Errno> {
    let is_empty = flags as u32 & linux::AT_EMPTY_PATH != 0
        && (call.args[1] == 0 || names::path(call, 1)?.is_empty());
    if is_empty && call.args[0] as i32 != linux::AT_FDCWD {
        let file = call.process.any_file(call.args[0])?;
        return Ok((file.attributes()?, file.node().cloned()));
    }
    let node = if is_empty {
        names::cwd(call)
    } else {
        let path = names::path(call, 1)?;
        let at = names::start(call, 0, &path)?;
        let not_last = flags as u32 & linux::AT_SYMLINK_NOFOLLOW != 0;
        let follow = if not_last { Follow::NotLast } else { Follow::Last };
        files::look_up(&at, &path, follow)?
    };
    Ok((node.attributes()?, Some(node)))
}

pub(super) fn fstatat(call: &mut Call<'_>) -> Outcome {
    let [_, _, target, flags, ..] = call.args;
    names::known(flags, FLAGS)?;
    let (attributes, _) = attributes(call, flags)?;
    put_stat(call, target, &attributes)
}

/// The attributes of `statx` that have the bits of flags.
const FLAG_ATTRIBUTES: u32 =
    linux::STATX_ATTR_IMMUTABLE | linux::STATX_ATTR_APPEND | linux::STATX_ATTR_NODUMP;

/// `struct statx`, with what `stat` has, the mount and the flags.
pub(super) fn statx(call: &mut Call<'_>) -> Outcome {
    let [_, _, flags, mask, target, _] = call.args;
    const STATX_RESERVED: u32 = 1 << 31;
    let kinds = linux::AT_STATX_FORCE_SYNC | linux::AT_STATX_DONT_SYNC;
    names::known(flags, FLAGS | kinds)?;
    if flags as u32 & kinds == kinds || mask as u32 & STATX_RESERVED != 0 {
        return Err(Errno::INVAL);
    }
    let (attributes, node) = attributes(call, flags)?;
    let status = attributes.status;
    let mut bytes = [0; 256];
    let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let mut known = linux::STATX_BASIC_STATS;
    if let Some(node) = node {
        known |= linux::STATX_MNT_ID;
        set(144, &files::mount_number(&node).to_ne_bytes());
        if mask as u32 & linux::STATX_DIOALIGN != 0 && status.kind == Kind::File {
            known |= linux::STATX_DIOALIGN;
            let sector = node.direct_alignment();
            set(152, &sector.to_ne_bytes());
            set(156, &sector.to_ne_bytes());
        }
        let mut told: u32 = node.flags()? & FLAG_ATTRIBUTES;
        if files::is_mount_root(&node) {
            told |= linux::STATX_ATTR_MOUNT_ROOT;
        }
        set(8, &u64::from(told).to_ne_bytes());
        set(56, &u64::from(FLAG_ATTRIBUTES | linux::STATX_ATTR_MOUNT_ROOT).to_ne_bytes());
    }
    set(0, &known.to_ne_bytes());
    set(4, &(BLOCK as u32).to_ne_bytes());
    set(16, &(status.links as u32).to_ne_bytes());
    set(20, &status.uid.to_ne_bytes());
    set(24, &status.gid.to_ne_bytes());
    set(28, &(status.mode as u16).to_ne_bytes());
    set(32, &status.number.to_ne_bytes());
    set(40, &status.size.to_ne_bytes());
    set(48, &attributes.sectors.to_ne_bytes());
    for (at, time) in [(64, status.accessed), (96, status.changed), (112, status.modified)] {
        let (seconds, fraction) = parts(time);
        set(at, &seconds.to_ne_bytes());
        set(at + 8, &fraction.to_ne_bytes());
    }
    for (at, number) in [(128, status.special), (136, status.device)] {
        set(at, &((number >> 8) as u32).to_ne_bytes());
        set(at + 4, &((number & 0xff) as u32).to_ne_bytes());
    }
    put(&mut call.token, target, &bytes)?;
    Ok(0)
}

pub(super) fn statfs(call: &mut Call<'_>) -> Outcome {
    let path = names::path(call, 0)?;
    let node = files::look_up(&names::cwd(call), &path, Follow::Last)?;
    put_space(call, &node.space())
}

pub(super) fn fstatfs(call: &mut Call<'_>) -> Outcome {
    let space = match names::any_node(call, 0) {
        Ok(node) => node.space(),
        // Pipes and the like, too, have some file system.
        Err(_) => {
            let file = call.process.any_file(call.args[0])?;
            let space = files::root().space();
            if file.kind::<PipeEnd>().is_some() { Space { magic: PIPES, ..space } } else { space }
        }
    };
    put_space(call, &space)
}

/// `struct statfs`.
fn put_space(call: &mut Call<'_>, space: &Space) -> Outcome {
    const NAME_MAX: u64 = linux::NAME_MAX as u64;
    let words = [
        space.magic,
        space.block_size,
        space.blocks,
        space.free_blocks,
        space.available_blocks,
        space.inodes,
        space.free_inodes,
        0,
        NAME_MAX,
        space.block_size,
        0,
        0,
        0,
        0,
        0,
    ];
    put_words(&mut call.token, call.args[1], words)?;
    Ok(0)
}
