//! Woven snippets are compiled and run with each mutant active.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::mutants::list::{Extent, Genre, Spot};

/// A mutant of what stands between the marks `‹` and `›` of the snippet.
fn marked(marks: &[Range<usize>], text: &str, id: u32, genre: Genre, replacement: &str) -> Mutant {
    let spot = |offset: usize| {
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Spot { line, column }
    };
    let range = &marks[id as usize - 1];
    Mutant {
        id,
        package: "p".into(),
        file: "a.rs".into(),
        genre,
        extent: Extent { start: spot(range.start), end: spot(range.end) },
        replacement: replacement.into(),
        name: format!("mutant {id}"),
        code: String::new(),
        nth: 1,
    }
}

/// The snippet without marks, and where they were.
fn unmark(snippet: &str) -> (String, Vec<Range<usize>>) {
    let (mut text, mut marks, mut open) = (String::new(), Vec::new(), Vec::new());
    for c in snippet.chars() {
        match c {
            '‹' => {
                open.push(marks.len());
                marks.push(text.len()..text.len());
            }
            '›' => marks[open.pop().expect("a mark was opened")].end = text.len(),
            other => text.push(other),
        }
    }
    (text, marks)
}

struct Lab {
    folder: PathBuf,
}

impl Lab {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("xtask-weave-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let lab = Self { folder };
        std::fs::write(lab.path("switch.rs"), include_str!("../switch.rs")).expect("the switch");
        let rlib = ["--crate-type=rlib", "--crate-name=faultless_mutant", "switch.rs"];
        lab.rustc(&rlib).expect("the switch compiles");
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn rustc(&self, arguments: &[&str]) -> Result<(), String> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args(["--edition=2024", "--cap-lints=allow"]).args(arguments);
        let output = command.current_dir(&self.folder).output().expect("rustc runs");
        let error = || String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or_else(error)
    }

    fn program(&self, text: &str) -> PathBuf {
        std::fs::write(self.path("main.rs"), text).expect("written");
        let arguments = ["--extern=faultless_mutant=libfaultless_mutant.rlib", "-L.", "main.rs"];
        if let Err(error) = self.rustc(&arguments) {
            panic!("the woven text does not compile: {error}\n{text}");
        }
        self.path("main")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn output(program: &Path, variable: &str, value: &str) -> String {
    let output = Command::new(program).env(variable, value).output().expect("the program runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Weaves mutants 1, 2, … of the marked places into the snippet, and compares what the program
/// prints without a mutant, with the first, the second, ….
#[track_caller]
fn assert_prints(name: &str, snippet: &str, mutants: &[(Genre, &str)], expected: &[&str]) {
    let (text, marks) = unmark(snippet);
    let mutants: Vec<Mutant> = mutants
        .iter()
        .zip(1..)
        .map(|((genre, replacement), id)| marked(&marks, &text, id, *genre, replacement))
        .collect();
    let source = Source::new(text);
    let woven = weave(&source, &mutants.iter().collect::<Vec<_>>(), None, &BTreeSet::new())
        .expect("it parses");
    let lab = Lab::new(name);
    let program = lab.program(&woven.text);
    let printed: Vec<String> = (0..expected.len())
        .map(|id| output(&program, "FAULTLESS_MUTANT", &id.to_string()))
        .collect();
    assert_eq!(printed, expected, "{}", woven.text);
}

use Genre::{BinaryOperator, FnValue, MatchArm, MatchArmGuard, StructField, UnaryOperator};

#[test]
fn binary_operators_nest_and_each_mutant_changes_one() {
    let snippet = "fn main() { let (a, b, c) = (7, 3, 2); println!(\"{}\", f(a, b, c)); }
fn f(a: i32, b: i32, c: i32) -> i32 { let mut x = a ‹+› b ‹*› c; x ‹+=› 1; if x ‹>› 0 ‹&&› a > b { x } else { -x } }";
    let mutants = [
        (BinaryOperator, "-"),
        (BinaryOperator, "+"),
        (BinaryOperator, "-="),
        (BinaryOperator, "<"),
        (BinaryOperator, "||"),
    ];
    assert_prints("binary", snippet, &mutants, &["14", "2", "13", "12", "-14", "14"]);
}

#[test]
fn an_early_return_and_a_missing_operator_in_front_are_switched() {
    let snippet = "fn main() { println!(\"{} {}\", f(true), g(4)); }
fn f(a: bool) -> bool { ‹let é = \"é\"; let b = ‹!›a; b› }
fn g(a: i32) -> i32 { ‹-›a }";
    let mutants = [(FnValue, "true"), (UnaryOperator, ""), (UnaryOperator, "")];
    assert_prints("body", snippet, &mutants, &["false -4", "true -4", "true -4", "false 4"]);
}

#[test]
fn match_arms_go_and_guards_are_fixed() {
    let snippet = "fn main() { println!(\"{}{}{}\", f(1), f(2), f(3)); }
fn f(a: i32) -> char { match a { ‹1 => 'a',› b if ‹b == 2› => 'b', _ => 'c' } }";
    let mutants = [(MatchArm, ""), (MatchArmGuard, "true")];
    assert_prints("arms", snippet, &mutants, &["abc", "cbc", "abb"]);
    let snippet = snippet.replace("'b'", "'B'");
    let (text, marks) = unmark(&snippet);
    let no = marked(&marks, &text, 2, MatchArmGuard, "false");
    let source = Source::new(text);
    let woven = weave(&source, &[&no], None, &BTreeSet::new()).expect("it parses");
    let lab = Lab::new("guard");
    assert_eq!(output(&lab.program(&woven.text), "FAULTLESS_MUTANT", "2"), "acc");
}

#[test]
fn a_field_of_a_struct_expression_goes() {
    let snippet = "#[derive(Debug, Default)] struct S { a: i32, b: i32 }
fn main() { let s = S { ‹a: 1 + 1,› ‹b: 2,› ..Default::default() }; println!(\"{}{}\", s.a, s.b); }";
    assert_prints("fields", snippet, &[(StructField, ""), (StructField, "")], &["22", "02", "20"]);
}

#[test]
fn operands_in_a_chain_with_let_are_switched_and_the_chain_is_not() {
    let snippet = "fn main() { println!(\"{}{}\", f(Some(1)), f(Some(5))); }
fn f(a: Option<i32>) -> char { if let Some(b) = a && b ‹>› 2 ‹&&› b < 9 { 'y' } else { 'n' } }";
    assert_prints("chain", snippet, &[(BinaryOperator, "<")], &["ny", "yn"]);
    let (text, marks) = unmark(snippet);
    let chain = marked(&marks, &text, 2, BinaryOperator, "||");
    let source = Source::new(text);
    let woven = weave(&source, &[&chain], None, &BTreeSet::new()).expect("it parses");
    assert!(woven.ids.is_empty(), "{}", woven.text);
}

#[test]
fn a_const_fn_is_woven_and_its_twin_serves_constants() {
    let snippet = "const fn f(a: usize) -> usize { a ‹+› 1 }
const N: usize = f(2) ‹*› 2;
fn main() { println!(\"{} {}\", [0; N].len(), f(2)); }";
    let (text, marks) = unmark(snippet);
    let plus = marked(&marks, &text, 1, BinaryOperator, "-");
    let times = marked(&marks, &text, 2, BinaryOperator, "+");
    let redirects = BTreeSet::from([(text.find("f(2)").expect("a call"), Copy::Woven)]);
    let source = Source::new(text);
    let woven = weave(&source, &[&plus, &times], None, &redirects).expect("it parses");
    assert_eq!(woven.ids, BTreeSet::from([1]), "a constant cannot ask a switch");
    let lab = Lab::new("const");
    let program = lab.program(&woven.text);
    assert_eq!(["0", "1"].map(|id| output(&program, "FAULTLESS_MUTANT", id)), ["6 3", "6 1"]);
    let forced = weave(&source, &[&plus], Some(&times), &redirects).expect("it parses");
    assert_eq!(output(&lab.program(&forced.text), "FAULTLESS_MUTANT", "0"), "5 3");
}

#[test]
fn what_the_compiler_says_leads_to_the_mutant_or_to_the_original() {
    let (text, marks) = unmark("fn f(a: u8) -> u8 { a ‹+› 1 }");
    let source = Source::new(text);
    let mutant = marked(&marks, &source.text, 1, BinaryOperator, "@");
    let woven = weave(&source, &[&mutant], None, &BTreeSet::new()).expect("it parses");
    let wrong = woven.text.find('@').expect("the mutant is there");
    assert_eq!(woven.blame(&(wrong..wrong + 1)), Some(1));
    let right = woven.text.rfind('+').expect("the original is there");
    assert_eq!(woven.blame(&(right..right + 1)), None);
    assert_eq!(woven.around(&(right..right + 1)), [1]);
    let name = woven.text.find("f(").expect("the name");
    assert_eq!(woven.origin(name), Some((3, Copy::Woven)));
}

#[test]
fn reached_places_are_recorded_and_no_others() {
    let (text, marks) = unmark(
        "fn main() { f(1); } fn f(a: i32) -> i32 { a ‹+› 1 } fn g(a: i32) -> i32 { a ‹+› 1 }",
    );
    let source = Source::new(text);
    let mutants = [1, 2].map(|id| marked(&marks, &source.text, id, BinaryOperator, "-"));
    let woven =
        weave(&source, &[&mutants[0], &mutants[1]], None, &BTreeSet::new()).expect("it parses");
    let lab = Lab::new("reach");
    let record = lab.path("record");
    std::fs::write(&record, [0; 1 << 16]).expect("a file to record in");
    output(&lab.program(&woven.text), "FAULTLESS_REACH", &record.to_string_lossy());
    assert_eq!(std::fs::read(&record).expect("the record")[..4], [0, 1, 0, 0]);
}
