//! An x86-64 kernel on top of Faultless: it boots in QEMU and runs unmodified Linux
//! programs, static or with their libraries, whose files live in mappings of the cache.
//!
//! It embeds [`faultless`] and [`faultless_posix`] as any kernel would, by their public interfaces.
//! `cargo xtask kernel` builds and starts it.
//!
//! | what | module |
//! |---|---|
//! | from the loader to the first program | `boot` |
//! | the machine: traps, interrupts, CPUs | `arch` |
//! | memory, page tables, the seams to Faultless | `memory` |
//! | what happens when memory is short | `pressure` |
//! | threads, and which of them runs | `sched` |
//! | short locks; waits, and locks to sleep with | `sync`, `waits` |
//! | signals as they are kept; limits; users; the current task | `signals`, `limits`, `credentials`, `task` |
//! | what one process has, or several together | `shared` |
//! | restartable sequences, as a thread has them | `sequences` |
//! | processes: `exec`, `fork`, `exit`, signals | `process` |
//! | the disk | `disk` |
//! | names, open files, devices, pipes | `files` |
//! | `/proc` | `proc` |
//! | the table of system calls | `calls` |
//! | what the kernel tries out on itself, and its watchdog; who hears of the cache | `selftest`, `listener` |
//!
//! # Locks
//! Sleeping locks come first: the layout of an address space, then those of Faultless. Below them
//! are short locks, which turn interrupts off: those of the tables here, then those of Faultless
//! and the disk's, then the queue of threads, the local APIC and the heap.
#![no_std]
#![cfg(target_arch = "x86_64")]

extern crate alloc;

mod arch;
mod boot;
mod calls;
mod credentials;
mod disk;
mod files;
mod limits;
mod listener;
mod memory;
mod pressure;
mod proc;
mod process;
mod sched;
mod selftest;
mod sequences;
mod shared;
mod signals;
mod sync;
mod task;
mod waits;

use core::panic::PanicInfo;

pub use memory::Heap;

/// A bug of the kernel: says what it was, and ends the run with the status 255.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    x86_64::instructions::interrupts::disable();
    arch::serial::last_message(format_args!("kernel: {info}"));
    arch::serial::end(255)
}
