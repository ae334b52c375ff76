//! `cargo xtask soak` as its user sees it: a planted bug is found, and what it prints to replay it
//! fails. What cannot be run is told by another exit code.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, Output};

fn soak(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faultless-random"));
    let output = command.arg("soak").args(arguments).output().expect("soak runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a printed command by a shell, as its reader does, with the program that was built for this
/// test.
fn replay(line: &str) -> Output {
    let program = format!("'{}'", env!("CARGO_BIN_EXE_faultless-random"));
    let command = line.replacen("cargo xtask", &program, 1);
    assert_ne!(command, line, "no command of this repository");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new("sh").args(["-c", &command]).current_dir(root).output().expect("a shell")
}

/// A planted bug is found, and found again by the printed command. `shows` is said by the command.
#[track_caller]
fn is_found_and_replayed(arguments: &[&str], shows: &str) {
    let (code, printed) = soak(arguments);
    assert_eq!(code, Some(1), "{printed}");
    let line = printed.lines().find_map(|line| line.trim().strip_prefix("replay: "));
    let line = line.unwrap_or_else(|| panic!("no replay line:\n{printed}"));
    let again = replay(line);
    let said =
        [again.stdout, again.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let said = said.concat();
    assert!(!again.status.success() && said.contains(shows), "{line}\n{said}");
}

#[test]
fn a_difference_to_linux_is_printed_with_a_command_that_shows_it_again() {
    let arguments = ["--only", "oracle", "--plant", "oracle=s2", "--time", "1", "--seed", "5"];
    is_found_and_replayed(&arguments, "the size differs");
}

#[test]
fn a_fuzz_input_is_printed_with_a_command_that_plays_it_again() {
    let plant = ["--only", "fuzz index", "--plant", "fuzz=index-short-run", "--stable"];
    let arguments = [&plant[..], &["--time", "1", "--seed", "5"]].concat();
    is_found_and_replayed(&arguments, "find Present");
}

#[test]
fn without_a_bug_nothing_is_found() {
    let (code, printed) = soak(&["--only", "fuzz index", "--stable", "--time", "1", "--seed", "5"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("\n0 finds in "), "{printed}");
}

#[test]
fn what_cannot_be_run_is_no_find() {
    let (code, printed) = soak(&["--only", "fuzz nothing", "--time", "1"]);
    assert_eq!(code, Some(2), "{printed}");
    let unknown = ["--only", "fuzz index", "--stable", "--plant", "fuzz=nonsense", "--time", "1"];
    let (code, printed) = soak(&unknown);
    assert_eq!(code, Some(2), "{printed}");
}
