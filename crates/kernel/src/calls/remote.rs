//! The memory of other processes: `process_vm_readv`, `process_vm_writev`; and what two of them
//! have together: `kcmp`.

use core::cmp::Ordering;

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::{InFault, MayFault, PAGE_SIZE};
use faultless::usercopy::MAX_SEGMENTS;
use faultless_posix::Errno;

use crate::calls::call::{Call, Outcome};
use crate::memory::{AddressSpace, UserBytes, copy_in, copy_out, get_words, with_vector};
use crate::process::{Memory, Process, with_process};
use crate::task::{Running, credentials};

/// A process whose memory is to be moved, and the ranges of it, clipped to what one call moves.
struct Remote {
    memory: Arc<Memory>,
    ranges: Vec<(usize, usize)>,
}

/// What a call names.
///
/// # Errors
/// `EINVAL`, `EFAULT`; `ESRCH`; `EPERM`: the process is another user's.
fn remote(call: &mut Call<'_>) -> Result<Remote, Errno> {
    let [number, _, _, vector, count, flags] = call.args;
    if flags != 0 || count > MAX_SEGMENTS {
        return Err(Errno::INVAL);
    }
    let mut ranges = Vec::with_capacity(count);
    for at in 0..count {
        let [start, len] = get_words(&mut call.token, vector.wrapping_add(16 * at))?;
        if len > isize::MAX as u64 {
            return Err(Errno::INVAL);
        }
        ranges.push((start as usize, len as usize));
    }
    let process = other_process(number)?;
    let memory = process.memory().map_err(|_| Errno::SRCH)?;
    Ok(Remote { memory, ranges })
}

/// Another process, whose state the caller may see.
///
/// # Errors
/// `ESRCH`; `EPERM`: it is another user's.
fn other_process(number: usize) -> Result<Arc<Process>, Errno> {
    let process = with_process(number as u32, Arc::clone)?;
    let (own, other) = (credentials(), process.credentials().user);
    let is_own =
        [other.real, other.effective, other.saved].iter().all(|user| *user == own.user.real);
    if own.is_root() || is_own { Ok(process) } else { Err(Errno::PERM) }
}

/// Whether two processes have the same of something (0), or which of the two comes first, in an
/// order that stays (1 or 2).
pub(super) fn kcmp(call: &mut Call<'_>) -> Outcome {
    /// As in `linux/kcmp.h`.
    const FILE: u32 = 0;
    const MEMORY: u32 = 1;
    const DESCRIPTORS: u32 = 2;
    const PLACE: u32 = 3;
    const ACTIONS: u32 = 4;
    const REQUESTS: u32 = 5;
    const SEMAPHORES: u32 = 6;
    let [first, second, kind, first_file, second_file, _] = call.args;
    let (first, second) = (other_process(first)?, other_process(second)?);
    let address = |process: &Process, descriptor| -> Result<usize, Errno> {
        let [descriptors, place] = process.addresses();
        Ok(match kind as u32 {
            FILE => Arc::as_ptr(&process.any_file(descriptor)?).cast::<()>().addr(),
            MEMORY => process.memory().map_or(0, |memory| Arc::as_ptr(&memory).addr()),
            DESCRIPTORS => descriptors,
            PLACE => place,
            ACTIONS => process.life.signals.address(),
            // No thread has a class for its requests.
            REQUESTS => 0,
            // What is undone of semaphores is a process' own.
            SEMAPHORES => process.number() as usize,
            _ => return Err(Errno::INVAL),
        })
    };
    let addresses = [address(&first, first_file)?, address(&second, second_file)?];
    Ok(match addresses[0].cmp(&addresses[1]) {
        Ordering::Equal => 0,
        Ordering::Less => 1,
        Ordering::Greater => 2,
    })
}

/// How many bytes of a piece were moved between the caller's memory and another address space's.
type Moves = fn(&AddressSpace, usize, &mut UserBytes<'_>, &mut MayFault, &mut [u8]) -> usize;

/// Moves bytes piece by piece, up to the first that cannot be.
fn each_piece(call: &mut Call<'_>, moves: Moves) -> Outcome {
    let [_, local, local_count, ..] = call.args;
    if local_count == 0 {
        return Ok(0);
    }
    with_vector(&mut call.token, local, local_count, |_, _| Ok(()))?;
    let remote = remote(call)?;
    with_vector(&mut call.token, local, local_count, |bytes, token| {
        let wanted = bytes.count().min(remote.ranges.iter().map(|(_, len)| len).sum());
        let mut buffer = vec![0; PAGE_SIZE];
        let mut done = 0;
        'ranges: for (start, len) in remote.ranges {
            let mut inside = 0;
            while inside < len && bytes.count() > 0 {
                let at = start.wrapping_add(inside);
                let piece = (PAGE_SIZE - at % PAGE_SIZE).min(len - inside).min(bytes.count());
                let moved = moves(remote.memory.space(), at, bytes, token, &mut buffer[..piece]);
                done += moved;
                inside += moved;
                if moved < piece {
                    break 'ranges;
                }
            }
        }
        if done == 0 && wanted > 0 { Err(Errno::FAULT) } else { Ok(done) }
    })
}

pub(super) fn process_vm_readv(call: &mut Call<'_>) -> Outcome {
    each_piece(call, |space, at, bytes, token, buffer| {
        // SAFETY: in a system call no page lock is held.
        let mut in_fault = unsafe { InFault::enter() };
        let read = space.read_bytes(&mut in_fault, at, buffer, &Running);
        copy_out(bytes, token, &buffer[..read])
    })
}

pub(super) fn process_vm_writev(call: &mut Call<'_>) -> Outcome {
    each_piece(call, |space, at, bytes, token, buffer| {
        let got = copy_in(bytes, token, buffer);
        // SAFETY: as above.
        let mut in_fault = unsafe { InFault::enter() };
        space.write_bytes(&mut in_fault, at, &buffer[..got], &Running)
    })
}
