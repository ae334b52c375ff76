//! Rust source as tokens: no comments, and no string is mistaken for code.

#![forbid(unsafe_code)]

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Every token of a file in order, with the line it stands on. A group is there as its two
/// brackets. Nothing if the file is not Rust; the compiler says so better.
pub(super) fn flatten(text: &str) -> Vec<(String, usize)> {
    let mut flat = Vec::new();
    if let Ok(stream) = TokenStream::from_str(text) {
        push(stream, &mut flat);
    }
    flat
}

fn push(stream: TokenStream, flat: &mut Vec<(String, usize)>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                flat.push((open.into(), group.span_open().start().line));
                push(group.stream(), flat);
                flat.push((close.into(), group.span_close().start().line));
            }
            TokenTree::Ident(ident) => flat.push((ident.to_string(), ident.span().start().line)),
            TokenTree::Punct(punct) => flat.push((punct.to_string(), punct.span().start().line)),
            TokenTree::Literal(literal) => {
                flat.push((literal.to_string(), literal.span().start().line));
            }
        }
    }
}

/// Lines on which the sequence of tokens begins.
pub(super) fn lines_with(flat: &[(String, usize)], sequence: &[&str]) -> Vec<usize> {
    flat.windows(sequence.len())
        .filter(|window| window.iter().zip(sequence).all(|((token, _), wanted)| token == wanted))
        .map(|window| window[0].1)
        .collect()
}

/// Whether the sequence of tokens occurs.
pub(super) fn contains(flat: &[(String, usize)], sequence: &[&str]) -> bool {
    !lines_with(flat, sequence).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_not_code() {
        let flat = flatten("// unsafe\nfn f() { let s = \"unsafe {\"; }\n/* unsafe */");
        assert!(!contains(&flat, &["unsafe"]));
        assert!(contains(&flat, &["fn", "f", "(", ")"]));
    }

    #[test]
    fn lines_are_those_of_the_file() {
        assert_eq!(lines_with(&flatten("\n\nfn f() {\n todo!() }"), &["todo", "!"]), [4]);
    }
}
