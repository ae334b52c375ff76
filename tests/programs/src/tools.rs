//! The library, the small programs and the scripts, and how a script is run.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{Read, Seek};
use std::iter::once;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use faultless_tools::workspace;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::machine::{Machine, Setting, build_library, exit_code};
use crate::witness;

/// How long a run may take before it counts as hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// What a run was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    /// The exit code; nothing if it hung.
    pub(crate) code: Option<u8>,
    pub(crate) output: String,
    /// Sums of the files that are left, by path.
    pub(crate) files: BTreeMap<PathBuf, u64>,
}

/// What all jobs of fio have in common.
const FIO: &str = "--name=job --rw=randrw --bs=4k --size=8m --verify=crc32c --randseed=1 \
                   --output=/dev/null";

/// The library, and the folder of the small programs and scripts.
pub(crate) struct Tools {
    library: PathBuf,
    programs: PathBuf,
}

impl Tools {
    /// Builds all of it.
    ///
    /// # Errors
    /// Something does not build.
    pub(crate) fn build() -> Result<Self> {
        let programs = workspace::target_dir()?.join("programs");
        fs::create_dir_all(&programs)?;
        let source = workspace::root().join("tests/programs");
        for entry in fs::read_dir(source.join("c"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "c") {
                let name = path.file_stem().context("a file without a name")?;
                let mut compiler = Command::new("cc");
                compiler.args(["-O1", "-Wall", "-Wno-stringop-overread", "-pthread", "-o"]);
                let status = compiler.arg(programs.join(name)).arg(&path).status()?;
                ensure!(status.success(), "{} does not compile", path.display());
            }
        }
        for entry in fs::read_dir(source.join("scripts"))? {
            let path = entry?.path();
            fs::copy(&path, programs.join(path.file_name().context("a file without a name")?))?;
        }
        Ok(Self { library: build_library()?, programs })
    }

    /// Where the library is.
    pub(crate) fn library(&self) -> &Path {
        &self.library
    }

    /// On Linux alone.
    pub(crate) fn control(&self, script: &str) -> Result<Ran> {
        let folder = tempfile::Builder::new().prefix("control-").tempdir()?;
        let mut command = Command::new("sh");
        command.current_dir(folder.path());
        let (code, output) = self.script(command, script, folder.path(), PATIENCE)?;
        Ok(Ran { code, output, files: sums(folder.path())? })
    }

    /// On a machine; the line of proof, too.
    pub(crate) fn on_machine(
        &self,
        script: &str,
        setting: &Setting,
        patience: Duration,
    ) -> Result<(Ran, String)> {
        let folder = tempfile::Builder::new().prefix("faultless-").tempdir()?;
        let machine = Machine::new(&self.library, setting.clone(), Some(folder.path()))?;
        let command = machine.command(Path::new("sh"));
        let (code, output) = self.script(command, script, folder.path(), patience)?;
        let proof = if code.is_some() { machine.finish()?.text } else { String::new() };
        Ok((Ran { code, output, files: sums(folder.path())? }, proof))
    }

    /// Runs a script; its exit code and what it printed.
    pub(crate) fn script(
        &self,
        mut shell: Command,
        script: &str,
        folder: &Path,
        patience: Duration,
    ) -> Result<(Option<u8>, String)> {
        let path = env::var_os("PATH").context("there is no PATH")?;
        let path = env::join_paths(once(self.programs.clone()).chain(env::split_paths(&path)))?;
        shell.args(["-c", script]).env("PATH", path);
        shell.env("TMPDIR", folder).env("HOME", folder).env("LC_ALL", "C");
        shell.env("FIO", FIO);
        let mut output = tempfile::tempfile()?;
        shell.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(Stdio::null());
        let mut child = shell.process_group(0).spawn().context("cannot run sh")?;
        let status = wait(&mut child, patience, folder)?;
        output.rewind()?;
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes)?;
        Ok((status.map(exit_code), String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Waits for a process; nothing if it is still there after so long: then it is killed, with all of
/// its group. Meanwhile its questions are answered.
fn wait(child: &mut Child, patience: Duration, folder: &Path) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        witness::answer(folder)?;
        if start.elapsed() > patience {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::KILL)?;
            }
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A sum of each file in a folder, by its path from there. Names with a dot are left out.
fn sums(folder: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut sums = BTreeMap::new();
    let mut rest = vec![folder.to_path_buf()];
    while let Some(at) = rest.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                rest.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path)?;
                let sum = bytes.iter().fold(bytes.len() as u64, |sum, byte| {
                    sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
                });
                sums.insert(path.strip_prefix(folder)?.to_path_buf(), sum);
            }
        }
    }
    Ok(sums)
}
