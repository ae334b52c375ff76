//! Modules of the core crates import each other in one direction: a reader can begin at the bottom.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Imports, Module};
use super::{Facts, Violation};

/// Where the crates' sources lie.
const CRATES: &[&str] = &[
    "crates/page/src/",
    "crates/usercopy/src/",
    "crates/filemap/src/",
    "crates/faultless/src/",
    "crates/example-kernel/src/",
];

/// No module imports, by any number of steps, from a module that imports from it.
pub(super) fn none(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in CRATES {
        let files = facts.files.iter().filter_map(|file| {
            let path = file.path.strip_prefix(source)?;
            path.ends_with(".rs").then_some((path, file.text.as_str()))
        });
        let imports = Imports::of(files);
        let edges = imports.edges();
        for (module, others) in &edges {
            for other in others.iter().filter(|other| reaches(&edges, other, module)) {
                let (from, to) = (name(module), name(other));
                let what = format!("{from} imports {to}, which leads back to {from}");
                found.push(Violation::new(*source, what));
            }
        }
    }
    found
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
    use crate::check::testing::objects;
    use crate::workspace::TextFile;

    fn page(files: &[(&str, &str)]) -> Facts {
        let file = |(path, text): &(&str, &str)| TextFile {
            path: format!("crates/page/src/{path}"),
            text: (*text).into(),
        };
        Facts { files: files.iter().map(file).collect(), packages: vec![] }
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
            ("b.rs", "pub struct B; impl B { fn f(_: crate::A) {} }"),
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
    fn tests_may_import_what_they_like() {
        let facts = page(&[
            ("lib.rs", &format!("{ROOT} #[cfg(test)] mod testing;")),
            ("a.rs", "use crate::B; pub struct A(B);"),
            ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::A; }"),
            ("testing.rs", "use crate::A;"),
        ]);
        assert_eq!(none(&facts), []);
    }
}
