//! Which lines of a source file are there for its tests: items under `#[cfg(test)]`.

#![forbid(unsafe_code)]

use std::ops::RangeInclusive;

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The lines of items that only a build for tests has, from the attribute to the end of the item.
///
/// # Errors
/// The text is not Rust.
pub(super) fn lines(text: &str) -> Result<Vec<RangeInclusive<usize>>> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow!("not Rust: {error}"))?;
    let mut found = Vec::new();
    collect(tokens, &mut found);
    Ok(found)
}

fn collect(tokens: TokenStream, found: &mut Vec<RangeInclusive<usize>>) {
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let TokenTree::Group(group) = token else { continue };
        if group.delimiter() != Delimiter::Bracket || !is_cfg_test(&group.stream()) {
            collect(group.stream(), found);
            continue;
        }
        let end = tokens.by_ref().find(ends_item).map(|end| end.span().end().line);
        let start = group.span().start().line;
        found.push(start..=end.unwrap_or(start));
    }
}

fn is_cfg_test(attribute: &TokenStream) -> bool {
    attribute.to_string().replace(' ', "") == "cfg(test)"
}

/// A semicolon, or the braces of a body.
fn ends_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_for_tests_are_found_wherever_they_stand_and_others_are_not() {
        let text = "#[cfg(test)]\nextern crate std;\n\nfn a() {\n    b();\n}\n\n\
            #[cfg(test)]\nimpl X {\n    fn y(&self) {}\n}\n\n\
            mod m {\n    #[cfg(test)]\n    mod tests {\n    }\n    #[cfg(unix)]\n    fn c() {}\n}\n";
        assert_eq!(lines(text).expect("Rust"), [1..=2, 8..=11, 14..=16]);
        assert!(lines("fn (").is_err());
    }
}
