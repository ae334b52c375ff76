//! Restartable sequences (`rseq`).
#![forbid(unsafe_code)]

use faultless_posix::Errno;

use crate::calls::call::{Call, Outcome};
use crate::process;
use crate::sched;
use crate::sequences::Area;

pub(super) fn rseq(call: &mut Call<'_>) -> Outcome {
    const UNREGISTER: u32 = 1;
    let [address, len, flags, signature, ..] = call.args;
    let area = Area { address, len: len as u32, signature: signature as u32 };
    let thread = sched::current();
    match flags as u32 {
        0 => process::register_sequences(&mut call.token, &thread, area)?,
        UNREGISTER => process::unregister_sequences(&mut call.token, &thread, area)?,
        _ => return Err(Errno::INVAL),
    }
    Ok(0)
}
