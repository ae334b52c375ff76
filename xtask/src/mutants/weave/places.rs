//! What each mutant changes, as places of the source text.
//!
//! A place that must be known at compile time (a constant, the length of an array) cannot ask a
//! switch; its mutants get no place.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, UnOp};

use crate::mutants::list::{Genre, Mutant};
use crate::mutants::source::Source;

/// Some bytes of the source, and what becomes of them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) range: Range<usize>,
    pub(super) change: Change,
}

/// What becomes of a place. Ranges are of the source.
#[derive(Debug)]
pub(super) enum Change {
    /// Insertion: early returns of values.
    Body { arms: Vec<(u32, String)> },
    /// A binary expression, with other operators.
    Binary { left: Range<usize>, right: Range<usize>, operator: String, arms: Vec<(u32, String)> },
    /// An expression with an operator in front, without it.
    Unary { operator: String, operand: Range<usize>, id: u32 },
    /// A match guard, or an insertion where there is none.
    Guard { old: Option<Range<usize>>, delete: Option<u32>, yes: Option<u32>, no: Option<u32> },
    /// A struct expression without one of its fields.
    Fields { arms: Vec<(u32, Range<usize>)> },
    /// Gone.
    Deleted,
    /// Insertion: the unchanged text of an item, under a name of its own; where the name is.
    Twin { item: Range<usize>, name: usize },
    /// Another text, always.
    Forced { text: String },
}

impl Change {
    /// The mutants of the place.
    pub(super) fn ids(&self) -> Vec<u32> {
        match self {
            Self::Body { arms } | Self::Binary { arms, .. } => {
                arms.iter().map(|arm| arm.0).collect()
            }
            Self::Unary { id, .. } => vec![*id],
            Self::Guard { delete, yes, no, .. } => {
                [delete, yes, no].into_iter().flatten().copied().collect()
            }
            Self::Fields { arms } => arms.iter().map(|arm| arm.0).collect(),
            Self::Deleted | Self::Twin { .. } | Self::Forced { .. } => Vec::new(),
        }
    }
}

/// Finds the places of the mutants in a file, and all `const fn` in it. In no order.
pub(super) fn find(file: &syn::File, source: &Source, mutants: &[&Mutant]) -> Vec<Place> {
    let mut wanted: HashMap<(Genre, usize), Vec<(u32, String)>> = HashMap::new();
    for mutant in mutants {
        let at = (mutant.genre, source.offset(mutant.extent.start));
        wanted.entry(at).or_default().push((mutant.id, mutant.replacement.clone()));
    }
    let mut finder = Finder { source, wanted, places: Vec::new(), when: When::Running };
    finder.visit_file(file);
    finder.places
}

/// When an expression is evaluated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Compiling,
    Running,
}

struct Finder<'a> {
    source: &'a Source,
    wanted: HashMap<(Genre, usize), Vec<(u32, String)>>,
    places: Vec<Place>,
    when: When,
}

impl Finder<'_> {
    fn range(&self, node: &impl Spanned) -> Range<usize> {
        self.source.range(node.span())
    }

    /// The mutants of this kind that begin here, if a switch can be asked here.
    fn take(&mut self, genre: Genre, at: usize) -> Vec<(u32, String)> {
        match self.when {
            When::Compiling => Vec::new(),
            When::Running => self.wanted.remove(&(genre, at)).unwrap_or_default(),
        }
    }

    fn push(&mut self, range: Range<usize>, change: Change) {
        self.places.push(Place { range, change });
    }

    fn evaluated(&mut self, when: When, visit: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.when, when);
        visit(self);
        self.when = before;
    }

    fn function(&mut self, item: Range<usize>, signature: &syn::Signature, block: &syn::Block) {
        if let Some(keyword) = &signature.constness {
            let keyword = self.range(keyword);
            self.push(keyword, Change::Deleted);
            let name = self.range(&signature.ident).start;
            self.push(item.end..item.end, Change::Twin { item, name });
        }
        self.evaluated(When::Running, |finder| {
            if let Some(first) = block.stmts.first() {
                let at = finder.range(first).start;
                let arms = finder.take(Genre::FnValue, at);
                if !arms.is_empty() {
                    finder.push(at..at, Change::Body { arms });
                }
            }
            finder.visit_signature(signature);
            finder.visit_block(block);
        });
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(self.range(item), &item.sig, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(self.range(item), &item.sig, &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        match &item.default {
            Some(block) => self.function(self.range(item), &item.sig, block),
            None => visit::visit_trait_item_fn(self, item),
        }
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        if !has_let(&expr.left) && !has_let(&expr.right) {
            let operator = self.range(&expr.op);
            let arms = self.take(Genre::BinaryOperator, operator.start);
            if !arms.is_empty() {
                let (left, right) = (self.range(&expr.left), self.range(&expr.right));
                let operator = self.source.text[operator].to_owned();
                self.push(left.start..right.end, Change::Binary { left, right, operator, arms });
            }
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        if matches!(expr.op, UnOp::Not(_) | UnOp::Neg(_)) {
            let operator = self.range(&expr.op);
            if let Some((id, _)) = self.take(Genre::UnaryOperator, operator.start).first() {
                let operand = self.range(&expr.expr);
                let range = operator.start..operand.end;
                let operator = self.source.text[operator].to_owned();
                self.push(range, Change::Unary { operator, operand, id: *id });
            }
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let start = self.range(arm).start;
        let delete = self.take(Genre::MatchArm, start).first().map(|one| one.0);
        let old = arm.guard.as_ref().map(|(_, guard)| self.range(guard));
        let fixed = match &old {
            Some(old) => self.take(Genre::MatchArmGuard, old.start),
            None => Vec::new(),
        };
        let to = |value: &str| fixed.iter().find(|one| one.1 == value).map(|one| one.0);
        let (yes, no) = (to("true"), to("false"));
        let lets = arm.guard.as_ref().is_some_and(|(_, guard)| has_let(guard));
        if !lets && [delete, yes, no].iter().any(Option::is_some) {
            let end = self.range(&arm.pat).end;
            let range = old.clone().unwrap_or(end..end);
            self.push(range, Change::Guard { old, delete, yes, no });
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        let mut arms = Vec::new();
        for pair in expr.fields.pairs() {
            let mut field = self.range(pair.value());
            if let Some((id, _)) = self.take(Genre::StructField, field.start).first() {
                field.end = pair.punct().map_or(field.end, |comma| self.range(comma).end);
                arms.push((*id, field));
            }
        }
        if !arms.is_empty() {
            let range = self.range(&expr.path).start..self.range(expr).end;
            self.push(range, Change::Fields { arms });
        }
        visit::visit_expr_struct(self, expr);
    }

    fn visit_pat(&mut self, pat: &'ast syn::Pat) {
        self.evaluated(When::Compiling, |finder| visit::visit_pat(finder, pat));
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.evaluated(When::Compiling, |finder| visit::visit_item_const(finder, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.evaluated(When::Compiling, |finder| visit::visit_impl_item_const(finder, item));
    }

    fn visit_trait_item_const(&mut self, item: &'ast syn::TraitItemConst) {
        self.evaluated(When::Compiling, |finder| visit::visit_trait_item_const(finder, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.evaluated(When::Compiling, |finder| visit::visit_item_static(finder, item));
    }

    fn visit_expr_const(&mut self, expr: &'ast syn::ExprConst) {
        self.evaluated(When::Compiling, |finder| visit::visit_expr_const(finder, expr));
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.evaluated(When::Compiling, |finder| visit::visit_variant(finder, variant));
    }

    fn visit_generic_argument(&mut self, argument: &'ast syn::GenericArgument) {
        self.evaluated(When::Compiling, |finder| visit::visit_generic_argument(finder, argument));
    }

    fn visit_type_array(&mut self, array: &'ast syn::TypeArray) {
        self.visit_type(&array.elem);
        self.evaluated(When::Compiling, |finder| finder.visit_expr(&array.len));
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
        self.evaluated(When::Compiling, |finder| finder.visit_expr(&repeat.len));
    }
}

/// Whether a condition is a chain with a `let` in it.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(chain) if matches!(chain.op, BinOp::And(_)) => {
            has_let(&chain.left) || has_let(&chain.right)
        }
        _ => false,
    }
}
