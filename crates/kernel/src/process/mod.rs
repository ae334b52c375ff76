//! Processes: what the threads of one program share.
//!
//! | what | module |
//! |---|---|
//! | `execve`: the image of a program, its stack | `exec`, `image` |
//! | `fork`, `clone` | `fork` |
//! | `exit`, `wait` | `exit` |
//! | signals | `signals`, `deliver` |
//! | timers that send signals | `timers` |
//! | keys of the console that do | `terminal` |
//! | futexes | `futex`, `priority`, `robust` |
//! | restartable sequences | `sequences` |
//! | the process itself; what it may share with others | `state`, `open_files` |
//! | what became of asynchronous requests | `contexts` |
//! | places in an address space: `brk`, `mmap` | `layout` |

mod contexts;
mod deliver;
mod exec;
mod exit;
mod fork;
mod futex;
mod image;
mod layout;
mod open_files;
mod priority;
mod robust;
mod sequences;
mod signals;
mod space;
mod state;
pub(crate) mod terminal;
pub(crate) mod timers;

pub(crate) use contexts::{Context, Event};
pub(crate) use deliver::{INFO_WORDS, information, prepare_return, sigreturn};
pub(crate) use exec::{MAX_TEXT, WORD, execute, start_first, unshare_files};
pub(crate) use exit::{Ending, exit_call, wait};
pub(crate) use fork::{CloneRequest, begin_thread, clone, spawn_in_current};
pub(crate) use futex::{FutexKey, futex_requeue, futex_wait, futex_wake};
pub(crate) use layout::{Layout, STACK_END, checked};
pub(crate) use priority::{lock as futex_lock, try_lock as futex_try_lock, unlock as futex_unlock};
pub(crate) use sequences::{register as register_sequences, unregister as unregister_sequences};
pub(crate) use signals::{
    all_processes, fault_signal, force, send, send_to_thread, with_group, with_process,
};
pub(crate) use space::grow_down;
pub(crate) use state::{Memory, NAME, Process, Words, current, memory, process_of};
