//! Queues of messages of System V, which programs find by numbers.
//!
//! All queues have one short lock, and all waits one key.
#![forbid(unsafe_code)]

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use faultless_posix::Errno;

use crate::arch::clock;
use crate::calls::call::{Call, Outcome};
use crate::calls::ipc::{LIMITS, NO_WAIT, New, Object, Objects, Owned, REMOVE, SET, STATUS};
use crate::credentials::{READ, WRITE};
use crate::memory::{get, get_words, put, put_words};
use crate::task::{credentials, wait_interruptibly};
use crate::waits::{key_of, wake};

/// Bytes of a message, and of all messages of a queue; queues.
const LARGEST: usize = 8192;
const ROOM: usize = 16_384;
const MOST: usize = 32_000;

/// Flags of `msgrcv`.
const CUTS: u32 = 0o10_000;
const EXCEPT: u32 = 0o20_000;
const COPIES: u32 = 0o40_000;

/// Commands of `msgctl`, beside those that all kinds know.
const STATUS_AT: u32 = 11;
const USE: u32 = 12;
const ANY_STATUS_AT: u32 = 13;

/// Where the room of a queue stands in `struct msqid_ds`.
const ROOM_AT: usize = 88;

struct Message {
    kind: i64,
    bytes: Vec<u8>,
}

struct Queue {
    owned: Owned,
    messages: VecDeque<Message>,
    room: usize,
    /// The processes that sent and received last, and when; when it changed.
    sender: u32,
    receiver: u32,
    sent: u64,
    received: u64,
    changed: u64,
}

static QUEUES: Objects<Queue> = Objects::new();

impl Object for Queue {
    fn owned(&self) -> &Owned {
        &self.owned
    }
}

impl Queue {
    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.bytes.len()).sum()
    }

    fn has_room(&self, len: usize) -> bool {
        self.bytes() + len <= self.room && self.messages.len() < self.room
    }

    /// Which message `msgrcv` means, if it is there.
    fn find(&self, kind: i64, flags: u32) -> Option<usize> {
        let mut kinds = self.messages.iter().map(|message| message.kind);
        match kind {
            at if flags & COPIES != 0 => {
                usize::try_from(at).ok().filter(|at| *at < self.messages.len())
            }
            0 => (!self.messages.is_empty()).then_some(0),
            ..0 => {
                let lowest = kinds.clone().min()?;
                let is_meant = lowest <= kind.saturating_neg();
                is_meant.then(|| kinds.position(|kind| kind == lowest))?
            }
            kind if flags & EXCEPT != 0 => kinds.position(|other| other != kind),
            kind => kinds.position(|other| other == kind),
        }
    }

    /// The words of a `struct msqid_ds`.
    fn words(&self) -> [u64; 15] {
        const SECOND: u64 = 1_000_000_000;
        let [a, b, c, d, e, f] = self.owned.words();
        let times = [self.sent, self.received, self.changed].map(|time| time / SECOND);
        let [sent, received, changed] = times;
        let processes = u64::from(self.sender) | u64::from(self.receiver) << 32;
        let sizes = [self.bytes(), self.messages.len(), self.room].map(|size| size as u64);
        let [bytes, count, room] = sizes;
        [a, b, c, d, e, f, sent, received, changed, bytes, count, room, processes, 0, 0]
    }
}

pub(super) fn msgget(call: &mut Call<'_>) -> Outcome {
    let [key, flags, ..] = call.args;
    let (key, flags) = (key as u32, flags as u32);
    let made = Queue {
        owned: Owned::new(key, flags),
        messages: VecDeque::new(),
        room: ROOM,
        sender: 0,
        receiver: 0,
        sent: 0,
        received: 0,
        changed: clock::real(),
    };
    QUEUES.add(made, flags, 0, MOST)
}

/// Does what `attempt` does with a queue, once that is not `None`. Waits for it.
///
/// # Errors
/// `EIDRM`: the queue was removed meanwhile; `EINTR`; `none` in place of a wait; those of
/// `attempt`.
fn when<R>(
    number: u32,
    (flags, none): (u32, Errno),
    mut attempt: impl FnMut(&mut Queue) -> Result<Option<R>, Errno>,
) -> Result<R, Errno> {
    let mut done = QUEUES.with(number, &mut attempt);
    if matches!(done, Ok(None)) {
        if flags & NO_WAIT != 0 {
            return Err(none);
        }
        wait_interruptibly(key_of(&QUEUES), &mut || {
            done = match QUEUES.lock().get_mut(&number) {
                Some(queue) => attempt(queue),
                None => Err(Errno::IDRM),
            };
            !matches!(done, Ok(None))
        })?;
    }
    wake(key_of(&QUEUES));
    done?.ok_or(none)
}

pub(super) fn msgsnd(call: &mut Call<'_>) -> Outcome {
    let [number, at, len, flags, ..] = call.args;
    let [kind] = get_words(&mut call.token, at)?.map(u64::cast_signed);
    if len > LARGEST || kind <= 0 || (number as i32) < 0 {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0; len];
    get(&mut call.token, at.wrapping_add(8), &mut bytes)?;
    let mut message = Some(Message { kind, bytes });
    let process = call.process.number();
    when(number as u32, (flags as u32, Errno::AGAIN), |queue| {
        queue.owned.need(WRITE)?;
        if !queue.has_room(len) {
            return Ok(None);
        }
        queue.messages.extend(message.take());
        (queue.sender, queue.sent) = (process, clock::real());
        Ok(Some(0))
    })
}

pub(super) fn msgrcv(call: &mut Call<'_>) -> Outcome {
    let [number, at, len, kind, flags, _] = call.args;
    let (kind, flags) = (kind as i64, flags as u32);
    let is_alone = flags & (EXCEPT | NO_WAIT) == NO_WAIT;
    if isize::try_from(len).is_err() || (number as i32) < 0 || (flags & COPIES != 0 && !is_alone) {
        return Err(Errno::INVAL);
    }
    let process = call.process.number();
    let message = when(number as u32, (flags, Errno::NOMSG), |queue| {
        queue.owned.need(READ)?;
        let Some(found) = queue.find(kind, flags) else { return Ok(None) };
        let message = &queue.messages[found];
        if message.bytes.len() > len && flags & CUTS == 0 {
            return Err(Errno::TOOBIG);
        }
        if flags & COPIES != 0 {
            let (kind, bytes) = (message.kind, message.bytes.clone());
            return Ok(Some(Message { kind, bytes }));
        }
        (queue.receiver, queue.received) = (process, clock::real());
        Ok(queue.messages.remove(found))
    })?;
    let told = &message.bytes[..message.bytes.len().min(len)];
    put_words(&mut call.token, at, [message.kind.cast_unsigned()])?;
    put(&mut call.token, at.wrapping_add(8), told)?;
    Ok(told.len())
}

pub(super) fn msgctl(call: &mut Call<'_>) -> Outcome {
    let [number, command, target, ..] = call.args;
    let number = number as u32;
    if number.cast_signed() < 0 {
        return Err(Errno::INVAL);
    }
    match command as u32 {
        REMOVE => {
            drop(QUEUES.remove(number)?);
            wake(key_of(&QUEUES));
            Ok(0)
        }
        STATUS => {
            let words = QUEUES.with(number, |queue| {
                queue.owned.need(READ)?;
                Ok(queue.words())
            })?;
            put_words(&mut call.token, target, words)?;
            Ok(0)
        }
        command @ (STATUS_AT | ANY_STATUS_AT) => {
            let wanted = if command == STATUS_AT { READ } else { 0 };
            let (found, words) = QUEUES.at(number, wanted, Queue::words)?;
            put_words(&mut call.token, target, words)?;
            Ok(found)
        }
        SET => {
            let new = New::get(call, target)?;
            let [room] = get_words(&mut call.token, target.wrapping_add(ROOM_AT))?;
            let may_grow = credentials().is_root();
            QUEUES.with(number, |queue| {
                queue.owned.need_owner()?;
                if room as usize > ROOM && !may_grow {
                    return Err(Errno::PERM);
                }
                queue.owned.set(new)?;
                (queue.room, queue.changed) = (room as usize, clock::real());
                Ok(())
            })?;
            wake(key_of(&QUEUES));
            Ok(0)
        }
        command @ (LIMITS | USE) => {
            let (queues, messages, bytes) = {
                let queues = QUEUES.lock();
                let messages = queues.values().map(|queue| queue.messages.len());
                let bytes = queues.values().map(Queue::bytes);
                (queues.len(), messages.sum::<usize>(), bytes.sum::<usize>())
            };
            let counts = if command == USE { [queues, messages, bytes] } else { [0; 3] };
            let [pool, map, most] = counts;
            // `struct msginfo`: its numbers have four bytes, the last one two.
            let words = [pool, map, LARGEST, ROOM, MOST, 16, most, 0xffff];
            put(
                &mut call.token,
                target,
                words.map(|word| (word as u32).to_ne_bytes()).as_flattened(),
            )?;
            Ok(queues.saturating_sub(1))
        }
        _ => Err(Errno::INVAL),
    }
}
