//! What libFuzzer says while it runs.

#![forbid(unsafe_code)]

/// The numbers of a status line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// Inputs played.
    pub(super) runs: u64,
    /// Places of the program that were reached.
    pub(super) coverage: u64,
    /// Inputs that are kept.
    pub(super) corpus: u64,
    /// Inputs played a second.
    pub(super) speed: u64,
}

impl Status {
    /// Reads a line like
    /// `#4096 pulse  cov: 1418 ft: 6363 corp: 637/64Kb lim: 160 exec/s: 8192 rss: 32Mb`.
    pub(super) fn read(line: &str) -> Option<Self> {
        let runs = line.strip_prefix('#')?.split_whitespace().next()?.parse().ok()?;
        let number = |name: &str| {
            let rest = line.split_once(name)?.1.trim_start();
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        };
        Some(Self {
            runs,
            coverage: number("cov:")?,
            corpus: number("corp:")?,
            speed: number("exec/s:").unwrap_or(0),
        })
    }
}

/// Reads the number of inputs that were played from what is said at the end: a status line comes
/// now and then only.
pub(super) fn played(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
}

/// What a panic said, in one line: the lines between `panicked at` and the backtrace.
pub(super) fn finding(output: &str) -> Option<String> {
    let (_, told) = output.split_once("panicked at ")?;
    let ends = ["stack backtrace:", "note: run with", "note: Some details", "==", "MS: "];
    let lines =
        told.lines().skip(1).take_while(|line| !ends.iter().any(|end| line.starts_with(end)));
    let said: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    Some(said.join("; ").chars().take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_status_line_are_read() {
        let line =
            "#4096\tpulse  cov: 1418 ft: 6363 corp: 637/64Kb lim: 160 exec/s: 8192 rss: 32Mb";
        let status = Status { runs: 4096, coverage: 1418, corpus: 637, speed: 8192 };
        assert_eq!(Status::read(line), Some(status));
        assert_eq!(Status::read("INFO: Seed: 1"), None);
        assert_eq!(Status::read("#2\tINITED exec/s: 0 rss: 27Mb"), None);
    }

    #[test]
    fn the_number_of_inputs_is_read_from_what_is_said_at_the_end() {
        assert_eq!(played("stat::number_of_executed_units: 90210"), Some(90210));
        assert_eq!(played("stat::average_exec_per_sec:     30070"), None);
    }

    #[test]
    fn a_panic_is_told_in_one_line() {
        let output = "#9 NEW\nthread '<unnamed>' panicked at a.rs:1:2:\nassertion failed: W3: size\n  \
             left: 1\n right: 2\nstack backtrace:\n   0: x\n";
        assert_eq!(
            finding(output).as_deref(),
            Some("assertion failed: W3: size; left: 1; right: 2")
        );
        assert_eq!(finding("nothing"), None);
    }
}
