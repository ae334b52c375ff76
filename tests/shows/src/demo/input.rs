//! Which file the demo works on: one that was named, or one made of the workspace's own sources;
//! never the file itself, always a copy.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The most bytes that are worked on: the expected contents are held in memory, and the cache as
/// well.
pub(super) const MOST: u64 = 256 << 20;

/// What to work on.
#[derive(Debug)]
pub(super) struct Input {
    /// Where it is from, for people.
    pub(super) name: String,
    /// What it holds.
    pub(super) bytes: Vec<u8>,
}

/// Reads the file that was named, or its first `first` bytes.
///
/// # Errors
/// With a reason for people: there is no such file, it is no file, it cannot be read, it is empty,
/// or too large.
pub(super) fn named(path: &Path, first: Option<u64>) -> Result<Input> {
    let name = path.display().to_string();
    let metadata = fs::metadata(path).with_context(|| format!("cannot look at {name}"))?;
    if metadata.is_dir() {
        bail!("{name} is a directory; the demo works on a file");
    }
    if !metadata.is_file() {
        bail!("{name} is neither a file nor a directory; the demo works on a file");
    }
    let wanted = first.unwrap_or(MOST);
    if wanted > MOST {
        bail!("--first {wanted} is too much: the demo works on at most {MOST} bytes");
    }
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut bytes = Vec::new();
    // One byte more than wanted tells whether the file goes on. Sizes in metadata may lie.
    file.take(wanted + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > wanted {
        if first.is_none() {
            let size = metadata.len().max(wanted + 1);
            bail!(
                "{name} has {size} bytes; the demo holds what it expects in memory and so works on at most \
                 {MOST}. With --first {MOST} it works on a copy of the file's beginning"
            );
        }
        bytes.truncate(wanted as usize);
    }
    if bytes.is_empty() {
        bail!("{name} is empty: there is nothing in it to rewrite it from");
    }
    Ok(Input { name, bytes })
}

/// All Rust and Markdown files of the workspace, one after the other.
///
/// # Errors
/// When they cannot be read.
pub(super) fn own_sources() -> Result<Input> {
    let mut bytes = Vec::new();
    let root = faultless_tools::workspace::root();
    for folder in ["crates", "tests", "xtask"] {
        gather(&root.join(folder), &mut bytes).with_context(|| format!("cannot read {folder}"))?;
    }
    Ok(Input { name: "the workspace's own sources".into(), bytes })
}

fn gather(folder: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                gather(&path, bytes)?;
            }
        } else if path.extension().is_some_and(|e| e == "rs" || e == "md") {
            File::open(&path)?.read_to_end(bytes)?;
        }
    }
    Ok(())
}

/// A folder for the copies, removed at the end unless it is to be kept.
#[derive(Debug)]
pub(super) struct Workshop {
    path: PathBuf,
    afterwards: Afterwards,
}

/// What becomes of the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// They are removed.
    Remove,
    /// They stay.
    Keep,
}

impl Workshop {
    /// A fresh folder among the system's temporary files.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(afterwards: Afterwards) -> Result<Self> {
        let parent = std::env::temp_dir();
        for attempt in 0..1000_u32 {
            let path = parent.join(format!("faultless-demo-{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, afterwards }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error)
                        .context(format!("cannot make a folder in {}", parent.display()));
                }
            }
        }
        bail!("no free name for a folder in {}", parent.display())
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a copy of the input.
    ///
    /// # Errors
    /// When it cannot be written, for want of room for example.
    pub(super) fn copy(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Removes a copy, unless copies are kept.
    pub(super) fn done_with(&self, path: &Path) {
        if self.afterwards == Afterwards::Remove {
            // The folder is removed at the end; what is left then is reported by nobody.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if self.afterwards == Afterwards::Remove {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(path: &Path, first: Option<u64>, why: &str) {
        let error = format!("{:#}", named(path, first).expect_err("refused"));
        assert!(error.contains(why), "{error}");
    }

    fn workshop() -> Workshop {
        Workshop::new(Afterwards::Remove).expect("a folder")
    }

    #[test]
    fn a_missing_file_a_directory_and_a_device_are_refused_in_words() {
        refused(Path::new("no/such/file"), None, "cannot look at no/such/file");
        refused(workshop().path(), None, "is a directory");
        refused(Path::new("/dev/null"), None, "neither a file nor a directory");
    }

    #[test]
    fn an_empty_file_is_refused_in_words() {
        let workshop = workshop();
        refused(&workshop.copy("empty", b"").expect("written"), None, "is empty");
    }

    #[test]
    fn a_sparse_file_of_5_gib_is_refused_and_its_beginning_is_not() {
        let workshop = workshop();
        let path = workshop.copy("sparse", b"x").expect("written");
        let file = File::options().write(true).open(&path).expect("opened");
        file.set_len(5 << 30).expect("sparse");
        refused(&path, None, "has 5368709120 bytes");
        refused(&path, Some(MOST + 1), "at most");
        let beginning = named(&path, Some(8192)).expect("read").bytes;
        assert_eq!((beginning.len(), beginning[0], beginning[8191]), (8192, b'x', 0));
    }

    #[test]
    fn a_file_that_may_not_be_read_is_refused_in_words() {
        use std::os::unix::fs::PermissionsExt;
        let workshop = workshop();
        let path = workshop.copy("secret", b"x").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).expect("changed");
        // Root may read everything, and then there is nothing to refuse.
        if File::open(&path).is_err() {
            refused(&path, None, "cannot open");
        }
    }

    #[test]
    fn the_default_input_is_larger_than_a_leaf_of_the_index() {
        let bytes = own_sources().expect("read").bytes;
        assert!(bytes.len() > 300_000, "{}", bytes.len());
    }

    #[test]
    fn the_workshop_is_gone_afterwards() {
        let workshop = workshop();
        let path = workshop.copy("x", b"x").expect("written");
        drop(workshop);
        assert!(!path.exists());
    }
}
