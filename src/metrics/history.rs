//! What passed lately, step by step, for charts: the last hour in steps of ten seconds,
//! the last day in minutes.
//!
//! A rule: time, and what was counted so far, are arguments. Time is that of a clock that
//! does not jump; what people read is put beside it by who asks. What passed since the
//! look before belongs to the steps that are over since then, in equal parts, or to the
//! present one: nothing is told twice, and nothing is left out, however late a look comes.
//! A step in which nothing ran is a gap and no zero. What is kept for the next process
//! is bounded, whatever was counted.

use crate::post::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// What is counted of each step, in the order of a [`Tally`].
pub const SERIES: [&str; 4] = ["in", "delivered", "deferred", "failed"];

/// Posts that were accepted and delivered, attempts after which one waits for another,
/// and posts that were given up.
pub type Tally = [u64; SERIES.len()];

/// What passed in a step; nothing when nobody counted.
pub type Step = Option<[u32; SERIES.len()]>;

/// How far back a chart goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// 360 steps of ten seconds.
    Hour,
    /// 1,440 steps of a minute.
    Day,
}

impl Span {
    /// How long a step is.
    pub const fn step(self) -> Duration {
        match self {
            Span::Hour => Duration::from_secs(10),
            Span::Day => Duration::from_mins(1),
        }
    }

    /// Steps that are over and not forgotten.
    const fn steps(self) -> usize {
        match self {
            Span::Hour => 360,
            Span::Day => 1440,
        }
    }

    /// The step of a time, counted from the epoch.
    fn number(self, at: Timestamp) -> u64 {
        at.0 / self.step().as_millis() as u64
    }

    /// When a step begins.
    fn begins_at(self, number: u64) -> Timestamp {
        Timestamp(number.saturating_mul(self.step().as_millis() as u64))
    }
}

/// Begins what is kept; its last digit is the format.
const MAGIC: &[u8; 10] = b"pghistory1";

/// As it is kept: the wall clock's time then, and the steps of both rings.
type Kept = (Timestamp, VecDeque<Step>, VecDeque<Step>);

/// See the module.
#[derive(Clone, Debug)]
pub struct History {
    hour: Ring,
    day: Ring,
    /// What had been counted at the last look of this process.
    seen: Option<Tally>,
}

impl Default for History {
    fn default() -> History {
        History { hour: Ring::of(Span::Hour), day: Ring::of(Span::Day), seen: None }
    }
}

impl History {
    /// Takes note of what has been counted since the process began. The first look
    /// of a process counts nothing.
    pub fn look(&mut self, now: Timestamp, counted: Tally) {
        let passed = self.seen.replace(counted).map(|seen| {
            let mut passed = counted;
            passed.iter_mut().zip(seen).for_each(|(passed, seen)| *passed = passed.saturating_sub(seen));
            passed
        });
        self.hour.look(now, passed);
        self.day.look(now, passed);
    }

    /// The steps that are over, the oldest first, and when the last one ended. They
    /// begin with the first one of which something is known.
    pub fn steps(&self, span: Span) -> (Timestamp, Vec<Step>) {
        let ring = match span {
            Span::Hour => &self.hour,
            Span::Day => &self.day,
        };
        let over = ring.steps.len().saturating_sub(1);
        (span.begins_at(ring.present), ring.steps.iter().copied().take(over).collect())
    }

    /// To be kept for the next process, at most 40 kB; `wall` is what the wall clock
    /// shows now.
    pub fn write(&self, wall: Timestamp) -> Vec<u8> {
        let kept: (_, &VecDeque<_>, &VecDeque<_>) = (wall, &self.hour.steps, &self.day.steps);
        let steps = postcard::to_stdvec(&kept).unwrap_or_default();
        [MAGIC, steps.as_slice()].concat()
    }

    /// What another process kept, `now` by the wall clock; an error says why it cannot be
    /// read. Of one from the future nobody knows when it was: it ends now.
    pub fn read(octets: &[u8], now: Timestamp) -> Result<History, String> {
        let steps = octets.strip_prefix(MAGIC).ok_or("it is not in a format that is known here")?;
        let kept: (Kept, &[u8]) = postcard::take_from_bytes(steps).map_err(|error| error.to_string())?;
        let ((kept_at, hour, day), rest) = kept;
        let at = kept_at.min(now);
        let ring = |span: Span, steps: VecDeque<Step>| {
            let fits = steps.len() <= span.steps() + 1;
            fits.then(|| Ring { span, present: span.number(at), steps }.without_begun())
        };
        match (ring(Span::Hour, hour), ring(Span::Day, day)) {
            (Some(hour), Some(day)) if rest.is_empty() => Ok(History { hour, day, seen: None }),
            _ => Err("it is longer than one can be".to_owned()),
        }
    }
}

/// The last steps of one length.
#[derive(Clone, Debug)]
struct Ring {
    span: Span,
    /// Number of the last one, which is the present one.
    present: u64,
    /// The first one is no gap.
    steps: VecDeque<Step>,
}

impl Ring {
    fn of(span: Span) -> Ring {
        Ring { span, present: 0, steps: VecDeque::new() }
    }

    /// A step that had just begun says nothing yet.
    fn without_begun(mut self) -> Ring {
        if let Some(last) = self.steps.back_mut().filter(|last| **last == Some(Default::default())) {
            *last = None;
        }
        self
    }

    fn look(&mut self, now: Timestamp, passed: Option<Tally>) {
        let over = self.advance(self.span.number(now));
        self.count(0, Tally::default());
        if let Some(passed) = passed {
            self.share(over, passed);
        }
        while matches!(self.steps.front(), Some(None)) {
            self.steps.pop_front();
        }
    }

    /// Goes on to this step, and forgets what is too old; answers how many are over by that.
    fn advance(&mut self, number: u64) -> u64 {
        let over = number.saturating_sub(self.present);
        let most = self.span.steps() + 1;
        let fresh = usize::try_from(over).unwrap_or(most).min(most);
        self.steps.extend(std::iter::repeat_n(None, fresh));
        self.steps.drain(..self.steps.len().saturating_sub(most));
        if self.steps.is_empty() {
            self.steps.push_back(None);
        }
        self.present += over;
        over
    }

    /// Gives what passed to the steps that are over since the look before, the rest
    /// that does not divide to the last one.
    fn share(&mut self, over: u64, passed: Tally) {
        if over == 0 {
            return self.count(0, passed);
        }
        let (part, rest) = (passed.map(|posts| posts / over), passed.map(|posts| posts % over));
        let most = u64::try_from(self.steps.len()).unwrap_or(u64::MAX);
        (1..=over.min(most)).for_each(|ago| self.count(ago, part));
        self.count(1, rest);
    }

    /// Counts in the step before so many others; one that is forgotten counts nothing.
    fn count(&mut self, ago: u64, more: Tally) {
        let at = usize::try_from(ago).ok().and_then(|ago| self.steps.len().checked_sub(ago + 1));
        let Some(step) = at.and_then(|at| self.steps.get_mut(at)) else { return };
        let step = step.get_or_insert_default();
        for (counted, more) in step.iter_mut().zip(more) {
            *counted = counted.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time at which both a step of ten seconds and a minute begin.
    const START: u64 = 1_769_860_800;

    fn at(seconds: u64) -> Timestamp {
        Timestamp((START + seconds) * 1000)
    }

    /// The accepted posts of each step that is over.
    fn accepted(history: &History, span: Span) -> Vec<Option<u32>> {
        history.steps(span).1.into_iter().map(|step| step.map(|[accepted, ..]| accepted)).collect()
    }

    /// A history that was looked at so: seconds, posts that were accepted until then.
    fn looked(looks: &[(u64, u64)]) -> History {
        let mut history = History::default();
        looks.iter().for_each(|(second, posts)| history.look(at(*second), [*posts, 0, 0, 0]));
        history
    }

    #[test]
    fn what_passed_belongs_to_the_steps_that_are_over_since_the_look_before() {
        for (looks, steps) in [
            (&[(0, 5)][..], &[][..]),
            // What came before the first look is nobody's.
            (&[(0, 5), (3, 6)], &[]),
            (&[(0, 5), (10, 6)], &[Some(1)]),
            (&[(7, 0), (9, 2), (10, 3), (14, 7), (20, 8)], &[Some(3), Some(5)]),
            // Late: in equal parts, and the sum is right.
            (&[(0, 0), (40, 11)], &[Some(2), Some(2), Some(2), Some(5)]),
            (&[(0, 0), (10, 0), (20, 0)], &[Some(0), Some(0)]),
            // Another's counters, or a clock that goes back: nothing is less than nothing.
            (&[(20, 9), (10, 3), (30, 4)], &[Some(1)]),
        ] {
            assert_eq!(accepted(&looked(looks), Span::Hour), steps, "{looks:?}");
        }
    }

    #[test]
    fn both_spans_tell_the_same_and_forget_what_is_too_old() {
        let mut history = History::default();
        let mut sum = 0;
        for second in (0..=2 * 86_400).step_by(10) {
            sum += second % 7;
            history.look(at(second), [sum, sum, 0, second]);
        }
        let (until, hour) = history.steps(Span::Hour);
        assert_eq!((until, hour.len()), (at(2 * 86_400), 360));
        let (until, day) = history.steps(Span::Day);
        assert_eq!((until, day.len()), (at(2 * 86_400), 1440));
        let totals = |steps: &[Step]| {
            let steps = steps.iter().map(|step| step.unwrap());
            steps.fold([0; 4], |sum: [u32; 4], step| std::array::from_fn(|at| sum[at] + step[at]))
        };
        assert_eq!(totals(&hour), totals(&day[1380..]));
        assert_eq!(totals(&hour)[3], 3600);
        assert_eq!(totals(&day)[3], 86_400);
    }

    #[test]
    fn one_that_was_not_looked_at_for_long_is_as_large_as_ever() {
        for late in [3599, 3600, 3601, 100_000, u64::MAX / 2000 - START] {
            let history = looked(&[(0, 0), (10, 7), (late, 7 + late)]);
            let hour = accepted(&history, Span::Hour);
            assert!(hour.len() <= 360, "{late}: {}", hour.len());
            // All of it, or as much as the last hour has of it.
            let sum: u64 = hour.iter().flatten().map(|posts| u64::from(*posts)).sum();
            assert!(if late <= 3600 { sum == late + 7 } else { sum >= 3600 }, "{late}: {sum}");
        }
    }

    #[test]
    fn what_is_kept_goes_on_after_a_gap_and_within_a_step() {
        let mut history = looked(&[(0, 0), (10, 4), (13, 5)]);
        let kept = history.write(at(13));
        let reread = |now: u64, looks: &[(u64, u64)]| {
            let mut history = History::read(&kept, at(now)).unwrap();
            looks.iter().for_each(|(second, posts)| history.look(at(*second), [*posts, 0, 0, 0]));
            accepted(&history, Span::Hour)
        };
        // The process counts from 0 again.
        assert_eq!(reread(15, &[(15, 0), (20, 2)]), [Some(4), Some(3)], "within the step");
        assert_eq!(reread(47, &[(47, 0), (50, 2)]), [Some(4), Some(1), None, None, Some(2)], "after a gap");
        assert_eq!(reread(5000, &[(5000, 0), (5010, 2)]), [Some(2)], "after an hour");
        let begun = looked(&[(0, 0), (10, 4)]).write(at(10));
        let mut next = History::read(&begun, at(25)).unwrap();
        next.look(at(25), [0; 4]);
        assert_eq!(accepted(&next, Span::Hour), [Some(4), None], "of a step that had just begun");
        // The clock was set back: the order stays.
        assert_eq!(reread(2, &[(2, 0), (10, 2)]), [Some(4), Some(3)]);
        history.look(at(20), [9, 0, 0, 0]);
        assert_eq!(accepted(&history, Span::Hour), [Some(4), Some(5)]);
    }

    #[test]
    fn what_is_foreign_is_not_read_and_the_largest_is() {
        let mut largest = History::default();
        for second in (0..=86_400).step_by(10) {
            largest.look(at(second), [u64::from(u32::MAX) * (1 + second / 10); 4]);
        }
        let kept = largest.write(at(86_400));
        assert!(kept.len() <= 40_000, "{}", kept.len());
        let read = History::read(&kept, at(86_400)).unwrap();
        assert_eq!(accepted(&read, Span::Day), accepted(&largest, Span::Day));
        let (whole, torn) = ([kept.as_slice(), b"x"].concat(), kept.split_last().unwrap().1);
        let long: Kept = (at(0), std::iter::repeat_n(None, 362).collect(), VecDeque::new());
        let long = [MAGIC.as_slice(), &postcard::to_stdvec(&long).unwrap()].concat();
        for wrong in [b"".as_slice(), b"{}", MAGIC, torn, &whole, &long] {
            assert!(History::read(wrong, at(0)).is_err(), "{} octets", wrong.len());
        }
    }
}
