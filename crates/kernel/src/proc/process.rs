//! Texts of a process.
#![forbid(unsafe_code)]

use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Advised, Errno, OnExec};
use linux_raw_sys::general as linux;

use crate::files::{mount_number, mounts};
use crate::proc::areas::{maps, smaps};
use crate::proc::made::Made::{self, Of, Words, WrittenOf};
use crate::process::{Process, STACK_END};
use crate::sched;
use crate::signals::{SIG_DFL, SIG_IGN, SIGNALS, bit};

/// The texts, by their paths below the directory of the process.
pub(super) const TEXTS: &[(&str, Made)] = &[
    ("auxv", Words(|process| process.words.lock().auxiliary.clone())),
    ("cmdline", Of(|process| joined(&process.words.lock().arguments))),
    ("comm", WrittenOf(|process| process.short_name() + "\n")),
    ("environ", Of(|process| joined(&process.words.lock().environment))),
    ("limits", Of(limits)),
    ("maps", Of(maps)),
    ("mounts", Of(|_| mounts())),
    ("mountinfo", Of(mount_lines)),
    ("oom_adj", WrittenOf(|_| "0\n".into())),
    ("oom_score", Of(|_| "0\n".into())),
    ("oom_score_adj", WrittenOf(|_| "0\n".into())),
    ("personality", Of(|_| "00000000\n".into())),
    ("smaps", Of(smaps)),
    ("stat", Of(stat)),
    ("statm", Of(|process| alloc::format!("{0} {0} 0 0 0 {0} 0\n", size(process) / PAGE_SIZE))),
    ("status", Of(status)),
];

/// Words, with a 0 behind each.
fn joined(words: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for word in words {
        text.push_str(&String::from_utf8_lossy(word));
        text.push('\0');
    }
    text
}

/// What is told of an open file.
///
/// # Errors
/// `EBADF`.
pub(super) fn descriptor(process: &Process, descriptor: usize) -> Result<String, Errno> {
    let (file, on_exec) = {
        let files = process.files();
        let table = files.lock();
        (table.get(descriptor)?.clone(), table.on_exec(descriptor)?)
    };
    let closes = if on_exec == OnExec::Close { linux::O_CLOEXEC } else { 0 };
    let (position, flags) = (file.position(), file.flags() | closes);
    let mount = file.node().map_or(1, mount_number);
    let number = file.attributes()?.status.number;
    Ok(alloc::format!("pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{number}\n"))
}

/// Bytes that are mapped.
fn size(process: &Process) -> usize {
    let areas = process.memory().map(|memory| memory.space().areas()).unwrap_or_default();
    areas.iter().map(|area| area.pages.len() * PAGE_SIZE).sum()
}

/// A line for each file system that is mounted, with numbers.
fn mount_lines(_process: &Arc<Process>) -> String {
    let mut text = String::new();
    let table = mounts();
    for (at, line) in table.lines().enumerate() {
        let mut words = line.split(' ');
        let [Some(source), Some(place), Some(kind), Some(options)] =
            [words.next(), words.next(), words.next(), words.next()]
        else {
            continue;
        };
        let (number, above) = (at + 1, usize::from(at > 0));
        // A string takes everything.
        let _taken = writeln!(
            text,
            "{number} {above} 0:{number} / {place} {options} - {kind} {source} {options}"
        );
    }
    text
}

/// A letter for what a process does, and a word.
fn state(process: &Process) -> (char, &'static str) {
    let threads = process.threads();
    if threads.is_empty() {
        ('Z', "zombie")
    } else if process.life.stopped.load(Relaxed) != 0 {
        ('T', "stopped")
    } else if threads.iter().all(sched::is_asleep) {
        ('S', "sleeping")
    } else {
        ('R', "running")
    }
}

fn stat(process: &Arc<Process>) -> String {
    const TICK: u64 = 10_000_000;
    let (state, _) = state(process);
    alloc::format!(
        "{number} ({}) {state} {} {} {} 0 -1 0 0 0 0 0 {} 0 {} 0 20 0 {} 0 0 {} {} {} 0 0 {} 0 0 0 \
         0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
        process.short_name(),
        process.parent_number(),
        process.group.load(Relaxed),
        process.session.load(Relaxed),
        process.run_time() / TICK,
        process.life.children_ran() / TICK,
        process.threads().len(),
        size(process),
        size(process) / PAGE_SIZE,
        u64::MAX,
        STACK_END,
        number = process.number(),
    )
}

fn status(process: &Arc<Process>) -> String {
    let (letter, word) = state(process);
    let credentials = process.credentials();
    let mut text = alloc::format!(
        "Name:\t{}\nUmask:\t{:04o}\nState:\t{letter} ({word})\nTgid:\t{number}\nNgid:\t0\n\
         Pid:\t{number}\nPPid:\t{}\nTracerPid:\t0\n",
        process.short_name(),
        process.umask(),
        process.parent_number(),
        number = process.number(),
    );
    for (name, ids) in [("Uid", credentials.user), ("Gid", credentials.group)] {
        let (real, effective, saved, file) = (ids.real, ids.effective, ids.saved, ids.file);
        // A string takes everything.
        let _taken = writeln!(text, "{name}:\t{real}\t{effective}\t{saved}\t{file}");
    }
    let open = process.files().lock().iter().last().map_or(0, |(at, _)| at + 1);
    let _taken = write!(text, "FDSize:\t{}\nGroups:\t", open.next_power_of_two().max(64));
    for group in &*credentials.groups {
        let _taken = write!(text, "{group} ");
    }
    text.push('\n');
    let kib = size(process) / 1024;
    for name in ["VmPeak", "VmSize", "VmHWM", "VmRSS", "VmData"] {
        let _taken = writeln!(text, "{name}:\t{kib:>8} kB");
    }
    let memory = process.memory();
    let locked = memory.map_or(0, |memory| memory.space().advised_bytes(Advised::LOCKED) / 1024);
    for (name, value) in [("VmLck", locked), ("VmPin", 0), ("VmSwap", 0)] {
        let _taken = writeln!(text, "{name}:\t{value:>8} kB");
    }
    let _taken = writeln!(text, "Threads:\t{}\nSigQ:\t0/4096", process.threads().len());
    for (name, set) in signal_sets(process) {
        let _taken = writeln!(text, "{name}:\t{set:016x}");
    }
    let capabilities: u64 = if credentials.is_root() { 0x1ff_ffff_ffff } else { 0 };
    for (name, set) in [
        ("CapInh", 0),
        ("CapPrm", capabilities),
        ("CapEff", capabilities),
        ("CapBnd", 0x1ff_ffff_ffff),
        ("CapAmb", 0),
    ] {
        let _taken = writeln!(text, "{name}:\t{set:016x}");
    }
    text.push_str("NoNewPrivs:\t0\nSeccomp:\t0\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n");
    text.push_str("voluntary_ctxt_switches:\t1\nnonvoluntary_ctxt_switches:\t1\n");
    text
}

/// The signals that are pending, blocked, ignored and caught.
fn signal_sets(process: &Process) -> [(&'static str, u64); 5] {
    let signals = &process.life.signals;
    let first = process.threads().into_iter().next();
    let blocked = first.as_ref().map_or(0, |thread| thread.signals.blocked());
    let own = first.map_or(0, |thread| thread.signals.own_pending());
    let actions = signals.actions();
    let set = |is_in: fn(usize) -> bool| {
        let numbers = (1..=SIGNALS as u32).zip(&actions);
        numbers.filter(|(_, action)| is_in(action.handler)).fold(0, |set, (at, _)| set | bit(at))
    };
    [
        ("SigPnd", own),
        ("ShdPnd", signals.pending_set()),
        ("SigBlk", blocked),
        ("SigIgn", set(|handler| handler == SIG_IGN)),
        ("SigCgt", set(|handler| handler != SIG_IGN && handler != SIG_DFL)),
    ]
}

fn limits(process: &Arc<Process>) -> String {
    const KINDS: [(&str, u32, &str); 16] = [
        ("Max cpu time", linux::RLIMIT_CPU, "seconds"),
        ("Max file size", linux::RLIMIT_FSIZE, "bytes"),
        ("Max data size", linux::RLIMIT_DATA, "bytes"),
        ("Max stack size", linux::RLIMIT_STACK, "bytes"),
        ("Max core file size", linux::RLIMIT_CORE, "bytes"),
        ("Max resident set", linux::RLIMIT_RSS, "bytes"),
        ("Max processes", linux::RLIMIT_NPROC, "processes"),
        ("Max open files", linux::RLIMIT_NOFILE, "files"),
        ("Max locked memory", linux::RLIMIT_MEMLOCK, "bytes"),
        ("Max address space", linux::RLIMIT_AS, "bytes"),
        ("Max file locks", linux::RLIMIT_LOCKS, "locks"),
        ("Max pending signals", linux::RLIMIT_SIGPENDING, "signals"),
        ("Max msgqueue size", linux::RLIMIT_MSGQUEUE, "bytes"),
        ("Max nice priority", linux::RLIMIT_NICE, ""),
        ("Max realtime priority", linux::RLIMIT_RTPRIO, ""),
        ("Max realtime timeout", linux::RLIMIT_RTTIME, "us"),
    ];
    let mut text = String::from(
        "Limit                     Soft Limit           Hard Limit           Units     \n",
    );
    let value = |limit: u64| match limit {
        u64::MAX => String::from("unlimited"),
        limit => alloc::format!("{limit}"),
    };
    for (name, kind, unit) in KINDS {
        let [now, most] = process.life.limits.get(kind as usize).unwrap_or_default();
        let (now, most) = (value(now), value(most));
        // A string takes everything.
        let _taken = writeln!(text, "{name:<25} {now:<20} {most:<20} {unit:<10}");
    }
    text
}
