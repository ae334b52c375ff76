//! The programs, and what each is run for.
#![forbid(unsafe_code)]

use crate::machine::Setting;

/// A program that a case needs, and the package that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needed {
    pub(crate) program: &'static str,
    /// How to get it.
    pub(crate) how: &'static str,
}

const FSX: Needed = Needed { program: "fsx", how: "cargo install --locked --version 0.3.2 fsx" };
const FIO: Needed = Needed { program: "fio", how: "apt-get install fio" };
const STRESS: Needed = Needed { program: "stress-ng", how: "apt-get install stress-ng" };
const SQLITE: Needed = Needed { program: "sqlite3", how: "apt-get install sqlite3" };
const GIT: Needed = Needed { program: "git", how: "apt-get install git" };
const PYTHON: Needed = Needed { program: "python3", how: "apt-get install python3" };
const CC: Needed = Needed { program: "cc", how: "apt-get install gcc libc6-dev" };

/// What of a run is compared with the control's, besides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// What is printed, and the files that are left.
    Everything,
    /// What is printed: what the files hold depends on which thread was faster.
    Output,
    /// Nothing: it prints times, or draws lots.
    ExitCode,
}

/// Something to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Needed],
    /// For `sh`, in a folder of its own.
    pub(crate) script: &'static str,
    pub(crate) compared: Compared,
    /// On which machines.
    pub(crate) on: On,
}

/// On which machines a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// On each store, with little memory and with chaos.
    EachStore,
    /// In memory, and on files with chaos.
    Two,
    /// On files, with chaos.
    Files,
    /// On files whose store fails.
    Failing,
    /// On files that nothing writes back but what the program does.
    Quiet,
}

impl On {
    /// The machines, each with a name.
    pub(crate) fn machines(self) -> Vec<(&'static str, Setting)> {
        let setting = |store: &str, frames, chaos| Setting {
            store: store.into(),
            frames,
            chaos,
            check_locks: true,
            ..Setting::default()
        };
        let files = ("file, chaos", setting("file", 4096, 500));
        match self {
            Self::EachStore => [
                ("ram", "ram"),
                ("file", "file"),
                ("block:512", "block:512"),
                ("block:1024", "block:1024"),
                ("block:4096", "block:4096"),
            ]
            .map(|(name, store)| {
                let strategy = if store == "block:1024" { "a" } else { "b" };
                (name, Setting { strategy: strategy.into(), ..setting(store, 128, 500) })
            })
            .into(),
            Self::Two => vec![("ram", setting("ram", 65_536, 0)), files],
            Self::Files => vec![files],
            Self::Quiet => vec![("file", setting("file", 4096, 0))],
            Self::Failing => vec![("failing", Setting { fail: 40, ..setting("file", 4096, 0) })],
        }
    }
}

const fn own(name: &'static str, script: &'static str, on: On) -> Case {
    Case { name, needs: &[CC], script, compared: Compared::Everything, on }
}

const fn racing(name: &'static str, script: &'static str, on: On) -> Case {
    Case { compared: Compared::Output, ..own(name, script, on) }
}

/// All of them. What a script prints ends with sums of its files.
pub(crate) const CASES: &[Case] = &[
    own("own page", "own_page", On::EachStore),
    own("short copies", "short_copies", On::Two),
    own("truncation", "truncation", On::Two),
    own("moved", "moved", On::Two),
    own("times", "file_times", On::Two),
    own("bad calls", "bad_calls", On::Two),
    racing("buffers in mappings", "buffers", On::EachStore),
    racing("handlers of signals", "handlers", On::Two),
    own("no environment", "no_environment", On::Two),
    own("programs in the folder", "program_work", On::Two),
    own("synced", "synced", On::Quiet),
    own("little memory", "little_memory", On::Files),
    racing("all at once", "all_at_once", On::EachStore),
    racing("killed", "killed", On::Two),
    racing("threads", "threads", On::Two),
    Case {
        name: "two descriptors",
        needs: &[CC],
        script: "two_descriptors",
        compared: Compared::ExitCode,
        on: On::Failing,
    },
    fsx("fsx, seed 1", "fsx -q -N 20000 -S 1 file"),
    fsx("fsx, seed 2", "fsx -q -N 20000 -S 2 file"),
    fsx("fsx, seed 3", "fsx -q -N 20000 -S 3 file"),
    fsx(
        "fsx, holes",
        "printf '[weights]\\npunch_hole = 10\\nposix_fallocate = 5\\n' > holes.toml && \
         fsx -q -f holes.toml -N 20000 -S 4 file",
    ),
    fio("fio psync", "fio $FIO --ioengine=psync"),
    fio("fio pvsync2", "fio $FIO --ioengine=pvsync2"),
    fio("fio sync", "fio $FIO --ioengine=sync"),
    fio("fio mmap", "fio $FIO --ioengine=mmap"),
    fio("fio, own buffers", "fio $FIO --ioengine=psync --mem=mmapshared:$PWD/buffers"),
    Case {
        name: "stress-ng files",
        needs: &[STRESS],
        script: "stress-ng --verify --temp-path . --timeout 8 --hdd 1 --hdd-ops 300 --filename 1 \
                 --filename-ops 300 --dentry 1 --dentry-ops 300 --link 1 --link-ops 300 --symlink 1 \
                 --symlink-ops 300 --rename 1 --rename-ops 300 --seek 1 --seek-ops 1000 \
                 --sendfile 1 --sendfile-ops 100 --copy-file 1 --copy-file-ops 300 --utime 1 \
                 --utime-ops 300 --iomix 1 --iomix-ops 2000 --fallocate 1 --fallocate-ops 100 \
                 --flock 1 --flock-ops 1000 --fcntl 1 --fcntl-ops 1000 --lockf 1 --lockf-ops 500",
        compared: Compared::ExitCode,
        on: On::Files,
    },
    Case {
        name: "stress-ng memory",
        needs: &[STRESS],
        script: "stress-ng --verify --temp-path . --timeout 8 --mmap 2 --mmap-file --mmap-bytes 4m \
                 --mmap-ops 30 --msync 2 --msync-ops 200 --mincore 1 --mincore-ops 300 --madvise 1 \
                 --madvise-ops 50 --rmap 1 --rmap-ops 200 --fault 1 --fault-ops 300 --mremap 1 \
                 --mremap-ops 100 --mmapfork 1 --mmapfork-ops 5",
        compared: Compared::ExitCode,
        on: On::Files,
    },
    Case {
        name: "sqlite, rollback",
        needs: &[SQLITE],
        script: "sqlite_work delete",
        compared: Compared::Everything,
        on: On::Two,
    },
    Case {
        name: "sqlite, WAL",
        needs: &[SQLITE],
        script: "sqlite_work wal",
        compared: Compared::Everything,
        on: On::Two,
    },
    Case {
        name: "sqlite, killed",
        needs: &[SQLITE],
        script: "sqlite_killed",
        compared: Compared::ExitCode,
        on: On::Two,
    },
    Case {
        name: "files",
        needs: &[],
        script: "file_work",
        compared: Compared::Everything,
        on: On::Two,
    },
    Case {
        name: "git",
        needs: &[GIT],
        script: "git_work",
        compared: Compared::Everything,
        on: On::Two,
    },
    python("python3 mmap", "python3 -m test -q test_mmap"),
    python("python3 fileio", "python3 -m test -q test_fileio test_largefile test_fcntl"),
    python("python3 io", "python3 -m test -q test_io"),
];

const fn fsx(name: &'static str, script: &'static str) -> Case {
    Case { name, needs: &[FSX], script, compared: Compared::Everything, on: On::EachStore }
}

const fn fio(name: &'static str, script: &'static str) -> Case {
    Case { name, needs: &[FIO], script, compared: Compared::ExitCode, on: On::Two }
}

const fn python(name: &'static str, script: &'static str) -> Case {
    Case { name, needs: &[PYTHON], script, compared: Compared::ExitCode, on: On::Two }
}

/// A bug that can be planted in the machine, and a case that finds it.
pub(crate) const PLANTED: &[(&str, &str)] = &[
    ("fault-under-lock", "own page"),
    ("short-copies", "short copies"),
    ("no-write-protect", "synced"),
    ("no-unmap", "truncation"),
    ("lost-dirty", "fsx, seed 2"),
    ("lost-dirty", "synced"),
];
