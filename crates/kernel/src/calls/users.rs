//! Users and groups.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::Errno;

use crate::calls::call::{Call, Outcome};
use crate::credentials::{Credentials, Ids};
use crate::memory::{get, get_words, put};
use crate::process;
use crate::sched;
use crate::task::credentials;

/// Further groups of a process, at most.
const MOST_GROUPS: usize = 65_536;

/// Users, or groups.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Users,
    Groups,
}

const fn ids(of: &Credentials, which: Which) -> Ids {
    match which {
        Which::Users => of.user,
        Which::Groups => of.group,
    }
}

/// The number that an argument sets; none if it is to stay.
fn set(argument: usize) -> Option<u32> {
    (argument as i32 != -1).then_some(argument as u32)
}

fn change(which: Which, new: Ids) -> Outcome {
    sched::with_current(|thread| {
        let mut own = thread.credentials.lock();
        match which {
            Which::Users => own.user = new,
            Which::Groups => own.group = new,
        }
    });
    Ok(0)
}

/// The real number.
pub(super) fn real(which: Which) -> Outcome {
    Ok(ids(&credentials(), which).real as usize)
}

/// The effective number.
pub(super) fn effective(which: Which) -> Outcome {
    Ok(ids(&credentials(), which).effective as usize)
}

/// `setuid`, `setgid`.
pub(super) fn set_one(call: &Call<'_>, which: Which) -> Outcome {
    let own = credentials();
    let ids = ids(&own, which);
    let new = set(call.args[0]).ok_or(Errno::INVAL)?;
    if own.is_root() {
        return change(which, Ids { real: new, effective: new, saved: new, file: new });
    }
    if new != ids.real && new != ids.saved {
        return Err(Errno::PERM);
    }
    change(which, Ids { effective: new, file: new, ..ids })
}

/// `setreuid`, `setregid`.
pub(super) fn set_two(call: &Call<'_>, which: Which) -> Outcome {
    let own = credentials();
    let ids = ids(&own, which);
    let [real, effective] = [set(call.args[0]), set(call.args[1])];
    let may_real = |new| own.is_root() || [ids.real, ids.effective].contains(&new);
    let may_effective = |new| may_real(new) || new == ids.saved;
    if !real.is_none_or(may_real) || !effective.is_none_or(may_effective) {
        return Err(Errno::PERM);
    }
    let (to_real, to_effective) = (real.unwrap_or(ids.real), effective.unwrap_or(ids.effective));
    let saves = real.is_some() || effective.is_some_and(|new| new != ids.real);
    let saved = if saves { to_effective } else { ids.saved };
    change(which, Ids { real: to_real, effective: to_effective, saved, file: to_effective })
}

/// `setresuid`, `setresgid`.
pub(super) fn set_three(call: &Call<'_>, which: Which) -> Outcome {
    let own = credentials();
    let ids = ids(&own, which);
    let [real, effective, saved] = [call.args[0], call.args[1], call.args[2]].map(set);
    let may = |new| own.is_root() || [ids.real, ids.effective, ids.saved].contains(&new);
    if ![real, effective, saved].into_iter().flatten().all(may) {
        return Err(Errno::PERM);
    }
    let to_effective = effective.unwrap_or(ids.effective);
    let new = Ids {
        real: real.unwrap_or(ids.real),
        effective: to_effective,
        saved: saved.unwrap_or(ids.saved),
        file: to_effective,
    };
    change(which, new)
}

/// `setfsuid`, `setfsgid`, which return the number before, and do not fail.
pub(super) fn set_file(call: &Call<'_>, which: Which) -> Outcome {
    let own = credentials();
    let ids = ids(&own, which);
    let new = call.args[0] as u32;
    if own.is_root() || [ids.real, ids.effective, ids.saved, ids.file].contains(&new) {
        change(which, Ids { file: new, ..ids })?;
    }
    Ok(ids.file as usize)
}

/// `getresuid`, `getresgid`.
pub(super) fn three(call: &mut Call<'_>, which: Which) -> Outcome {
    let Ids { real, effective, saved, .. } = ids(&credentials(), which);
    for (target, number) in call.args.into_iter().zip([real, effective, saved]) {
        put(&mut call.token, target, &number.to_ne_bytes())?;
    }
    Ok(0)
}

pub(super) fn getgroups(call: &mut Call<'_>) -> Outcome {
    let [room, target, ..] = call.args;
    let groups = credentials().groups;
    let room = usize::try_from(room as i32).map_err(|_| Errno::INVAL)?;
    if room == 0 {
        return Ok(groups.len());
    }
    if room < groups.len() {
        return Err(Errno::INVAL);
    }
    let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
    put(&mut call.token, target, &bytes)?;
    Ok(groups.len())
}

pub(super) fn setgroups(call: &mut Call<'_>) -> Outcome {
    let [count, source, ..] = call.args;
    if !credentials().is_root() {
        return Err(Errno::PERM);
    }
    if count > MOST_GROUPS {
        return Err(Errno::INVAL);
    }
    let mut bytes = alloc::vec![0; count * 4];
    get(&mut call.token, source, &mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    let groups: Arc<[u32]> = numbers.iter().map(|bytes| u32::from_ne_bytes(*bytes)).collect();
    let before = sched::with_current(|thread| {
        core::mem::replace(&mut thread.credentials.lock().groups, groups)
    });
    drop(before);
    Ok(0)
}

/// The versions of `struct __user_cap_header_struct`: the first has one word of each set.
const FIRST_VERSION: u32 = 0x1998_0330;
const VERSIONS: [u32; 3] = [FIRST_VERSION, 0x2007_1026, 0x2008_0522];

/// The header that `capget` and `capset` begin with: how many words of each set, and the process.
fn capabilities(call: &mut Call<'_>) -> Result<(usize, u32), Errno> {
    let header = call.args[0];
    let [word] = get_words(&mut call.token, header)?;
    let version = word as u32;
    if !VERSIONS.contains(&version) {
        put(&mut call.token, header, &VERSIONS[2].to_ne_bytes())?;
        return Err(Errno::INVAL);
    }
    let number = (word >> 32) as u32;
    if number.cast_signed() < 0 {
        return Err(Errno::INVAL);
    }
    Ok((if version == FIRST_VERSION { 1 } else { 2 }, number))
}

/// Root has all capabilities, and others have none.
pub(super) fn capget(call: &mut Call<'_>) -> Outcome {
    let (words, number) = capabilities(call)?;
    let own = match number {
        0 => credentials(),
        number => process::with_process(number, |of| of.credentials())?,
    };
    if call.args[1] == 0 {
        return Ok(0);
    }
    for (word, all) in [u32::MAX, 0x1ff].into_iter().enumerate().take(words) {
        let all: u32 = if own.is_root() { all } else { 0 };
        let sets = [all, all, 0].map(u32::to_ne_bytes);
        put(&mut call.token, call.args[1] + 12 * word, sets.as_flattened())?;
    }
    Ok(0)
}

/// Capabilities go and come with the user: a program that gives some up keeps them.
pub(super) fn capset(call: &mut Call<'_>) -> Outcome {
    let (_, number) = capabilities(call)?;
    let is_own = number == 0 || number == call.process.number();
    if is_own && credentials().is_root() { Ok(0) } else { Err(Errno::PERM) }
}

/// What needs a right that no program has here: `mount`, `sethostname` and the like.
pub(super) const fn refused() -> Outcome {
    Err(Errno::PERM)
}
