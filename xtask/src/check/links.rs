//! Relative links in Markdown files lead to files that exist, and their fragments to headings.
//!
//! Addresses on the network are not followed: a run must not depend on it.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::facts::{Facts, Violation};
use faultless_tools::workspace::TextFile;

/// Finds links in Markdown files that lead nowhere.
pub(super) fn check(facts: &Facts) -> Vec<Violation> {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for file in &facts.files {
        known.extend(ancestors(&file.path));
    }
    let mut found = Vec::new();
    for file in facts.files.iter().filter(|file| file.extension() == "md") {
        let is_documentation = included_by_source(facts, file);
        for (target, offset) in links(&file.text) {
            // Paths of items are rustdoc's to check.
            if is_documentation && target.contains("::") {
                continue;
            }
            if let Err(what) = follow(facts, &known, file, &target) {
                let line = file.text[..offset].matches('\n').count() + 1;
                found.push(Violation::at_line(file, line, format!("{target}: {what}")));
            }
        }
    }
    found
}

/// Whether the file is part of a crate's documentation.
fn included_by_source(facts: &Facts, file: &TextFile) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or(&file.path);
    let folder = file.path.strip_suffix(name).unwrap_or("");
    facts.files.iter().any(|source| {
        source.extension() == "rs"
            && source.path.starts_with(folder)
            && source
                .text
                .lines()
                .any(|line| line.contains("include_str!") && line.contains(&format!("/{name}\")")))
    })
}

/// A path, and every folder on the way to it.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
    folders.chain(std::iter::once(path))
}

fn follow(
    facts: &Facts,
    known: &BTreeSet<&str>,
    from: &TextFile,
    target: &str,
) -> Result<(), &'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { from.path.clone() } else { resolve(&from.path, path)? };
    if !path.is_empty() && !known.contains(path.as_str()) {
        return Err("no such file");
    }
    if fragment.is_empty() || !path.ends_with(".md") {
        return Ok(());
    }
    let there = facts.files.iter().find(|file| file.path == path).map(|file| anchors(&file.text));
    match there {
        Some(anchors) if anchors.contains(fragment) => Ok(()),
        _ => Err("no such heading"),
    }
}

/// A relative path, seen from a file, as a path from the root.
fn resolve(from: &str, relative: &str) -> Result<String, &'static str> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or("leads out of the repository")?;
            }
            name => parts.push(name),
        }
    }
    Ok(parts.join("/"))
}

/// Every link and picture, with its place in the text.
fn links(text: &str) -> Vec<(String, usize)> {
    Parser::new_ext(text, Options::all())
        .into_offset_iter()
        .filter_map(|(event, range)| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some((dest_url.into_string(), range.start))
            }
            _ => None,
        })
        .collect()
}

/// The fragments by which the headings of a file can be reached, made as the usual viewers do.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::all()) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap_or_default());
                let times = seen.entry(slug.clone()).or_default();
                anchors.insert(if *times == 0 { slug } else { format!("{slug}-{times}") });
                *times += 1;
            }
            _ => {}
        }
    }
    anchors
}

fn slug(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::testing::{file, objects};

    #[test]
    fn a_link_to_a_file_that_does_not_exist_is_found() {
        let planted = file("docs/a.md", "one\n\n[b](b.md) and [up](../../x)\n");
        objects(&check(&planted), "docs/a.md:3: b.md: no such file");
        objects(&check(&planted), "leads out");
    }

    #[test]
    fn a_link_to_a_heading_that_does_not_exist_is_found() {
        let text =
            "# Lock order\n## `write` & co\n[ok](#lock-order) [ok](a.md#write--co) [no](#gone)";
        let found = check(&file("a.md", text));
        objects(&found, "#gone: no such heading");
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn the_second_heading_of_a_name_has_a_number() {
        assert_eq!(check(&file("a.md", "# X\n# X\n[one](#x) [two](#x-1)")), []);
        objects(&check(&file("a.md", "# X\n[two](#x-1)")), "no such heading");
    }

    #[test]
    fn links_to_files_folders_and_addresses_pass() {
        let mut facts = file("a.md", "[f](docs/b.md) [d](docs) [d](docs/) [w](https://docs.rs)");
        facts.files.extend(file("docs/b.md", "[back](../a.md) [root](..)").files);
        assert_eq!(check(&facts), []);
    }

    #[test]
    fn paths_of_items_pass_only_in_a_file_that_rustdoc_reads() {
        let mut facts = file("crates/x/GUIDE.md", "[`f`](page::f) [gone](gone.md)");
        objects(&check(&facts), "page::f");
        let source = "#![doc = include_str!(\"../GUIDE.md\")]\n";
        facts.files.extend(file("crates/x/src/lib.rs", source).files);
        let found = check(&facts);
        objects(&found, "gone.md");
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn what_stands_in_code_is_no_link() {
        assert_eq!(check(&file("a.md", "`[x](gone.md)`\n\n```\n[x](gone.md)\n```\n")), []);
    }
}
