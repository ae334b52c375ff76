//! The exception table: relative entries, searched sorted and unsorted, sorted in place.

mod support;

use faultless_usercopy::extable::{
    Entry, Kind, Resume, Table, find, is_sorted, search, sort, table,
};
use support::{Random, seed};

/// Points `entry`, where it lies, at `insn` and `fixup` bytes after `origin`.
fn aim(entry: &mut Entry, origin: usize, insn: usize, fixup: usize, kind: u32) {
    let from = |field: *const i32, target: usize| {
        let distance = (origin + target).cast_signed() - field.addr().cast_signed();
        i32::try_from(distance).unwrap()
    };
    entry.insn = from(&raw const entry.insn, insn);
    entry.fixup = from(&raw const entry.fixup, fixup);
    entry.kind = kind;
}

/// A table at its final place, with instruction `n` at `origin + insns[n]` and its fix-up 1000
/// bytes on.
fn build(insns: &[usize]) -> (Vec<Entry>, usize) {
    let mut entries: Vec<Entry> = insns.iter().map(|_| Entry::default()).collect();
    let origin = entries.as_ptr().addr();
    for (n, (entry, &insn)) in entries.iter_mut().zip(insns).enumerate() {
        aim(entry, origin, insn, insn + 1000, (n % 2) as u32);
    }
    (entries, origin)
}

#[test]
fn the_empty_table_has_no_entry() {
    assert!(is_sorted(&[]));
    assert_eq!(search(&[], 0), None);
    assert_eq!(sort(&mut []), Ok(()));
    assert_eq!(Table::new(&[]).search(7), None);
}

#[test]
fn every_registered_instruction_is_found_and_no_other() {
    let insns: Vec<usize> = (0..100).map(|n| 10 * n).collect();
    for len in 0..insns.len() {
        let (entries, origin) = build(&insns[..len]);
        for ip in 0..1010 {
            let expected = (ip % 10 == 0 && ip / 10 < len).then_some(origin + ip + 1000);
            assert_eq!(search(&entries, origin + ip), expected);
        }
        assert_eq!(search(&entries, origin.wrapping_sub(1)), None);
        assert_eq!(search(&entries, usize::MAX), None);
    }
}

#[test]
fn sorting_keeps_what_every_entry_means() {
    let mut random = Random(seed());
    for _ in 0..300 {
        let len = random.below(60);
        let mut insns: Vec<usize> = (0..len).map(|n| 8 * n).collect();
        for at in (1..len).rev() {
            insns.swap(at, random.below(at + 1));
        }
        let (mut entries, origin) = build(&insns);
        sort(&mut entries).unwrap();
        assert!(is_sorted(&entries));
        for (n, insn) in insns.iter().enumerate() {
            let entry = find(&entries, origin + insn).unwrap();
            assert_eq!(entry.fixup(), origin + insn + 1000);
            let kind = if n % 2 == 0 { Kind::Faulting } else { Kind::Atomic };
            assert_eq!(entry.kind(), kind);
        }
    }
}

#[test]
fn an_unsorted_table_is_searched_all_the_same() {
    let (entries, origin) = build(&[30, 10, 20]);
    let table = Table::new(&entries);
    assert!(!is_sorted(table.entries()));
    for insn in [10, 20, 30] {
        assert_eq!(table.search(origin + insn), Some(origin + insn + 1000));
    }
    assert_eq!(table.search(origin + 11), None);
}

#[test]
fn only_faulting_instructions_have_their_fault_resolved() {
    let (entries, origin) = build(&[0, 10]);
    let table = Table::new(&entries);
    assert_eq!(table.resume(origin, || true), Some(Resume::Retry));
    assert_eq!(table.resume(origin, || false), Some(Resume::At(origin + 1000)));
    let never = || -> bool { panic!("an atomic copy's fault was resolved") };
    assert_eq!(table.resume(origin + 10, never), Some(Resume::At(origin + 1010)));
    assert_eq!(table.resume(origin + 5, never), None);
}

#[test]
fn an_unknown_kind_is_the_stricter_one() {
    assert_eq!(Entry { kind: 77, ..Entry::default() }.kind(), Kind::Atomic);
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
fn the_linker_keeps_the_table_of_the_image() {
    let image = Table::of_image();
    assert!(!table().is_empty());
    for entry in image.entries() {
        assert_eq!(image.search(entry.insn()), Some(entry.fixup()));
        // A fix-up is the end of its own block of instructions.
        assert!(entry.fixup() > entry.insn() && entry.fixup() - entry.insn() < 256);
    }
}
