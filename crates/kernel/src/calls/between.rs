//! Bytes that move from one open file to another: `copy_file_range`, `sendfile`, `splice`, `tee`.
//! They go through a buffer of the kernel's.
#![forbid(unsafe_code)]

use alloc::vec;

use faultless::prelude::{IovIter, KernelMemory, MayFault, Task};
use faultless::usercopy::MAX_RW_COUNT;
use faultless_posix::{Errno, RwFlags};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::io::need;
use crate::calls::names::known;
use crate::files::{File, OpenFile, PipeEnd, Ready, Regular};
use crate::memory::{get_words, put_words, with_vector};
use crate::task::Running;

/// Bytes that move at a time.
const PIECE: usize = 16 * 4096;

/// The flags of `splice`, `tee` and `vmsplice`.
const FLAGS: u32 = 0xf;
const NONBLOCK: u32 = 2;

/// A position that a call has in the program's memory, or the file's own. To a device it means
/// nothing.
fn position(call: &mut Call<'_>, at: usize, file: &dyn File) -> Result<u64, Errno> {
    if at != 0 {
        let [position] = get_words(&mut call.token, at)?;
        return Ok(position);
    }
    let Some(file) = file.regular() else { return Ok(0) };
    file.description().seek(&mut call.token, 0, linux::SEEK_CUR, &Running)
}

/// Moves the same position; that of a device stays.
fn set_position(
    call: &mut Call<'_>,
    at: usize,
    file: &dyn File,
    position: u64,
) -> Result<(), Errno> {
    let Some(file) = file.regular() else { return Ok(()) };
    if at != 0 {
        return put_words(&mut call.token, at, [position]);
    }
    file.description().seek(&mut call.token, position as i64, linux::SEEK_SET, &Running)?;
    Ok(())
}

/// Reads a file, or a device, whose position means nothing.
fn take(token: &mut MayFault, from: &dyn File, to: &mut [u8], position: u64) -> Outcome {
    let Some(from) = from.regular() else { return from.take(to) };
    let memory = KernelMemory::<MayFault>::writable(to);
    let slice = memory.slice();
    let mut to = IovIter::from_slice(&memory, &slice);
    let bytes = from.description().read_at(token, &mut to, position, &Running)?;
    from.accessed(bytes);
    Ok(bytes)
}

fn write(token: &mut MayFault, to: &Regular, from: &[u8], position: u64) -> Outcome {
    let memory = KernelMemory::<MayFault>::readable(from);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    to.write_own(token, &mut from, Some(position), RwFlags::empty())
}

/// Two regular files.
fn both<'f>(from: &'f OpenFile, to: &'f OpenFile) -> Result<(&'f Regular, &'f Regular), Errno> {
    if from.directory().is_some() || to.directory().is_some() {
        return Err(Errno::ISDIR);
    }
    Ok((from.regular().ok_or(Errno::INVAL)?, to.regular().ok_or(Errno::INVAL)?))
}

pub(super) fn copy_file_range(call: &mut Call<'_>) -> Outcome {
    let [from, from_at, to, to_at, len, flags] = call.args;
    known(flags, 0)?;
    let (from, to) = (call.process.file(from)?, call.process.file(to)?);
    let (source_file, target_file) = both(&from, &to)?;
    let source = position(call, from_at, &*from)?;
    let target = position(call, to_at, &*to)?;
    let (open, into) = (source_file.description(), target_file.description());
    let done = into.copy_from(&mut call.token, open, source, target, len, &Running)?;
    source_file.accessed(done);
    target_file.modified(done);
    set_position(call, from_at, &*from, source + done as u64)?;
    set_position(call, to_at, &*to, target + done as u64)?;
    Ok(done)
}

pub(super) fn sendfile(call: &mut Call<'_>) -> Outcome {
    let [to, from, from_at, len, ..] = call.args;
    let (from, to) = (call.process.file(from)?, call.process.file(to)?);
    need(&from, linux::O_WRONLY)?;
    need(&to, linux::O_RDONLY)?;
    if to.flags() & linux::O_APPEND != 0 {
        return Err(Errno::INVAL);
    }
    let len = len.min(MAX_RW_COUNT);
    let start = position(call, from_at, &*from)?;
    let mut buffer = vec![0; PIECE.min(len)];
    let mut done = 0;
    while done < len && !Running.fatal_signal_pending() {
        let piece = PIECE.min(len - done);
        let at = start.saturating_add(done as u64);
        let step = take(&mut call.token, &*from, &mut buffer[..piece], at)
            .and_then(|taken| if taken == 0 { Ok(0) } else { put(call, &to, &buffer[..taken]) });
        match step {
            Ok(0) => break,
            Ok(moved) => done += moved,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    set_position(call, from_at, &*from, start + done as u64)?;
    Ok(done)
}

/// Writes at the position of a file, if it has one.
fn put(call: &mut Call<'_>, to: &OpenFile, bytes: &[u8]) -> Outcome {
    put_at(call, 0, to, bytes)
}

/// Writes at a position that a call has in the program's memory, or the file's own.
fn put_at(call: &mut Call<'_>, at: usize, to: &OpenFile, bytes: &[u8]) -> Outcome {
    let Some(regular) = to.regular() else { return to.put(bytes) };
    let target = position(call, at, &**to)?;
    let done = write(&mut call.token, regular, bytes, target)?;
    set_position(call, at, &**to, target + done as u64)?;
    Ok(done)
}

/// Checks that a call that must not wait need not.
fn may_wait(flags: usize, file: &OpenFile, wanted: Ready) -> Result<(), Errno> {
    let waits = flags as u32 & NONBLOCK != 0 && !file.ready().intersects(wanted);
    if waits { Err(Errno::AGAIN) } else { Ok(()) }
}

pub(super) fn splice(call: &mut Call<'_>) -> Outcome {
    let [from, from_at, to, to_at, len, flags] = call.args;
    known(flags, FLAGS)?;
    if len == 0 {
        return Ok(0);
    }
    let (from, to) = (call.process.file(from)?, call.process.file(to)?);
    need(&from, linux::O_WRONLY)?;
    need(&to, linux::O_RDONLY)?;
    if (from.kind::<PipeEnd>().is_some() && from_at != 0)
        || (to.kind::<PipeEnd>().is_some() && to_at != 0)
    {
        return Err(Errno::SPIPE);
    }
    match (from.kind::<PipeEnd>(), to.kind::<PipeEnd>()) {
        (Some(source), Some(_)) => {
            may_wait(flags, &from, Ready::IN | Ready::HANG_UP)?;
            between_pipes(source, &to, len.min(PIECE), Kept::No)
        }
        (Some(source), None) => {
            if to.flags() & linux::O_APPEND != 0 {
                return Err(Errno::INVAL);
            }
            // What has no name has no positions.
            if to_at != 0 && to.node().is_none() {
                return Err(Errno::SPIPE);
            }
            may_wait(flags, &from, Ready::IN | Ready::HANG_UP)?;
            let bytes = source.peek(len.min(PIECE))?;
            let done = put_at(call, to_at, &to, &bytes)?;
            source.consume(done);
            Ok(done)
        }
        (None, Some(target)) => {
            let start = position(call, from_at, &*from)?;
            may_wait(flags, &to, Ready::OUT | Ready::ERROR)?;
            let room = target.room()?.min(len).min(PIECE);
            let mut buffer = vec![0; room];
            let taken = take(&mut call.token, &*from, &mut buffer, start)?;
            let done = target.put(&buffer[..taken])?;
            set_position(call, from_at, &*from, start + done as u64)?;
            Ok(done)
        }
        (None, None) => Err(Errno::INVAL),
    }
}

/// Whether bytes stay where they were.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

fn between_pipes(source: &PipeEnd, to: &OpenFile, len: usize, kept: Kept) -> Outcome {
    let target = to.kind::<PipeEnd>().ok_or(Errno::INVAL)?;
    if source.is_of_same(target) {
        return Err(Errno::INVAL);
    }
    let bytes = source.peek(len)?;
    if bytes.is_empty() {
        return Ok(0);
    }
    let room = target.room()?.min(bytes.len());
    let done = target.put(&bytes[..room])?;
    if kept == Kept::No {
        source.consume(done);
    }
    Ok(done)
}

pub(super) fn tee(call: &mut Call<'_>) -> Outcome {
    let [from, to, len, flags, ..] = call.args;
    known(flags, FLAGS)?;
    if len == 0 {
        return Ok(0);
    }
    let (from, to) = (call.process.file(from)?, call.process.file(to)?);
    need(&from, linux::O_WRONLY)?;
    need(&to, linux::O_RDONLY)?;
    let source = from.kind::<PipeEnd>().ok_or(Errno::INVAL)?;
    to.kind::<PipeEnd>().ok_or(Errno::INVAL)?;
    may_wait(flags, &from, Ready::IN | Ready::HANG_UP)?;
    between_pipes(source, &to, len.min(PIECE), Kept::Yes)
}

/// Bytes are copied: those that a program changes afterwards are not seen in the pipe.
pub(super) fn vmsplice(call: &mut Call<'_>) -> Outcome {
    let [descriptor, vector, count, flags, ..] = call.args;
    known(flags, FLAGS)?;
    let file = call.process.file(descriptor)?;
    file.kind::<PipeEnd>().ok_or(Errno::BADF)?;
    let reads = file.flags() & linux::O_ACCMODE == linux::O_RDONLY;
    may_wait(flags, &file, if reads { Ready::IN } else { Ready::OUT } | Ready::ERROR)?;
    with_vector(&mut call.token, vector, count, |bytes, token| {
        if reads { file.read(token, bytes) } else { file.write(token, bytes) }
    })
}
