//! Control messages of sockets: files, and who sends (`SCM_RIGHTS`, `SCM_CREDENTIALS`).
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use alloc::vec;
use alloc::vec::Vec;

use faultless_posix::{Errno, OnExec};
use linux_raw_sys::general as linux;

use crate::calls::call::Call;
use crate::calls::descriptors::add;
use crate::files::{OpenFile, Passed, Sender, Socket};
use crate::memory::{get, put};
use crate::task::credentials;

/// `SOL_SOCKET`, and the kinds of messages.
const SOCKET: u32 = 1;
const RIGHTS: u32 = 1;
const CREDENTIALS: u32 = 2;

/// Bytes of `struct cmsghdr` and of `struct ucred`.
const HEADER: usize = 16;
const UCRED: usize = 12;

/// Bytes of control messages, and files in them, at most.
const MOST: usize = 20 * 1024;
const MOST_FILES: usize = 253;

/// The flag that says that not all was told, and that of files that `execve` closes.
pub(super) const CUT: u32 = 8;
pub(super) const CLOSES: u32 = 0x4000_0000;

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

impl Sender {
    /// A `struct ucred`.
    pub(super) fn bytes(self) -> [u8; UCRED] {
        let mut bytes = [0; UCRED];
        let words = [self.process, self.user, self.group];
        for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word.to_ne_bytes();
        }
        bytes
    }

    /// Checks that the caller may say that it is this: root may say what it likes.
    ///
    /// # Errors
    /// `EPERM`.
    fn need_right(self, call: &Call<'_>) -> Result<(), Errno> {
        let own = credentials();
        let is = |ids: crate::credentials::Ids, number| {
            [ids.real, ids.effective, ids.saved].contains(&number)
        };
        let is_own = self.process == call.process.number()
            && is(own.user, self.user)
            && is(own.group, self.group);
        if is_own || own.is_root() { Ok(()) } else { Err(Errno::PERM) }
    }
}

/// What a program sends along, by the control messages at `at`.
///
/// # Errors
/// `EINVAL` for messages that cannot be; `EBADF`; `EPERM`; `ENOBUFS` for too many of them.
pub(super) fn sent(
    call: &mut Call<'_>,
    at: usize,
    len: usize,
) -> Result<(Option<Sender>, Passed), Errno> {
    let (mut sender, mut files) = (None, Vec::new());
    if len > MOST {
        return Err(Errno::NOBUFS);
    }
    let mut bytes = vec![0; len];
    get(&mut call.token, at, &mut bytes)?;
    let mut rest = &*bytes;
    while rest.len() >= HEADER {
        let len = word(rest, 0) as usize;
        if len < HEADER || len > rest.len() || word(rest, 4) != 0 {
            return Err(Errno::INVAL);
        }
        let data = &rest[HEADER..len];
        match (word(rest, 8), word(rest, 12)) {
            (SOCKET, RIGHTS) => {
                let (numbers, _) = data.as_chunks::<4>();
                if files.len() + numbers.len() > MOST_FILES {
                    return Err(Errno::INVAL);
                }
                for number in numbers {
                    let number = u32::from_ne_bytes(*number);
                    files.push(call.process.any_file(number as usize)?);
                }
            }
            (SOCKET, CREDENTIALS) if len == HEADER + UCRED => {
                let [process, user, group] = [0, 4, 8].map(|at| word(data, at));
                let told = Sender { process, user, group };
                told.need_right(call)?;
                sender = Some(told);
            }
            (SOCKET, _) => return Err(Errno::INVAL),
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok((sender, Passed(files)))
}

/// Room of a program's for control messages.
pub(super) struct Room {
    pub(super) at: usize,
    pub(super) len: usize,
}

impl Room {
    /// Begins a message with so many bytes of data behind its header.
    fn header(&self, call: &mut Call<'_>, kind: u32, data: usize) -> Result<(), Errno> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&(HEADER + data).to_ne_bytes());
        header[8..12].copy_from_slice(&SOCKET.to_ne_bytes());
        header[12..].copy_from_slice(&kind.to_ne_bytes());
        put(&mut call.token, self.at, &header)
    }

    fn pass(&mut self, data: usize) {
        let len = (HEADER + data).next_multiple_of(8).min(self.len);
        (self.at, self.len) = (self.at + len, self.len - len);
    }
}

/// Tells what came along with a message, in the order of Linux; which flags that gives. What does
/// not fit is lost.
pub(super) fn received(
    call: &mut Call<'_>,
    socket: &Socket,
    room: &mut Room,
    (sender, files): (Option<Sender>, &Passed),
    flags: u32,
) -> Result<u32, Errno> {
    let mut told = 0;
    if socket.inbox().wants_senders.load(Relaxed) {
        let bytes = sender.unwrap_or(Sender::UNTOLD).bytes();
        if room.len < HEADER {
            told |= CUT;
        } else {
            let len = UCRED.min(room.len - HEADER);
            told |= if len < UCRED { CUT } else { 0 };
            room.header(call, CREDENTIALS, len)?;
            put(&mut call.token, room.at + HEADER, &bytes[..len])?;
            room.pass(len);
        }
    }
    if !files.0.is_empty() && install(call, room, &files.0, flags)? < files.0.len() {
        told |= CUT;
    }
    Ok(told)
}

/// Gives files descriptors, and tells their numbers; how many.
fn install(
    call: &mut Call<'_>,
    room: &mut Room,
    files: &[OpenFile],
    flags: u32,
) -> Result<usize, Errno> {
    let fit = room.len.saturating_sub(HEADER) / 4;
    let on_exec = if flags & CLOSES == 0 { OnExec::Keep } else { OnExec::Close };
    let mut done = 0;
    for file in files.iter().take(fit) {
        let Ok(number) = add(call, 0, OpenFile::clone(file), on_exec) else { break };
        put(&mut call.token, room.at + HEADER + 4 * done, &(number as u32).to_ne_bytes())?;
        done += 1;
    }
    if done > 0 {
        room.header(call, RIGHTS, 4 * done)?;
        room.pass(4 * done);
    }
    Ok(done)
}

/// `O_CLOEXEC` and `O_NONBLOCK`, which sockets have, too.
pub(super) const FLAGS: u32 = linux::O_CLOEXEC | linux::O_NONBLOCK;
