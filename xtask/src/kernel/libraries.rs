//! What a dynamic program needs beside itself: its loader, and the libraries that it and they name.
//!
//! A library is looked for where the loader looks for it, and packed under the same path. What a
//! program loads while it runs (`dlopen`) is not found this way: `--file` packs it.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::{DT_NEEDED, DT_RPATH, DT_RUNPATH, PT_INTERP};
use elf::endian::AnyEndian;

/// Where the loaders of glibc and musl look for libraries.
const FOLDERS: [&str; 8] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/lib/x86_64-linux-musl",
    "/usr/local/lib",
];

/// What a file says of others.
#[derive(Debug, Default)]
struct Needs {
    loader: Option<PathBuf>,
    libraries: Vec<String>,
    /// Folders that it names, which come first.
    folders: Vec<PathBuf>,
}

/// The files that a program needs; none for a static one, and for one that is no program.
pub(super) fn of(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut left = vec![program.to_owned()];
    while let Some(path) = left.pop() {
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        let needs = needs(&path, &bytes).unwrap_or_default();
        let libraries = needs.libraries.iter().map(|name| library(name, &needs.folders));
        for needed in needs.loader.iter().cloned().chain(libraries.flatten()) {
            if found.insert(needed.clone()) {
                left.push(needed);
            }
        }
    }
    Ok(found)
}

/// Reads what a file needs; nothing if it is no program.
fn needs(path: &Path, bytes: &[u8]) -> Option<Needs> {
    let file = ElfBytes::<AnyEndian>::minimal_parse(bytes).ok()?;
    let mut needs = Needs::default();
    let loader = file.segments()?.iter().find(|segment| segment.p_type == PT_INTERP);
    if let Some(loader) = loader {
        let text = file.segment_data(&loader).ok()?;
        let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
        needs.loader = Some(text.into());
    }
    let Some(dynamic) = file.dynamic().ok()? else { return Some(needs) };
    let texts = file.find_common_data().ok()?.dynsyms_strs?;
    for entry in dynamic.iter() {
        let (tag, value) = (entry.d_tag, entry.d_val());
        let text = || texts.get(value as usize).ok();
        match tag {
            DT_NEEDED => needs.libraries.extend(text().map(str::to_owned)),
            DT_RPATH | DT_RUNPATH => {
                let origin = path.parent()?.to_str()?;
                let folders = text()?.split(':').map(|folder| folder.replace("$ORIGIN", origin));
                needs.folders.extend(folders.map(PathBuf::from));
            }
            _ => {}
        }
    }
    Some(needs)
}

/// Where a library is; nothing if it is not there, which the loader then says.
fn library(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(name.into());
    }
    let usual = FOLDERS.iter().map(PathBuf::from);
    folders.iter().cloned().chain(usual).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_needs_its_loader_and_the_c_library() {
        let own = std::env::current_exe().expect("the path of the tests");
        let needed = of(&own).expect("the tests are a program");
        let has = |part: &str| needed.iter().any(|path| path.to_string_lossy().contains(part));
        assert!(has("/ld-linux") && has("/libc.so"), "{needed:?}");
    }

    #[test]
    fn a_text_needs_nothing() {
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert_eq!(of(&text).expect("a file"), BTreeSet::new());
    }
}
