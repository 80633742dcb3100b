//! What a client hears of first attempts that it waits for.
//!
//! Posts are committed like all others before anybody waits, so a crash at any
//! point loses nothing; at worst a post is sent again under the same id, as ever.
//! All first attempts of a message are waited for at once, each for its own time.
//!
//! A reply for one recipient tells its own fate. One reply for several recipients
//! can refuse none of them alone: it says that all failed or that all were delivered,
//! or takes the message, and what fails becomes a dead letter. Only a message of
//! which nothing was sent can be handed back.
//!
//! To hand a post back ([`Fallback::Refuse`]) is to delete it. An attempt that is
//! under way at that moment may still reach its receiver, which then sees the post
//! twice: when the client sends it again, it has another id. A message with an
//! idempotency key of its own is never handed back, and leaves a dead letter when
//! it fails: its repetition would make no second post.

use super::Intake;
use crate::compose::{Fallback, Sync, failure_status};
use crate::envelope::{Fate, Refusal, Replies, Taken};
use crate::first_attempts::{AfterFailure, FirstAttempt, Hearing, OnFailure};
use crate::post::{Admission, MessageId};
use crate::spool::{Order, Query};
use std::time::Duration;
use tokio::time::Instant;

/// A client gives up ten minutes after the end of the data (RFC 5321 section
/// 4.5.3.2.6); the reply must be there well before.
const LONGEST: Duration = Duration::from_mins(8);
/// Characters of a receiver's text in a reply.
const LONGEST_TEXT: usize = 200;

/// One post whose first attempt is waited for.
pub(super) struct Wait {
    /// Its place among the posts of its message.
    at: usize,
    hearing: Hearing,
    deadline: Instant,
    fallback: Fallback,
    after_failure: AfterFailure,
}

/// How a wait ended.
enum Heard {
    Fate(Fate),
    /// The post failed; it may not be said yet what becomes of it.
    Failed(Failure),
    /// The post is in the spool, and the client wants it back.
    Unwanted(Hearing),
}

/// A failure that can be answered for.
struct Failure {
    hearing: Hearing,
    refusal: Refusal,
    after: AfterFailure,
}

impl Intake {
    /// Begins to listen for the first attempts, before the posts are committed.
    pub(super) fn listen(
        &self,
        admission: &Admission,
        replies: Replies,
        waits: Vec<(usize, Sync)>,
    ) -> Vec<Wait> {
        let is_keyed = admission.idempotency_key.is_some();
        let after_failure = if is_keyed { AfterFailure::Stay } else { AfterFailure::Leave };
        let on_failure = on_failure(admission, replies, (waits.len(), after_failure));
        let wait = |(at, sync): (usize, Sync)| {
            let post = admission.posts.get(at)?;
            let hearing = self.options.first_attempts.hear(post.id, &post.destination, on_failure);
            let deadline = Instant::now() + sync.timeout.min(LONGEST);
            let fallback = if is_keyed { Fallback::Queue } else { sync.fallback };
            Some(Wait { at, hearing, deadline, fallback, after_failure })
        };
        waits.into_iter().filter_map(wait).collect()
    }

    /// Waits, and says what the client hears of a message that is committed.
    pub(super) async fn answer(
        &self,
        message: MessageId,
        (posts, replies): (usize, Replies),
        waits: Vec<Wait>,
    ) -> Taken {
        let mut heard = Vec::with_capacity(waits.len());
        for wait in waits {
            heard.push((wait.at, wait.end().await));
        }
        if replies == Replies::One && posts > 1 {
            let fate = self.common_fate(posts, heard).await;
            return Taken { message, fates: vec![fate] };
        }
        let mut fates = vec![Fate::Queued; posts];
        for (at, heard) in heard {
            if let Some(fate) = fates.get_mut(at) {
                *fate = self.fate(heard).await;
            }
        }
        Taken { message, fates }
    }

    /// What one reply says of several posts.
    async fn common_fate(&self, posts: usize, heard: Vec<(usize, Heard)>) -> Fate {
        let all = |is: fn(&Heard) -> bool| heard.len() == posts && heard.iter().all(|(_, heard)| is(heard));
        let is_delivered = |heard: &Heard| matches!(heard, Heard::Fate(Fate::Delivered(_)));
        let has_failed = |heard: &Heard| matches!(heard, Heard::Failed(_));
        if !all(is_delivered) && !all(has_failed) && !all(|heard| matches!(heard, Heard::Unwanted(_))) {
            return Fate::Queued;
        }
        let suffix = if all(has_failed) { format!(" (all {posts} recipients)") } else { String::new() };
        let mut common = None;
        for (_, heard) in heard {
            match (self.fate(heard).await, &common) {
                (Fate::Refused(mut refusal), None) => {
                    refusal.text.push_str(&suffix);
                    common = Some(Fate::Refused(refusal));
                }
                (fate, None) => common = Some(fate),
                // What cannot be handed back is kept, so the message is.
                (Fate::Queued, _) | (Fate::Delivered(_), Some(Fate::Refused(_))) => {
                    common = Some(Fate::Queued)
                }
                _ => {}
            }
        }
        common.unwrap_or(Fate::Queued)
    }

    /// What is said of one post; takes it back when it is not wanted.
    async fn fate(&self, heard: Heard) -> Fate {
        let mut hearing = match heard {
            Heard::Fate(fate) => return fate,
            Heard::Failed(failure) => return failure.answered(),
            Heard::Unwanted(hearing) => hearing,
        };
        let which = Query { id: Some(hearing.id()), ..Query::default() };
        if let Ok(1..) = self.spool.order(which, Order::Delete).await {
            let text = "the receiver cannot take it now; try again later";
            return Fate::Refused(Refusal::new(451, (4, 1), text));
        }
        // It ended just now, or cannot be deleted.
        let attempt = hearing.end();
        match known(attempt, hearing, AfterFailure::Leave) {
            Heard::Failed(failure) => failure.answered(),
            Heard::Fate(fate) => fate,
            Heard::Unwanted(_) => Fate::Queued,
        }
    }
}

impl Wait {
    async fn end(mut self) -> Heard {
        let attempt = match (self.hearing.until(self.deadline).await, self.fallback) {
            (None | Some(FirstAttempt::Trouble), Fallback::Refuse) => return Heard::Unwanted(self.hearing),
            // It may have been told since.
            (None, Fallback::Queue) => self.hearing.end(),
            (attempt, _) => attempt,
        };
        known(attempt, self.hearing, self.after_failure)
    }
}

impl Failure {
    /// Takes it on the client, who will know. When nobody can note that any more,
    /// the post is still there.
    fn answered(self) -> Fate {
        if self.hearing.answer(self.after) { Fate::Refused(self.refusal) } else { Fate::Queued }
    }
}

/// What is made of a failure: where one reply speaks for several posts, all must have
/// failed. Posts that go one after another, each when the one before it is settled,
/// cannot be weighed together.
fn on_failure(admission: &Admission, replies: Replies, (waits, after): (usize, AfterFailure)) -> OnFailure {
    let posts = &admission.posts;
    if replies == Replies::Each || posts.len() == 1 {
        return OnFailure::Tell(after);
    }
    let is_joint = waits == posts.len() && posts.iter().all(|post| post.ordering_key.is_none());
    if is_joint { OnFailure::Weigh } else { OnFailure::Trouble }
}

/// What is said of a post of whose first attempt this is known.
fn known(attempt: Option<FirstAttempt>, hearing: Hearing, after: AfterFailure) -> Heard {
    match attempt {
        Some(FirstAttempt::Delivered(status)) => Heard::Fate(Fate::Delivered(status)),
        Some(FirstAttempt::Failed { status, text }) => {
            Heard::Failed(Failure { hearing, refusal: refusal(status, &text), after })
        }
        Some(FirstAttempt::Trouble) | None => Heard::Fate(Fate::Queued),
    }
}

/// What the receiver said no with, as far as a reply can hold it.
fn refusal(status: Option<u16>, text: &str) -> Refusal {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let shown = |char: char| if (' '..='~').contains(&char) { char } else { '?' };
    let line = line.unwrap_or("the receiver refused it");
    let text: String = line.chars().take(LONGEST_TEXT).map(shown).collect();
    Refusal::new(554, failure_status(status, &text), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receivers_words_are_one_printable_line() {
        for (text, expected) in [
            ("no such order\r\n250 2.0.0 forged", "554 5.1.1 no such order"),
            ("\n\n  second line ", "554 5.1.1 second line"),
            ("a\tb\u{1b}[2J\u{fc}", "554 5.1.1 a?b?[2J?"),
            ("", "554 5.1.1 the receiver refused it"),
        ] {
            assert_eq!(refusal(Some(404), text).to_string(), expected, "{text:?}");
        }
        assert_eq!(refusal(None, &"x".repeat(5000)).text.len(), LONGEST_TEXT);
    }
}
