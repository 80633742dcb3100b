//! What routes ask of a message, at RCPT and when its size is known.
//!
//! A recipient that several routes take together must be let in by all of them. A
//! size that was declared is judged at RCPT. One that was not is judged after the
//! data, and so is once more whose mail is taken, as another configuration may be in
//! force by then: with a reply for each recipient the others get the message all the
//! same, with one reply nobody does. A receiver that is to be asked since RCPT is asked
//! about the next recipient: what was promised to a client for somebody else's answer
//! is not taken back for that of another.

use super::Intake;
use crate::compose::{self, Facts, Route};
use crate::envelope::{Client, Envelope, Fate, Refusal, Replies, Taken, Target};
use crate::smtp::session::{CheckState, Judged, Opening, Question};

impl Intake {
    /// What is said at once of a recipient that leads to routes.
    pub(super) fn judge_routed(
        &self,
        client: &Client,
        opening: Opening<'_>,
        target: Target,
    ) -> Result<Judged, Refusal> {
        let routes = routes(self.compose_options(client), &target);
        for Route { entry, .. } in &routes {
            entry.permit(client, opening.reverse_path)?;
            entry.check_size(opening.size.unwrap_or(0))?;
        }
        let is_due = routes.iter().any(|route| route.entry.check.is_some());
        let check = if is_due { CheckState::Due } else { CheckState::Settled };
        Ok(Judged { posts: routes.len().max(1), target, check })
    }

    /// Asks those who have a say about a recipient, and refuses it with the first of
    /// them who does.
    pub async fn check(&self, question: &Question) -> Result<(), Refusal> {
        let Question { client, reverse_path, size, recipient } = question;
        let facts = Facts { to: &recipient.forward_path, from: reverse_path, size: *size, client };
        let mut asked = Vec::new();
        for route in routes(self.compose_options(client), &recipient.target) {
            let Some(check) = &route.entry.check else { continue };
            if !asked.contains(&check) {
                self.options.checks.check(check, facts, &self.options.metrics).await?;
                asked.push(check);
            }
        }
        Ok(())
    }
}

/// Recipients that do not take a message that is there.
#[derive(Debug, Default)]
pub(super) struct TurnedAway(Vec<(usize, Refusal)>);

impl TurnedAway {
    /// Takes the recipients from `envelope` that do not take a message of so many
    /// octets, or none from this sender any more; all of them when there is a reply for
    /// each. The refusal is that of the whole message.
    pub(super) fn from(
        envelope: &mut Envelope,
        options: &compose::Options,
        octets: usize,
    ) -> Result<TurnedAway, Refusal> {
        let is_picky =
            |Route { entry, .. }: &Route| entry.message_size.is_some() || !entry.allow_from.is_empty();
        if !options.routes.iter().any(is_picky) {
            return Ok(TurnedAway::default());
        }
        let check = |target: &Target| {
            routes(options, target).iter().try_for_each(|Route { entry, .. }| {
                entry.permit(&envelope.client, &envelope.reverse_path)?;
                entry.check_size(octets as u64)
            })
        };
        let mut away = Vec::new();
        for (at, recipient) in envelope.recipients.iter().enumerate() {
            if let Err(refusal) = check(&recipient.target) {
                away.push((at, refusal));
            }
        }
        if let (Replies::One, Some((_, refusal))) = (envelope.replies, away.first()) {
            return Err(refusal.clone());
        }
        let mut places = 0..;
        envelope.recipients.retain(|_| {
            let at = places.next().unwrap_or_default();
            away.iter().all(|(place, _)| *place != at)
        });
        Ok(TurnedAway(away))
    }

    /// Puts what those hear who were turned away among what the `others` hear.
    pub(super) fn join(self, others: usize, taken: &mut Taken) {
        if self.0.is_empty() {
            return;
        }
        taken.fates.resize(others, Fate::Queued);
        taken.numbers.resize(others, 0);
        // In the order of their places, so each finds its own.
        for (at, refusal) in self.0 {
            taken.fates.insert(at.min(taken.fates.len()), Fate::Refused(refusal));
            taken.numbers.insert(at.min(taken.numbers.len()), 0);
        }
    }
}

/// The routes that a target leads to.
fn routes<'o>(options: &'o compose::Options, target: &Target) -> Vec<&'o Route> {
    match target {
        Target::Route { route, .. } => compose::routes(options, route),
        Target::Direct { .. } | Target::Header { .. } | Target::Event { .. } => Vec::new(),
    }
}
