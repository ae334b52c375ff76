//! Which tests draw a seed, read from their sources: those whose function calls `seed()` or
//! `Random::new`, directly or by way of functions of the same file.
//!
//! The sources are read as tokens, because many tests stand inside a macro.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A function: whether it draws a seed itself, and every name in it.
#[derive(Debug, Default)]
struct Function {
    draws: bool,
    names: BTreeSet<String>,
}

/// Names of the functions that draw a seed in the sources of a test program, given its root.
pub(super) fn drawing(root: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in files(root)? {
        let text = fs::read_to_string(&file)?;
        let tokens = text.parse().map_err(|error| anyhow!("{}: {error}", file.display()))?;
        names.append(&mut drawing_in(tokens));
    }
    Ok(names)
}

/// The sources of a program: the root, and all beside it if it is the root of a folder.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let is_folder = root.file_name().is_some_and(|name| name == "main.rs" || name == "lib.rs");
    if !is_folder {
        return Ok(vec![root.to_owned()]);
    }
    let mut folders = vec![root.parent().context("a file in a folder")?.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn drawing_in(tokens: TokenStream) -> BTreeSet<String> {
    let mut functions = BTreeMap::new();
    collect(tokens, &mut functions);
    let mut drawing: BTreeSet<String> = BTreeSet::new();
    loop {
        let more: Vec<String> = functions
            .iter()
            .filter(|(name, function)| {
                let calls = || function.names.iter().any(|name| drawing.contains(name));
                !drawing.contains(*name) && (function.draws || calls())
            })
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            return drawing;
        }
        drawing.extend(more);
    }
}

/// Collects all functions, those inside of macros and other functions too.
fn collect(tokens: TokenStream, functions: &mut BTreeMap<String, Function>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        if let (TokenTree::Ident(word), Some(TokenTree::Ident(name))) = (token, tokens.get(at + 1))
            && word == "fn"
            && let Some(body) = body(&tokens[at + 2..])
        {
            read(body, functions.entry(name.to_string()).or_default());
        }
        if let TokenTree::Group(group) = token {
            collect(group.stream(), functions);
        }
    }
}

/// The body of a function: the first block behind its name, unless it has none.
fn body(tokens: &[TokenTree]) -> Option<TokenStream> {
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                return Some(group.stream());
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            _ => {}
        }
    }
    None
}

fn read(tokens: TokenStream, function: &mut Function) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(word) => {
                function.draws |= match tokens.get(at + 1) {
                    Some(TokenTree::Group(arguments)) => {
                        word == "seed"
                            && arguments.delimiter() == Delimiter::Parenthesis
                            && arguments.stream().is_empty()
                    }
                    _ => word == "Random" && calls_new(&tokens[at + 1..]),
                };
                function.names.insert(word.to_string());
            }
            TokenTree::Group(group) => read(group.stream(), function),
            _ => {}
        }
    }
}

fn calls_new(tokens: &[TokenTree]) -> bool {
    tokens.get(2).is_some_and(|word| matches!(word, TokenTree::Ident(word) if word == "new"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultless_tools::workspace;

    #[test]
    fn a_test_that_draws_by_way_of_others_and_inside_a_macro_is_found() {
        let text = "
            fn storm() { let seed = rng::seed(); }
            fn calm() { let seed = 1; self.seed; seed(2); }
            #[test] fn direct() { let mut random = Random::new(\"direct\"); }
            #[test] fn fixed() { calm(); Rng::new(1) }
            on_both! {
                /// A claim.
                fn by_way_of(machine) { for x in 0..3 { with(|| storm()); } }
            }";
        let found = drawing_in(text.parse().expect("tokens"));
        assert_eq!(found.iter().collect::<Vec<_>>(), ["by_way_of", "direct", "storm"]);
    }

    #[test]
    fn the_random_tests_of_the_workspace_are_found() {
        for (file, test) in [
            (
                "tests/tests/sync/main.rs",
                "p1_p2_w11_random_operations_survive_a_crash_at_every_call",
            ),
            ("tests/tests/concurrency/main.rs", "w2_without_truncation_nothing_is_ever_lost"),
            ("tests/tests/generated/main.rs", "agrees_with_its_model"),
            (
                "crates/page/src/lib.rs",
                "nodes_are_reused_while_threads_are_switched_between_any_two_words",
            ),
        ] {
            let found = drawing(&workspace::root().join(file)).expect("a source");
            assert!(found.contains(test), "{file}: {found:?}");
        }
        let fixed = drawing(&workspace::root().join("tests/tests/callbacks/counters.rs"))
            .expect("a source");
        assert!(fixed.is_empty(), "{fixed:?}");
    }
}
