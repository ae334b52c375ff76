//! Sockets, as far as there are any: pairs of them.
#![forbid(unsafe_code)]

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::descriptors::{add_pair, on_exec};
use crate::calls::io;
use crate::files::{self, Socket, Way};

/// `AF_UNIX`, and the kind of socket that moves a stream of bytes.
const UNIX: u32 = 1;
const STREAM: u32 = 1;
const KIND: u32 = 0xf;

pub(super) fn socketpair(call: &mut Call<'_>) -> Outcome {
    let [family, kind, protocol, target, ..] = call.args;
    let (kind, flags) = (kind as u32 & KIND, kind as u32 & !KIND);
    if flags & !(linux::O_CLOEXEC | linux::O_NONBLOCK) != 0 {
        return Err(Errno::INVAL);
    }
    if family as u32 != UNIX || kind != STREAM || protocol != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    add_pair(call, files::socket_pair(flags), on_exec(flags), target)
}

pub(super) fn shutdown(call: &mut Call<'_>) -> Outcome {
    const BOTH: usize = 2;
    let file = call.process.file(call.args[0])?;
    let socket = file.kind::<Socket>().ok_or(Errno::NOTSOCK)?;
    let how = call.args[1];
    if how > BOTH {
        return Err(Errno::INVAL);
    }
    if how != 1 {
        socket.shut_down(Way::In);
    }
    if how != 0 {
        socket.shut_down(Way::Out);
    }
    Ok(0)
}

/// `recvfrom` and `sendto` without an address and without flags.
fn plain(call: &Call<'_>) -> Result<(), Errno> {
    call.process.file(call.args[0])?.kind::<Socket>().ok_or(Errno::NOTSOCK)?;
    if call.args[3] == 0 { Ok(()) } else { Err(Errno::OPNOTSUPP) }
}

pub(super) fn recvfrom(call: &mut Call<'_>) -> Outcome {
    plain(call)?;
    io::read(call)
}

pub(super) fn sendto(call: &mut Call<'_>) -> Outcome {
    plain(call)?;
    io::write(call)
}
