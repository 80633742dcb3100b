//! Which files of the journal end: the oldest first, by age and size; and who still needs
//! what they have.
//!
//! Most who follow the journal can do nothing when there is no room for what they lack:
//! then it ends, and is announced. Who can do something about it in time holds it whatever
//! room it takes, and makes haste.

use super::segment::Segment;
use super::{Journal, Position, Shared};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

/// What a follower still needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// All behind this.
    position: Position,
    extent: Extent,
}

/// How much is kept for a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Everything.
    All,
    /// What the journal has room for.
    Room,
}

impl Journal {
    /// What is behind this position is kept, however old it is and whatever room it takes,
    /// until this follower holds another one or lets go. It sees to it that this is soon
    /// not before [`Journal::haste`].
    pub fn hold(&self, follower: &str, position: Position) {
        self.0.held().insert(follower.to_owned(), Need { position, extent: Extent::All });
    }

    /// The same as long as the journal has room: what is older than what it may take ends,
    /// and that is said.
    pub fn hold_within(&self, follower: &str, position: Position) {
        self.0.held().insert(follower.to_owned(), Need { position, extent: Extent::Room });
    }

    /// This follower needs nothing more.
    pub fn let_go(&self, follower: &str) {
        self.0.held().remove(follower);
    }

    /// Octets that the journal may take.
    pub fn room(&self) -> u64 {
        self.0.options.max_octets
    }

    /// Behind this position is three quarters of what the journal may take, or all of it.
    pub fn haste(&self) -> Position {
        let (segments, most) = (self.0.segments(), self.room() / 4 * 3);
        let (mut octets, mut first) = (0, None);
        for (begin, segment) in segments.iter().rev() {
            // One that cannot be looked at takes no room that is known.
            octets += segment.file.metadata().map_or(0, |file| file.len());
            // The last file stays, however large it is.
            if let Some(first) = first.filter(|_| octets > most) {
                return Position(first - 1);
            }
            first = Some(*begin);
        }
        Position(0)
    }

    /// Position of the first event that it can still have.
    pub fn first(&self) -> Position {
        Position(self.0.segments().keys().next().copied().unwrap_or_default())
    }
}

impl Shared {
    /// Removes files whose time is over, as seen at `now`, and those for which there is
    /// no room. One that was last written before that is no longer written to, so that
    /// it can end as well when nothing happens any more.
    pub(super) fn tidy(&self, now: SystemTime) -> io::Result<()> {
        self.close_aged(now)?;
        self.shrink(self.options.max_octets, now)
    }

    /// Removes at least one file, if there is one that may end: there is no room to write.
    pub(super) fn shed(&self, now: SystemTime) -> io::Result<()> {
        self.shrink(self.octets()?.saturating_sub(1), now)
    }

    /// Removes the oldest files until those that are left take no more than that, and
    /// those whose time is over.
    fn shrink(&self, most: u64, now: SystemTime) -> io::Result<()> {
        let segments = self.segments();
        let mut octets = self.octets()?;
        // The last file stays: it knows the position.
        for (segment, behind) in segments.values().zip(segments.keys().skip(1)) {
            let needs = self.needs(Position(behind - 1));
            let is_within = octets <= self.options.max_octets;
            let is_held = needs.values().any(|need| is_within || need.extent == Extent::All);
            if is_held || octets <= most && !self.is_aged(segment, now)? {
                break;
            }
            octets = octets.saturating_sub(segment.file.metadata()?.len());
            Segment::remove(&self.options.directory, segment.first)?;
            self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(&segment.first);
            for (follower, need) in needs {
                let events = behind - segment.first.max(need.position.0 + 1);
                tracing::error!(%follower, events, "the journal has no room for events that are still needed: they are let go");
            }
        }
        Ok(())
    }

    /// Who still needs something up to there.
    fn needs(&self, last: Position) -> BTreeMap<String, Need> {
        let held = self.held();
        let needs = held.iter().filter(|(_, need)| need.position < last);
        needs.map(|(follower, need)| (follower.clone(), *need)).collect()
    }

    /// Octets of all files.
    fn octets(&self) -> io::Result<u64> {
        self.segments().values().map(|segment| Ok(segment.file.metadata()?.len())).sum()
    }

    /// Begins another file when the last one has events that are too old.
    fn close_aged(&self, now: SystemTime) -> io::Result<()> {
        let mut tail = self.tail();
        let Some(active) = &tail.active else { return Ok(()) };
        if active.first < tail.next && self.is_aged(active, now)? {
            tail.active = Some(self.begin(&tail)?);
        }
        Ok(())
    }

    fn is_aged(&self, segment: &Arc<Segment>, now: SystemTime) -> io::Result<bool> {
        let age = now.duration_since(segment.file.metadata()?.modified()?);
        Ok(age.is_ok_and(|age| age > self.options.keep))
    }
}
