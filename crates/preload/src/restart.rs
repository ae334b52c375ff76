//! Calls that wait, and that another process has interrupted by asking for something: the program
//! knows nothing of that, so the call is made again, for the time that is left.
//!
//! A signal of the program's that comes before the call waits again has interrupted it: without
//! that rule, a program that waits for that signal could wait for good.

use syscalls::Sysno;

use crate::call::{Call, get_words};
use crate::gate;
use crate::raw;
use crate::thread::AtGate;

/// How a call is told how long to wait.
enum Time {
    /// Not at all, or by an absolute time, or Linux writes what is left.
    Left,
    /// An argument has milliseconds.
    Milliseconds(usize),
    /// An argument points to a `timespec`.
    Structure(usize),
}

/// How a call is told how long to wait; nothing for one that Linux makes again by itself.
fn time_of(number: usize, args: &[usize; 6]) -> Option<Time> {
    Some(match Sysno::new(number)? {
        Sysno::poll => Time::Milliseconds(2),
        Sysno::epoll_wait | Sysno::epoll_pwait => Time::Milliseconds(3),
        Sysno::nanosleep => Time::Structure(0),
        Sysno::clock_nanosleep if args[1] & libc::TIMER_ABSTIME as usize == 0 => Time::Structure(2),
        Sysno::rt_sigtimedwait => Time::Structure(2),
        Sysno::epoll_pwait2 | Sysno::semtimedop => Time::Structure(3),
        Sysno::futex if args[1] & 127 == libc::FUTEX_WAIT as usize => Time::Structure(3),
        Sysno::ppoll
        | Sysno::select
        | Sysno::pselect6
        | Sysno::clock_nanosleep
        | Sysno::futex
        | Sysno::pause
        | Sysno::rt_sigsuspend
        | Sysno::semop
        | Sysno::msgsnd
        | Sysno::msgrcv => Time::Left,
        _ => return None,
    })
}

/// Whether an argument may be changed when the call is made again.
pub(crate) fn is_timed(number: usize, args: &[usize; 6]) -> bool {
    match time_of(number, args) {
        Some(Time::Milliseconds(at)) => args[at] as i32 > 0,
        Some(Time::Structure(at)) => args[at] != 0,
        _ => false,
    }
}

/// A call goes to the gate.
pub(crate) fn begin(call: &mut Call<'_>) {
    let (number, args) = (call.number, call.args);
    let slot = *call.register(libc::REG_RSP) as usize;
    let begun = if time_of(number, &args).is_some() { raw::monotonic() } else { 0 };
    call.thread.at_gate.set(AtGate { number, slot, begun, again: 0 });
}

/// Linux has returned to the program, or is about to, because another process asked for something.
pub(crate) fn again(call: &mut Call<'_>) {
    let [rip, rsp, result] =
        [libc::REG_RIP, libc::REG_RSP, libc::REG_RAX].map(|which| *call.register(which));
    let at_gate = call.thread.at_gate.get();
    let Some(start) = gate::start_of(rip as usize) else { return };
    if result != -i64::from(libc::EINTR) || at_gate.slot != rsp as usize {
        return;
    }
    let Some(time) = time_of(at_gate.number, &call.args) else { return };
    let now = raw::monotonic();
    let begun = match time {
        Time::Left => now,
        Time::Milliseconds(at) => {
            let passed = now.saturating_sub(at_gate.begun) / 1_000_000;
            let left = call.args[at] as i32;
            if left > 0 {
                let left = u64::from(left as u32).saturating_sub(passed);
                call.set_argument(at, left as usize);
            }
            at_gate.begun + passed * 1_000_000
        }
        Time::Structure(at) => {
            wait_for_rest(call, at, now.saturating_sub(at_gate.begun));
            now
        }
    };
    call.thread.at_gate.set(AtGate { begun, again: 1, ..at_gate });
    *call.register(libc::REG_RAX) = at_gate.number as i64;
    *call.register(libc::REG_RIP) = start as i64;
}

fn wait_for_rest(call: &mut Call<'_>, at: usize, passed: u64) {
    const SECOND: u64 = 1_000_000_000;
    let lent = call.thread.lent_time.get();
    let [seconds, rest] = if call.args[at] == lent.addr() {
        // The call was made again before.
        // SAFETY: the record of this thread.
        unsafe { *lent }
    } else {
        if call.args[at] == 0 {
            return;
        }
        let Ok(words) = get_words(call, call.args[at]) else { return };
        words
    };
    let left = seconds.saturating_mul(SECOND).saturating_add(rest).saturating_sub(passed);
    // SAFETY: the record of this thread.
    unsafe { *lent = [left / SECOND, left % SECOND] };
    call.set_argument(at, lent.addr());
}

/// A signal of the program's comes: it has interrupted a call that would be made again.
pub(crate) fn interrupt(call: &mut Call<'_>) {
    let [rip, rsp] = [libc::REG_RIP, libc::REG_RSP].map(|which| *call.register(which) as usize);
    let at_gate = call.thread.at_gate.get();
    if at_gate.again != 0
        && at_gate.slot == rsp
        && let Some(end) = gate::end_of(rip)
    {
        *call.register(libc::REG_RIP) = end as i64;
        *call.register(libc::REG_RAX) = -i64::from(libc::EINTR);
    }
    call.thread.at_gate.set(AtGate::default());
}
