//! The demo as its user sees it: exit codes and answers.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("demo-test-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn demo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faultless-shows"));
    command.arg("demo").args(arguments).output().expect("the demo runs")
}

#[track_caller]
fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: ") && said.contains(why), "{said}");
    assert!(output.stdout.is_empty(), "nothing is claimed");
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn what_is_no_file_to_work_on_is_refused_in_words_with_exit_code_2() {
    let folder = Folder::new("refused");
    refused(&demo([folder.0.join("missing")]), "cannot look at");
    refused(&demo([&folder.0]), "is a directory");
    refused(&demo([folder.file("empty", b"")]), "is empty");
    let sparse = folder.file("sparse", b"");
    File::options().write(true).open(&sparse).and_then(|f| f.set_len(5 << 30)).expect("sparse");
    refused(&demo([&sparse]), "5368709120 bytes");
    refused(&demo([sparse.as_os_str(), "--first".as_ref(), "5368709120".as_ref()]), "at most");
}

#[test]
fn files_of_every_awkward_size_come_out_right_with_both_strategies() {
    let folder = Folder::new("sizes");
    for size in [1, 4095, 4096, 4097, 12_289, 300_001] {
        let path = folder.file("input", &pattern(size));
        let output = demo([path.as_os_str(), "--chunk".as_ref(), "333,4096,70000".as_ref()]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{size}: {said}");
        assert!(said.contains("All 6 files are right on disk"), "{size}: {said}");
        assert_eq!(fs::read(&path).expect("still there"), pattern(size), "only copies change");
    }
}

#[test]
fn programs_get_the_same_answer_as_json() {
    let folder = Folder::new("json");
    let path = folder.file("input", &pattern(50_000));
    let output = demo([path.as_os_str(), "--json".as_ref(), "--strategy=a".as_ref()]);
    assert_eq!(output.status.code(), Some(0));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["input_bytes"], 50_000);
    for run in answer["runs"].as_array().expect("runs") {
        assert_eq!(run["strategy"], "A");
        assert_eq!(run["faults_under_page_lock"], 0);
        assert!(run["faults"].as_u64() > Some(0), "the source is cold");
    }
    let output = demo([folder.0.as_os_str(), "--json".as_ref()]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &answer["ok"]), (Some(2), &false.into()));
}
