//! `ioctl`: what is asked of any open file, and of regular files and directories.
#![forbid(unsafe_code)]

use faultless::prelude::PAGE_SIZE;
use faultless_posix::Errno;
use linux_raw_sys::{general as linux, ioctl as requests};

use crate::calls::call::{Call, Outcome};
use crate::calls::descriptors;
use crate::calls::io::need;
use crate::files::{APPEND, Extent, Handle, IMMUTABLE, OpenFile, Regular};
use crate::memory::{get, get_words, put};
use crate::task::{Running, credentials};

pub(super) fn ioctl(call: &mut Call<'_>) -> Outcome {
    let [descriptor, request, argument, ..] = call.args;
    let file = call.process.file(descriptor)?;
    match request as u32 {
        request @ (requests::FIOCLEX | requests::FIONCLEX) => {
            descriptors::set_on_exec(call, usize::from(request == requests::FIOCLEX))
        }
        requests::FIONBIO => {
            let sets = word(call, argument)? != 0;
            let others = file.flags() & !linux::O_NONBLOCK;
            file.set_flags(if sets { others | linux::O_NONBLOCK } else { others });
            Ok(0)
        }
        requests::FIGETBSZ => {
            let size = file.node().map_or(PAGE_SIZE as u64, |node| node.space().block_size);
            put_word(call, argument, size as u32)
        }
        // No file system shares blocks.
        requests::FICLONE if file.regular().is_some() => {
            need(&call.process.file(argument)?, linux::O_WRONLY)?;
            need(&file, linux::O_RDONLY)?;
            Err(Errno::OPNOTSUPP)
        }
        requests::FIONREAD if let Some(regular) = file.regular() => {
            let open = regular.description();
            let position = open.seek(&mut call.token, 0, linux::SEEK_CUR, &Running)?;
            let left = open.inode().size().saturating_sub(position) as u32;
            put_word(call, argument, left)
        }
        requests::FS_IOC_FIEMAP if let Some(regular) = file.regular() => extents(call, regular),
        requests::FIBMAP if let Some(regular) = file.regular() => block(call, regular),
        requests::FS_IOC_GETFLAGS if let Some(node) = flagged(&file) => {
            put_word(call, argument, node.flags()?)
        }
        requests::FS_IOC_SETFLAGS if let Some(node) = flagged(&file) => {
            let flags = word(call, argument)?;
            set_flags(node, flags)
        }
        requests::FS_IOC_FSGETXATTR if let Some(node) = flagged(&file) => {
            let kept = node.flags()?;
            let told = KINDS.iter().filter(|(flag, _)| kept & flag != 0);
            let words = [told.map(|(_, told)| told).sum(), 0, 0, 0, 0, 0, 0];
            put(&mut call.token, argument, words.map(u32::to_ne_bytes).as_flattened())?;
            Ok(0)
        }
        requests::FS_IOC_FSSETXATTR if let Some(node) = flagged(&file) => {
            let mut words = [[0; 4]; KIND_WORDS];
            get(&mut call.token, argument, words.as_flattened_mut())?;
            let [kinds, _, _, project, ..] = words.map(u32::from_ne_bytes);
            set_kinds(node, kinds, project)
        }
        request => file.control(&mut call.token, request, argument),
    }
}

fn word(call: &mut Call<'_>, at: usize) -> Result<u32, Errno> {
    let mut word = [0; 4];
    get(&mut call.token, at, &mut word)?;
    Ok(u32::from_ne_bytes(word))
}

fn put_word(call: &mut Call<'_>, at: usize, word: u32) -> Outcome {
    put(&mut call.token, at, &word.to_ne_bytes())?;
    Ok(0)
}

/// The node of an open file that has flags: a regular file or a directory.
fn flagged(file: &OpenFile) -> Option<&Handle> {
    match (file.regular(), file.directory()) {
        (Some(file), _) => Some(file.node()),
        (None, Some(directory)) => Some(directory.node()),
        (None, None) => None,
    }
}

/// Flags, and what `struct fsxattr` calls them, which has so many words.
const KINDS: [(u32, u32); 5] = [
    (linux::FS_IMMUTABLE_FL, linux::FS_XFLAG_IMMUTABLE),
    (linux::FS_APPEND_FL, linux::FS_XFLAG_APPEND),
    (linux::FS_SYNC_FL, linux::FS_XFLAG_SYNC),
    (linux::FS_NOATIME_FL, linux::FS_XFLAG_NOATIME),
    (linux::FS_NODUMP_FL, linux::FS_XFLAG_NODUMP),
];
const KIND_WORDS: usize = 7;

/// `FS_IOC_FSSETXATTR`: sets the flags that have such a name, and no others, as ext4 does. No file
/// system has projects.
fn set_kinds(node: &Handle, kinds: u32, project: u32) -> Outcome {
    if project != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let flags = KINDS.iter().fold(node.flags()?, |flags, (flag, kind)| {
        if kinds & kind != 0 { flags | flag } else { flags & !flag }
    });
    set_flags(node, flags)
}

/// Root alone sets and clears the flags that bind root, too.
fn set_flags(node: &Handle, flags: u32) -> Outcome {
    let own = credentials();
    let bound = (node.flags()? ^ flags) & (APPEND | IMMUTABLE) != 0;
    if !own.owns(&node.attributes()?.status) || (bound && !own.is_root()) {
        return Err(Errno::PERM);
    }
    node.set_flags(flags)?;
    Ok(0)
}

/// Has all bytes of a file get their places on the disk.
fn place(call: &mut Call<'_>, file: &Regular) -> Result<(), Errno> {
    const ALL: u32 = linux::SYNC_FILE_RANGE_WAIT_BEFORE
        | linux::SYNC_FILE_RANGE_WRITE
        | linux::SYNC_FILE_RANGE_WAIT_AFTER;
    // There is a disk at all.
    file.node().extent_from(0)?;
    file.description().write_back_range(&mut call.token, 0, 0, ALL, &Running)
}

/// `FIBMAP`: the block of the disk with a block of the file; 0 in a hole.
fn block(call: &mut Call<'_>, file: &Regular) -> Outcome {
    if !credentials().is_root() {
        return Err(Errno::PERM);
    }
    let block = word(call, call.args[2])?;
    if block.cast_signed() < 0 {
        return Err(Errno::INVAL);
    }
    place(call, file).map_err(|why| if why == Errno::OPNOTSUPP { Errno::INVAL } else { why })?;
    let size = file.node().space().block_size;
    let position = u64::from(block) * size;
    let found = file.node().extent_from(position)?.filter(|found| found.position == position);
    put_word(call, call.args[2], found.map_or(0, |found| (found.place / size) as u32))
}

/// `FS_IOC_FIEMAP`: where the bytes of a file are. The disk is always asked for what was written.
fn extents(call: &mut Call<'_>, file: &Regular) -> Outcome {
    const HEAD: usize = 32;
    const EXTENT: usize = 56;
    const SYNC: u32 = 1;
    const LAST: u32 = 1;
    file.node().extent_from(0)?;
    let at = call.args[2];
    let [start, len, words, room] = get_words(&mut call.token, at)?;
    let (flags, room) = (words as u32, room as u32 as usize);
    if len == 0 {
        return Err(Errno::INVAL);
    }
    if flags & !SYNC != 0 {
        put(&mut call.token, at + 16, &(flags & !SYNC).to_ne_bytes())?;
        return Err(Errno::BADR);
    }
    place(call, file)?;
    let size = file.node().space().block_size;
    let end = start.saturating_add(len).checked_next_multiple_of(size).unwrap_or(u64::MAX);
    let mut from = start / size * size;
    let mut count = 0;
    let mut told: Option<usize> = None;
    let is_whole = loop {
        let found = file.node().extent_from(from)?.filter(|found| found.position < end);
        let Some(Extent { position, place, len }) = found else { break true };
        if room > 0 && count == room {
            break false;
        }
        let len = len.min(end - position);
        if room > 0 {
            let mut bytes = [0; EXTENT];
            for (at, word) in [(0, position), (8, place), (16, len)] {
                bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
            }
            let place = at + HEAD + EXTENT * count;
            put(&mut call.token, place, &bytes)?;
            told = Some(place);
        }
        count += 1;
        from = position + len;
    };
    if let Some(place) = told.filter(|_| is_whole) {
        put(&mut call.token, place + 40, &LAST.to_ne_bytes())?;
    }
    put(&mut call.token, at + 20, &(count as u32).to_ne_bytes())?;
    Ok(0)
}
