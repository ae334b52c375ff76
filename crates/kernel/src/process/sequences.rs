//! Restartable sequences on the way to user mode (`rseq`): the program is told which CPU it runs
//! on, and goes on at the abort handler of the sequence in which it was interrupted.
#![forbid(unsafe_code)]

use faultless::prelude::MayFault;
use faultless_posix::Errno;

use crate::arch::percpu;
use crate::arch::trap::TrapFrame;
use crate::memory::{USER_END, get, get_words, put, put_words};
use crate::process::state::Process;
use crate::sched::Thread;
use crate::sequences::Area;

/// Where in `struct rseq` the CPU, the descriptor of the sequence, the flags and the node are. The
/// CPU is there twice; behind the node is the number in the memory.
const CPU: usize = 0;
const DESCRIPTOR: usize = 8;
const FLAGS: usize = 16;
const NODE: usize = 20;

/// The CPU of a thread that is not told.
const NO_CPU: u32 = u32::MAX;

/// Bytes of a signature.
const SIGNATURE: usize = size_of::<u32>();

/// A sequence (`struct rseq_cs`).
struct Sequence {
    flags: u32,
    start: u64,
    len: u64,
    abort: u64,
}

impl Sequence {
    /// # Errors
    /// `EFAULT`: it cannot be read; `EINVAL`: it is of an unknown kind, lies outside of user memory
    /// or has the wrong signature.
    fn read(token: &mut MayFault, at: u64, signature: u32) -> Result<Self, Errno> {
        let is_user = |address: u64| address < USER_END as u64;
        if !is_user(at) {
            return Err(Errno::INVAL);
        }
        let [kind, start, len, abort] = get_words(token, at as usize)?;
        let (version, flags) = (kind as u32, (kind >> 32) as u32);
        let end = start.checked_add(len).ok_or(Errno::INVAL)?;
        let sequence = Self { flags, start, len, abort };
        let is_sound = version == 0
            && [start, end, abort].into_iter().all(is_user)
            && !sequence.has(abort)
            && abort >= SIGNATURE as u64;
        if !is_sound {
            return Err(Errno::INVAL);
        }
        let mut found = [0; SIGNATURE];
        get(token, abort as usize - SIGNATURE, &mut found)?;
        if u32::from_ne_bytes(found) == signature { Ok(sequence) } else { Err(Errno::INVAL) }
    }

    /// Whether an instruction is in it.
    const fn has(&self, at: u64) -> bool {
        at.wrapping_sub(self.start) < self.len
    }
}

/// Aborts the sequence in which the thread was interrupted, and tells it which CPU it runs on. With
/// interrupts on: the thread may be interrupted meanwhile, and is then told again.
///
/// # Errors
/// `EFAULT`, `EINVAL`: the area or the sequence is not as it should be.
pub(super) fn resume(
    token: &mut MayFault,
    thread: &Thread,
    process: &Process,
    frame: &mut TrapFrame,
) -> Result<(), Errno> {
    let Some(area) = thread.sequences.area() else { return Ok(()) };
    let [descriptor] = get_words(token, area.address + DESCRIPTOR)?;
    if descriptor != 0 {
        let sequence = Sequence::read(token, descriptor, area.signature)?;
        if sequence.has(frame.rip) {
            let mut flags = [0; 4];
            get(token, area.address + FLAGS, &mut flags)?;
            // Those that there were kept sequences from being aborted.
            if sequence.flags != 0 || flags != [0; 4] {
                return Err(Errno::INVAL);
            }
            frame.rip = sequence.abort;
        }
        put_words(token, area.address + DESCRIPTOR, [0])?;
    }
    let cpu = percpu::number() as u32;
    tell(token, &area, [cpu, cpu], process.memory()?.number_on(cpu))
}

/// `rseq`: registers an area for the current thread.
///
/// # Errors
/// `EINVAL`: there is another one, or this one cannot be; `EPERM`: it is registered with another
/// signature; `EBUSY`: it is registered; `EFAULT`.
pub(crate) fn register(token: &mut MayFault, thread: &Thread, area: Area) -> Result<(), Errno> {
    if let Some(own) = thread.sequences.area() {
        same_area(&own, &area)?;
        return Err(Errno::BUSY);
    }
    area.check()?;
    // One that was left there is none of the thread's.
    let [descriptor] = get_words(token, area.address + DESCRIPTOR)?;
    if descriptor != 0 {
        put_words(token, area.address + DESCRIPTOR, [0])?;
    }
    thread.set_sequences(Some(area));
    Ok(())
}

/// `rseq`: registers none instead of this one.
///
/// # Errors
/// `EINVAL`: it is not registered; `EPERM`: not with this signature; `EFAULT`.
pub(crate) fn unregister(token: &mut MayFault, thread: &Thread, area: Area) -> Result<(), Errno> {
    same_area(&thread.sequences.area().ok_or(Errno::INVAL)?, &area)?;
    tell(token, &area, [0, NO_CPU], 0)?;
    thread.set_sequences(None);
    Ok(())
}

/// Checks that an area is the registered one.
fn same_area(own: &Area, area: &Area) -> Result<(), Errno> {
    if (own.address, own.len) != (area.address, area.len) {
        Err(Errno::INVAL)
    } else if own.signature != area.signature {
        Err(Errno::PERM)
    } else {
        Ok(())
    }
}

/// Fills in an area: where a sequence begins, where it goes on, and the number in the memory. There
/// is one node.
fn tell(token: &mut MayFault, area: &Area, cpus: [u32; 2], number: u32) -> Result<(), Errno> {
    put(token, area.address + CPU, cpus.map(u32::to_ne_bytes).as_flattened())?;
    put(token, area.address + NODE, [0, number].map(u32::to_ne_bytes).as_flattened())
}
