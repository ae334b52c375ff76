//! Rules about Rust source.

#![forbid(unsafe_code)]

use super::facts::{Facts, Violation};
use super::tokens::{contains, flatten, lines_with};
use faultless_tools::workspace::TextFile;

/// Source folders of the crates that an embedder links, or copies from.
const CORE: &[&str] = &[
    "crates/page/src/",
    "crates/usercopy/src/",
    "crates/filemap/src/",
    "crates/parts/src/",
    "crates/faultless/src/",
    "crates/example-kernel/src/",
];

/// Folders of the crates whose sources the rules about unsafe code and parameters look at.
const STRICT: &[&str] = &[
    "crates/",
    "tests/bench/",
    "tests/controls/",
    "tests/fuzzing/",
    "tests/oracle/",
    "tests/planted/",
    "tests/prover/",
    "tests/random/",
    "tests/shows/",
    "tests/tools/",
    "xtask/src/",
];

/// Words that announce postponed work. Put together here, so that the rule does not find itself.
const POSTPONED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("for", " now")];

fn rust<'a>(facts: &'a Facts, folders: &'a [&str]) -> impl Iterator<Item = &'a TextFile> {
    facts.files.iter().filter(move |file| {
        file.extension() == "rs" && folders.iter().any(|folder| file.path.starts_with(folder))
    })
}

/// A core crate says `#![no_std]`, never links alloc, and links std for its tests only.
pub(super) fn no_std(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in rust(facts, CORE) {
        let flat = flatten(&file.text);
        let is_root = CORE.iter().any(|folder| file.path == format!("{folder}lib.rs"));
        if is_root && !contains(&flat, &["#", "!", "[", "no_std", "]"]) {
            found.push(Violation::new(&file.path, "#![no_std] is missing"));
        }
        for name in ["alloc", "std"] {
            let for_tests = ["#", "[", "cfg", "(", "test", ")", "]", "extern", "crate", name, ";"];
            let all = lines_with(&flat, &["extern", "crate", name]).len();
            if all > lines_with(&flat, &for_tests).len() {
                found.push(Violation::new(&file.path, format!("links {name} outside tests")));
            }
        }
    }
    found
}

/// A module forbids unsafe code unless it, or a module inside it, has some. Modules of tests are
/// left alone.
pub(super) fn forbid_unsafe(facts: &Facts) -> Vec<Violation> {
    let files: Vec<(&TextFile, Vec<(String, usize)>)> = rust(facts, STRICT)
        .filter(|file| file.path.contains("/src/"))
        .map(|file| (file, flatten(&file.text)))
        .collect();
    let mut found = Vec::new();
    for (file, flat) in &files {
        let inside = folder_of_children(&file.path);
        let has_unsafe = files.iter().any(|(other, tokens)| {
            (other.path == file.path || other.path.starts_with(&inside))
                && contains(tokens, &["unsafe"])
        });
        let forbids = contains(flat, &["#", "!", "[", "forbid", "(", "unsafe_code", ")", "]"]);
        let of_tests = file.path.ends_with("/tests.rs") || file.path.contains("/src/tests/");
        if !has_unsafe && !forbids && !of_tests {
            found.push(Violation::new(&file.path, "no unsafe: say #![forbid(unsafe_code)]"));
        }
    }
    found
}

/// The folder where the modules inside a module's file are.
fn folder_of_children(path: &str) -> String {
    for name in ["/lib.rs", "/main.rs", "/mod.rs"] {
        if let Some(folder) = path.strip_suffix(name) {
            return format!("{folder}/");
        }
    }
    format!("{}/", path.trim_end_matches(".rs"))
}

/// No function of the crates takes a `bool`: an enum or two functions.
pub(super) fn no_bool_parameters(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in rust(facts, STRICT) {
        let flat = flatten(&file.text);
        for (at, (token, line)) in flat.iter().enumerate() {
            if token == "fn" && parameters(&flat[at..]).is_some_and(has_bool) {
                found.push(Violation::at_line(file, *line, "a bool parameter"));
            }
        }
    }
    found
}

/// The tokens between the parentheses of the named function that begins here. `None` for a type
/// `fn(…)`.
fn parameters(function: &[(String, usize)]) -> Option<&[(String, usize)]> {
    let name = &function.get(1)?.0;
    if name == "(" {
        return None;
    }
    // Past the generics, whose bounds may have parentheses of their own.
    let mut angles = 0_i32;
    let mut open = None;
    for (at, (token, _)) in function.iter().enumerate().skip(2) {
        match token.as_str() {
            "<" => angles += 1,
            ">" if function[at - 1].0 != "-" => angles -= 1,
            "(" if angles == 0 => {
                open = Some(at);
                break;
            }
            _ => {}
        }
    }
    let open = open?;
    let mut depth = 0;
    for (at, (token, _)) in function.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&function[open + 1..at]);
        }
    }
    None
}

/// Whether a parameter's whole type is `bool`.
fn has_bool(parameters: &[(String, usize)]) -> bool {
    parameters.windows(2).enumerate().any(|(at, pair)| {
        let ends = parameters.get(at + 2).is_none_or(|(next, _)| next == ",");
        pair[0].0 == ":" && pair[1].0 == "bool" && ends
    })
}

/// No stub, no ignored test, no word that puts work off.
pub(super) fn nothing_postponed(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in rust(facts, &[""]) {
        let flat = flatten(&file.text);
        for name in [concat!("to", "do"), concat!("unimple", "mented")] {
            for line in lines_with(&flat, &[name, "!"]) {
                found.push(Violation::at_line(file, line, format!("{name}!")));
            }
        }
        for line in lines_with(&flat, &["#", "[", concat!("ign", "ore")]) {
            found.push(Violation::at_line(file, line, "an ignored test"));
        }
    }
    for file in facts.files.iter().filter(|file| file.extension() != "lock") {
        for (at, line) in file.text.lines().enumerate() {
            for word in POSTPONED.iter().filter(|word| has_word(line, word)) {
                found.push(Violation::at_line(file, at + 1, format!("\"{word}\"")));
            }
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_a_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !part_of_a_word(before) && !part_of_a_word(after)
    })
}

/// A module's file opens with its documentation: its purpose, its key types, its neighbours.
pub(super) fn module_docs(facts: &Facts) -> Vec<Violation> {
    let opens = |file: &TextFile| ["//!", "#![doc"].iter().any(|way| file.text.starts_with(way));
    rust(facts, &["crates/", "xtask/", "tests/"])
        .filter(|file| file.path.contains("/src/") && !opens(file))
        .map(|file| Violation::new(&file.path, "does not open with //!"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::testing::{file, objects};

    #[test]
    fn a_core_crate_without_no_std_is_found() {
        objects(&no_std(&file("crates/page/src/lib.rs", "//! page\n")), "no_std");
        assert_eq!(no_std(&file("crates/page/src/lib.rs", "//! page\n#![no_std]\n")), []);
        assert_eq!(no_std(&file("crates/host/src/lib.rs", "//! host\n")), []);
    }

    #[test]
    fn linking_alloc_or_std_is_found_except_for_tests() {
        let planted = "#![no_std]\nextern crate alloc;\n";
        objects(&no_std(&file("crates/page/src/lib.rs", planted)), "alloc");
        let planted = "#[cfg(test)] extern crate std; extern crate std as again;";
        objects(&no_std(&file("crates/filemap/src/x.rs", planted)), "std");
        let fine = "#[cfg(test)]\nextern crate std;\n#[cfg(test)] extern crate alloc;";
        assert_eq!(no_std(&file("crates/filemap/src/x.rs", fine)), []);
    }

    #[test]
    fn a_module_without_unsafe_that_does_not_forbid_it_is_found() {
        objects(&forbid_unsafe(&file("crates/page/src/x.rs", "//! x\nfn f() {}")), "forbid");
        let fine = "//! x\n#![forbid(unsafe_code)]\nfn f() {}";
        assert_eq!(forbid_unsafe(&file("crates/page/src/x.rs", fine)), []);
        assert_eq!(forbid_unsafe(&file("crates/page/src/x.rs", "unsafe fn f() {}")), []);
        assert_eq!(forbid_unsafe(&file("crates/page/src/tests.rs", "fn f() {}")), []);
    }

    #[test]
    fn a_module_need_not_forbid_unsafe_that_is_inside_it() {
        let mut facts = file("crates/page/src/lib.rs", "mod x;");
        facts.files.extend(file("crates/page/src/x.rs", "mod y;").files);
        facts.files.extend(file("crates/page/src/x/y.rs", "unsafe fn f() {}").files);
        assert_eq!(forbid_unsafe(&facts), []);
    }

    #[test]
    fn a_bool_parameter_is_found_also_behind_generics() {
        let planted = "fn f<T: Fn(u8) -> u8>(t: T, yes: bool) {}";
        objects(&no_bool_parameters(&file("crates/page/src/x.rs", planted)), "bool");
        let fine =
            "fn f(c: &mut dyn FnMut() -> bool, p: fn(bool)) -> bool { let x: bool = c(); x }";
        assert_eq!(no_bool_parameters(&file("crates/page/src/x.rs", fine)), []);
    }

    #[test]
    fn stubs_ignored_tests_and_postponing_words_are_found() {
        let stub = format!("fn f() {{ {}!() }}", concat!("to", "do"));
        objects(&nothing_postponed(&file("tests/src/x.rs", &stub)), "!");
        let ignored = format!("#[test]\n#[{}]\nfn f() {{}}", concat!("ign", "ore"));
        objects(&nothing_postponed(&file("tests/x.rs", &ignored)), "tests/x.rs:2: an ignored");
        for word in POSTPONED {
            let line = format!("one\nIt is {word}.\n");
            objects(&nothing_postponed(&file("README.md", &line)), "README.md:2");
            let part = format!("It is {word}ish.\n");
            assert_eq!(nothing_postponed(&file("README.md", &part)), []);
        }
    }

    #[test]
    fn a_module_that_does_not_say_what_it_is_for_is_found() {
        objects(&module_docs(&file("crates/page/src/x.rs", "fn f() {}")), "//!");
        assert_eq!(module_docs(&file("crates/page/src/x.rs", "//! x\n")), []);
        let included = "#![doc = include_str!(\"../GUIDE.md\")]\n";
        assert_eq!(module_docs(&file("crates/faultless/src/lib.rs", included)), []);
    }
}
