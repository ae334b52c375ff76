//! Processes by descriptors.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless_posix::{Errno, OnExec};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::descriptors::add;
use crate::calls::names::known;
use crate::calls::signals::{may_send, queued, signal_or_none};
use crate::files::{self, ProcessFile};
use crate::process;
use crate::sched;
use crate::signals::Cause;
use crate::task::credentials;

/// The process of a descriptor.
///
/// # Errors
/// `EBADF`.
fn process_at(call: &Call<'_>, descriptor: usize) -> Result<Arc<process::Process>, Errno> {
    let file = call.process.file(descriptor)?;
    file.kind::<ProcessFile>().map(|file| Arc::clone(&file.process)).ok_or(Errno::BADF)
}

pub(super) fn pidfd_open(call: &mut Call<'_>) -> Outcome {
    let [number, flags, ..] = call.args;
    known(flags, linux::O_NONBLOCK)?;
    if number as i32 <= 0 {
        return Err(Errno::INVAL);
    }
    let found = process::with_process(number as u32, Arc::clone);
    let process = found.map_err(|errno| match sched::find(number as u32) {
        // A thread that is not the first of its process.
        Some(_) => Errno::NOENT,
        None => errno,
    })?;
    add(call, 0, files::process_file(process, flags as u32), OnExec::Close)
}

pub(super) fn pidfd_send_signal(call: &mut Call<'_>) -> Outcome {
    const THREAD_OR_GROUP: u32 = 7;
    let [descriptor, which, information, flags, ..] = call.args;
    known(flags, THREAD_OR_GROUP)?;
    let process = process_at(call, descriptor)?;
    let signal = signal_or_none(which)?;
    let cause = match information {
        0 => Cause::User(call.process.number()),
        at => queued(call, at, which, process.number())?,
    };
    if process.was_waited_for() {
        return Err(Errno::SRCH);
    }
    if !may_send(call, &process, signal) {
        return Err(Errno::PERM);
    }
    if let Some(signal) = signal {
        process::send(&process, signal, cause);
    }
    Ok(0)
}

pub(super) fn pidfd_getfd(call: &mut Call<'_>) -> Outcome {
    let [descriptor, wanted, flags, ..] = call.args;
    known(flags, 0)?;
    let process = process_at(call, descriptor)?;
    if process.has_ended() {
        return Err(Errno::SRCH);
    }
    let (own, other) = (credentials().user, process.credentials().user);
    let is_same = [other.real, other.effective, other.saved].iter().all(|id| *id == own.file);
    if own.effective != 0 && !is_same {
        return Err(Errno::PERM);
    }
    let file = process.any_file(wanted)?;
    add(call, 0, file, OnExec::Close)
}
