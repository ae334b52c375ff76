//! `prctl`: what a process asks for. It is the process', not the thread's.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use faultless_posix::Errno;

use crate::calls::call::{Call, Outcome};
use crate::memory::{get, get_string, put};
use crate::process::NAME;
use crate::signals::SIGNALS;

pub(super) fn prctl(call: &mut Call<'_>) -> Outcome {
    const LAST_CAPABILITY: usize = 40;
    /// Nanoseconds.
    const SLACK: usize = 50_000;
    const SET_DEATH_SIGNAL: u32 = 1;
    const GET_DEATH_SIGNAL: u32 = 2;
    const GET_DUMPABLE: u32 = 3;
    const SET_DUMPABLE: u32 = 4;
    const GET_KEEPS: u32 = 7;
    const SET_KEEPS: u32 = 8;
    const GET_TIMING: u32 = 13;
    const SET_TIMING: u32 = 14;
    const SET_NAME: u32 = 15;
    const GET_NAME: u32 = 16;
    const GET_SECCOMP: u32 = 21;
    const HAS_CAPABILITY: u32 = 23;
    const GET_CLOCK: u32 = 25;
    const GET_SECURITY: u32 = 27;
    const SET_SLACK: u32 = 29;
    const GET_SLACK: u32 = 30;
    const SET_SUBREAPER: u32 = 36;
    const GET_SUBREAPER: u32 = 37;
    const SET_NO_NEW_PRIVILEGES: u32 = 38;
    const GET_NO_NEW_PRIVILEGES: u32 = 39;
    const SET_LARGE_PAGES: u32 = 41;
    const GET_LARGE_PAGES: u32 = 42;
    const SET_TRACER: u32 = 0x5961_6d61;
    let asked = &call.process.asked;
    match call.args[0] as u32 {
        SET_DEATH_SIGNAL if call.args[1] > SIGNALS => Err(Errno::INVAL),
        SET_DUMPABLE if call.args[1] > 1 => Err(Errno::INVAL),
        SET_NO_NEW_PRIVILEGES if call.args[1..5] != [1, 0, 0, 0] => Err(Errno::INVAL),
        GET_NO_NEW_PRIVILEGES if call.args[1..5] != [0; 4] => Err(Errno::INVAL),
        SET_DEATH_SIGNAL => {
            asked.death_signal.store(call.args[1] as u32, Relaxed);
            Ok(0)
        }
        SET_SUBREAPER => {
            asked.reaps.store(call.args[1] != 0, Relaxed);
            Ok(0)
        }
        SET_NO_NEW_PRIVILEGES => {
            asked.no_new_rights.store(true, Relaxed);
            Ok(0)
        }
        SET_DUMPABLE => {
            asked.is_not_dumped.store(call.args[1] == 0, Relaxed);
            Ok(0)
        }
        GET_DUMPABLE => Ok(usize::from(!asked.is_not_dumped.load(Relaxed))),
        SET_KEEPS if call.args[1] <= 1 => {
            asked.keeps.store(call.args[1] == 1, Relaxed);
            Ok(0)
        }
        GET_KEEPS => Ok(usize::from(asked.keeps.load(Relaxed))),
        SET_SLACK => {
            // 0 is what the process began with.
            asked.slack.store(call.args[1] as u64, Relaxed);
            Ok(0)
        }
        GET_SLACK => Ok(match asked.slack.load(Relaxed) {
            0 => SLACK,
            slack => slack as usize,
        }),
        SET_LARGE_PAGES if call.args[2..5] == [0; 3] => {
            asked.has_no_large_pages.store(call.args[1] != 0, Relaxed);
            Ok(0)
        }
        GET_LARGE_PAGES if call.args[1..5] == [0; 4] => {
            Ok(usize::from(asked.has_no_large_pages.load(Relaxed)))
        }
        SET_TRACER => Ok(0),
        SET_TIMING if call.args[1] == 0 => Ok(0),
        GET_TIMING | GET_SECCOMP | GET_SECURITY => Ok(0),
        GET_CLOCK => {
            const ALLOWED: u32 = 1;
            put(&mut call.token, call.args[1], &ALLOWED.to_ne_bytes())?;
            Ok(0)
        }
        GET_NO_NEW_PRIVILEGES => Ok(usize::from(asked.no_new_rights.load(Relaxed))),
        HAS_CAPABILITY if call.args[1] <= LAST_CAPABILITY => Ok(1),
        code @ (GET_DEATH_SIGNAL | GET_SUBREAPER) => {
            let value = if code == GET_SUBREAPER {
                u32::from(asked.reaps.load(Relaxed))
            } else {
                asked.death_signal.load(Relaxed)
            };
            put(&mut call.token, call.args[1], &value.to_ne_bytes())?;
            Ok(0)
        }
        SET_NAME => {
            let mut bytes = [0; NAME];
            // A short name may end where memory does.
            match get_string(&mut call.token, call.args[1], NAME) {
                Ok(name) => *call.process.name.lock() = name,
                Err(Errno::NAMETOOLONG) => {
                    get(&mut call.token, call.args[1], &mut bytes)?;
                    *call.process.name.lock() = bytes.to_vec();
                }
                Err(errno) => return Err(errno),
            }
            Ok(0)
        }
        GET_NAME => {
            let mut bytes = [0; NAME + 1];
            let name = call.process.short_name();
            let len = name.len().min(NAME);
            bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
            put(&mut call.token, call.args[1], &bytes)?;
            Ok(0)
        }
        _ => Err(Errno::INVAL),
    }
}
