//! What the kernel's messages say of locks, hangs and panics.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::qemu::{End, Ran};

/// What the lock checker of the kernel says of an order that is wrong, or of what a thread holds.
const LOCKS: &str = "kernel: locks: ";

/// A call that the kernel does not know is told, and is no failure of the run.
const UNKNOWN: &str = "kernel: system call ";

/// What the kernel says of a file that it could not write when its last handle was gone.
const UNWRITTEN: &str = "kernel: file ";

/// The first program has ended with the status 0, and the kernel had nothing to complain of.
pub(super) fn ended_well(ran: &Ran) -> Result<(), String> {
    ended(ran, &[UNKNOWN])
}

/// The same on a disk that fails.
pub(super) fn ended_well_on_failing_disk(ran: &Ran) -> Result<(), String> {
    ended(ran, &[UNKNOWN, UNWRITTEN])
}

/// It has ended with the status 0, and the kernel has said nothing but this.
fn ended(ran: &Ran, allowed: &[&str]) -> Result<(), String> {
    let is_allowed = |line: &str| allowed.iter().any(|allowed| line.starts_with(allowed));
    let complains =
        ran.messages.lines().any(|line| line.starts_with("kernel:") && !is_allowed(line));
    if ran.end == End::Status(0) && !complains {
        return Ok(());
    }
    Err(format!("{:?}\n{}", ran.end, ran.messages))
}

/// How many threads wait for each other in a circle, by the lines that say `thread 5 holds P(1,0)
/// and wants P(2,0)`; 0 if none do. A thread that wants a lock which it has for reading waits for
/// the writer in between, and so for itself.
pub(super) fn circle(messages: &str) -> usize {
    let mut wants = BTreeMap::new();
    let mut held_by = BTreeMap::new();
    for line in messages.lines().filter_map(|line| line.strip_prefix(LOCKS)) {
        let Some((thread, rest)) = line.split_once(" holds ") else { continue };
        let Some((held, wanted)) = rest.split_once(" and wants ") else { continue };
        // Locks have commas in their names, without a blank.
        held.split(", ").for_each(|lock| {
            held_by.insert(instance(lock), thread);
        });
        wants.insert(thread, instance(wanted));
    }
    let from = |first: &str| {
        let mut at = first;
        for count in 1..=wants.len() {
            let next = wants.get(at).and_then(|lock| held_by.get(lock))?;
            if *next == first {
                return Some(count);
            }
            at = next;
        }
        None
    };
    wants.keys().filter_map(|first| from(first)).max().unwrap_or(0)
}

/// A lock, however it is held or wanted.
fn instance(lock: &str) -> &str {
    let lock = lock.strip_suffix(" for reading").unwrap_or(lock);
    lock.strip_suffix(" for writing").unwrap_or(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_followed_from_lock_to_lock() {
        let two = "kernel: locks: thread 5 holds I(3), P(26,0) and wants P(28,0)\n\
                   kernel: locks: thread 6 holds P(28,0) and wants P(26,0)\n";
        assert_eq!(circle(two), 2);
        assert_eq!(circle("kernel: locks: thread 5 holds P(26,0) and wants P(26,0)\n"), 1);
        assert_eq!(circle("kernel: locks: thread 5 holds P(26,0) and wants P(28,0)\n"), 0);
        assert_eq!(circle("kernel: locks: thread 5: waits for itself\n"), 0);
        let nested = "kernel: locks: thread 12 holds M(3) for reading and wants M(3) for reading\n\
                      kernel: locks: thread 6 holds nothing and wants M(3) for writing\n";
        assert_eq!(circle(nested), 1);
    }

    #[test]
    fn a_complaint_of_the_kernel_is_a_failure_and_an_unknown_call_is_none() {
        let ran = |messages: &str| Ran {
            end: End::Status(0),
            output: Vec::new(),
            messages: messages.into(),
        };
        assert!(ended_well(&ran("selftest: x\nkernel: system call 9 is not known\n")).is_ok());
        assert!(ended_well(&ran("kernel: locks: thread 5: lock order\n")).is_err());
    }
}
