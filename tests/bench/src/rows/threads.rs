//! Two threads at once.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io;
use std::sync::Arc;

use faultless_filemap::WriteOptions;

use super::shared::{KIB, MIB, user_memory};
use crate::frames::Layout;
use crate::kernel::Rig;
use crate::measure::Role;
use crate::memory::{Arena, Copier, copy};
use crate::rivals::{TreeCache, filled_tree};
use crate::teams::Team;
use crate::tmpfs::{self, Pages, pread, pwrite};

/// Bytes of the file.
const FILE: usize = 16 * MIB;
/// Bytes of the user's memory that a thread has for itself.
const OWN: usize = MIB;

fn rig() -> io::Result<Arc<Rig>> {
    let rig = Rig::new(Arena::new(FILE + 4 * MIB)?, Layout::Contiguous, user_memory()?);
    for pos in (0..FILE).step_by(MIB) {
        rig.write(&WriteOptions::at(pos as u64), MIB);
    }
    Ok(Arc::new(rig))
}

/// A team whose members have a kernel each, or share one: `call` gets a member's kernel and number.
fn team(
    role: Role,
    rigs: [Arc<Rig>; 2],
    call: impl Fn(&Rig, usize) + Send + Sync + 'static,
) -> Team {
    Team::new(role, move |member, n| {
        for _ in 0..n {
            call(&rigs[member], black_box(member));
        }
    })
}

/// The subject and its control, on one kernel, and the twin, with a kernel for each.
fn teams(call: fn(&Rig, usize, usize), len: usize) -> io::Result<Vec<Team>> {
    let shared = rig()?;
    let (first, second) = (rig()?, rig()?);
    let call = move |rig: &Rig, member: usize| call(rig, member, len);
    Ok(vec![
        team(Role::Subject, [shared.clone(), shared.clone()], call),
        team(Role::Control, [shared.clone(), shared], call),
        team(Role::Twin, [first, second], call),
    ])
}

/// Where a member of a team writes that keeps apart.
fn apart(member: usize) -> u64 {
    (member * FILE / 2 + FILE / 4) as u64
}

/// Overwrites far apart in one file, against two files of two kernels.
pub(super) fn disjoint(len: usize) -> io::Result<Vec<Team>> {
    let call = |rig: &Rig, member: usize, len: usize| {
        rig.write_from(member * OWN, &WriteOptions::at(apart(member)), len);
    };
    let mut all = teams(call, len)?;
    let plain = [Arena::new(len + 4 * KIB)?, Arena::new(len + 4 * KIB)?];
    let from = user_memory()?;
    all.push(Team::new(Role::Memcpy, move |member, n| {
        for _ in 0..n {
            copy(Copier::Libc, (&plain[member], 0), (&from, member * OWN), black_box(len));
        }
    }));
    all.push(writes_to_tree(filled_tree(FILE), len, apart));
    for pages in Pages::ALL {
        let Some(file) = tmpfs::filled(pages, FILE)? else { continue };
        let sources = [vec![1; len], vec![2; len]];
        all.push(Team::new(pages.role(), move |member, n| {
            for _ in 0..n {
                pwrite(&file, apart(member), &sources[member]);
            }
        }));
    }
    Ok(all)
}

fn writes_to_tree(tree: TreeCache, len: usize, at: fn(usize) -> u64) -> Team {
    let sources = [vec![1; len], vec![2; len]];
    Team::new(Role::Tree, move |member, n| {
        for _ in 0..n {
            tree.write(black_box(at(member)), &sources[member]);
        }
    })
}

/// Reads of one page.
pub(super) fn same_page_read(len: usize) -> io::Result<Vec<Team>> {
    const AT: u64 = FILE as u64 / 2;
    let call = |rig: &Rig, member: usize, len: usize| {
        rig.read_to(member * OWN, black_box(AT), len);
    };
    let mut all = teams(call, len)?;
    let tree = filled_tree(FILE);
    all.push(Team::new(Role::Tree, move |_, n| {
        let mut target = vec![0; len];
        for _ in 0..n {
            tree.read(black_box(AT), &mut target);
        }
    }));
    for pages in Pages::ALL {
        let Some(file) = tmpfs::filled(pages, FILE)? else { continue };
        all.push(Team::new(pages.role(), move |_, n| {
            let mut target = vec![0; len];
            for _ in 0..n {
                pread(&file, black_box(AT), &mut target);
            }
        }));
    }
    Ok(all)
}

/// Overwrites of one page, against one thread.
pub(super) fn same_page_write(len: usize) -> io::Result<Vec<Team>> {
    const AT: fn(usize) -> u64 = |_| FILE as u64 / 2;
    let call = |rig: &Rig, member: usize, len: usize| {
        rig.write_from(member * OWN, &WriteOptions::at(AT(member)), len);
    };
    let mut all = teams(call, len)?;
    all.push(writes_to_tree(filled_tree(FILE), len, AT));
    Ok(all)
}
