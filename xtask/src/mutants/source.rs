//! A source file, with lines and columns turned into byte offsets.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::list::Spot;

/// A text and where its lines begin.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) text: String,
    starts: Vec<usize>,
}

impl Source {
    pub(crate) fn new(text: String) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        let starts = starts.collect();
        Self { text, starts }
    }

    /// A line, counted from 1; empty past the end.
    pub(crate) fn line(&self, line: usize) -> &str {
        self.starts
            .get(line.wrapping_sub(1))
            .map_or("", |start| self.text[*start..].split('\n').next().unwrap_or(""))
    }

    /// The byte at which the character at this place begins.
    pub(in crate::mutants) fn offset(&self, spot: Spot) -> usize {
        let Some(start) = self.starts.get(spot.line.wrapping_sub(1)) else {
            return self.text.len();
        };
        let mut characters = self.text[*start..].char_indices();
        characters.nth(spot.column.saturating_sub(1)).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// The bytes of a span of the parsed text.
    pub(crate) fn range(&self, span: proc_macro2::Span) -> Range<usize> {
        let spot = |at: proc_macro2::LineColumn| Spot { line: at.line, column: at.column + 1 };
        self.offset(spot(span.start()))..self.offset(spot(span.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_offsets_count_bytes() {
        let source = Source::new("a\n é = b\n".to_owned());
        assert_eq!(source.offset(Spot { line: 2, column: 4 }), 6);
        assert_eq!(&source.text[6..7], "=");
        assert_eq!(source.line(2), " é = b");
        assert_eq!(source.line(9), "");
    }
}
