//! Several programs in one boot: `tests/kernel/many.c` starts one after the other, and says how
//! each has ended.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::compile::Compiler;
use super::initramfs::Initramfs;

const SOURCE: &str = "tests/kernel/many.c";

/// Where the list of programs is, and the folder that they run in.
const LIST: &str = "/etc/many";
const FOLDER: &str = "/tmp";

/// What a program's status is if it has not ended in time.
pub(super) const HUNG: u32 = 1000;

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
}

impl Line {
    /// What it is called in a table.
    pub(super) fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let words = self.arguments.iter().map(String::as_str);
        std::iter::once(name.as_str()).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// Reads a list: a program and its arguments in each line, with blanks between them.
pub(super) fn read(text: &str) -> Vec<Line> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some(Line { program: words.next()?.into(), arguments: words.collect() })
        })
        .collect()
}

/// Packs the programs; the command line of the first one. Each may take so many seconds.
pub(super) fn pack(
    files: &mut Initramfs,
    lines: &[Line],
    patience: u64,
    folder: Option<&str>,
) -> Result<Vec<OsString>> {
    let first = files.program(&Compiler::Glibc.compile(SOURCE)?)?;
    let mut list = String::new();
    let mut packed = BTreeMap::new();
    for line in lines {
        let name = line.program.file_name().context("a program without a name")?.to_owned();
        let known = packed.insert(name, line.program.clone());
        ensure!(
            known.as_ref().is_none_or(|known| *known == line.program),
            "two programs of one name: {}",
            line.program.display()
        );
        let guest = match known {
            Some(_) => {
                [OsString::from("/bin/"), line.program.file_name().unwrap_or_default().into()]
                    .into_iter()
                    .collect()
            }
            None => files.program(&line.program)?,
        };
        list.push_str(guest.to_str().context("a name that is no text")?);
        for argument in &line.arguments {
            list.push(' ');
            list.push_str(argument);
        }
        list.push('\n');
    }
    files.contents(LIST, list.as_bytes())?;
    let words = [LIST.into(), patience.to_string(), folder.unwrap_or(FOLDER).into()];
    Ok(std::iter::once(first).chain(words.into_iter().map(OsString::from)).collect())
}

/// What a program printed, and how it ended; no status if the run was over before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) output: String,
    pub(super) status: Option<u32>,
}

/// Takes what a boot printed apart: an outcome for each of `count` programs.
pub(super) fn outcomes(printed: &[u8], count: usize) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::default(); count];
    // Each part begins with a line of the first program's.
    for part in printed.split(|byte| *byte == 1).skip(1) {
        let part = String::from_utf8_lossy(part);
        let (head, output) = part.split_once('\n').unwrap_or((&part, ""));
        let mut words = head.split(' ').map(str::parse::<u32>);
        let Some(Ok(number)) = words.next() else { continue };
        let Some(outcome) = outcomes.get_mut(number as usize) else { continue };
        match words.next() {
            Some(status) => outcome.status = status.ok(),
            None => outcome.output = output.into(),
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_taken_apart_and_the_last_one_may_be_missing() {
        let printed = b"boot\n\x010\nhello\n\x010 3\n\x011\nno newline\x011 139\n\x012\nhangs";
        let outcome = |output: &str, status| Outcome { output: output.into(), status };
        assert_eq!(
            outcomes(printed, 4),
            [
                outcome("hello\n", Some(3)),
                outcome("no newline", Some(139)),
                outcome("hangs", None),
                outcome("", None),
            ]
        );
    }

    #[test]
    fn a_list_has_a_program_in_each_line() {
        let lines = read("# comment\n\n/bin/true  a b\nfalse\n");
        assert_eq!(lines.iter().map(Line::name).collect::<Vec<_>>(), ["true a b", "false"]);
    }
}
