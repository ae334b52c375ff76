//! Sockets of the family `AF_UNIX`: streams of bytes, and messages.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::Errno;

use crate::arch::clock;
use crate::calls::ancillary::{self, CLOSES, CUT, FLAGS, Room};
use crate::calls::call::{Call, Outcome};
use crate::calls::descriptors::{add, add_pair, on_exec};
use crate::calls::names::cwd;
use crate::calls::time::timespec;
use crate::files::{self, Along, OpenFile, Passed, Sender, Socket, Taking, Type, Waits, Way};
use crate::memory::{
    UserBytes, copy_out, get, get_words, put, put_words, with_buffer, with_vector,
};

/// `AF_UNIX`, and the types of its sockets.
const UNIX: u16 = 1;
const STREAM: u32 = 1;
const DATAGRAM: u32 = 2;
const PACKETS: u32 = 5;
const TYPE: u32 = 0xf;

/// Flags of sending and receiving.
const OUT_OF_BAND: u32 = 1;
const PEEK: u32 = 2;
const TRUNCATED: u32 = 0x20;
const DONT_WAIT: u32 = 0x40;
const WAIT_ALL: u32 = 0x100;
const NO_SIGNAL: u32 = 0x4000;
const WAIT_FOR_ONE: u32 = 0x1_0000;

/// Bytes of `struct sockaddr_un`: the family, and a path.
const FAMILY: usize = 2;
const ADDRESS: usize = 110;

/// The type of a socket, and its flags as those of `open`.
///
/// # Errors
/// Why there is no such socket.
fn kind(family: usize, kind: usize, protocol: usize) -> Result<(Type, u32), Errno> {
    let (kind, flags) = (kind as u32 & TYPE, kind as u32 & !TYPE);
    if flags & !FLAGS != 0 {
        return Err(Errno::INVAL);
    }
    match (family as u32, kind) {
        (family, _) if family != UNIX.into() => Err(Errno::AFNOSUPPORT),
        _ if protocol != 0 && protocol != UNIX.into() => Err(Errno::PROTONOSUPPORT),
        (_, STREAM) => Ok((Type::Stream, flags)),
        (_, DATAGRAM) => Ok((Type::Datagram, flags)),
        (_, PACKETS) => Ok((Type::Packets, flags)),
        _ => Err(Errno::SOCKTNOSUPPORT),
    }
}

/// The number of a type (`SO_TYPE`).
pub(super) const fn number(kind: Type) -> u32 {
    match kind {
        Type::Stream => STREAM,
        Type::Datagram => DATAGRAM,
        Type::Packets => PACKETS,
    }
}

pub(super) fn socket(call: &mut Call<'_>) -> Outcome {
    let [family, kind_and_flags, protocol, ..] = call.args;
    let (kind, flags) = kind(family, kind_and_flags, protocol)?;
    add(call, 0, files::socket(kind, flags), on_exec(flags))
}

pub(super) fn socketpair(call: &mut Call<'_>) -> Outcome {
    let [family, kind_and_flags, protocol, target, ..] = call.args;
    let (kind, flags) = kind(family, kind_and_flags, protocol)?;
    add_pair(call, files::socket_pair(kind, flags), on_exec(flags), target)
}

/// The socket that a file is.
///
/// # Errors
/// `ENOTSOCK`.
pub(super) fn of(file: &OpenFile) -> Result<&Socket, Errno> {
    file.kind().ok_or(Errno::NOTSOCK)
}

/// A name in a program's `struct sockaddr_un`: a path, or an abstract name, which begins with a 0.
///
/// # Errors
/// `EINVAL` for what is none; `EFAULT`.
fn address(token: &mut MayFault, at: usize, len: usize) -> Result<Vec<u8>, Errno> {
    if len as u32 as usize <= FAMILY || len as u32 as usize > ADDRESS {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0; len as u32 as usize];
    get(token, at, &mut bytes)?;
    if bytes[..FAMILY] != UNIX.to_ne_bytes() {
        return Err(Errno::INVAL);
    }
    let mut name = bytes.split_off(FAMILY);
    if name[0] != 0 {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
    }
    Ok(name)
}

/// Tells a name, cut to the length at `len_at`, which then is that of the whole name. Nothing is
/// told if `at` is 0.
fn put_address(
    token: &mut MayFault,
    at: usize,
    len_at: usize,
    name: Option<Vec<u8>>,
) -> Result<(), Errno> {
    if at == 0 {
        return Ok(());
    }
    let mut len = [0; 4];
    get(token, len_at, &mut len)?;
    let room = usize::try_from(i32::from_ne_bytes(len)).map_err(|_| Errno::INVAL)?;
    let whole = [&UNIX.to_ne_bytes()[..], &name.unwrap_or_default()].concat();
    put(token, at, &whole[..whole.len().min(room)])?;
    put(token, len_at, &(whole.len() as u32).to_ne_bytes())
}

/// A name of its own for a socket that is bound to none, as Linux makes it.
fn free_name() -> Vec<u8> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    alloc::format!("\0{:05x}", LAST.fetch_add(1, Relaxed) & 0xf_ffff).into_bytes()
}

pub(super) fn bind(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len, ..] = call.args;
    let file = call.process.file(descriptor)?;
    let socket = of(&file)?;
    let mut family = [0; FAMILY];
    let is_free = len as u32 as usize == FAMILY
        && get(&mut call.token, at, &mut family).is_ok()
        && family == UNIX.to_ne_bytes();
    if is_free && socket.name().address().is_some() {
        return Ok(0);
    }
    let name = if is_free { free_name() } else { address(&mut call.token, at, len)? };
    let (from, mode) = (cwd(call), 0o777 & !call.process.umask());
    socket.name().bind(&from, &name, mode, &file)?;
    Ok(0)
}

pub(super) fn listen(call: &mut Call<'_>) -> Outcome {
    let file = call.process.file(call.args[0])?;
    of(&file)?.listen(call.args[1] as u32)?;
    Ok(0)
}

pub(super) fn connect(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len, ..] = call.args;
    let file = call.process.file(descriptor)?;
    let socket = of(&file)?;
    if !socket.connects() && len as u32 as usize >= FAMILY {
        let mut family = [0; FAMILY];
        get(&mut call.token, at, &mut family)?;
        // To no family: to nothing.
        if family == [0; FAMILY] {
            socket.disconnect();
            return Ok(0);
        }
    }
    let name = address(&mut call.token, at, len)?;
    let other = files::find_socket(&cwd(call), &name)?;
    socket.connect(&other)?;
    Ok(0)
}

pub(super) fn accept(call: &mut Call<'_>) -> Outcome {
    call.args[3] = 0;
    accept4(call)
}

pub(super) fn accept4(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len_at, flags, ..] = call.args;
    let flags = flags as u32;
    if flags & !FLAGS != 0 {
        return Err(Errno::INVAL);
    }
    let file = call.process.file(descriptor)?;
    let side = of(&file)?.accept()?;
    side.set_flags(flags);
    let name = of(&side)?.peer_name()?;
    put_address(&mut call.token, at, len_at, name)?;
    add(call, 0, side, on_exec(flags))
}

pub(super) fn getsockname(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len_at, ..] = call.args;
    let file = call.process.file(descriptor)?;
    let name = of(&file)?.name().address();
    put_address(&mut call.token, at, len_at, name)?;
    Ok(0)
}

pub(super) fn getpeername(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len_at, ..] = call.args;
    let file = call.process.file(descriptor)?;
    let name = of(&file)?.peer_name()?;
    put_address(&mut call.token, at, len_at, name)?;
    Ok(0)
}

pub(super) fn shutdown(call: &mut Call<'_>) -> Outcome {
    const RECEIVES: u32 = 0;
    const SENDS: u32 = 1;
    const BOTH: u32 = 2;
    let file = call.process.file(call.args[0])?;
    let socket = of(&file)?;
    let how = call.args[1] as u32;
    if how > BOTH {
        return Err(Errno::INVAL);
    }
    if how != SENDS {
        socket.shut_down(Way::In);
    }
    if how != RECEIVES {
        socket.shut_down(Way::Out);
    }
    Ok(0)
}

/// Whether a call with these flags waits.
const fn waits(flags: u32) -> Waits {
    if flags & DONT_WAIT == 0 { Waits::AsFlags } else { Waits::Never }
}

/// Sends bytes, or a message.
fn send(
    file: &OpenFile,
    token: &mut MayFault,
    from: &mut UserBytes<'_>,
    flags: u32,
    along: Along,
) -> Outcome {
    if flags & OUT_OF_BAND != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let is_silent = flags & NO_SIGNAL != 0;
    of(file)?.send(token, from, Along { waits: waits(flags), is_silent, ..along })
}

/// What has come: how many bytes, the name of the sender, what came along, and whether there were
/// more bytes.
#[derive(Default)]
struct Received {
    len: usize,
    from: Option<Vec<u8>>,
    sender: Option<Sender>,
    files: Passed,
    flags: u32,
}

fn receive(
    file: &OpenFile,
    token: &mut MayFault,
    to: &mut UserBytes<'_>,
    flags: u32,
) -> Result<Received, Errno> {
    let socket = of(file)?;
    if flags & OUT_OF_BAND != 0 {
        let is_stream = socket.kind == Type::Stream;
        return Err(if is_stream { Errno::INVAL } else { Errno::OPNOTSUPP });
    }
    let taking = if flags & PEEK == 0 { Taking::Taken } else { Taking::Left };
    if socket.kind == Type::Stream {
        let least = if flags & WAIT_ALL == 0 { 0 } else { usize::MAX };
        let got = socket.receive_bytes(token, to, (waits(flags), least), taking)?;
        let (len, from, sender, files) = (got.len, got.from, got.sender, got.files);
        return Ok(Received { len, from, sender, files, flags: 0 });
    }
    let Some(message) = socket.receive(waits(flags), taking)? else {
        return Ok(Received::default());
    };
    let (whole, len) = (message.bytes.len(), message.bytes.len().min(to.count()));
    if copy_out(to, token, &message.bytes[..len]) < len {
        return Err(Errno::FAULT);
    }
    let told = if flags & TRUNCATED == 0 { len } else { whole };
    let flags = if len < whole { TRUNCATED } else { 0 };
    let (from, sender, files) = (message.from, message.sender, message.files);
    Ok(Received { len: told, from, sender, files, flags })
}

/// The socket with a name of the program's; none if it gives none, or if the name means nothing to
/// a socket that is connected.
fn target(
    call: &mut Call<'_>,
    file: &OpenFile,
    at: usize,
    len: usize,
) -> Result<Option<OpenFile>, Errno> {
    match of(file)?.kind {
        _ if at == 0 || len == 0 => Ok(None),
        Type::Packets => Ok(None),
        // It is not looked at.
        Type::Stream => Ok(Some(OpenFile::clone(file))),
        Type::Datagram => {
            let name = address(&mut call.token, at, len)?;
            files::find_socket(&cwd(call), &name).map(Some)
        }
    }
}

pub(super) fn sendto(call: &mut Call<'_>) -> Outcome {
    let [descriptor, buffer, len, flags, at, address_len] = call.args;
    let file = call.process.file(descriptor)?;
    let along = Along { to: target(call, &file, at, address_len)?, ..Along::default() };
    with_buffer(&mut call.token, buffer, len, |from, token| {
        send(&file, token, from, flags as u32, along)
    })
}

pub(super) fn recvfrom(call: &mut Call<'_>) -> Outcome {
    let [descriptor, buffer, len, flags, at, len_at] = call.args;
    let file = call.process.file(descriptor)?;
    of(&file)?;
    let received = with_buffer(&mut call.token, buffer, len, |to, token| {
        receive(&file, token, to, flags as u32)
    })?;
    put_sender(call, at, len_at, received.from)?;
    Ok(received.len)
}

/// Tells the name of a sender; that of one without a name has no bytes.
fn put_sender(
    call: &mut Call<'_>,
    at: usize,
    len_at: usize,
    name: Option<Vec<u8>>,
) -> Result<(), Errno> {
    match name {
        Some(name) => put_address(&mut call.token, at, len_at, Some(name)),
        None if at == 0 => Ok(()),
        None => put(&mut call.token, len_at, &[0; 4]),
    }
}

/// Where in `struct msghdr` the length of the name stands, that of control messages, and the flags.
const NAME_LEN: usize = 8;
const CONTROL_LEN: usize = 40;
const MESSAGE_FLAGS: usize = 48;

/// The first words of a `struct msghdr`.
///
/// # Errors
/// `EFAULT`; `EINVAL` for a length of the name that cannot be.
fn message_header(call: &mut Call<'_>, at: usize) -> Result<[usize; 6], Errno> {
    let words = get_words(&mut call.token, at)?.map(|word| word as usize);
    if (words[1] as i32) < 0 { Err(Errno::INVAL) } else { Ok(words) }
}

pub(super) fn sendmsg(call: &mut Call<'_>) -> Outcome {
    let [descriptor, header, flags, ..] = call.args;
    let file = call.process.file(descriptor)?;
    of(&file)?;
    send_message(call, &file, header, flags as u32)
}

fn send_message(call: &mut Call<'_>, file: &OpenFile, header: usize, flags: u32) -> Outcome {
    let [name, name_len, vector, count, control, control_len] = message_header(call, header)?;
    let (sender, files) = match control_len {
        0 => (None, Passed::default()),
        len => ancillary::sent(call, control, len)?,
    };
    let to = target(call, file, name, name_len as u32 as usize)?;
    let along = Along { sender, files, to, ..Along::default() };
    with_vector(&mut call.token, vector, count, |from, token| send(file, token, from, flags, along))
}

pub(super) fn recvmsg(call: &mut Call<'_>) -> Outcome {
    let [descriptor, header, flags, ..] = call.args;
    let file = call.process.file(descriptor)?;
    of(&file)?;
    receive_message(call, &file, header, flags as u32)
}

fn receive_message(call: &mut Call<'_>, file: &OpenFile, header: usize, flags: u32) -> Outcome {
    let [name, _, vector, count, control, control_len] = message_header(call, header)?;
    let received =
        with_vector(&mut call.token, vector, count, |to, token| receive(file, token, to, flags))?;
    put_sender(call, name, header + NAME_LEN, received.from)?;
    let mut room = Room { at: control, len: if control == 0 { 0 } else { control_len } };
    let along = (received.sender, &received.files);
    let cut = ancillary::received(call, of(file)?, &mut room, along, flags)?;
    let told = received.flags | cut & CUT | flags & CLOSES;
    let used = if control == 0 { 0 } else { control_len - room.len };
    put_words(&mut call.token, header + CONTROL_LEN, [used as u64])?;
    put(&mut call.token, header + MESSAGE_FLAGS, &told.to_ne_bytes())?;
    Ok(received.len)
}

/// Bytes of `struct mmsghdr`, where in it the length of a message stands, and how many there are at
/// most.
const MANY: usize = 64;
const MANY_LEN: usize = 56;
const MOST: usize = 1024;

/// Calls `one` for each message, until one fails; how many did not.
fn many(
    call: &mut Call<'_>,
    mut one: impl FnMut(&mut Call<'_>, &OpenFile, usize, usize) -> Result<bool, Errno>,
) -> Outcome {
    let [descriptor, messages, count, ..] = call.args;
    let file = call.process.file(descriptor)?;
    of(&file)?;
    let mut done = 0;
    while done < (count as u32 as usize).min(MOST) {
        match one(call, &file, messages + MANY * done, done) {
            Ok(goes_on) => {
                done += 1;
                if !goes_on {
                    break;
                }
            }
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

pub(super) fn sendmmsg(call: &mut Call<'_>) -> Outcome {
    let flags = call.args[3] as u32;
    many(call, |call, file, at, _| {
        let len = send_message(call, file, at, flags)?;
        put(&mut call.token, at + MANY_LEN, &(len as u32).to_ne_bytes())?;
        Ok(true)
    })
}

pub(super) fn recvmmsg(call: &mut Call<'_>) -> Outcome {
    let [_, _, _, flags, timeout, _] = call.args;
    let flags = flags as u32;
    let until = match timeout {
        0 => None,
        at => Some(clock::monotonic().saturating_add(timespec(call, at)?)),
    };
    many(call, |call, file, at, done| {
        let waits = done == 0 || flags & WAIT_FOR_ONE == 0;
        let own = if waits { flags } else { flags | DONT_WAIT };
        let len = receive_message(call, file, at, own & !WAIT_FOR_ONE)?;
        put(&mut call.token, at + MANY_LEN, &(len as u32).to_ne_bytes())?;
        // As on Linux, the time is looked at when a message has come.
        Ok(until.is_none_or(|until| clock::monotonic() < until))
    })
}
