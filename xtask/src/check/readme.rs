//! The embedding example in the README is the one that is compiled and run.

#![forbid(unsafe_code)]

use super::{Facts, Violation};

const README: &str = "README.md";
const EXAMPLE: &str = "crates/faultless/examples/tiny_kernel.rs";

/// Finds a README whose example has been left behind by the file that is compiled.
pub(super) fn example_is_current(facts: &Facts) -> Vec<Violation> {
    let text = |path: &str| facts.files.iter().find(|file| file.path == path).map(|f| &f.text);
    let (Some(readme), Some(example)) = (text(README), text(EXAMPLE)) else {
        return vec![Violation::new(README, format!("it or {EXAMPLE} is missing"))];
    };
    if readme.contains(&format!("```rust\n{}\n```", example.trim_end())) {
        Vec::new()
    } else {
        vec![Violation::new(README, format!("its Rust example is not {EXAMPLE}: copy it again"))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::objects;
    use super::*;
    use crate::workspace::TextFile;

    fn facts(readme: &str) -> Facts {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        Facts {
            files: vec![file(README, readme), file(EXAMPLE, "fn main() {}\n")],
            packages: vec![],
        }
    }

    #[test]
    fn a_readme_with_the_example_passes() {
        assert_eq!(example_is_current(&facts("text\n```rust\nfn main() {}\n```\n")), []);
    }

    #[test]
    fn a_stale_example_is_found() {
        objects(
            &example_is_current(&facts("```rust\nfn main() { old() }\n```\n")),
            "copy it again",
        );
    }

    #[test]
    fn a_missing_example_is_found() {
        objects(&example_is_current(&Facts::default()), "missing");
    }
}
