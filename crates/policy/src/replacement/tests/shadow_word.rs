//! A word of shadows against a list of tags.
#![forbid(unsafe_code)]

use std::vec;
use std::vec::Vec;

use super::random::Dice;
use crate::replacement::shadow_word::{PLACES, TAGS, aged, with, without};

/// Tags from the youngest on, 0 where none is.
fn tags(word: u64) -> Vec<u32> {
    (0..PLACES).map(|place| (word >> (10 * place)) as u32 % TAGS).collect()
}

#[test]
fn a_word_has_the_last_tags_and_those_that_are_taken_leave_their_places_empty() {
    for (seed, most) in [(1, TAGS - 1), (2, 4), (3, 12)] {
        let mut dice = Dice(seed);
        let (mut word, mut model) = (0, vec![0; PLACES as usize]);
        for _ in 0..20_000 {
            let tag = 1 + dice.below(most.into()) as u32;
            if dice.below(2) == 0 {
                word = with(word, tag);
                model.pop();
                model.insert(0, tag);
            } else {
                let taken = without(word, tag);
                let place = model.iter().position(|known| *known == tag);
                assert_eq!(taken.is_some(), place.is_some(), "tag {tag} of {model:?}");
                place.inspect(|place| model[*place] = 0);
                word = taken.unwrap_or(word);
            }
            assert_eq!(tags(word), model);
            assert_eq!(tags(aged(word, 2))[2..], model[..4]);
            assert_eq!(tags(aged(word, 2))[..2], [0, 0]);
        }
    }
}

#[test]
fn any_tag_is_found_at_any_place_beside_any_other() {
    for tag in 1..TAGS {
        for other in [0, 1, tag ^ 1, tag ^ 512, TAGS - 1] {
            if other == tag {
                continue;
            }
            for place in 0..PLACES {
                let others = (0..PLACES).fold(0, |word, _| with(word, other));
                let word = others & !(1023 << (10 * place)) | u64::from(tag) << (10 * place);
                let left = without(word, tag).expect("it is there");
                assert_eq!(left, others & !(1023 << (10 * place)));
                assert_eq!(without(left, tag), None);
            }
        }
    }
}

#[test]
fn words_that_hold_anything_do_no_harm() {
    let mut dice = Dice(5);
    for _ in 0..2000 {
        let word = dice.below(u64::MAX) | 0xf << 60;
        for tag in (1..TAGS).step_by(61) {
            assert!(without(with(word, tag), tag).is_some());
        }
    }
}
