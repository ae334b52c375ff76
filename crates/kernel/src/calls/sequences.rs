//! What threads agree on without locked operations: restartable sequences (`rseq`), and barriers
//! that one thread makes for all (`membarrier`).
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;

use faultless_posix::Errno;
use linux_raw_sys::general::{membarrier_cmd as command, membarrier_cmd_flag as flag};

use crate::arch::shootdown::{self, Barrier};
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

/// What a program knows the barriers by that it may make for its own threads: each is registered by
/// a command of its own.
const OWN: [(u32, Barrier); 3] = [
    (command::MEMBARRIER_CMD_PRIVATE_EXPEDITED as u32, Barrier::Order),
    (command::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE as u32, Barrier::Order),
    (command::MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ as u32, Barrier::Restart),
];

/// All commands, as bits.
const KNOWN: u32 = (command::MEMBARRIER_CMD_GET_REGISTRATIONS as u32) * 2 - 1;

/// A command that registers the barrier of another one.
const fn registers(barrier: u32) -> u32 {
    barrier << 1
}

/// What a program is told of the barriers that it has registered: as on Linux, the first one of its
/// own comes with each of the others, which does not let it make that one.
fn told(registered: u32) -> u32 {
    let [plain, others @ ..] = OWN.map(|(own, _)| registers(own));
    let has_other = others.iter().any(|other| registered & other != 0);
    if has_other { registered | plain } else { registered }
}

pub(super) fn membarrier(call: &mut Call<'_>) -> Outcome {
    const QUERY: u32 = command::MEMBARRIER_CMD_QUERY as u32;
    const GLOBAL: u32 = command::MEMBARRIER_CMD_GLOBAL as u32;
    const EXPEDITED: u32 = command::MEMBARRIER_CMD_GLOBAL_EXPEDITED as u32;
    const REGISTER: u32 = command::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED as u32;
    const REGISTRATIONS: u32 = command::MEMBARRIER_CMD_GET_REGISTRATIONS as u32;
    const RESTART: u32 = command::MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ as u32;
    const ONE_CPU: u32 = flag::MEMBARRIER_CMD_FLAG_CPU as u32;

    let [wanted, flags, cpu, ..] = call.args.map(|argument| argument as u32);
    if flags != 0 && (wanted, flags) != (RESTART, ONE_CPU) {
        return Err(Errno::INVAL);
    }
    let memory = call.process.memory()?;
    match wanted {
        QUERY => return Ok(KNOWN as usize),
        REGISTRATIONS => return Ok(told(memory.barriers.load(SeqCst)) as usize),
        // All CPUs take part, whether or not what they run has asked for it.
        GLOBAL | EXPEDITED => shootdown::barrier(None, None, Barrier::Order),
        REGISTER => {
            memory.barriers.fetch_or(REGISTER, SeqCst);
        }
        _ => {
            let is_it = |(own, _): &&(u32, Barrier)| [*own, registers(*own)].contains(&wanted);
            let (own, kind) = OWN.iter().find(is_it).ok_or(Errno::INVAL)?;
            if wanted == registers(*own) {
                memory.barriers.fetch_or(wanted, SeqCst);
                return Ok(0);
            }
            if memory.barriers.load(SeqCst) & registers(wanted) == 0 {
                return Err(Errno::PERM);
            }
            // A negative number stands for all of them.
            let one = (flags == ONE_CPU && cpu as i32 >= 0).then_some(cpu as usize);
            shootdown::barrier(Some(memory.space().root()), one, *kind);
        }
    }
    Ok(0)
}
