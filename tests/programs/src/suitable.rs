//! Whether a program can run on the machine: the dynamic linker has to load a library into it.

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use object::Endianness;
use object::elf;
use object::read::elf::{ElfFile64, ProgramHeader};

/// The program that a name means: a path, or the first one of that name in `PATH`.
///
/// # Errors
/// There is none, or it cannot run on the machine: why.
pub(crate) fn find(name: &Path) -> Result<PathBuf> {
    let path = if name.components().count() > 1 {
        name.to_path_buf()
    } else {
        let folders = env::var_os("PATH").context("there is no PATH")?;
        let found = env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| {
            fs::metadata(path)
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        });
        found.with_context(|| format!("{}: no such program in PATH", name.display()))?
    };
    let path = fs::canonicalize(&path).with_context(|| format!("{}", path.display()))?;
    check(&path, 0)?;
    Ok(path)
}

/// How many scripts may name each other as interpreters.
const DEPTH: usize = 4;

fn check(path: &Path, depth: usize) -> Result<()> {
    ensure!(depth < DEPTH, "{}: scripts that name each other", path.display());
    let mut file = fs::File::open(path).with_context(|| format!("{}", path.display()))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(|| format!("{}", path.display()))?;
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or(&[]));
        let mut words = line.split_whitespace();
        let interpreter = words.next().context("a script without an interpreter")?;
        if interpreter.ends_with("/env") {
            return words
                .find(|word| !word.starts_with('-'))
                .map_or(Ok(()), |name| find(Path::new(name)).map(|_| ()));
        }
        return check(Path::new(interpreter), depth + 1);
    }
    elf(&bytes).with_context(|| format!("{} cannot run on the machine", path.display()))
}

fn elf(bytes: &[u8]) -> Result<()> {
    let Ok(file) = ElfFile64::<Endianness, _>::parse(bytes) else {
        bail!("it is no 64-bit ELF program");
    };
    let machine = file.elf_header().e_machine.get(file.endian());
    ensure!(machine == elf::EM_X86_64, "it is for another architecture than x86-64");
    let is_dynamic = file
        .elf_program_headers()
        .iter()
        .any(|header| header.p_type(file.endian()) == elf::PT_INTERP);
    ensure!(is_dynamic, "it is a static program, into which no library can be loaded");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        format!("{:#}", find(Path::new(name)).expect_err("not a program for the machine"))
    }

    #[test]
    fn a_refusal_says_why() {
        assert!(refusal("no-such-program-here").contains("no such program in PATH"));
        assert!(refusal("/no/such/file").contains("No such file"));
        let folder = tempfile::tempdir().expect("a folder");
        let text = folder.path().join("text");
        fs::write(&text, "hello").expect("written");
        assert!(refusal(&text.to_string_lossy()).contains("no 64-bit ELF program"));
    }

    #[test]
    fn programs_and_scripts_are_found() {
        assert!(find(Path::new("true")).expect("a program").is_absolute());
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("script");
        fs::write(&script, "#!/bin/sh\n").expect("written");
        assert!(find(&script).is_ok());
    }
}
