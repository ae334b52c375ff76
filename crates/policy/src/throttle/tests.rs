//! What a writer is told.

use super::*;

const MS: u64 = 1_000_000;
const LIMITS: Limits = Limits::new(1000, 3000);

fn store(pages_per_second: u64) -> Store {
    Store::new(Rate::per_second(pages_per_second))
}

#[test]
fn rates_convert_and_saturate() {
    let rate = Rate::of(500, 2_000 * MS);
    assert_eq!(
        (rate.pages_per_second(), rate.time_for(5), rate.pages_in(40 * MS)),
        (250, 20 * MS, 10)
    );
    assert_eq!(Rate::of(u64::MAX, 1), Rate::of(1, 0));
    assert_eq!((Rate::default().time_for(0), Rate::default().time_for(1)), (0, u64::MAX));
    assert_eq!(Rate::of(1, 0).pages_in(u64::MAX), u64::MAX);
}

#[test]
fn admission_never_exceeds_the_hard_limit() {
    assert_eq!(LIMITS.admit(0, 64), 64);
    assert_eq!(LIMITS.admit(2990, 64), 3);
    assert_eq!(LIMITS.admit(2999, 64), 1);
    assert_eq!(LIMITS.admit(3000, 1), 0);
    assert_eq!(LIMITS.admit(u64::MAX, u64::MAX), 0);
}

#[test]
fn limits_that_make_no_sense_become_some_that_do() {
    assert_eq!(Limits::new(0, 0).hard(), 1);
    assert_eq!(Limits::new(9, 9), Limits::new(4, 9));
    let most = Limits::new(u64::MAX, u64::MAX);
    assert!(most.background() < most.free() && most.free() < most.hard());
}

#[test]
fn a_store_gets_its_share_and_a_16th_at_least() {
    let share = |own, all, others| {
        let share = LIMITS.share(Rate::per_second(own), Rate::per_second(all), others);
        (share.background(), share.hard())
    };
    assert_eq!(share(50, 100, 0), (500, 1500));
    assert_eq!(share(50, 100, 2000), (312, 937));
    assert_eq!(share(1, 1000, 0), (62, 187));
    assert_eq!((share(1, 1000, 2900), share(1, 1000, 4000)), ((31, 93), (0, 1)));
    assert_eq!((share(4, 4, 0), share(0, 0, 0)), ((62, 187), (62, 187)));
    assert_eq!((share(5, 5, 0), share(200, 100, 0)), ((937, 2812), (937, 2812)));
}

#[test]
fn stores_that_stop_one_after_the_other_never_have_all_of_the_limit() {
    let guess = Rate::per_second(100);
    let mut held = 0;
    for (store, most) in [2812, 176, 11].into_iter().enumerate() {
        let share = LIMITS.share(guess, guess, held);
        assert_eq!((share.hard(), share.admit(most, 64)), (most, 0), "store {store}");
        held += most;
    }
    assert_eq!(LIMITS.hard() - held, 1);
    let tiny = Limits::new(0, 2).share(guess, guess, 0);
    assert_eq!((tiny.hard(), tiny.admit(0, 2), tiny.admit(1, 2)), (1, 1, 0));
}

#[test]
fn a_store_above_its_share_gets_pages_up_to_part_of_what_others_leave_unless_it_stopped() {
    let share = LIMITS.share(Rate::per_second(5), Rate::per_second(1000), 1000);
    assert_eq!((share.hard(), share.admit(1746, 64), share.admit(1750, 64)), (187, 1, 0));
    let stopped = LIMITS.share(Rate::per_second(4), Rate::per_second(1000), 1000);
    assert_eq!((stopped.hard(), stopped.admit(186, 64), stopped.admit(187, 64)), (187, 1, 0));
}

#[test]
fn the_position_falls_from_the_free_point_to_the_limit() {
    assert_eq!(LIMITS.position(LIMITS.free() - 1), None);
    let all: std::vec::Vec<u64> =
        (LIMITS.free()..=LIMITS.hard()).filter_map(|charged| LIMITS.position(charged)).collect();
    assert!(all.is_sorted_by(|a, b| a >= b) && all.len() == 1001);
    assert_eq!((all[0], all[437], all[1000]), (1088, 1024, 16));
}

#[test]
fn below_the_free_point_a_writer_goes_on_and_keeps_its_promise() {
    let mut writer = Writer::new();
    writer.promise(64);
    let step = writer.landed(4, &store(100), (&LIMITS, 1900), 5 * MS);
    assert_eq!(step, Step { pause_ns: 0, pages: 6, give_back: 0 });
    assert_eq!(writer.promised(), 60);
}

#[test]
fn a_promise_is_given_back_when_other_stores_hold_the_room_below_the_free_point() {
    let all = Rate::per_second(100);
    for (others, give_back) in [(1000, 0), (1600, 60)] {
        let mut writer = Writer::new();
        writer.promise(64);
        let share = LIMITS.share(all, all, others);
        let step = writer.landed(4, &store(100), (&share, 500), 0);
        assert_eq!((step.pause_ns, step.give_back), (0, give_back), "{others}");
    }
}

#[test]
fn above_it_a_writer_pays_for_its_pages_and_gives_back_the_rest() {
    let mut writer = Writer::new();
    writer.promise(64);
    // The setpoint, where the position is balanced.
    let step = writer.landed(60, &store(1000), (&LIMITS, 2437), 0);
    assert_eq!(step, Step { pause_ns: 60 * MS, pages: 25, give_back: 4 });
    assert_eq!(writer.promised(), 0);
}

#[test]
fn a_writer_that_is_slower_than_its_share_never_pauses() {
    let (mut writer, store) = (Writer::new(), store(1000));
    for burst in 0..1000 {
        let step = writer.landed(8, &store, (&LIMITS, 2437), burst * 10 * MS + 500 * MS);
        assert_eq!(step.pause_ns, 0, "burst {burst}");
    }
}

#[test]
fn a_bandwidth_is_measured_while_the_store_writes_and_not_while_it_rests() {
    let mut store = store(25_600);
    let mut counters = Counters { charged: 100, ..Counters::default() };
    store.update(&counters, &LIMITS, 0);
    (counters.written, counters.busy_ns) = (1000, 100 * MS);
    store.update(&counters, &LIMITS, 100 * MS);
    assert_eq!(store.bandwidth().pages_per_second(), 10_000);
    for second in 1..10 {
        store.update(&counters, &LIMITS, second * 1000 * MS);
    }
    assert_eq!(store.bandwidth().pages_per_second(), 10_000);
    for tenth in 1..40 {
        counters.busy_ns += 100 * MS;
        store.update(&counters, &LIMITS, 10_000 * MS + tenth * 100 * MS);
    }
    assert!(store.bandwidth().pages_per_second() < 1000, "a store that stalls");
}

#[test]
fn the_state_takes_what_is_documented() {
    assert_eq!(size_of::<Writer>(), 16);
    assert_eq!(size_of::<Store>(), 104);
}

#[test]
fn no_input_overflows() {
    let mut state = 7_u64;
    let mut any = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    let ends = [0, 1, 63, 64, 1_000, 100 * MS, 1 << 40, u64::MAX - 1, u64::MAX];
    let mut store = store(0);
    let mut writer = Writer::new();
    for _ in 0..100_000 {
        let mut pick = || {
            let base = ends[(any() % 9) as usize];
            base.wrapping_add(any() % 3)
        };
        let counters =
            Counters { charged: pick(), dirtied: pick(), written: pick(), busy_ns: pick() };
        let limits = Limits::new(pick(), pick());
        let limits = limits.share(Rate::of(pick(), pick()), store.bandwidth(), pick());
        let (charged, now) = (pick(), pick());
        store.update(&counters, &limits, now);
        let admitted = limits.admit(charged, pick());
        assert!(admitted == 0 || charged.checked_add(admitted).is_some());
        writer.promise(pick() as u32);
        let step = writer.landed(pick() as u32, &store, (&limits, charged), now);
        assert!(step.pause_ns <= LONGEST_PAUSE_NS && (1..=MOST_STEP).contains(&step.pages));
        if pick() == 0 {
            store = Store::new(Rate::of(pick(), pick()));
        }
    }
}
