//! Modules of a crate import each other in one direction: a reader can begin at the bottom. Which
//! module imports which is said by [`imports`](super::imports).

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, Violation};
use super::imports::{Imports, Module};

/// No module imports, by any number of steps, from a module that imports from it.
pub(super) fn none(facts: &Facts) -> Vec<Violation> {
    facts
        .packages
        .iter()
        .flat_map(|package| roots(facts, &package.folder))
        .flat_map(|root| {
            let files = facts.files.iter().filter_map(|file| {
                let path = file.path.strip_prefix(&root)?;
                path.ends_with(".rs").then_some((path, file.text.as_str()))
            });
            let imports = Imports::of(without_program(files.collect()).into_iter());
            circles(&root, &imports)
        })
        .collect()
}

/// The folders of a package whose files are one crate: its source, and each test program of more
/// than one file.
fn roots(facts: &Facts, package: &str) -> Vec<String> {
    let tests = format!("{package}tests/");
    let programs = facts.files.iter().filter_map(|file| {
        let folder = file.path.strip_prefix(&tests)?.strip_suffix("/main.rs")?;
        (!folder.contains('/')).then(|| format!("{tests}{folder}/"))
    });
    std::iter::once(format!("{package}src/")).chain(programs).collect()
}

fn circles(root: &str, imports: &Imports) -> Vec<Violation> {
    let mut found = Vec::new();
    let edges = imports.edges();
    for (module, others) in &edges {
        for other in others.iter().filter(|other| reaches(&edges, other, module)) {
            let (from, to) = (name(module), name(other));
            let what = format!("{from} imports {to}, which leads back to {from}");
            found.push(Violation::new(root, what));
        }
    }
    found
}

/// A library's program is another crate, which imports the library.
fn without_program<'f>(mut files: Vec<(&'f str, &'f str)>) -> Vec<(&'f str, &'f str)> {
    if files.iter().any(|(path, _)| *path == "lib.rs") {
        files.retain(|(path, _)| *path != "main.rs");
    }
    files
}

fn reaches(edges: &BTreeMap<&Module, BTreeSet<&Module>>, from: &Module, to: &Module) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        if module == to {
            return true;
        }
        next.extend(edges.get(module).into_iter().flatten().filter(|other| seen.insert(other)));
    }
    false
}

fn name(module: &Module) -> String {
    if module.is_empty() { "the root".into() } else { module.join("::") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::Package;
    use crate::check::facts::testing::objects;
    use faultless_tools::workspace::TextFile;

    fn page(files: &[(&str, &str)]) -> Facts {
        let file = |(path, text): &(&str, &str)| TextFile {
            path: format!("crates/page/src/{path}"),
            text: (*text).into(),
        };
        let package = |name: &str, folder: &str| Package {
            name: name.into(),
            folder: folder.into(),
            ..Package::default()
        };
        let packages = [("faultless-page", "crates/page/"), ("faultless-host", "crates/host/")];
        let packages = packages.map(|(name, folder)| package(name, folder)).into();
        Facts { files: files.iter().map(file).collect(), packages }
    }

    const ROOT: &str = "mod a; mod b; mod c; pub use a::A; pub use b::B; pub use c::C;";

    #[test]
    fn imports_in_one_direction_pass() {
        let facts = page(&[
            ("lib.rs", ROOT),
            ("a.rs", "use crate::{B, C}; pub struct A(B, C);"),
            ("b.rs", "use crate::C; pub struct B(C);"),
            ("c.rs", "pub struct C;"),
        ]);
        assert_eq!(none(&facts), []);
    }

    #[test]
    fn two_modules_that_import_each_other_are_found_through_re_exports() {
        let facts = page(&[
            ("lib.rs", ROOT),
            ("a.rs", "use crate::B; pub struct A(B);"),
            ("b.rs", "pub struct B; impl B { fn f() { assert!(0 < crate::A::F, \"{}\", 1); } }"),
        ]);
        objects(&none(&facts), "a imports b, which leads back to a");
        objects(&none(&facts), "b imports a");
    }

    #[test]
    fn a_longer_circle_and_one_through_a_parent_are_found() {
        let facts = page(&[
            ("lib.rs", ROOT),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "pub use self::inner::B; mod inner;"),
            ("b/inner.rs", "use super::super::c::C; pub struct B(C);"),
            ("c.rs", "use crate::a::A; pub struct C(A);"),
        ]);
        objects(&none(&facts), "c imports a, which leads back to c");
        objects(&none(&facts), "b::inner imports c");
    }

    #[test]
    fn a_program_may_import_its_library_whatever_that_has() {
        let files = vec![("lib.rs", ROOT), ("main.rs", "fn main() {}")];
        assert_eq!(without_program(files), [("lib.rs", ROOT)]);
    }

    #[test]
    fn a_circle_in_a_test_program_is_found() {
        let mut facts = page(&[
            ("main.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "use crate::a::A; pub struct B(A);"),
        ]);
        for file in &mut facts.files {
            file.path = file.path.replace("/src/", "/tests/write/");
        }
        objects(&none(&facts), "a imports b, which leads back to a");
    }

    #[test]
    fn unit_tests_may_import_what_they_like() {
        let facts = page(&[
            ("lib.rs", &format!("{ROOT} #[cfg(test)] mod testing;")),
            ("a.rs", "use crate::B; pub struct A(B);"),
            ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::A; }"),
            ("testing.rs", "use crate::A;"),
        ]);
        assert_eq!(none(&facts), []);
    }
}
