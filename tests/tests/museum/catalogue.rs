//! The catalogue is complete: every exhibit has a test that passes and a planted twin that is
//! caught, and the readers' page names them all.

/// What stands for readers.
const PAGE: &str = include_str!("../../../docs/museum.md");

const ROOMS: [&str; 14] = [
    include_str!("a_faults.rs"),
    include_str!("a_loops.rs"),
    include_str!("b_bytes.rs"),
    include_str!("b_pages.rs"),
    include_str!("c_blocks.rs"),
    include_str!("c_counts.rs"),
    include_str!("d_deadlocks.rs"),
    include_str!("e_edges.rs"),
    include_str!("e_pages.rs"),
    include_str!("e_reclaim.rs"),
    include_str!("e_remote.rs"),
    include_str!("e_stores.rs"),
    include_str!("e_syncs.rs"),
    include_str!("e_waits.rs"),
];

/// Exhibits of each letter, up to a number.
const EXHIBITS: [(char, usize); 5] = [('a', 13), ('b', 14), ('c', 12), ('d', 7), ('e', 23)];

/// Names of tests: functions that take a machine, or nothing and return nothing.
fn tests() -> Vec<&'static str> {
    let lines = ROOMS.iter().flat_map(|room| room.lines());
    let names = lines.filter_map(|line| {
        let (name, rest) = line.trim_start().strip_prefix("fn ")?.split_once('(')?;
        (rest.starts_with("machine)") || rest.starts_with("machine =") || rest == ") {")
            .then_some(name)
    });
    names.collect()
}

#[test]
fn every_exhibit_is_shown_and_has_a_twin_that_is_caught() {
    let tests = tests();
    let numbered = |(letter, count)| (1..=count).map(move |number| (letter, number));
    for (letter, number) in EXHIBITS.into_iter().flat_map(numbered) {
        let id = format!("{letter}{number:02}_");
        let (twins, shown): (Vec<&str>, Vec<&str>) = tests
            .iter()
            .filter(|name| name.starts_with(&id))
            .partition(|name| name.ends_with("_is_caught"));
        assert!(!twins.is_empty() && !shown.is_empty(), "{id}: {shown:?} {twins:?}");
    }
}

#[test]
fn the_readers_page_names_every_test_and_no_other() {
    let tests = tests();
    for name in &tests {
        assert!(PAGE.contains(&format!("`{name}`")), "{name} is missing");
    }
    let quoted = PAGE.split('`').skip(1).step_by(2);
    let is_id = |name: &&str| {
        let digits =
            name.get(1..3).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        name.starts_with(['a', 'b', 'c', 'd', 'e'])
            && digits
            && name.as_bytes().get(3) == Some(&b'_')
    };
    for name in quoted.filter(is_id) {
        assert!(tests.contains(&name), "{name} does not exist");
    }
}
