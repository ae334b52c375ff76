//! Packs the files that the kernel begins with: an archive of the format `newc`.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cpio::NewcBuilder;
use cpio::newc::ModeFileType;

use super::libraries;

/// Folders that every run has, and their modes.
const FOLDERS: [(&str, u32); 4] =
    [("bin", 0o755), ("tmp", 0o1777), ("etc", 0o755), ("var/tmp", 0o1777)];

/// Files that every run has: users and groups that programs ask for by name.
const FILES: [(&str, &str); 2] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/:/bin/sh\nbin:x:2:2:bin:/:/bin/false\n\
         daemon:x:1:1:daemon:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    (
        "etc/group",
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nusers:x:100:\nnogroup:x:65534:\n\
         nobody:x:65533:\n",
    ),
];

/// An archive that grows.
pub(super) struct Initramfs {
    archive: Vec<u8>,
    entries: u32,
    folders: Vec<String>,
    /// Files that are packed once: those of every run, loaders and libraries.
    files: BTreeSet<PathBuf>,
}

impl Initramfs {
    pub(super) fn new() -> Self {
        Self { archive: Vec::new(), entries: 0, folders: Vec::new(), files: BTreeSet::new() }
    }

    /// Packs the program, and what it needs to be loaded; where the kernel finds it.
    pub(super) fn program(&mut self, path: &Path) -> Result<OsString> {
        for (folder, mode) in FOLDERS {
            self.folder_of(folder, mode)?;
        }
        for (file, text) in FILES {
            if self.files.insert(file.into()) {
                self.put(file, 0o644, text.as_bytes())?;
            }
        }
        let name = path.file_name().context("the program has no name")?;
        let mut guest = OsString::from("/bin/");
        guest.push(name);
        self.file(path, &guest)?;
        self.libraries(path)?;
        Ok(guest)
    }

    /// Packs this machine's shell, which `system` starts, if there is one.
    pub(super) fn shell(&mut self) -> Result<()> {
        let shell = Path::new("/bin/sh");
        if shell.is_file() && self.files.insert(shell.into()) {
            self.file(shell, shell.as_os_str())?;
            self.libraries(shell)?;
        }
        Ok(())
    }

    /// Packs what a program needs to be loaded.
    fn libraries(&mut self, program: &Path) -> Result<()> {
        for library in libraries::of(program)? {
            if self.files.insert(library.clone()) {
                self.file(&library, library.as_os_str())?;
            }
        }
        Ok(())
    }

    /// Packs `HOST` or `HOST=GUEST`.
    pub(super) fn add(&mut self, what: &OsStr) -> Result<()> {
        let bytes = what.as_bytes();
        let (host, guest) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (&bytes[..at], OsStr::from_bytes(&bytes[at + 1..]).to_owned()),
            None => {
                let name = Path::new(what).file_name().context("a file without a name")?;
                (bytes, [OsStr::new("/"), name].into_iter().collect())
            }
        };
        self.tree(Path::new(OsStr::from_bytes(host)), &guest)
    }

    /// Packs a file, or a folder with all that is in it. A program comes with what it needs.
    fn tree(&mut self, host: &Path, guest: &OsStr) -> Result<()> {
        if !host.is_dir() {
            self.files.insert(guest.into());
            self.file(host, guest)?;
            return self.libraries(host);
        }
        self.folder(text(guest)?.trim_start_matches('/'))?;
        for entry in fs::read_dir(host).with_context(|| host.display().to_string())? {
            let entry = entry?;
            let mut inside = guest.to_owned();
            inside.push("/");
            inside.push(entry.file_name());
            self.tree(&entry.path(), &inside)?;
        }
        Ok(())
    }

    fn file(&mut self, host: &Path, guest: &OsStr) -> Result<()> {
        let contents = fs::read(host).with_context(|| host.display().to_string())?;
        let mode = fs::metadata(host)?.permissions().mode() & 0o7777;
        self.put(text(guest)?.trim_start_matches('/'), mode, &contents)
    }

    fn put(&mut self, guest: &str, mode: u32, contents: &[u8]) -> Result<()> {
        if let Some((folder, _)) = guest.rsplit_once('/') {
            self.folder(folder)?;
        }
        self.entry(guest, mode, ModeFileType::Regular, contents)
    }

    /// Packs a file with these contents.
    pub(super) fn contents(&mut self, guest: &str, contents: &[u8]) -> Result<()> {
        self.put(guest.trim_start_matches('/'), 0o644, contents)
    }

    /// Packs a program with these contents.
    pub(super) fn program_text(&mut self, guest: &str, contents: &[u8]) -> Result<()> {
        self.put(guest.trim_start_matches('/'), 0o755, contents)
    }

    /// Packs a folder and those above it, unless they are there.
    fn folder(&mut self, guest: &str) -> Result<()> {
        self.folder_of(guest, 0o755)
    }

    fn folder_of(&mut self, guest: &str, mode: u32) -> Result<()> {
        let mut ends: Vec<usize> = guest.match_indices('/').map(|(at, _)| at).collect();
        ends.push(guest.len());
        for end in ends {
            let folder = &guest[..end];
            if !folder.is_empty() && !self.folders.iter().any(|known| known == folder) {
                self.folders.push(folder.to_owned());
                let mode = if end == guest.len() { mode } else { 0o755 };
                self.entry(folder, mode, ModeFileType::Directory, &[])?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, kind: ModeFileType, contents: &[u8]) -> Result<()> {
        let Ok(len) = u32::try_from(contents.len()) else { bail!("{name} is too large") };
        self.entries += 1;
        let entry = NewcBuilder::new(name).ino(self.entries).mode(mode).set_mode_file_type(kind);
        let mut writer = entry.write(&mut self.archive, len);
        writer.write_all(contents)?;
        writer.finish()?;
        Ok(())
    }

    /// The archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        let mut end = Cursor::new(Vec::new());
        cpio::newc::trailer(&mut end)?;
        self.archive.extend(end.into_inner());
        Ok(self.archive)
    }
}

fn text(path: &OsStr) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_with_the_folders_above_it() {
        let here = tempfile::tempdir().expect("a folder");
        let host = here.path().join("x");
        fs::write(&host, "contents").expect("a file");
        let mut files = Initramfs::new();
        let mut what = host.into_os_string();
        what.push("=/a/b/x");
        files.add(&what).expect("packed");
        let archive = files.finish().expect("an archive");
        let mut rest = Cursor::new(archive);
        let mut names = Vec::new();
        loop {
            let entry = cpio::NewcReader::new(rest).expect("an entry");
            if entry.entry().is_trailer() {
                break;
            }
            names.push(entry.entry().name().to_owned());
            rest = entry.finish().expect("the next entry");
        }
        assert_eq!(names, ["a", "a/b", "a/b/x"]);
    }
}
