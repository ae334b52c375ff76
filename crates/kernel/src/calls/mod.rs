//! System calls. What a call means is in `faultless-posix`, or in the modules of the kernel; here
//! are arguments and results.
//!
//! To add a call: a line in the table, and its function in the module of its kind.
//!
//! | calls | module |
//! |---|---|
//! | the table of all of them; those that are in no table; what is told of each | `table`, `unknown`, `trace` |
//! | reads, writes and what else is done with open files | `io` |
//! | from one open file to another | `between` |
//! | `open`, `close`, `dup`, `fcntl`, `pipe` | `descriptors` |
//! | `ioctl`; control messages of sockets | `control`, `ancillary` |
//! | advisory locks; files without a name | `locks`, `seals` |
//! | extended attributes | `extended` |
//! | names; what `stat` says of them; `access`, `chmod`, `chown`, `utimensat` | `names`, `stat`, `attributes` |
//! | `semget`, `msgget` and the like | `semaphores`, `queues` |
//! | `io_submit` and the like | `requests` |
//! | `mmap` and the like; `madvise` and `mlock`; `shmget` and the like | `mappings`, `advice`, `lock_limit`, `segments` |
//! | the memory of other processes, and what they have together | `remote` |
//! | whose the objects of System V are | `ipc` |
//! | processes and threads; what they ask for by `prctl` | `life`, `asked` |
//! | processes by descriptors | `pidfd` |
//! | `rseq`, `membarrier` | `sequences` |
//! | signals | `signals` |
//! | time, futexes | `time` |
//! | `poll`, `select`; `epoll`, `eventfd`, `timerfd` | `poll`, `events` |
//! | timers | `timers` |
//! | priorities | `scheduling` |
//! | sockets; their options; what is sent along with bytes | `sockets`, `socket_options`, `control` |
//! | users, and what is refused | `users` |
//! | what the system is | `system` |

mod advice;
mod ancillary;
mod asked;
mod attributes;
mod between;
mod call;
mod control;
mod descriptors;
mod events;
mod extended;
mod io;
mod ipc;
mod life;
mod lock_limit;
mod locks;
mod mappings;
mod names;
mod pidfd;
mod poll;
mod queues;
mod remote;
mod requests;
mod scheduling;
mod seals;
mod segments;
mod semaphores;
mod sequences;
mod signals;
mod socket_options;
mod sockets;
mod stat;
mod system;
mod table;
mod time;
mod timers;
mod trace;
mod unknown;
mod users;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use syscalls::Sysno;

use crate::arch::trap::TrapFrame;
use crate::boot::options::{Tracing, options};
use crate::calls::call::{Call, Outcome};
use crate::calls::table::{begins, dispatch};
use crate::calls::trace::traced;
use crate::calls::unknown::unknown;
use crate::memory;
use crate::process;

pub(crate) use locks::all_closed;
pub(crate) use semaphores::undo_semaphores;
pub(crate) use unknown::tell_unknown;

/// A system call, with interrupts on.
pub(crate) fn system_call(frame: &mut TrapFrame) {
    // For calls that a signal interrupts: see `process::deliver`.
    frame.error = frame.rax.wrapping_add(1);
    let outcome = match options().trace {
        Tracing::Off => perform(frame),
        Tracing::On => traced(frame, perform),
    };
    // A call that sets the registers returns what is in this one.
    frame.rax = Errno::to_raw(outcome) as u64;
}

/// Makes the call that the registers ask for.
fn perform(frame: &mut TrapFrame) -> Outcome {
    let number = frame.rax as usize;
    let process = process::current().ok_or(Errno::NOSYS)?;
    // SAFETY: at the entry of a system call no lock is held, and there is no other token.
    let token = unsafe { MayFault::assert() };
    let mut call = Call { args: frame.arguments(), frame, process, token };
    match Sysno::new(number) {
        Some(known) if begins(known) && memory::is_short(&mut call.token) => Err(Errno::NOMEM),
        Some(known) => dispatch(&mut call, known),
        None => unknown(number),
    }
}
