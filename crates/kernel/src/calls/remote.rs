//! The memory of other processes: `process_vm_readv`, `process_vm_writev`.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::{InFault, MayFault, PAGE_SIZE};
use faultless::usercopy::MAX_SEGMENTS;
use faultless_posix::Errno;

use crate::calls::call::{Call, Outcome};
use crate::memory::{AddressSpace, UserBytes, copy_in, copy_out, get_words, with_vector};
use crate::process::{Memory, with_process};
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
    let process = with_process(number as u32, Arc::clone)?;
    let (own, other) = (credentials(), process.credentials().user);
    let is_own =
        [other.real, other.effective, other.saved].iter().all(|user| *user == own.user.real);
    if !own.is_root() && !is_own {
        return Err(Errno::PERM);
    }
    let memory = process.memory().map_err(|_| Errno::SRCH)?;
    Ok(Remote { memory, ranges })
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
