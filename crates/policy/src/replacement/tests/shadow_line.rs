//! A line of shadows against a list of tags and stamps.
#![forbid(unsafe_code)]

use std::vec::Vec;

use super::random::Dice;
use crate::replacement::shadow_line::{Line, STAMPS, ShadowLine, TAGS, WAYS};

/// What a line has, in no order.
type Model = Vec<(u32, u32)>;

/// How many rounds ago something got its stamp.
fn age(stamp: u32, now: u32) -> u32 {
    now.wrapping_sub(stamp) % STAMPS
}

#[track_caller]
fn assert_same(line: &Line, model: &Model) {
    let mut rest = *line;
    for (tag, _) in model {
        assert!(rest.take(*tag), "tag {tag} is lost");
    }
    assert_eq!(rest.words(), ShadowLine::default(), "nothing else is there");
}

/// Adds a tag that is not there. A full line may lose any of its oldest.
fn add(line: &mut Line, model: &mut Model, tag: u32, now: u32) {
    line.add(tag, now);
    if model.len() == WAYS as usize {
        let gone = |(tag, _): &(u32, u32)| !{ *line }.take(*tag);
        let gone = model.iter().position(gone).expect("one made room");
        let oldest = model.iter().map(|(_, stamp)| age(*stamp, now)).max();
        let (_, stamp) = model.swap_remove(gone);
        assert_eq!(Some(age(stamp, now)), oldest, "a younger one made room");
    }
    model.push((tag, now));
}

#[test]
fn a_line_has_what_was_added_and_loses_its_oldest() {
    for (seed, tags) in [(1, TAGS), (2, TAGS), (3, 60), (4, 200)] {
        let mut dice = Dice(seed);
        let (mut line, mut model) = (Line::of(ShadowLine::default()), Model::new());
        let mut now = 0;
        for _ in 0..5000 {
            let tag = dice.below(tags.into()) as u32;
            match dice.below(40) {
                // The broom comes.
                0 => {
                    now = (now + 1) % STAMPS;
                    let len = model.len();
                    model.retain(|(_, stamp)| *stamp != now);
                    assert_eq!(line.expire(now), model.len() < len);
                }
                1..5 => {
                    let at = model.iter().position(|(known, _)| *known == tag);
                    at.inspect(|at| _ = model.swap_remove(*at));
                    assert_eq!(line.take(tag), at.is_some());
                }
                _ if model.iter().all(|(known, _)| *known != tag) => {
                    add(&mut line, &mut model, tag, now);
                }
                _ => {}
            }
            line = Line::of(line.words());
            assert_same(&line, &model);
        }
    }
}

#[test]
fn the_outermost_tags_fill_a_line() {
    for first in [0, TAGS - WAYS] {
        let mut line = Line::of(ShadowLine::default());
        let mut model = Model::new();
        for tag in first..first + WAYS {
            add(&mut line, &mut model, tag, STAMPS - 1);
        }
        assert_same(&Line::of(line.words()), &model);
    }
}

#[test]
fn words_that_are_no_line_do_no_harm() {
    let mut line = Line::of([u64::MAX; 8]);
    line.add(1, 0);
    assert!(line.take(1));
    assert_eq!(line.words(), ShadowLine::default());
    let mut dice = Dice(5);
    for _ in 0..2000 {
        // Few ones, so that some pass for a line.
        let words = [(); 8].map(|()| dice.below(u64::MAX) & dice.below(u64::MAX));
        let mut line = Line::of(words);
        for tag in (0..TAGS).step_by(61) {
            line.take(tag);
            line.add(tag, tag % STAMPS);
        }
        line.expire(dice.below(STAMPS.into()) as u32);
    }
}
