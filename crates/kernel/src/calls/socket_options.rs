//! Options of sockets: `getsockopt`, `setsockopt`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use alloc::vec::Vec;

use faultless_posix::Errno;

use crate::calls::call::{Call, Outcome};
use crate::calls::sockets::{number, of};
use crate::calls::time::NANOSECONDS;
use crate::files::{ROOM, Socket};
use crate::memory::{get, get_words, put};
use crate::task::credentials;

/// `SOL_SOCKET`, and its options that are known.
const SOCKET: usize = 1;
const DEBUG: u32 = 1;
const REUSE: u32 = 2;
const KIND: u32 = 3;
const ERROR: u32 = 4;
const DONT_ROUTE: u32 = 5;
const BROADCAST: u32 = 6;
const SEND_ROOM: u32 = 7;
const RECEIVE_ROOM: u32 = 8;
const KEEP_ALIVE: u32 = 9;
const INLINE: u32 = 10;
const NO_CHECK: u32 = 11;
const PRIORITY: u32 = 12;
const LINGER: u32 = 13;
const BSD: u32 = 14;
const REUSE_PORT: u32 = 15;
const PASS_SENDER: u32 = 16;
const PEER: u32 = 17;
const LEAST_RECEIVED: u32 = 18;
const LEAST_SENT: u32 = 19;
const RECEIVE_TIME: u32 = 20;
const SEND_TIME: u32 = 21;
const TIMES: u32 = 29;
const LISTENS: u32 = 30;
const FORCED_SEND_ROOM: u32 = 32;
const FORCED_RECEIVE_ROOM: u32 = 33;
const PROTOCOL: u32 = 38;
const DOMAIN: u32 = 39;

/// `AF_UNIX`.
const UNIX: u32 = 1;

/// The least room for sending and for receiving.
const LEAST_SEND_ROOM: u32 = 4608;
const LEAST_RECEIVE_ROOM: u32 = 2304;

/// Bytes of `struct timeval`.
const TIME: usize = 16;

/// What an option is set to.
fn value(socket: &Socket, option: u32) -> Result<Vec<u8>, Errno> {
    let options = &socket.options;
    let word = match option {
        KIND => number(socket.kind),
        LISTENS => socket.listens().into(),
        DOMAIN => UNIX,
        SEND_ROOM => options.send_room.load(Relaxed),
        RECEIVE_ROOM => options.receive_room.load(Relaxed),
        ERROR => socket
            .inbox()
            .take_error()
            .map_or(0, |error| Errno::to_raw(Err(error)).unsigned_abs() as u32),
        PASS_SENDER => socket.inbox().wants_senders.load(Relaxed).into(),
        LEAST_RECEIVED => options.least.load(Relaxed),
        LEAST_SENT => 1,
        BSD | REUSE_PORT | DEBUG | DONT_ROUTE | BROADCAST | INLINE | NO_CHECK | PRIORITY
        | TIMES | REUSE | KEEP_ALIVE | PROTOCOL => 0,
        LINGER => return Ok([0; 8].into()),
        PEER => return Ok(socket.peer_sender().bytes().into()),
        RECEIVE_TIME | SEND_TIME => {
            let time = if option == SEND_TIME { &options.send_time } else { &options.receive_time };
            let time = time.load(Relaxed);
            let words = [time / NANOSECONDS, time % NANOSECONDS / 1000];
            return Ok(words.map(u64::to_ne_bytes).as_flattened().into());
        }
        _ => return Err(Errno::NOPROTOOPT),
    };
    Ok(word.to_ne_bytes().into())
}

pub(super) fn getsockopt(call: &mut Call<'_>) -> Outcome {
    let [descriptor, level, option, at, len_at, _] = call.args;
    let file = call.process.file(descriptor)?;
    let socket = of(&file)?;
    if level != SOCKET {
        return Err(Errno::OPNOTSUPP);
    }
    let mut len = [0; 4];
    get(&mut call.token, len_at, &mut len)?;
    let len = usize::try_from(i32::from_ne_bytes(len)).map_err(|_| Errno::INVAL)?;
    let value = value(socket, option as u32)?;
    let len = len.min(value.len());
    put(&mut call.token, at, &value[..len])?;
    put(&mut call.token, len_at, &(len as u32).to_ne_bytes())?;
    Ok(0)
}

/// Options that change nothing here are taken.
pub(super) fn setsockopt(call: &mut Call<'_>) -> Outcome {
    let [descriptor, level, option, at, len, _] = call.args;
    let file = call.process.file(descriptor)?;
    let socket = of(&file)?;
    if level != SOCKET {
        return Err(Errno::OPNOTSUPP);
    }
    let (option, options) = (option as u32, &socket.options);
    if option == RECEIVE_TIME || option == SEND_TIME {
        if (len as u32 as usize) < TIME {
            return Err(Errno::INVAL);
        }
        let [seconds, fraction] = get_words(&mut call.token, at)?.map(u64::cast_signed);
        if !(0..1_000_000).contains(&fraction) {
            return Err(Errno::DOM);
        }
        // A negative time is none at all: as little as there is.
        let time = match seconds.cast_unsigned() {
            _ if seconds < 0 => 1,
            seconds => seconds.saturating_mul(NANOSECONDS).saturating_add(fraction as u64 * 1000),
        };
        let place = if option == SEND_TIME { &options.send_time } else { &options.receive_time };
        place.store(time, Relaxed);
        return Ok(0);
    }
    if (len as u32) < 4 {
        return Err(Errno::INVAL);
    }
    let mut word = [0; 4];
    get(&mut call.token, at, &mut word)?;
    let word = u32::from_ne_bytes(word);
    let doubled = |least: u32| word.min(ROOM).saturating_mul(2).max(least);
    match option {
        SEND_ROOM | FORCED_SEND_ROOM => {
            options.send_room.store(doubled(LEAST_SEND_ROOM), Relaxed);
        }
        RECEIVE_ROOM | FORCED_RECEIVE_ROOM => {
            options.receive_room.store(doubled(LEAST_RECEIVE_ROOM), Relaxed);
        }
        PASS_SENDER => socket.inbox().wants_senders.store(word != 0, Relaxed),
        LEAST_RECEIVED => {
            let least = if word.cast_signed() < 0 { i32::MAX as u32 } else { word.max(1) };
            options.least.store(least, Relaxed);
        }
        DEBUG if word != 0 && !credentials().is_root() => return Err(Errno::ACCES),
        LINGER if (len as u32) < 8 => return Err(Errno::INVAL),
        DEBUG | REUSE | DONT_ROUTE | BROADCAST | KEEP_ALIVE | INLINE | NO_CHECK | PRIORITY
        | LINGER | TIMES => {}
        _ => return Err(Errno::NOPROTOOPT),
    }
    Ok(0)
}
