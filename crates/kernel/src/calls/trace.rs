//! What is told of each call if the command line asks for that (`trace`).
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use syscalls::Sysno;

use crate::arch::serial::say;
use crate::arch::trap::TrapFrame;
use crate::calls::call::Outcome;
use crate::sched::{self, Thread};

/// Has `perform` make a call; tells what it is, and what comes of it.
#[cold]
pub(super) fn traced(
    frame: &mut TrapFrame,
    perform: impl FnOnce(&mut TrapFrame) -> Outcome,
) -> Outcome {
    let number = frame.rax as usize;
    let name = Sysno::new(number)
        .map_or_else(|| format!("call {number}"), |call| String::from(call.name()));
    let thread = sched::with_current(Thread::number);
    say!("{thread}: {name}({})", hexadecimal(&frame.arguments()));
    let outcome = perform(frame);
    // `execve` may have given the thread another number.
    let thread = sched::with_current(Thread::number);
    match outcome {
        Ok(value) => say!("{thread}: {name} = {value:#x}"),
        Err(errno) => say!("{thread}: {name} = {errno:?}"),
    }
    outcome
}

fn hexadecimal(args: &[usize; 6]) -> String {
    args.map(|argument| format!("{argument:#x}")).join(", ")
}
