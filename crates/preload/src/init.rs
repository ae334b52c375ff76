//! The start: the dynamic linker calls this before the program's `main`.

use core::arch::asm;

use alloc::format;

use faultless::prelude::PAGE_SIZE;

use crate::arena;
use crate::chaos;
use crate::clone;
use crate::environment::ENVIRONMENT;
use crate::files::files;
use crate::hooks::{self, Hooks};
use crate::kernel::Key;
use crate::machine;
use crate::options::{self, Options};
use crate::process::{self, PROCESSES, Process};
use crate::raw;
use crate::report;
use crate::signals;
use crate::thread::{TRAPS, Thread};
use crate::trap;

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    match options::read() {
        // A program that is not to run on the machine.
        None => {}
        Some(Ok((options, folder))) => begin(options, folder),
        Some(Err(why)) => fail(why),
    }
}

fn fail(why: &str) -> ! {
    raw::complain("faultless: ");
    raw::die(why);
}

fn begin(options: Options, folder: &str) {
    hooks::set(Hooks {
        serve: process::serve,
        look_for_dead: process::look_for_dead,
        reclaim: || files().reclaim(),
        last_handle: |device, number| files().forget(Key { device, number }),
        shoot_down: process::shoot_down,
    });
    let bytes = options.frames.saturating_mul(PAGE_SIZE);
    // SAFETY: `attach` calls it when the machine is to be made.
    let made = arena::attach(options.fd, bytes, || unsafe { machine::make(options, folder) });
    made.unwrap_or_else(|why| fail(why));
    ENVIRONMENT.get().hide();
    let thread = Thread::new().unwrap_or_else(|| fail("too many threads"));
    // SAFETY: the stack is not used.
    unsafe { on_stack(thread, if options.finish { finish } else { set_up }) };
    thread.selector.set(TRAPS);
}

/// Calls `function` on the thread's kernel stack.
///
/// # Safety
/// Nothing runs on that stack.
unsafe fn on_stack(thread: &'static Thread, function: extern "C" fn(&'static Thread)) {
    let (lowest, bytes) = thread.own_stack();
    let top = lowest.addr() + bytes;
    // SAFETY: the function keeps the registers that its ABI says; the stack pointer is restored.
    unsafe {
        asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {function}",
            "mov rsp, r12",
            top = in(reg) top,
            function = in(reg) function,
            in("rdi") thread,
            out("r12") _,
            clobber_abi("C"),
        );
    }
}

/// Joins the machine.
extern "C" fn set_up(thread: &'static Thread) {
    thread.use_stack();
    Thread::forget_others(thread);
    Process::attach(thread);
    let taken = [trap::on_call, trap::on_fault, trap::on_fault, trap::on_shootdown];
    if !signals::take(taken, trap::on_signal) {
        fail("the signals of the program cannot be taken");
    }
    let is_first = PROCESSES.get().lock().len() == 1;
    if options::options().chaos > 0 && is_first && !chaos::start(thread) {
        fail("no thread for the chaos");
    }
    clone::trap_calls(thread);
}

/// Writes everything back and tells what was done.
extern "C" fn finish(thread: &'static Thread) {
    thread.pid.set(raw::pid());
    let result = files().sync();
    raw::complain(&report::line());
    if let Err(errno) = result {
        raw::complain(&format!("faultless: the last sync failed: {errno}\n"));
    }
    std::process::exit(i32::from(result.is_err()));
}
