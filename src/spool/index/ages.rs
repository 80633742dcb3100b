//! Since when a lane's posts wait, nearly, in a little memory however many they are.
//!
//! Posts are counted by the second of their ids. When there are too many seconds, two are
//! counted as one, but for the last: what has waited long is known less exactly than what
//! came just now. The oldest is never said to be younger than it is.

use crate::post::{MessageId, PostId, Timestamp};

/// Most steps of a lane; of the fullest one they take three quarters of a KiB.
const MOST: usize = 64;

/// Bits of milliseconds in a step: a little more than a second.
const SECOND_BITS: u32 = 10;

/// See the module.
#[derive(Default)]
pub(super) struct Ages {
    /// The oldest first.
    steps: Vec<Step>,
}

struct Step {
    since: u32,
    /// The last second that it counts.
    until: u32,
    posts: u32,
}

impl Ages {
    /// Counts a post.
    pub fn add(&mut self, id: PostId) {
        let second = step_of(id);
        let behind = self.steps.partition_point(|step| step.since <= second);
        match behind.checked_sub(1).and_then(|before| self.steps.get_mut(before)) {
            Some(step) if second <= step.until => step.posts = step.posts.saturating_add(1),
            _ => self.steps.insert(behind, Step { since: second, until: second, posts: 1 }),
        }
        if self.steps.len() > MOST {
            self.coarsen();
        }
    }

    /// Takes out a post that was counted.
    pub fn remove(&mut self, id: PostId) {
        let second = step_of(id);
        let behind = self.steps.partition_point(|step| step.since <= second);
        let at = behind.saturating_sub(1);
        let Some(step) = self.steps.get_mut(at) else { return };
        step.posts = step.posts.saturating_sub(1);
        if step.posts == 0 {
            self.steps.remove(at);
        }
    }

    /// When the oldest was accepted, or a little earlier; nothing where there are none.
    pub fn oldest_at(&self) -> Option<Timestamp> {
        self.steps.first().map(|step| Timestamp(u64::from(step.since) << SECOND_BITS))
    }

    /// Counts nothing any more.
    pub fn clear(&mut self) {
        self.steps.clear();
    }

    /// Makes one of the two steps that are shortest for their age; the last one stays.
    fn coarsen(&mut self) {
        let newest = self.steps.last().map_or(0, |step| step.since);
        let parts = self.steps.windows(3).enumerate().filter_map(|(at, three)| {
            let [first, second, _] = three else { return None };
            let (width, age) = (second.until - first.since, newest - first.since);
            Some((at, f64::from(width) / f64::from(age)))
        });
        let shortest = parts.min_by(|(_, one), (_, other)| one.total_cmp(other));
        let Some((at, _)) = shortest else { return };
        let Step { until, posts, .. } = self.steps.remove(at + 1);
        if let Some(step) = self.steps.get_mut(at) {
            (step.until, step.posts) = (until, step.posts.saturating_add(posts));
        }
    }
}

fn step_of(id: PostId) -> u32 {
    // In the year 2109 all are of the last one.
    u32::try_from(id.message.0 >> (MessageId::COUNTER_BITS + SECOND_BITS)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn id(second: u64) -> PostId {
        PostId { message: MessageId::at(Timestamp(second << SECOND_BITS)), number: 0 }
    }

    #[test]
    fn the_oldest_is_never_younger_than_it_is_and_nearly_as_old() {
        let (mut ages, mut there) = (Ages::default(), BTreeSet::new());
        assert_eq!(ages.oldest_at(), None);
        let mut dice = fastrand::Rng::with_seed(7);
        for now in 1..20_000_u64 {
            ages.add(id(now));
            there.insert(now);
            // Mostly the oldest leave, as fast as others come, but for a time of trouble.
            for _ in 0..dice.usize(..if (5_000..9_000).contains(&now) { 2 } else { 4 }) {
                let from = if dice.u8(..8) == 0 { dice.u64(1..=now) } else { 1 };
                let Some(leaves) = there.range(from..).next().copied() else { continue };
                there.remove(&leaves);
                ages.remove(id(leaves));
            }
            let (told, oldest) = (ages.oldest_at().map(|at| at.0 >> SECOND_BITS), there.first().copied());
            assert_eq!(told.is_some(), oldest.is_some(), "{now}");
            let Some((told, oldest)) = told.zip(oldest) else { continue };
            assert!(told <= oldest && oldest - told <= (now - told) / 2, "{told} {oldest} {now}");
            assert!(ages.steps.len() <= MOST);
        }
        there.iter().for_each(|second| ages.remove(id(*second)));
        assert_eq!(ages.oldest_at(), None);
    }

    #[test]
    fn who_leaves_and_comes_back_is_as_old_as_before() {
        let (mut ages, day) = (Ages::default(), 86_400);
        [0, day, day + 1].into_iter().for_each(|second| ages.add(id(second)));
        // Two are tried, and one is put back, before the oldest leaves.
        ages.remove(id(day));
        ages.remove(id(day + 1));
        ages.add(id(day));
        ages.remove(id(0));
        assert_eq!(ages.oldest_at().map(|at| at.0 >> SECOND_BITS), Some(day));
    }

    #[test]
    fn what_comes_back_out_of_order_is_counted_as_well() {
        let mut ages = Ages::default();
        for second in [50, 10, 30, 10, 70] {
            ages.add(id(second));
        }
        let told = |ages: &Ages| ages.oldest_at().map(|at| at.0 >> SECOND_BITS);
        for (leaves, oldest) in [(10, Some(10)), (10, Some(30)), (30, Some(50)), (50, Some(70)), (70, None)] {
            ages.remove(id(leaves));
            assert_eq!(told(&ages), oldest, "{leaves}");
        }
        ages.remove(id(1));
    }
}
