//! What a program gets: a folder, memory that all its processes share, and the library.
#![forbid(unsafe_code)]

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use faultless_tools::process::{capture, cargo};
use faultless_tools::workspace;
use rustix::fs::{IFlags, MemfdFlags, ftruncate, ioctl_getflags, ioctl_setflags, memfd_create};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use tempfile::TempDir;

/// The name of the folder of hidden links, which the library keeps files by.
const HIDDEN: &str = ".faultless";

/// The lowest descriptor that the memory may have: far from those that programs use, if the limit
/// of open files allows it.
const LOWEST: [i32; 3] = [900, 200, 50];

/// Bytes of the memory besides frames. Only what is used takes memory.
const OTHER_BYTES: u64 = 16 << 30;

const PAGE_BYTES: u64 = 4096;

/// How a machine is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Memory in pages.
    pub frames: u64,
    /// `ram`, `file`, `block:512`, …
    pub store: String,
    /// `a` or `b`.
    pub strategy: String,
    /// One of so many calls of a store fails; 0 for none.
    pub fail: u64,
    /// How long a call of a store takes, in microseconds.
    pub latency: u64,
    /// How often a second pages are written back, evicted and stolen; 0 for never.
    pub chaos: u64,
    /// Calls are told as they happen.
    pub trace: bool,
    /// The lock order is checked.
    pub check_locks: bool,
    /// The bug that is planted.
    pub plant: Option<String>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            frames: 65_536,
            store: "ram".into(),
            strategy: "b".into(),
            fail: 0,
            latency: 0,
            chaos: 0,
            trace: false,
            check_locks: false,
            plant: None,
        }
    }
}

/// How a machine ended.
#[derive(Clone, Debug)]
pub struct Proof {
    /// What it says of itself.
    pub text: String,
    /// Whether everything could be written back.
    pub is_synced: bool,
}

/// A machine with a folder.
#[derive(Debug)]
pub struct Machine {
    setting: Setting,
    library: PathBuf,
    memory: OwnedFd,
    folder: PathBuf,
    /// A folder of its own is removed with it.
    _own: Option<TempDir>,
}

/// Builds the library; where it is.
///
/// # Errors
/// Those of the build.
pub fn build_library() -> Result<PathBuf> {
    let finished =
        capture(&mut cargo(["build", "--release", "--locked", "--package", "faultless-preload"]))?;
    if !finished.success {
        bail!("the library does not build:\n{}", finished.output);
    }
    Ok(workspace::target_dir()?.join("release/libfaultless_preload.so"))
}

impl Machine {
    /// A machine with the files of `folder`, or of a new one.
    ///
    /// # Errors
    /// The folder cannot be used; no memory.
    pub fn new(library: &Path, setting: Setting, folder: Option<&Path>) -> Result<Self> {
        let own = match folder {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("faultless-").tempdir()?),
        };
        let path = folder.or(own.as_ref().map(TempDir::path)).context("no folder")?;
        let folder = fs::canonicalize(path).with_context(|| format!("{}", path.display()))?;
        let hidden = folder.join(HIDDEN);
        fs::create_dir(&hidden).with_context(|| {
            format!(
                "{}: another run uses the folder, or one that was killed has left it there",
                hidden.display()
            )
        })?;
        let name = c"faultless";
        let memory = memfd_create(name, MemfdFlags::empty()).context("no memory to share")?;
        ftruncate(&memory, OTHER_BYTES + setting.frames * PAGE_BYTES).context("no memory")?;
        // Inherited by the program, and by those that it starts.
        let memory = LOWEST.into_iter().find_map(|least| fcntl_dupfd_cloexec(&memory, least).ok());
        let memory = memory.context("no descriptor for the memory")?;
        fcntl_setfd(&memory, FdFlags::empty())?;
        Ok(Self { setting, library: library.to_path_buf(), memory, folder, _own: own })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command that runs `program` on the machine, in the folder.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("LD_PRELOAD", &self.library);
        command.env("FAULTLESS_RUN", self.options(false)).current_dir(&self.folder);
        command
    }

    fn options(&self, finish: bool) -> String {
        let Setting { frames, store, strategy, fail, latency, chaos, trace, check_locks, plant } =
            &self.setting;
        let plant = plant.as_ref().map_or(String::new(), |plant| format!("plant={plant},"));
        let (trace, locks) = (u8::from(*trace), u8::from(*check_locks));
        format!(
            "fd={},frames={frames},store={store},strategy={strategy},fail={fail},\
             latency={latency},chaos={chaos},trace={trace},locks={locks},finish={},{plant}folder={}",
            self.memory.as_raw_fd(),
            u8::from(finish),
            self.folder.display()
        )
    }

    /// Writes everything back, after the last program has ended; the line of proof, and what did
    /// not end well.
    ///
    /// # Errors
    /// The machine cannot be asked, or its links cannot be removed.
    pub fn finish(self) -> Result<Proof> {
        let mut command = Command::new("true");
        command.env("LD_PRELOAD", &self.library).env("FAULTLESS_RUN", self.options(true));
        let output = command.stdin(Stdio::null()).output().context("cannot run true")?;
        let hidden = self.folder.join(HIDDEN);
        allow_removal(&hidden);
        let removed = fs::remove_dir_all(hidden);
        let text = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        removed.context("the hidden links cannot be removed")?;
        Ok(Proof { text, is_synced: output.status.success() })
    }
}

/// Takes back what keeps links from being removed: a program that was killed may have left a file
/// that only grows, or does not change. What cannot be taken back shows in the removal.
fn allow_removal(folder: &Path) {
    let locked = IFlags::APPEND | IFlags::IMMUTABLE;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(file) = fs::File::open(entry.path()) else { continue };
        if let Ok(flags) = ioctl_getflags(&file)
            && flags.intersects(locked)
        {
            let _shows_in_the_removal = ioctl_setflags(&file, flags - locked);
        }
    }
}

/// The exit code that a shell gives a program that ended so.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
