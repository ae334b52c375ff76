//! Checkers that are tests: those that draw a seed run with fresh ones. A round is one test.

#![forbid(unsafe_code)]

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::checker::{Checker, Find, Round};
use super::programs::{self, TestProgram};
use super::scan;
use faultless_tools::child::Ending;
use faultless_tools::process::capture;

/// The random tests of a test program.
pub(super) struct Tests {
    name: String,
    program: TestProgram,
    tests: Vec<String>,
    next: usize,
}

/// The random tests of all these programs.
pub(super) fn all(programs: &[TestProgram]) -> Result<Vec<Tests>> {
    let mut all = Vec::new();
    for program in programs {
        let drawing = scan::drawing(&program.source)?;
        if drawing.is_empty() {
            continue;
        }
        let mut command = Command::new(&program.program);
        let listed = capture(command.args(["--list", "--format", "terse"]))?.output;
        let tests = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let tests = tests.filter(|test| test.split("::").any(|part| drawing.contains(part)));
        let tests: Vec<String> = tests.map(str::to_owned).collect();
        if !tests.is_empty() {
            all.push(Tests::new(program.clone(), tests));
        }
    }
    Ok(all)
}

impl Tests {
    fn new(program: TestProgram, tests: Vec<String>) -> Self {
        let package = program.package.trim_start_matches("faultless-");
        let name = match &program.test {
            Some(test) => format!("test {package}/{test}"),
            None => format!("test {package}"),
        };
        Self { name, program, tests, next: 0 }
    }

    /// The command that plays one test with one seed.
    fn replay(&self, test: &str, seed: u32) -> String {
        let which = match &self.program.test {
            Some(program) => format!("--test {program}"),
            None => "--lib".to_owned(),
        };
        let package = &self.program.package;
        format!("FAULTLESS_SEED={seed} cargo test -p {package} {which} -- --exact {test}")
    }
}

impl Checker for Tests {
    fn name(&self) -> &str {
        &self.name
    }

    fn round(&mut self, seed: u32, _: Duration) -> Result<Round> {
        let test = self.tests[self.next % self.tests.len()].clone();
        self.next += 1;
        let mut command = Command::new(&self.program.program);
        command
            .args(["--exact", &test, "--test-threads=1"])
            .current_dir(&self.program.folder)
            .env("CARGO_MANIFEST_DIR", &self.program.folder)
            .env("FAULTLESS_SEED", seed.to_string());
        let played = programs::play(&mut command, &self.name)?;
        let find = (played.ending != Ending::Passed).then(|| Find {
            what: format!("{test}: {}", played.what()),
            replay: self.replay(&test, seed),
        });
        Ok(Round { inputs: 1, find })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_test_that_fails_with_one_seed_is_found_with_that_seed() {
        let folder = std::env::temp_dir().join(format!("xtask-soak-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let program = folder.join("program");
        let script = "#!/bin/sh\n[ $FAULTLESS_SEED != 7 ] && exit 0\n\
            echo \"thread 'x' panicked at a.rs:1:2:\"\necho W3: size\nexit 101\n";
        fs::write(&program, script).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
        let program = TestProgram {
            package: "faultless-tests".into(),
            test: Some("sync".into()),
            source: folder.clone(),
            program,
            folder: folder.clone(),
        };
        let mut tests = Tests::new(program, vec!["one".into(), "two".into()]);
        let mut play = |seed| tests.round(seed, Duration::ZERO).expect("it runs").find;
        assert_eq!(play(6), None);
        let find = Find {
            what: "two: W3: size".into(),
            replay: "FAULTLESS_SEED=7 cargo test -p faultless-tests --test sync -- --exact two"
                .into(),
        };
        assert_eq!(play(7), Some(find));
        fs::remove_dir_all(&folder).expect("cleaned up");
    }
}
