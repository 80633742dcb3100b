//! What a client hears of first attempts that it waits for.
//!
//! Posts are committed like all others before anybody waits, so a crash at any
//! point loses nothing; at worst a post is sent again under the same id, as ever.
//! All first attempts of a message are waited for at once, each for its own time.
//!
//! A reply for one recipient tells the fate of its posts: that of the only one, or
//! that all were delivered, or the first failure; of several, those that failed are
//! dead letters as well. One reply for several recipients can refuse none of them
//! alone: it says that all failed or that all were delivered, or takes the message,
//! and what fails becomes a dead letter. Only a message of which nothing was sent can
//! be handed back.
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
use crate::post::{Admission, MessageId, Post};
use crate::spool::{Order, Query};
use std::time::Duration;
use tokio::time::Instant;

/// A client gives up ten minutes after the end of the data (RFC 5321 section
/// 4.5.3.2.6); the reply must be there well before.
const LONGEST: Duration = Duration::from_mins(8);
/// Characters of a receiver's text in a reply.
const LONGEST_TEXT: usize = 200;

/// Which reply speaks for which posts of a message.
pub(super) struct Shares {
    replies: Replies,
    /// Place of each post's recipient.
    recipients: Vec<usize>,
}

impl Shares {
    /// The posts of these recipients; see [`crate::compose::Composition::recipients`].
    pub(super) fn new(replies: Replies, recipients: Vec<usize>) -> Shares {
        Shares { replies, recipients }
    }

    /// The place of the reply that speaks for a post.
    fn reply(&self, post: usize) -> usize {
        match self.replies {
            Replies::One => 0,
            Replies::Each => self.recipients.get(post).copied().unwrap_or_default(),
        }
    }

    /// How many posts each reply speaks for.
    fn counts(&self) -> Vec<usize> {
        let last = self.recipients.len().checked_sub(1).map_or(0, |last| self.reply(last));
        let mut counts = vec![0; last + 1];
        for post in 0..self.recipients.len() {
            if let Some(count) = counts.get_mut(self.reply(post)) {
                *count += 1;
            }
        }
        counts
    }

    /// Whether each reply speaks for one recipient alone.
    fn are_of_one(&self) -> bool {
        self.replies == Replies::Each || self.recipients.last() == Some(&0)
    }

    /// What is made of the failure of a post of which so many are waited for. Where one
    /// reply speaks for several recipients all must have failed; posts that go one after
    /// another, each when the one before it is settled, cannot be weighed together.
    fn on_failure(&self, posts: &[Post], waits: usize, (at, is_keyed): (usize, bool)) -> OnFailure {
        let is_only = self.counts().get(self.reply(at)) == Some(&1);
        let is_joint = waits == posts.len() && posts.iter().all(|post| post.ordering_key.is_none());
        match self.are_of_one() {
            // The reply tells of one failure.
            true if is_keyed || !is_only => OnFailure::Tell(AfterFailure::Stay),
            true => OnFailure::Tell(AfterFailure::Leave),
            false if is_joint => OnFailure::Weigh,
            false => OnFailure::Trouble,
        }
    }

    /// The number of the first post that each reply speaks for; nothing where one
    /// speaks for the message.
    pub(super) fn numbers(&self) -> Vec<u16> {
        if self.replies == Replies::One || self.recipients.len() < 2 {
            return Vec::new();
        }
        let first = |number: usize| u16::try_from(number + 1).unwrap_or(u16::MAX);
        let mut before = 0;
        let counted = self.counts().into_iter().map(|count| {
            let number = first(before);
            before += count;
            number
        });
        counted.collect()
    }
}

/// One post whose first attempt is waited for.
pub(super) struct Wait {
    /// The place of the reply that speaks for it.
    reply: usize,
    hearing: Hearing,
    deadline: Instant,
    fallback: Fallback,
    on_failure: OnFailure,
    after_weighing: AfterFailure,
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
    /// Whether the client hears of it whatever becomes of other posts.
    is_told: bool,
}

impl Intake {
    /// Begins to listen for the first attempts, before the posts are committed.
    pub(super) fn listen(
        &self,
        admission: &Admission,
        shares: &Shares,
        waits: Vec<(usize, Sync)>,
    ) -> Vec<Wait> {
        let is_keyed = admission.idempotency_key.is_some();
        let after_weighing = if is_keyed { AfterFailure::Stay } else { AfterFailure::Leave };
        let count = waits.len();
        let wait = |(at, sync): (usize, Sync)| {
            let post = admission.posts.get(at)?;
            let on_failure = shares.on_failure(&admission.posts, count, (at, is_keyed));
            let hearing = self.options.first_attempts.hear(post.id, &post.destination, on_failure);
            let deadline = Instant::now() + sync.timeout.min(LONGEST);
            let fallback = if is_keyed { Fallback::Queue } else { sync.fallback };
            let reply = shares.reply(at);
            Some(Wait { reply, hearing, deadline, fallback, on_failure, after_weighing })
        };
        waits.into_iter().filter_map(wait).collect()
    }

    /// Waits, and says what the client hears of a message that is committed.
    pub(super) async fn answer(&self, message: MessageId, shares: &Shares, waits: Vec<Wait>) -> Taken {
        let counts = shares.counts();
        let mut heard: Vec<Vec<Heard>> = counts.iter().map(|_| Vec::new()).collect();
        for wait in waits {
            let (reply, end) = (wait.reply, wait.end().await);
            if let Some(heard) = heard.get_mut(reply) {
                heard.push(end);
            }
        }
        let mut fates = Vec::with_capacity(counts.len());
        for (posts, heard) in counts.into_iter().zip(heard) {
            fates.push(self.common_fate((posts, shares), heard).await);
        }
        Taken { fates, ..Taken::queued(message) }
    }

    /// What one reply says of its posts.
    async fn common_fate(&self, (posts, shares): (usize, &Shares), mut heard: Vec<Heard>) -> Fate {
        let is_told = |heard: &Heard| matches!(heard, Heard::Failed(failure) if failure.is_told);
        if let Some(at) = heard.iter().position(is_told) {
            return self.fate(heard.swap_remove(at)).await;
        }
        let all = |is: fn(&Heard) -> bool| heard.len() == posts && heard.iter().all(is);
        let is_delivered = |heard: &Heard| matches!(heard, Heard::Fate(Fate::Delivered(_)));
        let has_failed = |heard: &Heard| matches!(heard, Heard::Failed(_));
        if !all(is_delivered) && !all(has_failed) && !all(|heard| matches!(heard, Heard::Unwanted(_))) {
            return Fate::Queued;
        }
        let recipients = shares.recipients.last().map_or(1, |last| last + 1);
        let suffix = if all(has_failed) { format!(" (all {recipients} recipients)") } else { String::new() };
        let mut common = None;
        for heard in heard {
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
        if let Ok(1..) = self.spool.order(which, Order::HandBack).await {
            let text = "the receiver cannot take it now; try again later";
            return Fate::Refused(Refusal::new(451, (4, 1), text));
        }
        // It ended just now, or cannot be deleted.
        let attempt = hearing.end();
        match known(attempt, hearing, (OnFailure::Weigh, AfterFailure::Leave)) {
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
        known(attempt, self.hearing, (self.on_failure, self.after_weighing))
    }
}

impl Failure {
    /// Takes it on the client, who will know. When nobody can note that any more,
    /// the post is still there.
    fn answered(self) -> Fate {
        if self.hearing.answer(self.after) { Fate::Refused(self.refusal) } else { Fate::Queued }
    }
}

/// What is said of a post of whose first attempt this is known.
fn known(
    attempt: Option<FirstAttempt>,
    hearing: Hearing,
    (on_failure, after): (OnFailure, AfterFailure),
) -> Heard {
    match attempt {
        Some(FirstAttempt::Delivered(status)) => Heard::Fate(Fate::Delivered(status)),
        Some(FirstAttempt::Failed { status, text }) => {
            let is_told = matches!(on_failure, OnFailure::Tell(_));
            Heard::Failed(Failure { hearing, refusal: refusal(status, &text), after, is_told })
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
    fn replies_speak_for_the_posts_of_their_recipients() {
        let shares = |replies, recipients: &[usize]| Shares::new(replies, recipients.to_vec());
        for (replies, recipients, counts, are_of_one, numbers) in [
            (Replies::One, &[0][..], vec![1], true, vec![]),
            (Replies::One, &[0, 0], vec![2], true, vec![]),
            (Replies::One, &[0, 1], vec![2], false, vec![]),
            (Replies::Each, &[0], vec![1], true, vec![]),
            (Replies::Each, &[0, 0], vec![2], true, vec![1]),
            (Replies::Each, &[0, 0, 1, 2, 2, 2], vec![2, 1, 3], true, vec![1, 3, 4]),
        ] {
            let shares = shares(replies, recipients);
            assert_eq!(shares.counts(), counts, "{recipients:?}");
            assert_eq!(shares.are_of_one(), are_of_one, "{recipients:?}");
            assert_eq!(shares.numbers(), numbers, "{recipients:?}");
        }
    }

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
