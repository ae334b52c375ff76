//! Calls that take something which is lost if they fail with `EFAULT`: a message, a connection, a
//! child that has ended. If one of their results is to go to a mapping of a file, Linux is lent
//! memory of the library's, and the call traps when it is over.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use syscalls::Sysno;

use crate::arena::unique;
use crate::call::{Call, get, get_words, put, put_words};
use crate::gate::{self, LENT_WORDS, RED_ZONE};
use crate::loans::{Amount, Loan};
use crate::words::words_of;

/// Bytes that are lent at most, for one result.
const MOST: usize = 256 << 10;

const BYTES: usize = LENT_WORDS * 8;

/// The results of a call: the argument that says where, the bytes there, and how many are set. What
/// comes first is copied last.
fn results(call: &mut Call<'_>) -> Vec<(usize, usize, Amount)> {
    const STATUS: usize = 4;
    const USAGE: usize = size_of::<libc::rusage>();
    const INFO: usize = size_of::<libc::siginfo_t>();
    const EVENT: usize = size_of::<libc::epoll_event>();
    let [_, second, third, ..] = call.args;
    let length = |call: &mut Call<'_>, at: usize| {
        let mut bytes = [0; 4];
        // Without one, Linux finds what is wrong.
        let known = at != 0 && get(call, at, &mut bytes).is_ok();
        if known { u32::from_ne_bytes(bytes) as usize } else { 0 }
    };
    let Some(number) = Sysno::new(call.number) else { return Vec::new() };
    match number {
        Sysno::wait4 => alloc::vec![(1, STATUS, Amount::All), (3, USAGE, Amount::All)],
        Sysno::waitid => alloc::vec![(2, INFO, Amount::All), (4, USAGE, Amount::All)],
        Sysno::rt_sigtimedwait => alloc::vec![(1, INFO, Amount::All)],
        Sysno::read => alloc::vec![(1, third, Amount::Result(1))],
        Sysno::recvfrom => {
            let name = length(call, call.args[5]);
            alloc::vec![
                (1, third, Amount::Result(1)),
                (4, name, Amount::At(5)),
                (5, STATUS, Amount::All)
            ]
        }
        Sysno::accept | Sysno::accept4 => {
            let name = length(call, third);
            alloc::vec![(1, name, Amount::At(2)), (2, STATUS, Amount::All)]
        }
        Sysno::epoll_wait | Sysno::epoll_pwait | Sysno::epoll_pwait2 => {
            alloc::vec![(1, third.saturating_mul(EVENT), Amount::Result(EVENT))]
        }
        Sysno::mq_timedreceive => alloc::vec![(1, third, Amount::Result(1))],
        // A type comes before the message.
        Sysno::msgrcv if second != 0 => alloc::vec![(1, third.saturating_add(8), Amount::All)],
        _ => Vec::new(),
    }
}

/// Has Linux make the call at the gate with lent memory, if a result of it is to go to a mapping of
/// a file. Whether it is so.
pub(crate) fn lend(call: &mut Call<'_>) -> bool {
    if !call.maps_files() {
        return false;
    }
    if Sysno::new(call.number) == Some(Sysno::recvmsg) {
        return lend_message(call);
    }
    let results = results(call);
    let is_file = |call: &Call<'_>, at: usize, length: usize| {
        length > 0 && call.process.space.has_mapping_in(at..at.saturating_add(length))
    };
    let meets = results.iter().any(|(at, length, _)| is_file(call, call.args[*at], *length));
    if !meets || results.iter().any(|(_, length, _)| *length > MOST) {
        return false;
    }
    let mut loans = Vec::new();
    for (at, length, amount) in results {
        let to = call.args[at];
        if to == 0 || length == 0 {
            continue;
        }
        let mut bytes = alloc::vec![0; length];
        if !matches!(amount, Amount::Result(_)) && get(call, to, &mut bytes).is_err() {
            return false;
        }
        loans.push(Loan { to, bytes, amount });
    }
    for loan in &loans {
        let at = call.args.iter().position(|arg| *arg == loan.to).unwrap_or_default();
        call.set_argument(at, loan.bytes.as_ptr().addr());
    }
    begin(call, loans)
}

/// `recvmsg`: the header, and all that it points to.
fn lend_message(call: &mut Call<'_>) -> bool {
    let header_at = call.args[1];
    let Some(mut header) = get_bytes(call, header_at, size_of::<libc::msghdr>()) else {
        return false;
    };
    let word = |at: usize| word_of(&header, at);
    let [name, vector, control] = [word(NAME), word(VECTOR), word(CONTROL)];
    let lengths = [word(NAME_LENGTH) as u32 as usize, word(SEGMENTS), word(CONTROL_LENGTH)];
    let [name_length, segments, control_length] = lengths;
    let segments = if segments <= SEGMENTS_MOST { segments } else { return false };
    let Some(mut given) = get_bytes(call, vector, segments * 16) else { return false };
    let mut loans = Vec::new();
    let mut before = 0;
    for segment in given.chunks_exact_mut(16) {
        let (to, length) = (word_of(segment, 0), word_of(segment, 8));
        if length > MOST - before {
            return false;
        }
        let bytes = alloc::vec![0; length];
        segment[..8].copy_from_slice(&bytes.as_ptr().addr().to_ne_bytes());
        loans.push(Loan { to, bytes, amount: Amount::Rest(before) });
        before += length;
    }
    let others = [(NAME, name, name_length), (CONTROL, control, control_length)];
    for (at, to, length) in others {
        if to != 0 {
            let bytes = alloc::vec![0; length.min(MOST)];
            header[at..at + 8].copy_from_slice(&bytes.as_ptr().addr().to_ne_bytes());
            loans.push(Loan { to, bytes, amount: Amount::In(at + 8) });
        }
    }
    header[VECTOR..VECTOR + 8].copy_from_slice(&given.as_ptr().addr().to_ne_bytes());
    // What Linux only reads is kept with the others.
    loans.push(Loan { to: vector, bytes: given, amount: Amount::Result(0) });
    loans.push(Loan { to: header_at, bytes: header, amount: Amount::Header });
    let meets = loans.iter().any(|loan| {
        let end = loan.to.saturating_add(loan.bytes.len());
        loan.to < end && call.process.space.has_mapping_in(loan.to..end)
    });
    if !meets {
        return false;
    }
    let header = loans.last().map_or(0, |loan| loan.bytes.as_ptr().addr());
    call.set_argument(1, header);
    begin(call, loans)
}

/// Vectors that are longer are not lent.
const SEGMENTS_MOST: usize = 1024;

const NAME: usize = core::mem::offset_of!(libc::msghdr, msg_name);
const NAME_LENGTH: usize = core::mem::offset_of!(libc::msghdr, msg_namelen);
const VECTOR: usize = core::mem::offset_of!(libc::msghdr, msg_iov);
const SEGMENTS: usize = core::mem::offset_of!(libc::msghdr, msg_iovlen);
const CONTROL: usize = core::mem::offset_of!(libc::msghdr, msg_control);
const CONTROL_LENGTH: usize = core::mem::offset_of!(libc::msghdr, msg_controllen);
const FLAGS: usize = core::mem::offset_of!(libc::msghdr, msg_flags);

fn word_of(bytes: &[u8], at: usize) -> usize {
    let [word] = words_of(bytes.get(at..).unwrap_or_default());
    word as usize
}

fn get_bytes(call: &mut Call<'_>, at: usize, length: usize) -> Option<Vec<u8>> {
    let mut bytes = alloc::vec![0; length];
    get(call, at, &mut bytes).ok().map(|()| bytes)
}

/// Goes to the gate.
fn begin(call: &mut Call<'_>, loans: Vec<Loan>) -> bool {
    let id = unique();
    let [a, b, c, d, e, f] = call.asked;
    let rip = *call.register(libc::REG_RIP) as usize;
    let slot = *call.register(libc::REG_RSP) as usize - RED_ZONE - BYTES;
    let words = [rip, id as usize, a, b, c, d, e, f].map(|word| word as u64);
    if put_words(call, slot, words).is_err() {
        for (at, value) in call.asked.into_iter().enumerate() {
            call.set_argument(at, value);
        }
        return false;
    }
    call.process.loans.lock().insert(id, loans);
    *call.register(libc::REG_RSP) = slot as i64;
    *call.register(libc::REG_RIP) = gate::lend() as i64;
    true
}

/// The call is over: the results go where the program wants them, and it goes on.
pub(crate) fn give_back(call: &mut Call<'_>) {
    let slot = *call.register(libc::REG_RSP) as usize;
    // A stack that was there at the call, and is no longer: the program faults by itself.
    let words = get_words(call, slot).unwrap_or([0; LENT_WORDS]);
    let [rip, id, args @ ..] = words.map(|word| word as usize);
    for (at, value) in args.into_iter().enumerate() {
        call.set_argument(at, value);
    }
    *call.register(libc::REG_RSP) = (slot + BYTES + RED_ZONE) as i64;
    *call.register(libc::REG_RIP) = rip as i64;
    let result = *call.register(libc::REG_RAX);
    let loans = call.process.loans.lock().remove(&(id as u64)).unwrap_or_default();
    let Ok(result) = usize::try_from(result) else { return };
    let mut done = Ok(());
    let header = loans.last().filter(|loan| matches!(loan.amount, Amount::Header));
    for loan in &loans {
        let length = match loan.amount {
            Amount::All => loan.bytes.len(),
            Amount::Rest(before) => result.saturating_sub(before),
            Amount::In(at) => header.map_or(0, |header| match at {
                NAME_LENGTH => word_of(&header.bytes, at) as u32 as usize,
                _ => word_of(&header.bytes, at),
            }),
            Amount::Header => {
                let set = [NAME_LENGTH..NAME_LENGTH + 4, CONTROL_LENGTH..FLAGS + 4];
                for set in set {
                    done = done.and(put(call, loan.to + set.start, &loan.bytes[set]));
                }
                0
            }
            Amount::Result(unit) => result.saturating_mul(unit),
            Amount::At(argument) => loans
                .iter()
                .find(|other| other.to == args[argument])
                .and_then(|other| other.bytes.first_chunk::<4>())
                .map_or(0, |length| u32::from_ne_bytes(*length) as usize),
        };
        let bytes = &loan.bytes[..length.min(loan.bytes.len())];
        done = done.and(put(call, loan.to, bytes));
    }
    if done.is_err() {
        *call.register(libc::REG_RAX) = -i64::from(libc::EFAULT);
    }
}
