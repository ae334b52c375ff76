//! All mutants of a file woven into one text, each behind a switch.
//!
//! [`places`] finds what a mutant changes; here the text is put together. Every byte of the result
//! is remembered by its origin ([`Woven::blame`]), so that what the compiler says of the result
//! leads to the mutant that is to blame, or back to the original. `const fn` that are woven lose
//! their `const`; a twin keeps it, for calls that must happen at compile time.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::list::Mutant;
use super::source::Source;
use places::{Change, Place};

mod places;
#[cfg(test)]
mod tests;

/// What the twin's name begins with.
pub(super) const TWIN: &str = "__const_";

/// Which text of a function is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Copy {
    /// What stands where the original stood.
    Woven,
    /// The twin that is still `const`.
    Twin,
}

/// A call in the original that must go to the twin of the function that it names: the offset of the
/// name.
pub(super) type Redirect = (usize, Copy);

/// Where a piece of the woven text came from.
#[derive(Clone, Debug)]
struct Piece {
    out: Range<usize>,
    /// Offset in the original, unless the text is new.
    original: Option<(usize, Copy)>,
    /// The mutant whose arm it is.
    mutant: Option<u32>,
}

/// The result of weaving a file.
#[derive(Debug, Default)]
pub(super) struct Woven {
    /// The new text.
    pub(super) text: String,
    /// The mutants that are in it.
    pub(super) ids: BTreeSet<u32>,
    pieces: Vec<Piece>,
    scopes: Vec<(Range<usize>, Vec<u32>)>,
}

impl Woven {
    /// The mutant inside whose arm these bytes of the woven text are.
    pub(super) fn blame(&self, bytes: &Range<usize>) -> Option<u32> {
        let mut ids = self.overlapping(bytes).map(|piece| piece.mutant);
        let first = ids.next()??;
        ids.all(|id| id == Some(first)).then_some(first)
    }

    /// The mutants of the innermost woven place around these bytes.
    pub(super) fn around(&self, bytes: &Range<usize>) -> Vec<u32> {
        let around = |scope: &&(Range<usize>, Vec<u32>)| {
            scope.0.start <= bytes.start && bytes.end <= scope.0.end && !scope.1.is_empty()
        };
        let innermost = self.scopes.iter().filter(around).min_by_key(|(range, _)| range.len());
        innermost.map(|(_, ids)| ids.clone()).unwrap_or_default()
    }

    /// Where a byte of the woven text stood in the original.
    pub(super) fn origin(&self, at: usize) -> Option<Redirect> {
        let piece = self.overlapping(&(at..at + 1)).next()?;
        piece.original.map(|(start, copy)| (start + at - piece.out.start, copy))
    }

    fn overlapping(&self, bytes: &Range<usize>) -> impl Iterator<Item = &Piece> {
        let end = bytes.end.max(bytes.start + 1);
        let start = bytes.start;
        self.pieces.iter().filter(move |piece| piece.out.start < end && start < piece.out.end)
    }
}

/// Weaves the mutants into the file. Those that find no place are not among the result's ids.
///
/// `forced` is in force always, whatever the switch says.
pub(super) fn weave(
    source: &Source,
    mutants: &[&Mutant],
    forced: Option<&Mutant>,
    redirects: &BTreeSet<Redirect>,
) -> Result<Woven> {
    let file = syn::parse_file(&source.text).context("a source file does not parse")?;
    let mut places =
        if mutants.is_empty() { Vec::new() } else { places::find(&file, source, mutants) };
    if let Some(mutant) = forced {
        let extent = source.offset(mutant.extent.start)..source.offset(mutant.extent.end);
        places.retain(|place| place.range.end <= extent.start || extent.end <= place.range.start);
        let change = Change::Forced { text: mutant.replacement.clone() };
        places.push(Place { range: extent, change });
    }
    // Outer before inner; an insertion before what begins where it stands.
    places.sort_by_key(|place| {
        let len = place.range.len();
        (place.range.start, len > 0, usize::MAX - len)
    });
    let mut weaver =
        Weaver { source, places: &places, redirects, copy: Copy::Woven, woven: Woven::default() };
    weaver.stretch(0..source.text.len(), 0);
    Ok(weaver.woven)
}

struct Weaver<'a> {
    source: &'a Source,
    places: &'a [Place],
    redirects: &'a BTreeSet<Redirect>,
    copy: Copy,
    woven: Woven,
}

impl Weaver<'_> {
    /// Emits a stretch of the original with everything woven in; `next` is the first place that may
    /// lie in it. Returns the first place behind it.
    fn stretch(&mut self, range: Range<usize>, mut next: usize) -> usize {
        let mut at = range.start;
        let whole = range.end == self.source.text.len();
        while let Some(place) = self.places.get(next) {
            let start = place.range.start;
            if start > range.end || (start == range.end && !whole) {
                break;
            }
            if start < at {
                next += 1;
                continue;
            }
            self.original(at..start, None);
            let begin = self.woven.text.len();
            self.change(next);
            let ids = place.change.ids();
            self.woven.ids.extend(&ids);
            self.woven.scopes.push((begin..self.woven.text.len(), ids));
            at = place.range.end;
            next += 1;
        }
        self.original(at..range.end, None);
        next
    }

    fn change(&mut self, index: usize) {
        let Place { range, change } = &self.places[index];
        let inner = index + 1;
        match change {
            Change::Body { arms } => {
                for (id, value) in arms {
                    self.new_text(&format!("if {} {{ return ", on(*id)), None);
                    self.new_text(value, Some(*id));
                    self.new_text("; }\n", None);
                }
            }
            Change::Binary { left, right, operator, arms } => {
                self.new_text("(", None);
                for (id, other) in arms {
                    self.new_text(&format!("if {} {{ ", on(*id)), None);
                    self.wrapped(left, Some(*id));
                    self.new_text(&format!(" {other} "), Some(*id));
                    self.wrapped(right, Some(*id));
                    self.new_text(" }\nelse ", None);
                }
                self.new_text("{ (", None);
                let inner = self.stretch(left.clone(), inner);
                self.new_text(&format!(") {operator} ("), None);
                self.stretch(right.clone(), inner);
                self.new_text(") })", None);
            }
            Change::Unary { operator, operand, id } => {
                self.new_text(&format!("(if {} {{ ", on(*id)), None);
                self.wrapped(operand, Some(*id));
                self.new_text(&format!(" }}\nelse {{ {operator}("), None);
                self.stretch(operand.clone(), inner);
                self.new_text(") })", None);
            }
            Change::Guard { old, delete, yes, no } => {
                self.new_text(if old.is_some() { "(" } else { " if " }, None);
                self.new_text(&delete.map_or("true".to_owned(), |id| format!("!{}", on(id))), None);
                if let Some(old) = old {
                    let yes = yes.map_or("false".to_owned(), on);
                    let no = no.map_or("false".to_owned(), on);
                    self.new_text(&format!(" && ({yes} || (!{no} && ("), None);
                    self.stretch(old.clone(), inner);
                    self.new_text("))))", None);
                }
            }
            Change::Fields { arms } => {
                self.new_text("(", None);
                for (id, field) in arms {
                    self.new_text(&format!("if {} {{ ", on(*id)), None);
                    self.original(range.start..field.start, Some(*id));
                    self.original(field.end..range.end, Some(*id));
                    self.new_text(" }\nelse ", None);
                }
                self.new_text("{ ", None);
                self.stretch(range.clone(), inner);
                self.new_text(" })", None);
            }
            Change::Deleted => {}
            Change::Twin { item, name } => {
                self.copy = Copy::Twin;
                self.new_text("\n", None);
                self.original(item.start..*name, None);
                self.new_text(TWIN, None);
                self.original(*name..item.end, None);
                self.copy = Copy::Woven;
            }
            Change::Forced { text } => self.new_text(text, None),
        }
    }

    fn wrapped(&mut self, range: &Range<usize>, mutant: Option<u32>) {
        self.new_text("(", mutant);
        self.original(range.clone(), mutant);
        self.new_text(")", mutant);
    }

    fn new_text(&mut self, text: &str, mutant: Option<u32>) {
        self.push(text, None, mutant);
    }

    /// Emits the original with nothing woven in but redirected calls.
    fn original(&mut self, range: Range<usize>, mutant: Option<u32>) {
        let (source, redirects, copy) = (self.source, self.redirects, self.copy);
        let mut at = range.start;
        let inside = redirects.range((range.start, Copy::Woven)..(range.end, Copy::Woven));
        for (name, _) in inside.filter(|redirect| redirect.1 == copy) {
            self.push(&source.text[at..*name], Some((at, copy)), mutant);
            self.new_text(TWIN, mutant);
            at = *name;
        }
        self.push(&source.text[at..range.end], Some((at, copy)), mutant);
    }

    fn push(&mut self, text: &str, original: Option<(usize, Copy)>, mutant: Option<u32>) {
        let start = self.woven.text.len();
        self.woven.text.push_str(text);
        if !text.is_empty() {
            self.woven.pieces.push(Piece { out: start..self.woven.text.len(), original, mutant });
        }
    }
}

/// The question whether a mutant is active.
pub(crate) fn on(id: u32) -> String {
    format!("::faultless_mutant::on({id})")
}
