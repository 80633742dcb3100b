//! Taking in what lived in another spool: in records like those of messages that were copied
//! to the end of the log.

use super::catalog::Place;
use super::embedded::Embedded;
use super::group::Group;
use super::job::Job;
use super::later::Later;
use super::log::Writer;
use super::moving::cargo::Cargo;
use super::record::Record;
use super::replay::{restore, share};
use super::{Noted, SpoolError};
use crate::event::Mark;
use tokio::sync::oneshot;

/// Room for a meta of which nothing is known but how many posts it tells of.
const META: u64 = 8192;

impl Embedded {
    /// Takes these messages in, but for what is there already. Resolves when they are durable.
    pub(super) async fn adopt(&self, cargos: Vec<Cargo>) -> Result<(), SpoolError> {
        let (ack, adopted) = oneshot::channel();
        self.jobs.send(Job::Adopt { cargos, ack }).map_err(|_| SpoolError::Closed)?;
        adopted.await.map_err(|_| SpoolError::Closed)?
    }

    /// Takes over all facts, with their versions; none of those that were forgotten had a later
    /// one than this. Blocks.
    pub(super) fn adopt_facts(&self, facts: Vec<(String, Noted)>, forgotten: u64) -> Result<(), SpoolError> {
        self.notes.take_over(facts, forgotten)
    }

    /// Whether there are events behind a mark, now that the older segments have been read.
    pub(super) fn has_events(&self, after: Mark) -> bool {
        if after.log == self.shared.salt {
            self.shared.feed.pass(after.place);
        }
        self.shared.feed.waits()
    }
}

impl Writer {
    /// Writes these messages in a group of their own.
    pub(super) fn adopt(&mut self, cargos: Vec<Cargo>) -> Result<(), SpoolError> {
        self.finish_group();
        let mut cargos = cargos;
        cargos.retain(|cargo| !self.has(cargo));
        let Some(newest) = cargos.iter().map(|cargo| cargo.accepted.message).max() else { return Ok(()) };
        self.newest = self.newest.max(newest);
        let posts = cargos.iter().map(|cargo| cargo.accepted.posts.len() as u64 + 1).sum::<u64>();
        let mut needed = cargos.iter().map(|cargo| cargo.octets() as u64).sum::<u64>() + posts * META;
        // They come by the clock of the day.
        let jump = self.shared.clock.jump();
        let by_ours = |accepted| Record::Accepted(accepted).by(|at| jump.undone(at));
        let records: Vec<_> =
            cargos.into_iter().map(|cargo| (by_ours(cargo.accepted), cargo.blobs)).collect();
        loop {
            self.tail.make_room(needed, self.newest)?;
            let (segment, start) = self.tail.place().ok_or_else(|| self.trouble())?;
            let (mut group, mut places) = (Group::new(self.shared.salt, self.shared.clock), Vec::new());
            for (record, blobs) in &records {
                let offset = start + group.octets();
                let total = group.push_whole(record, blobs, segment);
                let total = total.ok_or_else(|| SpoolError::Failed("a message too large".to_owned()))?;
                places.push((offset, total));
            }
            // What was guessed of the metas may have been too little.
            if !self.tail.has_room(group.octets()) {
                needed = group.octets();
                continue;
            }
            self.tail.append(&mut group.parts(), self.newest)?;
            for ((record, _), (offset, total)) in records.iter().zip(places) {
                let Record::Accepted(accepted) = record else { continue };
                let place = Place { segment, offset, share: share(total, accepted.shares()) };
                restore(&self.shared, accepted, place, &mut Later::default());
            }
            return Ok(());
        }
    }

    /// Whether a message was taken in before: all of it was, then.
    fn has(&self, cargo: &Cargo) -> bool {
        let (mut index, accepted) = (self.shared.index(), &cargo.accepted);
        match (cargo.living().next(), &accepted.idempotency_key) {
            (Some((post, _)), _) => index.find(post.id).is_some(),
            (None, Some(key)) => index.noted(&accepted.tenant, key, self.shared.clock.now()).is_some(),
            (None, None) => true,
        }
    }
}
