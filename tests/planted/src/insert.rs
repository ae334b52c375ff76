//! All planted bugs in the text of each file, each behind its switch.
//!
//! | what `old` is | what becomes of it |
//! |---|---|
//! | an expression | `(if on { new } else { old })` |
//! | whole statements of a block that bind nothing | `if on { new } else { old }` |
//! | whole statements with a `let` among them | the same, with the rest of the block in both arms |
//!
//! Bugs may lie inside each other's place.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, bail};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ImplItemFn, Item, ItemFn, Signature, Stmt};

use crate::list::{Change, Plant};

/// A change, and where it stands.
#[derive(Debug)]
struct Place<'a> {
    id: u32,
    plant: &'a Plant,
    change: &'a Change,
    /// What is replaced.
    range: Range<usize>,
    form: Form,
}

/// What is replaced, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Expression,
    Statements,
    /// Statements that bind names for the rest of their block, which ends here.
    Binding {
        end: usize,
    },
}

impl Place<'_> {
    /// All that the switch chooses between.
    fn whole(&self) -> Range<usize> {
        match self.form {
            Form::Binding { end } => self.range.start..end,
            _ => self.range.clone(),
        }
    }
}

/// The text of every source. Ids count the plants from 1.
pub(super) fn insert(
    plants: &[Plant],
    sources: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let mut places: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
    for (plant, id) in plants.iter().zip(1..) {
        for change in &plant.change {
            let place = || {
                let source = sources.get(&change.file).context("there is no such file")?;
                find(source, change)
            };
            let (range, form) = place().with_context(|| {
                format!("{}, in {}: `old` {:?}", plant.name, change.file, change.old.trim())
            })?;
            let place = Place { id, plant, change, range, form };
            places.entry(&change.file).or_default().push(place);
        }
    }
    let mut texts = BTreeMap::new();
    for (path, source) in sources {
        let mut places = places.remove(path.as_str()).unwrap_or_default();
        // Outer before inner.
        places.sort_by_key(|place| (place.whole().start, usize::MAX - place.whole().end));
        apart_or_inside(&places)?;
        let places: Vec<&Place<'_>> = places.iter().collect();
        texts.insert(path.clone(), changed(source, 0..source.len(), &places));
    }
    Ok(texts)
}

/// Two places lie apart, or one is in the other's `old` or in its rest.
fn apart_or_inside(places: &[Place<'_>]) -> Result<()> {
    for (at, outer) in places.iter().enumerate() {
        for inner in &places[at + 1..] {
            let (a, b) = (outer.whole(), inner.whole());
            let apart = a.end <= b.start;
            let in_old = outer.range.end >= b.end;
            let in_rest = outer.range.end <= b.start && b.end <= a.end;
            if !(apart || in_old || in_rest) {
                let names = (&outer.plant.name, &inner.plant.name);
                bail!("{} and {} overlap in {}", names.0, names.1, outer.change.file);
            }
        }
    }
    Ok(())
}

/// A stretch of the source with these places changed in; places outside of it are passed over.
fn changed(text: &str, range: Range<usize>, places: &[&Place<'_>]) -> String {
    let mut out = String::new();
    let mut at = range.start;
    for (nth, place) in places.iter().enumerate() {
        let whole = place.whole();
        if whole.start < at || whole.end > range.end {
            continue;
        }
        out.push_str(&text[at..whole.start]);
        let inner = &places[nth + 1..];
        let rest = changed(text, place.range.end..whole.end, inner);
        let old = changed(text, place.range.clone(), inner);
        let (open, close) = if place.form == Form::Expression { ("(", ")") } else { ("", "") };
        let (name, new) = (&place.plant.name, &place.change.new);
        out.push_str(&format!(
            "{open}if {} {{ /* {name} */ {new}{rest} }} else {{ {old}{rest} }}{close}",
            on(place.id)
        ));
        at = whole.end;
    }
    out.push_str(&text[at..range.end]);
    out
}

/// The question whether a bug is active.
fn on(id: u32) -> String {
    format!("::faultless_switch::on({id})")
}

/// Where the only `old` stands.
fn find(source: &str, change: &Change) -> Result<(Range<usize>, Form)> {
    let matches = matches(source, &change.old);
    if matches.is_empty() {
        bail!("does not occur in the file");
    }
    let file = syn::parse_file(source).context("the file does not parse")?;
    let mut finder = Finder { wanted: &matches, found: Vec::new(), constant: None };
    finder.visit_file(&file);
    finder.found.dedup_by(|a, b| a.0 == b.0);
    let line = |range: &Range<usize>| source[..range.start].matches('\n').count() + 1;
    match finder.found.as_slice() {
        [(range, form)] => match finder.constant {
            None => Ok((range.clone(), *form)),
            Some(name) => bail!("stands in {name}, which runs at compile time: a switch cannot be"),
        },
        [] => bail!(
            "stands in line {}, and is neither an expression nor whole statements of a block",
            line(&matches[0])
        ),
        several => {
            let lines: Vec<_> = several.iter().map(|(range, _)| line(range).to_string()).collect();
            bail!("occurs {} times, in lines {}", several.len(), lines.join(", "))
        }
    }
}

/// Where a text occurs, whatever the spaces in between.
fn matches(text: &str, old: &str) -> Vec<Range<usize>> {
    let solid = |text: &str| -> Vec<(usize, char)> {
        text.char_indices().filter(|(_, c)| !c.is_whitespace()).collect()
    };
    let (text, old) = (solid(text), solid(old));
    if old.is_empty() {
        return Vec::new();
    }
    let same = |window: &&[(usize, char)]| window.iter().zip(&old).all(|(a, b)| a.1 == b.1);
    let range = |window: &[(usize, char)]| {
        let last = window[window.len() - 1];
        window[0].0..last.0 + last.1.len_utf8()
    };
    text.windows(old.len()).filter(same).map(range).collect()
}

/// Finds expressions and statements that are exactly one of the wanted ranges.
struct Finder<'a> {
    wanted: &'a [Range<usize>],
    found: Vec<(Range<usize>, Form)>,
    /// The item around what was found that is known at compile time.
    constant: Option<String>,
}

impl Finder<'_> {
    fn found_in(&mut self, visit: impl FnOnce(&mut Self), name: impl FnOnce() -> String) {
        let before = self.found.len();
        visit(self);
        if self.found.len() > before && self.constant.is_none() {
            self.constant = Some(name());
        }
    }

    fn in_function(&mut self, signature: &Signature, visit: impl FnOnce(&mut Self)) {
        match signature.constness {
            None => visit(self),
            Some(_) => self.found_in(visit, || format!("const fn {}", signature.ident)),
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_block(&mut self, block: &'ast Block) {
        let ranges: Vec<_> =
            block.stmts.iter().map(|statement| statement.span().byte_range()).collect();
        let end = block.brace_token.span.close().byte_range().start;
        for wanted in self.wanted {
            let first = ranges.iter().position(|range| range.start == wanted.start);
            let last = ranges.iter().position(|range| range.end == wanted.end);
            if let (Some(first), Some(last)) = (first, last)
                && first <= last
            {
                let statements = &block.stmts[first..=last];
                let binds = statements.iter().any(|s| matches!(s, Stmt::Local(_) | Stmt::Item(_)));
                let form = if binds { Form::Binding { end } } else { Form::Statements };
                self.found.push((wanted.clone(), form));
            }
        }
        visit::visit_block(self, block);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        let range = expr.span().byte_range();
        let known = self.found.iter().any(|(found, _)| *found == range);
        if self.wanted.contains(&range) && !known {
            self.found.push((range, Form::Expression));
        }
        visit::visit_expr(self, expr);
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.in_function(&item.sig, |finder| visit::visit_item_fn(finder, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.in_function(&item.sig, |finder| visit::visit_impl_item_fn(finder, item));
    }

    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Const(constant) => self.found_in(
                |finder| visit::visit_item(finder, item),
                || format!("const {}", constant.ident),
            ),
            Item::Static(constant) => self.found_in(
                |finder| visit::visit_item(finder, item),
                || format!("static {}", constant.ident),
            ),
            _ => visit::visit_item(self, item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "const fn fixed() -> u32 { 40 + 2 }
fn f(page: u32) -> u32 {
    let seen = page + 1;
    mark(page);
    clear(page);
    mark(seen);
    seen + page * 2
}
";

    fn plant(name: &str, old: &str, new: &str) -> Plant {
        let change = Change { file: "f.rs".into(), old: old.into(), new: new.into() };
        Plant { name: name.into(), why: "W1".into(), tests: vec![], change: vec![change] }
    }

    fn insert_all(plants: &[Plant]) -> Result<String> {
        let sources = [("f.rs".to_owned(), TEXT.to_owned())].into_iter().collect();
        Ok(insert(plants, &sources)?["f.rs"].clone())
    }

    #[track_caller]
    fn refused(plants: &[Plant], why: &str) {
        let error = format!("{:#}", insert_all(plants).expect_err("refused"));
        assert!(error.contains(why) && error.contains(&plants[0].name), "{error}");
    }

    #[test]
    fn an_expression_is_chosen_by_its_switch() {
        let changed = insert_all(&[plant("a", "page*2", "page * 3")]).expect("changed");
        let expected =
            "seen + (if ::faultless_switch::on(1) { /* a */ page * 3 } else { page * 2 })\n";
        assert!(changed.contains(expected), "{changed}");
    }

    #[test]
    fn statements_are_exchanged_and_may_hold_other_bugs() {
        let plants = [
            plant("order", "mark(page);\n    clear(page);", "clear(page); mark(page);"),
            plant("other", "clear(page)", "clear(7)"),
        ];
        let changed = insert_all(&plants).expect("changed");
        let expected = "    if ::faultless_switch::on(1) { /* order */ clear(page); mark(page); } \
            else { mark(page);\n    (if ::faultless_switch::on(2) { /* other */ clear(7) } \
            else { clear(page) }); }\n";
        assert!(changed.contains(expected), "{changed}");
    }

    #[test]
    fn statements_that_bind_take_the_rest_of_their_block_along() {
        let changed = insert_all(&[plant("a", "let seen = page + 1;", "let seen = 0;")]);
        let changed = changed.expect("changed");
        let rest = "\n    mark(page);\n    clear(page);\n    mark(seen);\n    seen + page * 2\n";
        let expected = format!(
            "if ::faultless_switch::on(1) {{ /* a */ let seen = 0;{rest} }} else {{ \
             let seen = page + 1;{rest} }}}}\n"
        );
        assert!(changed.ends_with(&expected), "{changed}");
        syn::parse_file(&changed).expect("it parses");
    }

    #[test]
    fn what_is_not_there_once_or_not_whole_is_refused_with_the_reason() {
        refused(&[plant("a", "page + 3", "0")], "does not occur");
        refused(&[plant("a", "clear(page); mark", "0")], "in line 5, and is neither");
        refused(&[plant("a", "page", "0")], "occurs 4 times, in lines 3, 4, 5, 7");
        refused(&[plant("a", "40 + 2", "0")], "const fn fixed");
        let overlapping = [
            plant("a", "mark(page); clear(page);", "{}"),
            plant("b", "clear(page); mark(seen);", "{}"),
        ];
        refused(&overlapping, "overlap");
        let mut elsewhere = plant("a", "page", "0");
        elsewhere.change[0].file = "g.rs".into();
        refused(&[elsewhere], "no such file");
    }
}
