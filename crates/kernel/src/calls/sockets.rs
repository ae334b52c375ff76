//! Sockets of the family `AF_UNIX`: streams of bytes, and messages.
#![forbid(unsafe_code)]

use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::descriptors::{add, add_pair, on_exec};
use crate::calls::names::cwd;
use crate::files::{self, Datagrams, Name, OpenFile, PipeEnd, Ready, Socket, Taking, Waits, Way};
use crate::memory::{
    UserBytes, copy_out, get, get_words, put, put_words, with_buffer, with_vector,
};
use crate::task::raise;

/// `AF_UNIX`, and the types of its sockets.
const UNIX: u16 = 1;
const STREAM: u32 = 1;
const DATAGRAM: u32 = 2;
const TYPE: u32 = 0xf;

/// Flags of sending and receiving.
const OUT_OF_BAND: u32 = 1;
const PEEK: u32 = 2;
const TRUNCATED: u32 = 0x20;
const DONT_WAIT: u32 = 0x40;
const NO_SIGNAL: u32 = 0x4000;

/// Bytes of `struct sockaddr_un`: the family, and a path.
const FAMILY: usize = 2;
const ADDRESS: usize = 110;

/// The type of a socket, and its flags as those of `open`.
///
/// # Errors
/// Why there is no such socket.
fn kind(family: usize, kind: usize, protocol: usize) -> Result<(u32, u32), Errno> {
    let (kind, flags) = (kind as u32 & TYPE, kind as u32 & !TYPE);
    if flags & !(linux::O_CLOEXEC | linux::O_NONBLOCK) != 0 {
        return Err(Errno::INVAL);
    }
    match (family as u32, kind) {
        (family, _) if family != UNIX.into() => Err(Errno::AFNOSUPPORT),
        _ if protocol != 0 && protocol != UNIX.into() => Err(Errno::PROTONOSUPPORT),
        (_, STREAM | DATAGRAM) => Ok((kind, flags)),
        _ => Err(Errno::SOCKTNOSUPPORT),
    }
}

pub(super) fn socket(call: &mut Call<'_>) -> Outcome {
    let [family, kind_and_flags, protocol, ..] = call.args;
    let (kind, flags) = kind(family, kind_and_flags, protocol)?;
    let socket = if kind == STREAM { files::stream(flags) } else { files::datagrams(flags) };
    add(call, 0, socket, on_exec(flags))
}

pub(super) fn socketpair(call: &mut Call<'_>) -> Outcome {
    let [family, kind_and_flags, protocol, target, ..] = call.args;
    let (kind, flags) = kind(family, kind_and_flags, protocol)?;
    let pair = if kind == STREAM { files::socket_pair(flags) } else { files::datagram_pair(flags) };
    add_pair(call, pair, on_exec(flags), target)
}

/// A socket of one of the two types.
enum Either<'f> {
    Stream(&'f Socket),
    Datagrams(&'f Datagrams),
}

impl<'f> Either<'f> {
    /// # Errors
    /// `ENOTSOCK`.
    fn of(file: &'f OpenFile) -> Result<Self, Errno> {
        match (file.kind::<Socket>(), file.kind::<Datagrams>()) {
            (Some(stream), _) => Ok(Self::Stream(stream)),
            (_, Some(datagrams)) => Ok(Self::Datagrams(datagrams)),
            _ => Err(Errno::NOTSOCK),
        }
    }

    fn name(&self) -> &Name {
        match self {
            Self::Stream(stream) => stream.name(),
            Self::Datagrams(datagrams) => datagrams.name(),
        }
    }
}

/// The socket of the first argument, if it is one of streams.
///
/// # Errors
/// `ENOTSOCK`; `EOPNOTSUPP` for one of messages.
fn need_stream(file: &OpenFile) -> Result<&Socket, Errno> {
    match Either::of(file)? {
        Either::Stream(stream) => Ok(stream),
        Either::Datagrams(_) => Err(Errno::OPNOTSUPP),
    }
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

pub(super) fn bind(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len, ..] = call.args;
    let file = call.process.file(descriptor)?;
    let socket = Either::of(&file)?;
    let name = address(&mut call.token, at, len)?;
    let (from, mode) = (cwd(call), 0o777 & !call.process.umask());
    socket.name().bind(&from, &name, mode, &file)?;
    Ok(0)
}

pub(super) fn listen(call: &mut Call<'_>) -> Outcome {
    let file = call.process.file(call.args[0])?;
    need_stream(&file)?.listen(call.args[1] as u32)?;
    Ok(0)
}

pub(super) fn connect(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len, ..] = call.args;
    let file = call.process.file(descriptor)?;
    let socket = Either::of(&file)?;
    let name = address(&mut call.token, at, len)?;
    let other = files::find_socket(&cwd(call), &name)?;
    match (socket, Either::of(&other)?) {
        (Either::Stream(stream), Either::Stream(other)) => stream.connect(other)?,
        (Either::Datagrams(datagrams), Either::Datagrams(_)) => datagrams.connect(&other)?,
        _ => return Err(Errno::PROTOTYPE),
    }
    Ok(0)
}

pub(super) fn accept(call: &mut Call<'_>) -> Outcome {
    call.args[3] = 0;
    accept4(call)
}

pub(super) fn accept4(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len_at, flags, ..] = call.args;
    let flags = flags as u32;
    if flags & !(linux::O_CLOEXEC | linux::O_NONBLOCK) != 0 {
        return Err(Errno::INVAL);
    }
    let file = call.process.file(descriptor)?;
    let side = need_stream(&file)?.accept()?;
    side.set_flags(flags);
    let name = need_stream(&side)?.peer()?;
    put_address(&mut call.token, at, len_at, name)?;
    add(call, 0, side, on_exec(flags))
}

pub(super) fn getsockname(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len_at, ..] = call.args;
    let file = call.process.file(descriptor)?;
    let name = Either::of(&file)?.name().address();
    put_address(&mut call.token, at, len_at, name)?;
    Ok(0)
}

pub(super) fn getpeername(call: &mut Call<'_>) -> Outcome {
    let [descriptor, at, len_at, ..] = call.args;
    let file = call.process.file(descriptor)?;
    let name = match Either::of(&file)? {
        Either::Stream(stream) => stream.peer()?,
        Either::Datagrams(datagrams) => Either::of(&datagrams.peer()?)?.name().address(),
    };
    put_address(&mut call.token, at, len_at, name)?;
    Ok(0)
}

/// `SOL_SOCKET`, and its options that are known.
const SOCKET: usize = 1;
const REUSE: u32 = 2;
const KIND: u32 = 3;
const ERROR: u32 = 4;
const SEND_ROOM: u32 = 7;
const RECEIVE_ROOM: u32 = 8;
const KEEP_ALIVE: u32 = 9;
const LISTENS: u32 = 30;
const PROTOCOL: u32 = 38;
const DOMAIN: u32 = 39;

/// What Linux has for the room of a socket.
const ROOM: u32 = 212_992;

pub(super) fn getsockopt(call: &mut Call<'_>) -> Outcome {
    let [descriptor, level, option, at, len_at, _] = call.args;
    let file = call.process.file(descriptor)?;
    let socket = Either::of(&file)?;
    if level != SOCKET {
        return Err(Errno::OPNOTSUPP);
    }
    let value = match (option as u32, &socket) {
        (KIND, Either::Stream(_)) => STREAM,
        (KIND, Either::Datagrams(_)) => DATAGRAM,
        (LISTENS, Either::Stream(stream)) => stream.listens().into(),
        (DOMAIN, _) => UNIX.into(),
        (SEND_ROOM | RECEIVE_ROOM, _) => ROOM,
        (ERROR | REUSE | KEEP_ALIVE | LISTENS | PROTOCOL, _) => 0,
        _ => return Err(Errno::NOPROTOOPT),
    };
    let mut len = [0; 4];
    get(&mut call.token, len_at, &mut len)?;
    let len = usize::try_from(i32::from_ne_bytes(len)).map_err(|_| Errno::INVAL)?.min(4);
    put(&mut call.token, at, &value.to_ne_bytes()[..len])?;
    put(&mut call.token, len_at, &(len as u32).to_ne_bytes())?;
    Ok(0)
}

/// Options that change nothing here.
pub(super) fn setsockopt(call: &mut Call<'_>) -> Outcome {
    let [descriptor, level, option, ..] = call.args;
    Either::of(&call.process.file(descriptor)?)?;
    match (level, option as u32) {
        (SOCKET, REUSE | SEND_ROOM | RECEIVE_ROOM | KEEP_ALIVE) => Ok(0),
        (SOCKET, _) => Err(Errno::NOPROTOOPT),
        _ => Err(Errno::OPNOTSUPP),
    }
}

pub(super) fn shutdown(call: &mut Call<'_>) -> Outcome {
    const BOTH: usize = 2;
    let file = call.process.file(call.args[0])?;
    let socket = need_stream(&file)?;
    let how = call.args[1];
    if how > BOTH {
        return Err(Errno::INVAL);
    }
    if how != 1 {
        socket.shut_down(Way::In)?;
    }
    if how != 0 {
        socket.shut_down(Way::Out)?;
    }
    Ok(0)
}

/// Whether a call with these flags waits.
const fn waits(flags: u32) -> Waits {
    if flags & DONT_WAIT == 0 { Waits::AsFlags } else { Waits::Never }
}

/// Sends bytes, or a message to the socket `to`.
fn send(
    file: &OpenFile,
    token: &mut MayFault,
    from: &mut UserBytes<'_>,
    flags: u32,
    to: Option<OpenFile>,
) -> Outcome {
    if flags & !(DONT_WAIT | NO_SIGNAL) != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    match Either::of(file)? {
        Either::Datagrams(datagrams) => datagrams.send(token, from, to, waits(flags)),
        Either::Stream(_) if to.is_some() => Err(Errno::ISCONN),
        Either::Stream(stream) => {
            let end = stream.end(Way::Out)?.filter(|end| !end.ready().contains(Ready::ERROR));
            let Some(end) = end else {
                if flags & NO_SIGNAL == 0 {
                    raise(linux::SIGPIPE);
                }
                return Err(Errno::PIPE);
            };
            if flags & DONT_WAIT != 0 && !end.ready().contains(Ready::OUT) {
                return Err(Errno::AGAIN);
            }
            end.write(token, from)
        }
    }
}

/// What has come: how many bytes, the name of the sender, and whether there were more.
struct Received {
    len: usize,
    from: Option<Vec<u8>>,
    flags: u32,
}

fn receive(
    file: &OpenFile,
    token: &mut MayFault,
    to: &mut UserBytes<'_>,
    flags: u32,
) -> Result<Received, Errno> {
    if flags & OUT_OF_BAND != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    match Either::of(file)? {
        Either::Datagrams(datagrams) => {
            let taking = if flags & PEEK == 0 { Taking::Taken } else { Taking::Left };
            let message = datagrams.receive(waits(flags), taking)?;
            let (whole, len) = (message.bytes.len(), message.bytes.len().min(to.count()));
            if copy_out(to, token, &message.bytes[..len]) < len {
                return Err(Errno::FAULT);
            }
            let told = if flags & TRUNCATED == 0 { len } else { whole };
            let flags = if len < whole { TRUNCATED } else { 0 };
            Ok(Received { len: told, from: message.from, flags })
        }
        Either::Stream(stream) => {
            let end = stream.end(Way::In).map_err(|_| Errno::INVAL)?;
            let is_there = Ready::IN | Ready::HANG_UP;
            let len = match end {
                None => 0,
                Some(end) if flags & DONT_WAIT != 0 && !end.ready().intersects(is_there) => {
                    return Err(Errno::AGAIN);
                }
                Some(end) if flags & PEEK != 0 => {
                    let bytes =
                        end.kind::<PipeEnd>().map_or(Ok(Vec::new()), |end| end.peek(to.count()))?;
                    copy_out(to, token, &bytes)
                }
                Some(end) => end.read(token, to)?,
            };
            Ok(Received { len, from: None, flags: 0 })
        }
    }
}

/// The socket with a name of the program's; none if it gives none.
fn target(call: &mut Call<'_>, at: usize, len: usize) -> Result<Option<OpenFile>, Errno> {
    if at == 0 || len == 0 {
        return Ok(None);
    }
    let name = address(&mut call.token, at, len)?;
    files::find_socket(&cwd(call), &name).map(Some)
}

pub(super) fn sendto(call: &mut Call<'_>) -> Outcome {
    let [descriptor, buffer, len, flags, at, address_len] = call.args;
    let file = call.process.file(descriptor)?;
    Either::of(&file)?;
    let to = target(call, at, address_len)?;
    with_buffer(&mut call.token, buffer, len, |from, token| {
        send(&file, token, from, flags as u32, to)
    })
}

pub(super) fn recvfrom(call: &mut Call<'_>) -> Outcome {
    let [descriptor, buffer, len, flags, at, len_at] = call.args;
    let file = call.process.file(descriptor)?;
    Either::of(&file)?;
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

/// Where in `struct msghdr` the length of the name stands, and the flags.
const NAME_LEN: usize = 8;
const MESSAGE_FLAGS: usize = 48;

pub(super) fn sendmsg(call: &mut Call<'_>) -> Outcome {
    let [descriptor, header, flags, ..] = call.args;
    let file = call.process.file(descriptor)?;
    Either::of(&file)?;
    let [name, name_len, vector, count, _control, control_len] =
        get_words(&mut call.token, header)?;
    if control_len > 0 {
        // Nothing but bytes is sent.
        return Err(Errno::OPNOTSUPP);
    }
    let to = target(call, name as usize, name_len as u32 as usize)?;
    with_vector(&mut call.token, vector as usize, count as usize, |from, token| {
        send(&file, token, from, flags as u32, to)
    })
}

pub(super) fn recvmsg(call: &mut Call<'_>) -> Outcome {
    let [descriptor, header, flags, ..] = call.args;
    let file = call.process.file(descriptor)?;
    Either::of(&file)?;
    let [name, _, vector, count, _, _] = get_words(&mut call.token, header)?;
    let received = with_vector(&mut call.token, vector as usize, count as usize, |to, token| {
        receive(&file, token, to, flags as u32)
    })?;
    put_sender(call, name as usize, header + NAME_LEN, received.from)?;
    // No control messages, and the flags.
    put_words(&mut call.token, header + MESSAGE_FLAGS - 8, [0, received.flags.into()])?;
    Ok(received.len)
}
