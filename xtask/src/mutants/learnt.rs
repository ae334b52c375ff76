//! What an earlier run learnt from the compiler, kept for as long as the sources with mutants stay
//! the same. Without it every run would write mutants that do not compile, take them out again, and
//! so build everything anew.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::build::Loom;
use super::list::Mutant;
use super::weave::Redirect;

/// The form in which it is kept.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// Of all mutants, and of the files that have some.
    key: u64,
    unviable: BTreeMap<u32, String>,
    apart: BTreeSet<u32>,
    /// For each file, what it was, and its redirected calls.
    redirects: BTreeMap<String, (u64, BTreeSet<Redirect>)>,
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Names the mutants and the text of their files.
fn key(loom: &Loom, mutants: &[Mutant]) -> u64 {
    let titles: Vec<_> = mutants.iter().map(|m| (m.title(), &m.replacement)).collect();
    let files: BTreeSet<&String> = mutants.iter().map(|mutant| &mutant.file).collect();
    let texts = files.into_iter().filter_map(|file| loom.sources.get(file));
    hash((titles, texts.map(|source| &source.text).collect::<Vec<_>>()))
}

/// Takes over what was kept, as far as it still holds.
pub(super) fn recall(loom: &mut Loom, mutants: &[Mutant], path: &Path) {
    let kept = std::fs::read(path).ok().and_then(|json| serde_json::from_slice::<Kept>(&json).ok());
    let Some(kept) = kept.filter(|kept| kept.key == key(loom, mutants)) else { return };
    let still = kept.redirects.into_iter().filter(|(file, (text, _))| {
        loom.sources.get(file).is_some_and(|source| hash(&source.text) == *text)
    });
    loom.redirects = still.map(|(file, (_, redirects))| (file, redirects)).collect();
    (loom.unviable, loom.apart) = (kept.unviable, kept.apart);
}

/// Keeps what is known now.
pub(super) fn keep(loom: &Loom, mutants: &[Mutant], path: &Path) -> Result<()> {
    let redirects = loom.redirects.iter().filter_map(|(file, redirects)| {
        let text = hash(&loom.sources.get(file)?.text);
        Some((file.clone(), (text, redirects.clone())))
    });
    let kept = Kept {
        key: key(loom, mutants),
        unviable: loom.unviable.clone(),
        apart: loom.apart.clone(),
        redirects: redirects.collect(),
    };
    Ok(std::fs::write(path, serde_json::to_vec(&kept)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::source::Source;
    use crate::mutants::weave::Copy;

    fn loom(text: &str) -> Loom {
        Loom::new(BTreeMap::from([("a.rs".to_owned(), Source::new(text.to_owned()))]))
    }

    #[test]
    fn what_was_learnt_holds_while_the_sources_do() {
        let path = std::env::temp_dir().join(format!("xtask-learnt-{}", std::process::id()));
        let mut first = loom("fn f() {}");
        first.unviable.insert(3, "no".to_owned());
        first.apart.insert(4);
        first.redirects.insert("a.rs".to_owned(), BTreeSet::from([(3, Copy::Twin)]));
        keep(&first, &[], &path).expect("written");

        let mut same = loom("fn f() {}");
        recall(&mut same, &[], &path);
        assert_eq!((&same.unviable, &same.apart), (&first.unviable, &first.apart));
        assert_eq!(same.redirects, first.redirects);

        let mut changed = loom("fn g() {}");
        recall(&mut changed, &[], &path);
        assert!(changed.redirects.is_empty(), "the offsets are of another text");
        std::fs::remove_file(&path).expect("cleaned up");
    }
}
