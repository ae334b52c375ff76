//! Which module of a crate imports which: `use` declarations and paths, with re-exports followed to
//! the module that defines the name. Code under `cfg(test)` is left out.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};

/// A module, by its path from the root of the crate.
pub(super) type Module = Vec<String>;

/// Re-exports followed at most, from one name.
const FOLLOWED: usize = 16;

/// The modules of one crate.
#[derive(Debug, Default)]
pub(super) struct Imports {
    modules: BTreeMap<Module, Found>,
}

/// What a file says.
#[derive(Debug, Default)]
struct Found {
    /// Paths that it names, as they are written.
    paths: Vec<Module>,
    /// Names that it re-exports, with the paths that they stand for.
    reexports: BTreeMap<String, Module>,
    /// Child modules that only tests have.
    for_tests: BTreeSet<String>,
}

impl Imports {
    /// Of the crate whose files, with paths from its `src`, are given. Files that are not Rust are
    /// left out.
    pub(super) fn of<'f>(files: impl Iterator<Item = (&'f str, &'f str)>) -> Self {
        let mut modules = BTreeMap::new();
        for (path, text) in files {
            let Ok(parsed) = syn::parse_file(text) else { continue };
            let mut found = Found::default();
            found.visit_file(&parsed);
            modules.insert(module_of(path), found);
        }
        let tests: Vec<Module> = modules
            .iter()
            .flat_map(|(module, found)| {
                found
                    .for_tests
                    .iter()
                    .map(|name| [module.as_slice(), std::slice::from_ref(name)].concat())
            })
            .collect();
        modules.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Self { modules }
    }

    /// Each module with those that it imports from.
    pub(super) fn edges(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let of = |(module, found): (&'_ Module, &'_ Found)| -> BTreeSet<&Module> {
            let defined = found.paths.iter().filter_map(|path| self.resolve(module, path, 0));
            defined.filter(|other| *other != module).collect()
        };
        self.modules.iter().map(|(module, found)| (module, of((module, found)))).collect()
    }

    /// The module that defines what `path`, written in `module`, names; `None` for another crate's.
    fn resolve(&self, module: &Module, path: &[String], followed: usize) -> Option<&Module> {
        let path = self.absolute(module, path)?;
        let (known, rest) = (0..=path.len()).rev().find_map(|len| {
            self.modules.get_key_value(&path[..len]).map(|(known, _)| (known, &path[len..]))
        })?;
        let reexported = rest.first().and_then(|name| self.modules[known].reexports.get(name));
        match reexported {
            Some(target) if followed < FOLLOWED => {
                self.resolve(known, &[target, &rest[1..]].concat(), followed + 1)
            }
            _ => Some(known),
        }
    }

    fn absolute(&self, module: &Module, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let mut base = module.clone();
                let ups = path.iter().take_while(|name| *name == "super").count();
                base.truncate(base.len().checked_sub(ups)?);
                Some([base.as_slice(), &path[ups..]].concat())
            }
            _ => {
                let child = [module.as_slice(), &path[..1]].concat();
                self.modules.contains_key(&child).then(|| [module, path].concat())
            }
        }
    }
}

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`; the crate's root is the empty path.
fn module_of(path: &str) -> Module {
    let mut module: Module =
        path.trim_end_matches(".rs").split('/').map(ToOwned::to_owned).collect();
    if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        list.is_ok_and(|list| list.path.is_ident("cfg") && list.tokens.to_string() == "test")
    })
}

/// The paths of a `use` declaration, each with the name that it gets.
fn leaves(tree: &syn::UseTree, before: &[String], out: &mut Vec<(String, Module)>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), out),
        syn::UseTree::Name(name) if name.ident == "self" => {
            out.push((before.last().cloned().unwrap_or_default(), before.to_vec()));
        }
        syn::UseTree::Name(name) => out.push((name.ident.to_string(), with(&name.ident))),
        syn::UseTree::Rename(rename) => out.push((rename.rename.to_string(), with(&rename.ident))),
        syn::UseTree::Glob(_) => out.push(("*".into(), before.to_vec())),
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|tree| leaves(tree, before, out));
        }
    }
}

impl Visit<'_> for Found {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            self.for_tests.insert(item.ident.to_string());
        } else {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &[], &mut found);
        match item.vis {
            _ if is_for_tests(&item.attrs) => {}
            syn::Visibility::Inherited => {
                self.paths.extend(found.into_iter().map(|(_, path)| path))
            }
            // Whoever imports the name imports from where it comes.
            _ => self.reexports.extend(found),
        }
    }

    fn visit_macro(&mut self, found: &syn::Macro) {
        // The arguments of `assert!`, `format!` and their like are expressions.
        let arguments = Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(expressions) = found.parse_body_with(arguments) {
            expressions.iter().for_each(|expression| self.visit_expr(expression));
        }
        visit::visit_macro(self, found);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Module = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if names.len() > 1 {
            self.paths.push(names);
        }
        visit::visit_path(self, path);
    }
}
