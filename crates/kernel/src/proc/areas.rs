//! What is told of the mappings of a process: `maps` and `smaps`.
#![forbid(unsafe_code)]

use core::fmt::Write;

use alloc::string::String;
use alloc::sync::Arc;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Advised, Area, Owner, PageTable, Rights, Sharing};

use crate::memory::{Machine, Space, is_anonymous};
use crate::process::{Process, STACK_END};

/// A line for each mapping.
pub(super) fn maps(process: &Arc<Process>) -> String {
    each(process, |_, _, _| {})
}

/// Several lines for each mapping.
pub(super) fn smaps(process: &Arc<Process>) -> String {
    each(process, tell)
}

fn each(process: &Arc<Process>, more: impl Fn(&mut String, &Space, &Area<Machine>)) -> String {
    let mut text = String::new();
    let Ok(memory) = process.memory() else { return text };
    let heap = memory.layout.lock().data();
    for area in memory.space().areas() {
        let flag = |right, letter| if area.rights.contains(right) { letter } else { '-' };
        let sharing = if area.sharing == Sharing::Shared { 's' } else { 'p' };
        let (start, end) = (area.pages.start * PAGE_SIZE, area.pages.end * PAGE_SIZE);
        let is_memory = is_anonymous(&area.description);
        let (offset, number) =
            if is_memory { (0, 0) } else { (area.first.start(), area.inode().mapping().id()) };
        let name = match start {
            _ if !is_memory => "",
            start if start == heap.start && !heap.is_empty() => "[heap]",
            _ if end == STACK_END => "[stack]",
            _ => "",
        };
        // A string takes everything.
        let _taken = writeln!(
            text,
            "{start:08x}-{end:08x} {}{}{}{sharing} {offset:08x} 00:10 {number} {name:>40}",
            flag(Rights::READ, 'r'),
            flag(Rights::WRITE, 'w'),
            flag(Rights::EXECUTE, 'x'),
        );
        more(&mut text, memory.space(), &area);
    }
    text
}

/// How many pages of a mapping are there, and how many of these are the process' own.
fn there(space: &Space, area: &Area<Machine>) -> (usize, usize) {
    let (mut all, mut own) = (0, 0);
    for page in area.pages.clone() {
        let entry = space.with_table(|table| table.get(page));
        all += usize::from(entry.is_some());
        own += usize::from(entry.is_some_and(|entry| entry.owner == Owner::Space));
    }
    (all, own)
}

fn tell(text: &mut String, space: &Space, area: &Area<Machine>) {
    const KIB: usize = PAGE_SIZE / 1024;
    let (all, own) = there(space, area);
    let is_locked = area.advised.contains(Advised::LOCKED);
    let locked = if is_locked { all } else { 0 };
    for (name, pages) in [
        ("Size", area.pages.len()),
        ("KernelPageSize", 1),
        ("MMUPageSize", 1),
        ("Rss", all),
        ("Pss", all),
        ("Pss_Dirty", own),
        ("Shared_Clean", all - own),
        ("Shared_Dirty", 0),
        ("Private_Clean", 0),
        ("Private_Dirty", own),
        ("Referenced", all),
        ("Anonymous", own),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", locked),
    ] {
        let _taken = writeln!(text, "{:16}{:>8} kB", alloc::format!("{name}:"), pages * KIB);
    }
    text.push_str("THPeligible:           0\nVmFlags:");
    let is_shared = area.sharing == Sharing::Shared;
    for (flag, is_set) in [
        ("rd", area.rights.contains(Rights::READ)),
        ("wr", area.rights.contains(Rights::WRITE)),
        ("ex", area.rights.contains(Rights::EXECUTE)),
        ("sh", is_shared),
        ("mr", true),
        ("mw", true),
        ("me", true),
        ("ms", is_shared),
        ("gd", area.advised.contains(Advised::GROWS_DOWN)),
        ("lo", is_locked),
    ] {
        if is_set {
            let _taken = write!(text, " {flag}");
        }
    }
    text.push_str(" \n");
}
