//! The power is cut while `tests/kernel/disk/power.c` writes: QEMU is killed. The disk has what was
//! sent to it; `e2fsck` repairs it, and what the program has synced is there.

#![forbid(unsafe_code)]

use super::disk::Image;
use super::qemu::{End, Ran};

/// Bytes of a line that the program prints, and the most lines before the cut.
const LINE: u64 = 18;
const MOST_LINES: u64 = 250;

/// Copies of its number that a record has, and the files that records are appended to.
const COPIES: usize = 300;
const FILES: usize = 3;

/// When the power is cut: behind so many bytes that the program has printed.
pub(super) const fn moment(seed: u64) -> u64 {
    (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % MOST_LINES * LINE
}

fn record(number: usize) -> Vec<u8> {
    format!("{number:08}\n").repeat(COPIES).into_bytes()
}

/// What the program has said is there.
pub(super) fn judge(ran: &Ran, disk: &Image) -> Result<(), String> {
    if ran.end != End::Cut {
        return Err(format!("{:?}\n{}", ran.end, ran.messages));
    }
    disk.repair()?;
    disk.check()?;
    let told = String::from_utf8_lossy(&ran.output);
    let (whole, _) = told.rsplit_once('\n').unwrap_or(("", ""));
    let count = |what: &str| {
        let numbers = whole.lines().filter_map(|line| line.strip_prefix(what));
        numbers.filter_map(|number| number.parse::<usize>().ok()).next_back()
    };
    let read = |path: &str| disk.read(path).map_err(|why| why.to_string());
    let records = count("appended ").map_or(0, |last| last + 1);
    for file in 0..FILES {
        let path = format!("/{}", char::from(b'a' + file as u8));
        check_appended(&read(&path)?, file, records).map_err(|why| format!("{path}: {why}"))?;
    }
    match count("replaced ") {
        None => Ok(()),
        Some(last) => check_replaced(&read("/replaced")?, last),
    }
}

/// The records of a file that were synced, and then those that the program wrote before the host
/// saw its last line: the last one may be in part, or zeros.
fn check_appended(bytes: &[u8], file: usize, synced: usize) -> Result<(), String> {
    let expected: Vec<u8> = (file..synced).step_by(FILES).flat_map(record).collect();
    let Some(rest) = bytes.strip_prefix(&*expected) else {
        return Err(format!("what was synced is not there: {} bytes", expected.len()));
    };
    let own = (synced..).filter(|number| number % FILES == file).flat_map(record);
    match rest.iter().zip(own).position(|(byte, own)| *byte != own && *byte != 0) {
        None => Ok(()),
        Some(at) => Err(format!("foreign bytes at {}", expected.len() + at)),
    }
}

/// The file that was put in the place of another one is the last that was, or a later one.
fn check_replaced(bytes: &[u8], last: usize) -> Result<(), String> {
    let number = bytes.get(..8).and_then(|digits| std::str::from_utf8(digits).ok());
    match number.and_then(|digits| digits.parse::<usize>().ok()) {
        Some(number) if number >= last && bytes == record(number) => Ok(()),
        number => Err(format!("replaced: {number:?} after {last}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_must_be_there_and_nothing_foreign() {
        let two = [record(1), record(4)].concat();
        assert!(check_appended(&two, 1, 5).is_ok());
        assert!(check_appended(&two, 1, 4).is_ok());
        assert!(check_appended(&two, 1, 3).is_ok());
        assert!(check_appended(&two, 1, 8).is_err());
        assert!(check_appended(&two[..5000], 1, 4).is_ok());
        assert!(check_appended(&two[..5000], 1, 5).is_err());
        let zeros = [record(1), vec![0; 100]].concat();
        assert!(check_appended(&zeros, 1, 2).is_ok());
        let foreign = [record(1), record(2)].concat();
        assert!(check_appended(&foreign, 1, 2).is_err());
    }

    #[test]
    fn a_replaced_file_is_whole_and_not_older() {
        assert!(check_replaced(&record(19), 9).is_ok());
        assert!(check_replaced(&record(9), 19).is_err());
        assert!(check_replaced(&record(9)[..100], 9).is_err());
        assert!(check_replaced(b"", 9).is_err());
    }
}
