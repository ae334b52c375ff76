//! The README leads to the embedding example that is compiled and run, and does not repeat it.

#![forbid(unsafe_code)]

use super::facts::{Facts, Violation};

const README: &str = "README.md";
const EXAMPLE: &str = "crates/faultless/examples/tiny_kernel.rs";

/// Lines beyond which the README, or the example, is no longer read to its end.
const LONGEST: [(&str, usize); 2] = [(README, 120), (EXAMPLE, 95)];

/// Finds a README that does not link the example, or has Rust code of its own, which no compiler
/// sees; and one of the two that has become too long.
pub(super) fn example_is_linked(facts: &Facts) -> Vec<Violation> {
    let text = |path: &str| facts.files.iter().find(|file| file.path == path).map(|f| &f.text);
    let (Some(readme), Some(_)) = (text(README), text(EXAMPLE)) else {
        return vec![Violation::new(README, format!("it or {EXAMPLE} is missing"))];
    };
    let mut found = Vec::new();
    if !readme.contains(&format!("({EXAMPLE})")) {
        found.push(Violation::new(README, format!("does not link {EXAMPLE}")));
    }
    if readme.contains("```rust") {
        found.push(Violation::new(README, format!("has Rust code: that belongs in {EXAMPLE}")));
    }
    for (path, longest) in LONGEST {
        let lines = text(path).map_or(0, |text| text.lines().count());
        if lines > longest {
            found.push(Violation::new(path, format!("{lines} lines, more than {longest}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::testing::objects;
    use faultless_tools::workspace::TextFile;

    fn facts(readme: &str, example: &str) -> Facts {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        Facts { files: vec![file(README, readme), file(EXAMPLE, example)], packages: vec![] }
    }

    fn link() -> String {
        format!("[the example]({EXAMPLE})\n")
    }

    #[test]
    fn a_readme_with_a_link_passes() {
        assert_eq!(example_is_linked(&facts(&link(), "fn main() {}\n")), []);
    }

    #[test]
    fn a_readme_without_a_link_is_found() {
        objects(&example_is_linked(&facts(EXAMPLE, "fn main() {}\n")), "does not link");
    }

    #[test]
    fn a_readme_with_code_of_its_own_is_found() {
        let planted = format!("{}```rust\nfn main() {{}}\n```\n", link());
        objects(&example_is_linked(&facts(&planted, "fn main() {}\n")), "has Rust code");
    }

    #[test]
    fn a_long_readme_and_a_long_example_are_found() {
        let planted = format!("{}{}", link(), "\n".repeat(120));
        objects(&example_is_linked(&facts(&planted, "\n")), "121 lines");
        objects(&example_is_linked(&facts(&link(), &"\n".repeat(96))), "96 lines");
        assert_eq!(example_is_linked(&facts(&link(), &"\n".repeat(95))), []);
    }

    #[test]
    fn a_missing_example_is_found() {
        objects(&example_is_linked(&Facts::default()), "missing");
    }
}
