//! A document with places for what a command prints.
//!
//! A place begins with a comment `<!-- bench:NAME -->` and ends with `<!-- bench:end -->`, each on
//! a line of its own.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};

const END: &str = "<!-- bench:end -->";

/// `document` with `content` in the place called `name`.
///
/// # Errors
/// There is no such place, or it does not end.
pub(super) fn filled(document: &str, name: &str, content: &str) -> Result<String> {
    let begin = format!("<!-- bench:{name} -->");
    let (before, rest) =
        document.split_once(&begin).with_context(|| format!("there is no {begin}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{begin} does not end"))?;
    Ok(format!("{before}{begin}\n{}\n{END}{after}", content.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# A\n\n<!-- bench:one -->\nold\n<!-- bench:end -->\n\nB\n\n<!-- bench:two -->\n<!-- bench:end -->\n";

    #[test]
    fn a_place_gets_its_content_and_all_else_stays() {
        let new = filled(DOCUMENT, "one", "new\n").expect("a place");
        assert_eq!(new, DOCUMENT.replace("old", "new"));
        let both = filled(&new, "two", "more").expect("a place");
        assert!(both.ends_with("<!-- bench:two -->\nmore\n<!-- bench:end -->\n"), "{both}");
        assert_eq!(filled(&both, "two", "more").expect("a place"), both, "again");
    }

    #[test]
    fn a_place_that_is_not_there_is_an_error() {
        assert!(filled(DOCUMENT, "three", "x").is_err());
        assert!(filled("<!-- bench:one -->", "one", "x").is_err());
    }
}
