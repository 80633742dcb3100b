//! Rates are promises about every stretch of time.

use super::*;

const fn rate(count: u32, millis: u64) -> Rate {
    Rate { count, per: Duration::from_millis(millis) }
}

/// When attempts begin that want to begin at once, one at a time or all together.
fn greedy(rates: &[Rate], length: Duration) -> Vec<Duration> {
    let start = Instant::now();
    let mut throttle = Throttle::new(rates, start);
    let mut began = Vec::new();
    let mut now = start;
    while now < start + length {
        let room = throttle.room(now).unwrap();
        if room > 0 {
            throttle.take(room, now);
            began.extend(std::iter::repeat_n(now - start, room));
        }
        let opens_at = throttle.opens_at(now);
        assert!(opens_at > now, "it says that it is open and has no room");
        now = opens_at;
    }
    began
}

/// The most attempts in any stretch of this length, its end included.
fn worst(began: &[Duration], per: Duration) -> usize {
    let mut from = 0;
    let mut worst = 0;
    for (end, at) in began.iter().enumerate() {
        while began[from] + per < *at {
            from += 1;
        }
        worst = worst.max(end + 1 - from);
    }
    worst
}

#[test]
fn no_stretch_sees_more_than_its_rate_and_at_most_two_percent_are_lost() {
    for (rates, seconds) in [
        (vec![rate(1, 1000)], 200),
        (vec![rate(3, 10)], 1),
        (vec![rate(7, 1000)], 100),
        (vec![rate(100, 1000)], 60),
        (vec![rate(6000, 900_000)], 4 * 900),
        (vec![rate(100, 1000), rate(2000, 60_000), rate(50_000, 3_600_000)], 2 * 3600),
        (vec![rate(1_000, 86_400_000)], 3 * 86_400),
    ] {
        let length = Duration::from_secs(seconds);
        let began = greedy(&rates, length);
        for rate in &rates {
            let worst = worst(&began, rate.per);
            assert!(worst <= rate.count as usize, "{worst} in {:?}, but {rate:?}", rate.per);
        }
        let strictest = rates.iter().map(|rate| f64::from(rate.count) / rate.per.as_secs_f64());
        let allowed = strictest.fold(f64::INFINITY, f64::min) * length.as_secs_f64();
        assert!(began.len() as f64 >= allowed * 0.98 - 1.0, "{} of {allowed}: {rates:?}", began.len());
    }
}

#[test]
fn a_burst_within_the_rate_is_let_through_and_nothing_after_it() {
    let start = Instant::now();
    let mut throttle = Throttle::new(&[rate(1000, 3_600_000)], start);
    assert_eq!(throttle.room(start), Some(1000));
    throttle.take(1000, start);
    assert_eq!(throttle.room(start + Duration::from_secs(3599)), Some(0));
    assert_eq!(throttle.room(start + Duration::from_secs(3657)), Some(1000));
    assert!(Throttle::new(&[], start).room(start).is_none());
}

#[test]
fn memory_is_bounded_for_any_rate() {
    let start = Instant::now();
    let mut throttle = Throttle::new(&[rate(u32::MAX, 86_400_000)], start);
    for minute in 0..100_000 {
        throttle.take(1000, start + Duration::from_secs(minute * 60));
    }
    assert!(throttle.windows[0].slots.len() <= 66, "{}", throttle.windows[0].slots.len());
    assert_eq!(throttle.usage(start + Duration::from_secs(100_000 * 60)).len(), 1);
}

#[test]
fn what_was_used_outlives_the_process() {
    let start = Instant::now();
    let hour = rate(100, 3_600_000);
    let mut throttle = Throttle::new(&[hour], start);
    throttle.take(60, start);
    throttle.take(30, start + Duration::from_secs(1800));
    let saved_at = start + Duration::from_secs(2000);
    let mut used = throttle.used(saved_at);
    // The process is away for 1000 s.
    for used in &mut used {
        used.attempts.iter_mut().for_each(|(age, _)| *age += Duration::from_secs(1000));
    }
    let mut restored = Throttle::new(&[hour], saved_at);
    restored.restore(&used, saved_at);
    for (seconds, room) in [(0, 10), (500, 10), (760, 70), (2300, 70), (2600, 100)] {
        assert_eq!(restored.room(saved_at + Duration::from_secs(seconds)), Some(room), "{seconds}");
    }
}

#[test]
fn other_rates_begin_with_what_was_used() {
    let start = Instant::now();
    let mut throttle = Throttle::new(&[rate(10, 1000), rate(100, 3_600_000)], start);
    throttle.take(10, start);
    let now = start + Duration::from_secs(60);
    for (rates, room) in [
        (vec![rate(100, 3_600_000)], 90),
        (vec![rate(5, 3_600_000)], 0),
        (vec![rate(20, 1_800_000)], 10),
        // Nobody knows when within 57 seconds they were.
        (vec![rate(20, 30_000)], 10),
        (vec![rate(1000, 86_400_000)], 990),
    ] {
        let mut changed = throttle.clone();
        changed.change(&rates, now);
        assert_eq!(changed.room(now), Some(room), "{rates:?}");
    }
}
