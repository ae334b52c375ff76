//! Calls that move bytes from one descriptor to another: `sendfile`, `copy_file_range`, `splice`.
//!
//! What is not a file of the folder (a pipe, a socket) may make the call wait. That is done in
//! short naps, so that a signal for the program ends it.

use alloc::vec;

use faultless::prelude::{IovIter, KernelMemory, MayFault, PAGE_SIZE, Task};
use faultless::usercopy::MAX_RW_COUNT;
use faultless_posix::{Errno, RwFlags};
use syscalls::Sysno;

use crate::call::{Call, Outcome, file, get_words, linux_errno, moved, put_words};
use crate::deliver::mask_of;
use crate::kernel::OpenFile;
use crate::process::serve;
use crate::raw;
use crate::task::Running;

/// A side of a call.
enum Side {
    /// A file of the folder, and the address of a position.
    File(OpenFile, usize),
    /// A descriptor of Linux's.
    Linux(usize),
}

/// What kind of call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Send,
    CopyRange,
    Splice,
}

/// All three.
pub(super) fn between(call: &mut Call<'_>, number: Sysno) -> Outcome {
    let [first, second, third, fourth, fifth, flags] = call.args;
    let (kind, source, target, length, flags) = match number {
        Sysno::sendfile => (Kind::Send, (1, second, third), (0, first, 0), fourth, 0),
        Sysno::copy_file_range => {
            (Kind::CopyRange, (0, first, second), (2, third, fourth), fifth, flags)
        }
        _ => (Kind::Splice, (0, first, second), (2, third, fourth), fifth, flags),
    };
    let side =
        |call: &Call<'_>, (argument, fd, at): (usize, usize, usize)| match file(call, argument) {
            Some(file) => Side::File(file, at),
            None => Side::Linux(fd as u32 as usize),
        };
    let (source, target) = (side(call, source), side(call, target));
    let result = match (kind, &source, &target) {
        (_, Side::Linux(_), Side::Linux(_)) => return Outcome::Pass,
        (Kind::CopyRange, ..) if flags != 0 => Err(Errno::INVAL),
        (Kind::CopyRange, Side::File(source, from), Side::File(target, to)) => {
            copy_range(call, (source, *from), (target, *to), length)
        }
        // As between two file systems.
        (Kind::CopyRange, ..) => return Outcome::Done(-(libc::EXDEV as isize)),
        // One side is a pipe.
        (Kind::Splice, Side::File(..), Side::File(..)) => Err(Errno::INVAL),
        _ => pump(call, &source, &target, length),
    };
    moved(result)
}

/// The position that a call was given by address; the file's own without one.
fn position(call: &mut Call<'_>, file: &OpenFile, at: usize) -> Result<u64, Errno> {
    if at == 0 {
        return file.seek(&mut call.token, 0, libc::SEEK_CUR as u32, &Running);
    }
    let [position] = get_words(call, at)?;
    Ok(position)
}

/// Moves it.
fn set_position(
    call: &mut Call<'_>,
    file: &OpenFile,
    at: usize,
    position: u64,
) -> Result<(), Errno> {
    if at == 0 {
        file.seek(&mut call.token, position as i64, libc::SEEK_SET as u32, &Running)?;
        return Ok(());
    }
    put_words(call, at, [position])
}

fn copy_range(
    call: &mut Call<'_>,
    (source, from_at): (&OpenFile, usize),
    (target, to_at): (&OpenFile, usize),
    length: usize,
) -> Result<usize, Errno> {
    let from = position(call, source, from_at)?;
    let to = position(call, target, to_at)?;
    let length = length.min(MAX_RW_COUNT);
    let copied = target.copy_from(&mut call.token, source, from, to, length, &Running)?;
    set_position(call, source, from_at, from + copied as u64)?;
    set_position(call, target, to_at, to + copied as u64)?;
    Ok(copied)
}

/// Bytes that are moved at a time: a pipe that is ready takes them at once.
const PIECE: usize = PAGE_SIZE;

/// Moves bytes through a buffer until one side gives or takes no more.
fn pump(call: &mut Call<'_>, source: &Side, target: &Side, length: usize) -> Result<usize, Errno> {
    let mut from = match source {
        Side::File(file, at) => position(call, file, *at)?,
        Side::Linux(_) => 0,
    };
    let mut to = match target {
        Side::File(file, at) => position(call, file, *at)?,
        Side::Linux(_) => 0,
    };
    let mut buffer = vec![0; PIECE];
    let (length, mut sent) = (length.min(MAX_RW_COUNT), 0);
    while sent < length {
        let step = step(call, (source, from), (target, to), &mut buffer, length - sent);
        match step {
            Ok(0) => break,
            Ok(bytes) => {
                sent += bytes;
                from += bytes as u64;
                to += bytes as u64;
            }
            Err(errno) if sent == 0 => return Err(errno),
            Err(_) => break,
        }
        // A pipe gives what it has.
        if matches!(source, Side::Linux(_)) {
            break;
        }
    }
    if let Side::File(file, at) = source {
        set_position(call, file, *at, from)?;
    }
    if let Side::File(file, at) = target {
        set_position(call, file, *at, to)?;
    }
    Ok(sent)
}

/// One piece; 0 at the end.
fn step(
    call: &mut Call<'_>,
    (source, from): (&Side, u64),
    (target, to): (&Side, u64),
    buffer: &mut [u8],
    length: usize,
) -> Result<usize, Errno> {
    let length = length.min(buffer.len());
    // Before anything is read that could not be written.
    if let Side::Linux(fd) = target {
        wait_for(call, *fd, libc::POLLOUT)?;
    }
    let read = match source {
        Side::File(file, _) => read_file(call, file, &mut buffer[..length], from)?,
        Side::Linux(fd) => {
            wait_for(call, *fd, libc::POLLIN)?;
            let args = [*fd, buffer.as_mut_ptr().addr(), length, 0, 0, 0];
            // SAFETY: the buffer is ours.
            let read = unsafe { raw::call(Sysno::read, args) };
            usize::try_from(read).map_err(|_| linux_errno(read))?
        }
    };
    let bytes = &buffer[..read];
    if bytes.is_empty() {
        return Ok(0);
    }
    match target {
        Side::File(file, _) => write_file(call, file, bytes, to),
        Side::Linux(fd) => {
            let args = [*fd, bytes.as_ptr().addr(), bytes.len(), 0, 0, 0];
            let written = raw::harmless(Sysno::write, args);
            usize::try_from(written).map_err(|_| linux_errno(written))
        }
    }
}

/// How long a nap is, in milliseconds.
const NAP: usize = 10;

/// Waits until a descriptor of Linux's is ready, as a call on it would.
///
/// # Errors
/// `EAGAIN` if it is not to wait; `EINTR` when a signal comes for the program.
fn wait_for(call: &Call<'_>, fd: usize, events: i16) -> Result<(), Errno> {
    let flags = raw::harmless(Sysno::fcntl, [fd, libc::F_GETFL as usize, 0, 0, 0, 0]);
    if flags < 0 {
        return Err(Errno::BADF);
    }
    let waits = flags as i32 & libc::O_NONBLOCK == 0;
    loop {
        let mut poll = libc::pollfd { fd: fd as i32, events, revents: 0 };
        let nap = if waits { NAP } else { 0 };
        // SAFETY: the structure is ours.
        let ready = unsafe { raw::call(Sysno::poll, [(&raw mut poll).addr(), 1, nap, 0, 0, 0]) };
        if ready != 0 {
            return Ok(());
        }
        if !waits {
            return Err(Errno::AGAIN);
        }
        serve();
        let mut pending = 0_u64;
        // SAFETY: the word is ours.
        unsafe { raw::call(Sysno::rt_sigpending, [(&raw mut pending).addr(), 8, 0, 0, 0, 0]) };
        if pending & !mask_of(call.context) != 0 || Running.fatal_signal_pending() {
            return Err(Errno::INTR);
        }
    }
}

fn read_file(
    call: &mut Call<'_>,
    source: &OpenFile,
    buffer: &mut [u8],
    position: u64,
) -> Result<usize, Errno> {
    let memory = KernelMemory::<MayFault>::writable(buffer);
    let slice = memory.slice();
    let mut to = IovIter::from_slice(&memory, &slice);
    source.read_at(&mut call.token, &mut to, position, &Running)
}

fn write_file(
    call: &mut Call<'_>,
    target: &OpenFile,
    buffer: &[u8],
    position: u64,
) -> Result<usize, Errno> {
    let memory = KernelMemory::<MayFault>::readable(buffer);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    target.write_at(&mut call.token, &mut from, position, RwFlags::empty(), &Running)
}
