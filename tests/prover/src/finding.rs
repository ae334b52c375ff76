//! What the prover tells of a function that is not proven. How a counterexample is looked for is
//! the business of `report`.

#![forbid(unsafe_code)]

use super::image::Image;

/// A claim that does not hold, or that could not be shown.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Whether there is a counterexample.
    pub(crate) refuted: bool,
    /// What is wrong.
    pub(crate) what: String,
    /// How it comes to that: lengths, fault points and instructions.
    pub(crate) story: Vec<String>,
}

impl Finding {
    /// Something that is beyond the prover.
    pub(super) fn unproven(image: &Image, head: u64, why: &str) -> Self {
        let what = format!("{why}, at {}", place(image, head));
        Self { refuted: false, what, story: Vec::new() }
    }
}

/// An instruction with its place.
pub(super) fn place(image: &Image, at: u64) -> String {
    let text = image.at(at).map_or("?", |insn| insn.text.as_str());
    format!("{} `{text}`", image.place(at))
}
