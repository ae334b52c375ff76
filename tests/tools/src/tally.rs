//! Counting what `cargo test` ran.

#![forbid(unsafe_code)]

/// Sums over all `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run because they say so.
    pub ignored: u64,
}

/// Adds up the `test result:` lines of a run.
#[must_use]
pub fn tally(output: &str) -> Tally {
    let mut sum = Tally::default();
    for line in output.lines().filter_map(|line| line.trim().strip_prefix("test result: ")) {
        let counts = line.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split("; ") {
            match part.trim().split_once(' ') {
                Some((n, "passed")) => sum.passed += n.parse().unwrap_or(0),
                Some((n, "failed")) => sum.failed += n.parse().unwrap_or(0),
                Some((n, "ignored")) => sum.ignored += n.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_programs_are_added_up() {
        let output = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\n\
            test result: FAILED. 5 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(tally(output), Tally { passed: 7, failed: 1, ignored: 3 });
        assert_eq!(tally("nothing was run"), Tally::default());
    }
}
