//! Texts of the system.
#![forbid(unsafe_code)]

use core::fmt::Write;

use alloc::string::String;

use faultless::prelude::PAGE_SIZE;

use crate::arch::{clock, percpu};
use crate::files::random_bytes;
use crate::memory::frames;
use crate::proc::made::Made::{self, Read, Written};
use crate::sched;

const SECOND: u64 = 1_000_000_000;

/// The texts, by their paths below `/proc`.
pub(super) const TEXTS: &[(&str, Made)] = &[
    ("cmdline", Read(|| "faultless\n".into())),
    ("cpuinfo", Read(cpu_info)),
    ("filesystems", Read(|| "nodev\ttmpfs\nnodev\tproc\n\text2\n".into())),
    ("loadavg", Read(|| alloc::format!("0.00 0.00 0.00 1/{} 1\n", sched::all().len()))),
    ("meminfo", Read(memory_info)),
    ("stat", Read(statistics)),
    ("swaps", Read(|| "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".into())),
    ("uptime", Read(uptime)),
    ("version", Read(|| "Linux version 6.1.0-faultless\n".into())),
    ("sys/fs/aio-max-nr", Written(|| "65536\n".into())),
    ("sys/fs/file-max", Written(|| "1048576\n".into())),
    ("sys/fs/file-nr", Read(|| "64\t0\t1048576\n".into())),
    ("sys/fs/lease-break-time", Written(|| "45\n".into())),
    ("sys/fs/nr_open", Written(|| "65536\n".into())),
    ("sys/fs/pipe-max-size", Written(|| "1048576\n".into())),
    ("sys/fs/protected_hardlinks", Written(|| "0\n".into())),
    ("sys/fs/protected_symlinks", Written(|| "0\n".into())),
    ("sys/fs/suid_dumpable", Written(|| "0\n".into())),
    ("sys/kernel/cap_last_cap", Read(|| "40\n".into())),
    ("sys/kernel/core_pattern", Written(|| "core\n".into())),
    ("sys/kernel/domainname", Read(|| "(none)\n".into())),
    ("sys/kernel/hostname", Read(|| "faultless\n".into())),
    ("sys/kernel/msgmax", Read(|| "8192\n".into())),
    ("sys/kernel/msgmnb", Read(|| "16384\n".into())),
    ("sys/kernel/msgmni", Read(|| "32000\n".into())),
    ("sys/kernel/ngroups_max", Read(|| "65536\n".into())),
    ("sys/kernel/osrelease", Read(|| "6.1.0-faultless\n".into())),
    ("sys/kernel/ostype", Read(|| "Linux\n".into())),
    ("sys/kernel/overflowgid", Read(|| "65534\n".into())),
    ("sys/kernel/overflowuid", Read(|| "65534\n".into())),
    ("sys/kernel/pid_max", Written(|| "4194304\n".into())),
    ("sys/kernel/random/boot_id", Read(unique)),
    ("sys/kernel/random/uuid", Read(unique)),
    ("sys/kernel/randomize_va_space", Written(|| "0\n".into())),
    ("sys/kernel/sem", Read(|| "32000\t1024000000\t500\t4096\n".into())),
    ("sys/kernel/shmall", Read(|| "268435456\n".into())),
    ("sys/kernel/shmmax", Read(|| "1099511627776\n".into())),
    ("sys/kernel/shmmni", Read(|| "4096\n".into())),
    ("sys/kernel/tainted", Read(|| "0\n".into())),
    ("sys/kernel/threads-max", Written(|| "65536\n".into())),
    ("sys/kernel/version", Read(|| "#1 SMP\n".into())),
    ("sys/net/core/somaxconn", Read(|| "4096\n".into())),
    ("sys/net/unix/max_dgram_qlen", Read(|| "10\n".into())),
    ("sys/vm/drop_caches", Written(|| "0\n".into())),
    ("sys/vm/max_map_count", Written(|| "65530\n".into())),
    ("sys/vm/min_free_kbytes", Written(|| "1024\n".into())),
    ("sys/vm/mmap_min_addr", Read(|| "65536\n".into())),
    ("sys/vm/nr_hugepages", Written(|| "0\n".into())),
    ("sys/vm/overcommit_memory", Written(|| "1\n".into())),
    ("sys/vm/overcommit_ratio", Written(|| "50\n".into())),
    ("sys/vm/swappiness", Written(|| "0\n".into())),
];

fn cpus() -> usize {
    percpu::online()
}

fn cpu_info() -> String {
    let mut text = String::new();
    for number in 0..cpus() {
        // A string takes everything.
        let _taken = write!(
            text,
            "processor\t: {number}\nvendor_id\t: QEMU\ncpu family\t: 6\nmodel\t\t: 6\n\
             model name\t: QEMU TCG CPU\ncpu MHz\t\t: 1000.000\ncpu cores\t: 1\n\
             flags\t\t: fpu tsc msr cx8 sep cmov fxsr sse sse2 syscall nx lm rdrand smep smap\n\n"
        );
    }
    text
}

fn memory_info() -> String {
    let frames = frames();
    let kib = |frames: u32| u64::from(frames) * (PAGE_SIZE as u64 / 1024);
    let (total, free) = (kib(frames.total()), kib(frames.free()));
    let mut text = String::new();
    let lines = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", total - free),
        ("SwapCached", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("CommitLimit", total),
        ("Committed_AS", total - free),
        ("Hugepagesize", 2048),
    ];
    for (name, value) in lines {
        let _taken = writeln!(text, "{:16}{value:>8} kB", alloc::format!("{name}:"));
    }
    text.push_str("HugePages_Total:       0\nHugePages_Free:        0\n");
    text
}

fn statistics() -> String {
    let ticks = clock::monotonic() / (SECOND / 100);
    let started = (clock::real() - clock::monotonic()) / SECOND;
    let mut text = alloc::format!("cpu  {ticks} 0 0 0 0 0 0 0 0 0\n");
    for number in 0..cpus() {
        let _taken = writeln!(text, "cpu{number} {ticks} 0 0 0 0 0 0 0 0 0");
    }
    let _taken = write!(text, "ctxt 0\nbtime {started}\nprocesses 1\nprocs_running 1\n");
    text
}

fn uptime() -> String {
    let time = clock::monotonic();
    let (seconds, hundredths) = (time / SECOND, time % SECOND / (SECOND / 100));
    alloc::format!("{seconds}.{hundredths:02} 0.00\n")
}

/// A number like no other, as text.
fn unique() -> String {
    let mut text = String::new();
    for (at, byte) in random_bytes::<16>().into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _taken = write!(text, "{byte:02x}");
    }
    text.push('\n');
    text
}
