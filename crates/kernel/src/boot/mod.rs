//! The start of the kernel: from the loader to the first program.
//!
//! | what | module |
//! |---|---|
//! | from 32-bit or real mode to Rust | `start` |
//! | the other CPUs | `cpus` |
//! | the command line | `options` |

pub(crate) mod cpus;
pub(crate) mod options;
mod start;

use core::sync::atomic::Ordering::Relaxed;

use faultless::prelude::Task;

use crate::arch::serial::say;
use crate::arch::{self, apic, faults, serial};
use crate::memory::{self, Boot};
use crate::task::Running;
use crate::{files, pressure, proc, process, sched};

use options::options;

/// The first CPU, on the boot stack.
extern "C" fn first_cpu(start_info: usize) -> ! {
    // SAFETY: nothing else runs yet.
    unsafe { faults::init() };
    serial::init();
    arch::init_cpu(0);
    // SAFETY: the address that the loader gave.
    let boot = unsafe { Boot::read(start_info) };
    memory::init(&boot);
    options::init(boot.command_line);
    sched::idle((&raw const start::boot_stack).cast_mut());
    apic::measure();
    arch::percpu::this().online.store(true, Relaxed);
    cpus::start(boot.acpi);
    apic::start_timer();
    let started = sched::spawn(sched::reap)
        .and_then(|()| sched::spawn(process::timers::serve))
        .and_then(|()| sched::spawn(process::terminal::serve))
        .and_then(|()| sched::spawn(move || begin(&boot)));
    started.unwrap_or_else(|why| panic!("no memory for threads: {why}"));
    sched::wait_for_threads()
}

/// Another CPU, on the stack that [`cpus::OTHER_STACK`] ends at.
extern "C" fn other_cpu() -> ! {
    cpus::arrived();
    apic::start_timer();
    sched::wait_for_threads()
}

/// The first thread: unpacks the files, and starts the first program.
fn begin(boot: &Boot) {
    memory::killed_by(|| Running.fatal_signal_pending());
    let unpacked = pressure::init().and_then(|()| files::init(boot.module));
    let unpacked = unpacked.and_then(|()| proc::init());
    let started = unpacked.and_then(|()| process::start_first(options()));
    if let Err(why) = started {
        say!("kernel: the first program: {why}");
        serial::end(127);
    }
}
