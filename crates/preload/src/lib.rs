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
//! | the start, what the run was asked for, and the line at its end | `init`, `options`, `report` |
//! | memory that all processes of the run share: heap, kernel stacks, frames | `arena`, `machine` |
//! | traps: entry, return, `fork` and `clone` | `gate`, `trap`, `clone` |
//! | a thread's kernel stack and what it waits on | `thread` |
//! | the kernel, as Faultless sees it | `kernel`, `frames`, `sync`, `task` |
//! | page tables, which are Linux's mappings | `table` |
//! | user memory | `memory` |
//! | which files are in Faultless, and their stores | `files`, `stores` |
//! | a process: descriptors, address space, shoot-downs, its end | `process` |
//! | the system calls | `call`, `calls` |
//! | signals of the program, and what interrupts its calls | `signals`, `taken`, `deliver`, `restart` |
//! | calls of Linux's with buffers in mappings of files | `buffers`, `lend`, `loans` |
//! | the environment of programs that the program starts | `environment` |
//! | what is checked, counted and disturbed | `locks`, `counters`, `chaos` |
//! | system calls of the library itself; what its lower half asks of the upper | `raw`, `hooks` |
//!
//! A process that `fork` makes shares the machine: everything that is not on a user stack lies in
//! memory that is mapped at the same address in all of them. So does a program that `exec` starts.
//! There are no function pointers and no `dyn` in that memory, because each program loads the
//! library elsewhere.
//!
//! # Differences from Linux
//!
//! * A child of `vfork` and `posix_spawn` has memory of its own, and its parent does not wait: the
//!   child changes descriptors and mappings, which are kept for each process. What the child writes
//!   to memory is not seen by the parent. So `posix_spawn` of a program that does not exist returns
//!   0, and the child exits with 127.
//! * `exec` writes programs and libraries of the folder out to Linux's files. Another process that
//!   starts the same program in that moment gets `ETXTBSY`.
//! * A program that is linked statically, or runs with other rights (set-user-id), sees Linux's own
//!   files: nothing can be loaded into it.
//! * A descriptor that a process receives in a message (`SCM_RIGHTS`) or takes from another one
//!   (`pidfd_getfd`) is Linux's. So is one that a process has inherited from outside the run.
//! * A file that is first opened by a name outside the folder is Linux's, also if it has a second
//!   name in the folder.
//! * `mmap` of a file takes one of Linux's mappings for each page that was touched. Linux allows
//!   65,530 (`vm.max_map_count`). Pages of files are taken out in time; private copies cannot be,
//!   so that a program that stores to more private pages ends with a message.
//! * A limit on addresses (`RLIMIT_AS`) below 17 GiB leaves no room for the machine: a program that
//!   is started under it ends with a message.
//! * With Linux's files as the store, reading and writing back opens files: a program that has used
//!   up its descriptors (`RLIMIT_NOFILE`) can get `EIO`, and one with a limit on file sizes
//!   (`RLIMIT_FSIZE`) can be stopped from writing back what others have written.
//! * `recvmmsg`, and results longer than 256 KiB, go to mappings of files without a copy between: a
//!   message is lost if pages leave in the moment in which it arrives.
//! * Only one of the signals `SIGSEGV`, `SIGBUS` and `SIGSYS` that others send is kept for later.
//!   One that comes while the thread is in a call is handled at the end of that call or of the next
//!   one. A hundred that are sent at once can exceed the stack that the library's handlers run on,
//!   which ends the program.
//! * A handler that `sigsuspend`, `ppoll` or `pselect` lets in runs with the mask of the program,
//!   not with the one that was given to the call.
//! * A `SIGSTOP` can stop a process in a call on a file: others that need the same page or file
//!   wait until it goes on.
//! * A call with a time limit that belongs to a socket (`SO_RCVTIMEO`) can end with `EINTR` when
//!   another process changes a mapped file.
//! * A write that waits for room in a pipe or a socket can return what it has written so far when
//!   another process changes a file that the writer has mapped.
//! * A futex in a shared mapping of a file is known by the frame of its page: a thread that waits
//!   there is not woken if the page was evicted and read again meanwhile.
//! * Signal 63 is the library's: a program cannot use it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

extern crate alloc;

mod arena;
mod buffers;
mod call;
mod calls;
mod chaos;
mod clone;
mod counters;
mod deliver;
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
mod restart;
mod signals;
mod stores;
mod sync;
mod table;
mod taken;
mod task;
mod thread;
mod trap;
mod words;
