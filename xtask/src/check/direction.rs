//! Which crate may need which: `page` and `usercopy` do not know each other, and `page` asks
//! `policy`; `filemap` needs all three; `parts` builds from `page`; `host` needs the first three,
//! and knows nothing of what is checked on it: the controls, the oracle and the fuzz bodies, which
//! stand above it. `xtask` needs none of them, and nothing needs `xtask`. The example kernel needs
//! `faultless` and nothing else, as an embedder's does; so do the system calls of `posix` and the
//! file system `ext2`; the kernel that boots needs these three. The tests of `filemap` stand on
//! `parts`, those of `parts` put an inode on top, and those of the example kernel run it on `host`.

#![forbid(unsafe_code)]

use super::facts::{Facts, Package, Violation};

const PAGE: &str = "faultless-page";
const USERCOPY: &str = "faultless-usercopy";
const FILEMAP: &str = "faultless-filemap";
const POLICY: &str = "faultless-policy";
const PARTS: &str = "faultless-parts";
const HOST: &str = "faultless-host";
const CONTROLS: &str = "faultless-controls";
const FUZZING: &str = "faultless-fuzzing";
const ORACLE: &str = "faultless-oracle";
const FAULTLESS: &str = "faultless";
const TOOLS: &str = "faultless-tools";
const POSIX: &str = "faultless-posix";
const SIMULATOR: &str = "faultless-simulator";
const EXT2: &str = "faultless-ext2";
const EXAMPLE: &str = "faultless-example-kernel";
const KERNEL: &str = "faultless-kernel";

/// Crates of the workspace, each with those of the workspace that it may need.
const ALLOWED: &[(&str, &[&str])] = &[
    (PAGE, &[POLICY]),
    (USERCOPY, &[]),
    (POLICY, &[]),
    (FILEMAP, &[PAGE, USERCOPY, POLICY]),
    (PARTS, &[PAGE]),
    (HOST, &[PAGE, USERCOPY, FILEMAP]),
    (FAULTLESS, &[PAGE, USERCOPY, FILEMAP, POLICY, PARTS]),
    (EXAMPLE, &[FAULTLESS]),
    (EXT2, &[FAULTLESS]),
    (POSIX, &[FAULTLESS]),
    (KERNEL, &[FAULTLESS, POSIX, EXT2]),
    (CONTROLS, &[PAGE, USERCOPY, FILEMAP, HOST]),
    (ORACLE, &[PAGE, USERCOPY, FILEMAP, HOST, CONTROLS]),
    (FUZZING, &[PAGE, USERCOPY, FILEMAP, HOST, CONTROLS]),
    ("faultless-tests", &[FAULTLESS, HOST, CONTROLS, ORACLE, FUZZING]),
    ("faultless-compile-tests", &[FAULTLESS]),
    ("faultless-model", &[PAGE, USERCOPY, FILEMAP, HOST, CONTROLS]),
    (TOOLS, &[]),
    ("faultless-bench", &[PAGE, USERCOPY, FILEMAP, PARTS, HOST, SIMULATOR, TOOLS]),
    ("faultless-planted", &[TOOLS]),
    ("faultless-preload", &[FAULTLESS, POSIX]),
    ("faultless-programs", &[TOOLS]),
    ("faultless-prover", &[TOOLS]),
    ("faultless-random", &[HOST, CONTROLS, ORACLE, FUZZING, TOOLS]),
    (SIMULATOR, &[POLICY]),
    ("faultless-shows", &[PAGE, USERCOPY, FILEMAP, HOST, CONTROLS, TOOLS]),
    ("xtask", &[TOOLS]),
];

/// What their tests may need besides.
const ALLOWED_FOR_TESTS: &[(&str, &[&str])] =
    &[(FILEMAP, &[PARTS]), (PARTS, &[USERCOPY, FILEMAP]), (EXAMPLE, &[HOST])];

/// The crates that an embedder's kernel links.
const CORE: &[&str] = &[PAGE, USERCOPY, FILEMAP, POLICY, PARTS, FAULTLESS];

/// What the core crates may need from elsewhere: all of it `no_std` and without alloc.
const OUTSIDE: &[&str] =
    &["spin", "bitflags", "heapless", "stable_deref_trait", "static_assertions"];

/// A crate needs another crate of the workspace only if it stands above it; its tests may need a
/// few more.
pub(super) fn between_crates(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in &facts.packages {
        let Some(needed) = allowed(ALLOWED, &package.name) else {
            found.push(Violation::new(&package.name, "a crate without a place in the order"));
            continue;
        };
        let besides = allowed(ALLOWED_FOR_TESTS, &package.name).unwrap_or_default();
        let for_tests = [needed, besides].concat();
        let both = [(&package.needs, needed), (&package.needs_for_tests, &for_tests)];
        for (names, allowed) in both {
            for name in names {
                let ours = facts.packages.iter().any(|other| other.name == *name);
                if ours && !allowed.contains(&name.as_str()) {
                    found.push(Violation::new(&package.name, format!("must not need {name}")));
                }
            }
        }
    }
    found
}

/// What a table says of a crate.
fn allowed<'t>(table: &[(&str, &'t [&'t str])], name: &str) -> Option<&'t [&'t str]> {
    table.iter().find(|(of, _)| *of == name).map(|(_, allowed)| *allowed)
}

/// A core crate needs nothing from outside but the crates agreed on. Its tests may.
pub(super) fn to_the_outside(facts: &Facts) -> Vec<Violation> {
    let core = |package: &&Package| CORE.contains(&package.name.as_str());
    let mut found = Vec::new();
    for package in facts.packages.iter().filter(core) {
        for needed in &package.needs {
            let ours = facts.packages.iter().any(|other| other.name == *needed);
            if !ours && !OUTSIDE.contains(&needed.as_str()) {
                let what = format!("needs {needed}, which is not among {}", OUTSIDE.join(", "));
                found.push(Violation::new(&package.name, what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::testing::objects;

    fn package(name: &str, needs: &[&str], needs_for_tests: &[&str]) -> Package {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Package {
            name: name.into(),
            needs: owned(needs),
            needs_for_tests: owned(needs_for_tests),
            ..Package::default()
        }
    }

    fn facts(packages: Vec<Package>) -> Facts {
        Facts { files: vec![], packages }
    }

    #[test]
    fn the_order_of_the_design_passes() {
        let found = between_crates(&facts(vec![
            package(PAGE, &["spin"], &[]),
            package(USERCOPY, &[], &[]),
            package(FILEMAP, &[PAGE, USERCOPY], &[]),
            package(HOST, &[PAGE, FILEMAP], &[]),
            package(EXAMPLE, &[FAULTLESS], &[]),
            package("xtask", &[TOOLS], &[]),
        ]));
        assert_eq!(found, []);
    }

    #[test]
    fn page_that_needs_usercopy_is_found() {
        let planted = facts(vec![package(PAGE, &[USERCOPY], &[]), package(USERCOPY, &[], &[])]);
        objects(&between_crates(&planted), "faultless-page: must not need faultless-usercopy");
    }

    #[test]
    fn an_example_that_goes_round_the_facade_is_found() {
        let planted = facts(vec![package(EXAMPLE, &[PAGE], &[]), package(PAGE, &[], &[])]);
        objects(
            &between_crates(&planted),
            "faultless-example-kernel: must not need faultless-page",
        );
    }

    #[test]
    fn the_example_may_need_the_host_for_its_tests_only() {
        let host = package(HOST, &[PAGE], &[]);
        let tests = facts(vec![package(EXAMPLE, &[FAULTLESS], &[HOST]), host.clone()]);
        assert_eq!(between_crates(&tests), []);
        let planted = facts(vec![package(EXAMPLE, &[FAULTLESS, HOST], &[]), host]);
        objects(
            &between_crates(&planted),
            "faultless-example-kernel: must not need faultless-host",
        );
    }

    #[test]
    fn tests_of_a_core_crate_that_need_the_host_are_found() {
        let planted = facts(vec![package(FILEMAP, &[], &[HOST]), package(HOST, &[], &[])]);
        objects(&between_crates(&planted), "must not need faultless-host");
    }

    #[test]
    fn a_host_that_needs_what_is_checked_on_it_is_found() {
        let planted = facts(vec![package(HOST, &[CONTROLS], &[]), package(CONTROLS, &[], &[])]);
        objects(&between_crates(&planted), "must not need faultless-controls");
        let planted = facts(vec![package(ORACLE, &[FUZZING], &[]), package(FUZZING, &[], &[])]);
        objects(&between_crates(&planted), "must not need faultless-fuzzing");
    }

    #[test]
    fn filemap_may_need_parts_for_its_tests_only() {
        let parts = package(PARTS, &[PAGE], &[FILEMAP]);
        let tests = facts(vec![package(FILEMAP, &[], &[PARTS]), parts.clone()]);
        assert_eq!(between_crates(&tests), []);
        let planted = facts(vec![package(FILEMAP, &[PARTS], &[]), parts]);
        objects(&between_crates(&planted), "faultless-filemap: must not need faultless-parts");
        let planted = facts(vec![package(PARTS, &[FILEMAP], &[]), package(FILEMAP, &[], &[])]);
        objects(&between_crates(&planted), "faultless-parts: must not need faultless-filemap");
    }

    #[test]
    fn a_crate_that_needs_xtask_is_found() {
        let planted = facts(vec![package(HOST, &["xtask"], &[]), package("xtask", &[], &[])]);
        objects(&between_crates(&planted), "must not need xtask");
    }

    #[test]
    fn a_crate_that_the_order_does_not_know_is_found() {
        objects(&between_crates(&facts(vec![package("faultless-new", &[], &[])])), "faultless-new");
    }

    #[test]
    fn a_core_crate_that_needs_an_unknown_crate_is_found() {
        let planted = facts(vec![package(PAGE, &["spin", "hashbrown"], &["rand"])]);
        objects(&to_the_outside(&planted), "needs hashbrown");
        assert_eq!(to_the_outside(&planted).len(), 1, "tests may need what they like");
    }
}
