//! How far back the log can have anything of a post.
//!
//! An id carries the time at which it was given, but the clock that gives ids never jumps,
//! and that of the lines may. What takes a message names its id at once, so that this line
//! says the time on the other clock: nothing of the post was written much before it. Until
//! that line is found a day is allowed for, as for the whole transcript of a post.

use super::dialogues::Line;
use super::parts::{Part, stamp};
use super::search::SESSION;
use crate::clock;
use crate::post::{MessageId, PostId, Timestamp};
use std::time::Duration;

/// Lines are written that much after they were said, at most, and ids named that much
/// after they were given. A later line that names one repeats what was said before.
const MARGIN: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Horizon {
    message: MessageId,
    given_at: Timestamp,
    since: String,
}

impl Horizon {
    /// As far as the id alone tells.
    pub fn of(post: PostId) -> Horizon {
        let given_at = Timestamp(post.message.0 >> MessageId::COUNTER_BITS);
        Horizon { message: post.message, given_at, since: clock::rfc3339(given_at.before(SESSION)) }
    }

    /// Looks for the line that took the message.
    pub fn look(&mut self, part: &Part<'_>) {
        for (_, text) in &part.lines {
            let Some(line) = Line::parse(text) else { continue };
            if line.acknowledged().is_none_or(|id| id.message != self.message) {
                continue;
            }
            let taken_at = line.stamp.parse::<Timestamp>().ok();
            if let Some(at) = taken_at.filter(|at| *at <= self.given_at.after(MARGIN)) {
                self.since = clock::rfc3339(at.before(MARGIN));
            }
        }
    }

    /// Whether all lines of a stretch are too old, and so all that stands before it. The last
    /// one is mostly the newest, so that one look tells that others are not.
    pub fn is_behind(&self, stretch: &[u8]) -> bool {
        let mut stamps = stretch.rsplit(|octet| *octet == b'\n').filter_map(stamp).peekable();
        stamps.peek().is_some() && stamps.all(|stamp| stamp < self.since.as_str())
    }
}
