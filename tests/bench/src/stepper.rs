//! Every instruction of a call, one after the other: the CPU's trap flag raises SIGTRAP after each,
//! and the handler notes where the thread stands.
//!
//! This needs no tool, counts an inlined function by itself, since each address has a line of
//! source, and a repeated string instruction once, however many bytes it moves. Valgrind, which
//! does the same by translation, counts such an instruction once for each byte.

use std::io;
use std::sync::{Mutex, PoisonError};

/// The addresses of the instructions that `call` executes, in order.
///
/// # Errors
/// The system refuses the handler, there are more instructions than can be noted, or the
/// architecture has no trap flag.
pub(crate) fn instructions(call: impl Fn()) -> io::Result<Vec<usize>> {
    static RECORDING: Mutex<()> = Mutex::new(());
    let _held = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
    let frame = native::record(|| ())?.len();
    let mut all = native::record(call)?;
    // What surrounds the call is the same with nothing in it: it ends with what clears the flag.
    all.truncate(all.len() - frame);
    Ok(all)
}

#[cfg(not(target_arch = "x86_64"))]
mod native {
    use std::io;

    pub(super) fn record(_call: impl Fn()) -> io::Result<Vec<usize>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "instructions are counted on x86-64 only"))
    }
}

#[cfg(target_arch = "x86_64")]
mod native {
    use std::arch::asm;
    use std::cell::UnsafeCell;
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The most instructions of one call.
    const MOST: usize = 1 << 18;

    /// The addresses of one recording.
    struct Trail {
        addresses: UnsafeCell<[usize; MOST]>,
        len: AtomicUsize,
    }

    // SAFETY: one thread at a time records, by the caller's lock; its handler writes the addresses
    // while the flag is set, and it reads them once the flag is clear.
    unsafe impl Sync for Trail {}

    static TRAIL: Trail = Trail { addresses: UnsafeCell::new([0; MOST]), len: AtomicUsize::new(0) };

    /// Notes the instruction that comes next.
    extern "C" fn note(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: a handler with SA_SIGINFO is given the state of the interrupted thread.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        let at = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
        let len = TRAIL.len.load(Ordering::Relaxed);
        let entries = TRAIL.addresses.get().cast::<usize>();
        // SAFETY: an entry of the array; no other thread looks at it.
        let last = unsafe { entries.wrapping_add(len.saturating_sub(1)).read() };
        // A repeated instruction traps after each repetition, and is where it was.
        if len < MOST && (len == 0 || last != at) {
            // SAFETY: as above.
            unsafe { entries.wrapping_add(len).write(at) };
            TRAIL.len.store(len + 1, Ordering::Relaxed);
        }
    }

    #[inline(never)]
    pub(super) fn record(call: impl Fn()) -> io::Result<Vec<usize>> {
        // SAFETY: zeros are a valid action.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: zeros are a valid action, which the call overwrites.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: the handler writes static memory only.
        if unsafe { libc::sigaction(libc::SIGTRAP, &action, &mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        TRAIL.len.store(0, Ordering::Relaxed);
        // SAFETY: sets the trap flag, which the handler answers; the red zone is left alone.
        unsafe {
            asm!(
                "lea rsp, [rsp - 128]",
                "pushfq",
                "or qword ptr [rsp], 0x100",
                "popfq",
                "lea rsp, [rsp + 128]",
            );
        }
        call();
        // SAFETY: clears it.
        unsafe {
            asm!(
                "lea rsp, [rsp - 128]",
                "pushfq",
                "and qword ptr [rsp], ~0x100",
                "popfq",
                "lea rsp, [rsp + 128]",
            );
        }
        let len = TRAIL.len.load(Ordering::Relaxed);
        // SAFETY: what was there before goes back; the flag is clear.
        let _ = unsafe { libc::sigaction(libc::SIGTRAP, &before, std::ptr::null_mut()) };
        if len == MOST {
            return Err(io::Error::other("more instructions than can be noted"));
        }
        // SAFETY: the flag is clear, so no handler writes.
        let noted = unsafe { &*TRAIL.addresses.get() };
        Ok(noted[..len].to_vec())
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[inline(never)]
    fn turns(count: u32) {
        for turn in 0..count {
            black_box(turn);
        }
    }

    #[test]
    fn a_loop_counts_once_for_each_turn() {
        let count = |turns_of| instructions(|| turns(black_box(turns_of))).expect("traps").len();
        let (ten, twenty, thirty) = (count(10), count(20), count(30));
        assert!(ten < twenty, "{ten} and {twenty}");
        assert_eq!(thirty - twenty, twenty - ten);
        assert_eq!(count(20), twenty, "no instruction of another thread");
    }

    #[test]
    fn nothing_counts_nothing() {
        assert!(instructions(|| ()).expect("traps").is_empty());
    }
}
