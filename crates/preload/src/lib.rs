//! Runs an unmodified, dynamically linked Linux program with the files of one folder in
//! [`faultless`]: the process as a machine with an MMU. `cargo xtask run` starts it.
//!
//! The dynamic linker loads this library into the program (`LD_PRELOAD`). Names, permissions and
//! locks of files stay with Linux; what a file holds, its size and its times are Faultless's. A
//! system call of the program traps (Linux's *syscall user dispatch* raises `SIGSYS`), and so does
//! an access to a page of a mapping that is not there (`SIGSEGV`). The handlers are the entries of
//! a kernel: they run on a stack of their own, with signals held off.
//!
//! | what | where |
//! |---|---|
//! | memory that all processes of the run share: heap, kernel stacks, frames | `arena`, `machine` |
//! | traps: entry, return, `fork` and `clone` | `gate`, `trap`, `clone` |
//! | a thread's kernel stack and what it waits on | `thread` |
//! | the kernel, as Faultless sees it | `kernel`, `frames`, `sync`, `task` |
//! | page tables, which are Linux's mappings | `table` |
//! | user memory | `memory` |
//! | which files are in Faultless, and their stores | `files`, `stores` |
//! | the system calls | `calls` |
//!
//! A process that `fork` makes shares the machine: everything that is not on a user stack lies in
//! memory that is mapped at the same address in all of them. So does a program that `exec` starts.
//! There are no function pointers and no `dyn` in that memory, because each program loads the
//! library elsewhere.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

extern crate alloc;

mod arena;
mod buffers;
mod call;
mod calls;
mod chaos;
mod clone;
mod counters;
mod environment;
mod files;
mod frames;
mod gate;
mod hooks;
mod init;
mod kernel;
mod lend;
mod loans;
mod locks;
mod machine;
mod memory;
mod options;
mod process;
mod raw;
mod report;
mod signals;
mod stores;
mod sync;
mod table;
mod taken;
mod task;
mod thread;
mod trap;
