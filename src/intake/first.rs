//! What a client hears of first attempts that it waits for.
//!
//! Posts are committed like all others before anybody waits, so a crash at any
//! point loses nothing; at worst a post is sent again under the same id, as ever.
//! All first attempts of a message are waited for at once, each for its own time.
//!
//! A reply for one recipient tells the fate of its posts: that of the only one, or
//! that all were delivered, or the first failure; of several, those that failed are
//! dead letters as well. One reply for several recipients can refuse none of them
//! alone: what fails becomes a dead letter, and only a message of which nothing was
//! sent can be handed back.
//!
//! To hand a post back ([`Fallback::Refuse`]) is to delete it. An attempt that is
//! under way at that moment may still reach its receiver, which then sees the post
//! twice: when the client sends it again, it has another id. A message with an
//! idempotency key of its own is never handed back, and leaves a dead letter when
//! it fails: its repetition would make no second post.

use super::Intake;
use crate::compose::{Fallback, Sync, failure_status};
use crate::envelope::{Fate, Refusal, Replies, Taken};
use crate::first_attempts::{AfterFailure, FirstAttempt, Hearing};
use crate::post::{Admission, MessageId};
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

    /// The number of the first post that each reply speaks for; nothing where one
    /// speaks for the message.
    pub(super) fn numbers(&self) -> Vec<u16> {
        if self.replies == Replies::One || self.recipients.len() == 1 {
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
}

/// How a wait ended.
enum Heard {
    Fate(Fate),
    /// The post is in the spool, and the client wants it back.
    Unwanted(Hearing),
}

impl Intake {
    /// Begins to listen for the first attempts, before the posts are committed.
    pub(super) fn listen(
        &self,
        admission: &Admission,
        shares: &Shares,
        waits: Vec<(usize, Sync)>,
    ) -> Vec<Wait> {
        if waits.is_empty() {
            return Vec::new();
        }
        let (is_keyed, counts) = (admission.idempotency_key.is_some(), shares.counts());
        let wait = |(at, sync): (usize, Sync)| {
            let (post, reply) = (admission.posts.get(at)?, shares.reply(at));
            let is_only = counts.get(reply) == Some(&1);
            // The reply tells of one failure.
            let after_failure = if is_keyed || !is_only { AfterFailure::Stay } else { AfterFailure::Leave };
            let after_failure = shares.are_of_one().then_some(after_failure);
            let hearing = self.options.first_attempts.hear(post.id, &post.destination, after_failure);
            let deadline = Instant::now() + sync.timeout.min(LONGEST);
            let fallback = if is_keyed { Fallback::Queue } else { sync.fallback };
            Some(Wait { reply, hearing, deadline, fallback })
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
            fates.push(self.common_fate(posts, heard).await);
        }
        Taken { fates, ..Taken::queued(message) }
    }

    /// What one reply says of its posts.
    async fn common_fate(&self, posts: usize, heard: Vec<Heard>) -> Fate {
        // Told only where the reply speaks for one recipient.
        let is_failure = |heard: &&Heard| matches!(heard, Heard::Fate(Fate::Refused(_)));
        if let Some(Heard::Fate(failure)) = heard.iter().find(is_failure) {
            return failure.clone();
        }
        let all = |is: fn(&Heard) -> bool| heard.len() == posts && heard.iter().all(is);
        let is_delivered = |heard: &Heard| matches!(heard, Heard::Fate(Fate::Delivered(_)));
        if !all(is_delivered) && !all(|heard| matches!(heard, Heard::Unwanted(_))) {
            return Fate::Queued;
        }
        let mut common = None;
        for heard in heard {
            match (self.fate(heard).await, &common) {
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
        let hearing = match heard {
            Heard::Fate(fate) => return fate,
            Heard::Unwanted(hearing) => hearing,
        };
        let which = Query { id: Some(hearing.id()), ..Query::default() };
        let deleted = self.spool.order(which, Order::Delete).await;
        match (deleted, hearing.end()) {
            (Ok(1..), _) => {
                let text = "the receiver cannot take it now; try again later";
                Fate::Refused(Refusal::new(451, (4, 1), text))
            }
            // It ended just now, or cannot be deleted.
            (_, attempt) => known(attempt),
        }
    }
}

impl Wait {
    async fn end(mut self) -> Heard {
        match (self.hearing.until(self.deadline).await, self.fallback) {
            (None | Some(FirstAttempt::Trouble), Fallback::Refuse) => Heard::Unwanted(self.hearing),
            // It may have been told since; a failure that was told is ours to tell.
            (None, Fallback::Queue) => Heard::Fate(known(self.hearing.end())),
            (attempt, _) => Heard::Fate(known(attempt)),
        }
    }
}

/// What is said of a post of whose first attempt this is known.
fn known(attempt: Option<FirstAttempt>) -> Fate {
    match attempt {
        Some(FirstAttempt::Delivered(status)) => Fate::Delivered(status),
        Some(FirstAttempt::Failed { status, text }) => Fate::Refused(refusal(status, &text)),
        Some(FirstAttempt::Trouble) | None => Fate::Queued,
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
