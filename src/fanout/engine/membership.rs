//! Who is told with whom: webhooks come, go, change what they want, and pile up.

use super::{Engine, Group, PORTION};
use crate::event::Event;
use crate::fanout::batches::Full;
use crate::fanout::group::{Closed, Member, Wish};
use crate::fanout::shelf::Placed;
use crate::journal::Position;
use crate::post::{Destination, Timestamp, Trust, WebhookId};
use crate::spool::SpoolError;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Events that are looked at at a time to find where a time begins.
const LOOK: u64 = 512;

impl Full {
    /// A batch of all of a group.
    pub fn of(group: &Group, closed: Closed) -> Full {
        let (wish, members) = (Arc::clone(&group.wish), group.members.clone());
        Full { wish, members, closed, reached: None }
    }
}

/// Groups by what they want: comparing each with all others would take the longer the more
/// there are.
type Kin = HashMap<Arc<Wish>, Vec<usize>>;

/// A webhook that is told, because it gets events or because what it is owed must not
/// wait in the journal.
struct Wanted {
    member: Member,
    wish: Arc<Wish>,
    since: Option<Timestamp>,
    /// Where it came to get events, and where it had ceased to before.
    bounds: (Option<u64>, Option<u64>),
    /// Behind which it is owed nothing.
    ends: Option<u64>,
}

impl Wanted {
    fn of(placed: &Placed) -> Option<(WebhookId, Wanted)> {
        let webhook = &placed.webhook;
        let id = webhook.lane_id();
        let trust = if placed.version.is_some() { Trust::Wire } else { Trust::Operator };
        let (destination, _) = webhook.destination().ok()?;
        let wish = Arc::new(Wish::of(webhook).ok()?);
        let destination = Arc::new(Destination { webhook: Some(id.clone()), ..destination });
        let member = Member { id: id.clone(), destination, trust };
        let bounds = (webhook.began.map(|began| began.0), webhook.ceased.map(|ceased| ceased.position.0));
        let ends = bounds.1.filter(|_| !webhook.is_owed());
        Some((id, Wanted { member, wish, since: webhook.active_since, bounds, ends }))
    }
}

impl Engine {
    /// Follows what became of webhooks.
    pub(super) async fn follow(&mut self) -> Result<(), SpoolError> {
        let placed = self.options.shelf.in_force();
        for Placed { webhook, .. } in placed.iter().filter(|placed| placed.webhook.is_active()) {
            self.pressed.remove(&webhook.lane_id());
            self.standing.entry(webhook.lane_id()).or_default().closed_for = Duration::ZERO;
        }
        let is_told =
            |placed: &&Placed| placed.webhook.is_active() || self.pressed.contains(&placed.webhook.lane_id());
        let mut wanted: HashMap<_, _> = placed.iter().filter(is_told).filter_map(Wanted::of).collect();
        self.pressed.retain(|id| wanted.contains_key(id));
        let placed: HashMap<_, _> = placed.into_iter().map(|it| (it.webhook.lane_id(), it)).collect();
        self.has_lanes = true;
        let left = self.leave(&placed, &mut wanted);
        let reached =
            |full: &Full| full.members.iter().map(|it| (it.id.clone(), full.closed.reached)).collect();
        let told: Vec<Vec<_>> = left.iter().map(reached).collect();
        self.keep(left).await?;
        for (id, reached) in told.into_iter().flatten() {
            self.standing.entry(id).or_default().reached = Some(reached);
        }
        placed.values().for_each(|placed| self.meet(placed));
        self.opening.retain(|id, _| placed.contains_key(id));
        self.groups.retain(|group| !group.members.is_empty());
        self.again.retain(|again| placed.contains_key(&again.member.id));
        self.standing.retain(|id, _| placed.contains_key(id));
        self.stalled.retain(|id| placed.get(id).is_some_and(|placed| placed.webhook.is_active()));
        for placed in placed.values().filter(|placed| !placed.webhook.is_active()) {
            let late = self.see_closed(placed);
            self.pressed.extend(late.iter().map(|(id, _)| id.clone()));
            wanted.extend(late);
            let id = placed.webhook.lane_id();
            if self.standing.get(&id).is_none_or(|standing| standing.reached.is_none()) {
                // It is owed nothing: told again, it would begin anew.
                wanted.remove(&id);
                self.pressed.remove(&id);
            }
        }
        let mut kin = Kin::new();
        for (index, group) in self.groups.iter().enumerate() {
            kin.entry(Arc::clone(&group.wish)).or_default().push(index);
        }
        for (id, wanted) in wanted {
            if !self.stalled.contains(&id) {
                self.join(id, wanted, &mut kin).await?;
            }
        }
        self.hold();
        if self.noted.0.is_empty() && !(self.groups.is_empty() && self.standing.is_empty()) {
            // From here on batches are looked up; all others are noted with the next look.
            self.note_standing().await;
        }
        self.announce().await
    }

    /// Looks at what one is still owed that is closed. When the journal has no room for it,
    /// it is to be told now; of one that cannot be read that is let go.
    fn see_closed(&mut self, placed: &Placed) -> Option<(WebhookId, Wanted)> {
        let (webhook, id, haste) = (&placed.webhook, placed.webhook.lane_id(), self.haste);
        let standing = self.standing.entry(id.clone()).or_default();
        let is_before = |reached: &u64| webhook.ceased.is_some_and(|it| *reached < it.position.0);
        let is_owed = |reached: &u64| webhook.given_up.is_some() || is_before(reached);
        standing.reached = standing.reached.filter(is_owed);
        let reached = standing.reached.filter(|reached| *reached < haste)?;
        let wanted = if webhook.is_readable() { Wanted::of(placed) } else { None };
        if wanted.is_none() {
            standing.reached = Some(haste);
            match webhook.is_readable() {
                true => self.lose(&id, haste - reached),
                // Neither what it wanted of them nor whose it is can be known.
                false => tracing::error!("webhook {id} cannot be opened: what waited for it is let go"),
            }
        }
        wanted
    }

    /// Lets those go that want nothing more, or something else; leaves those wanted that
    /// are in no group. Who is disabled by request is told of what was before: at once if it
    /// has been read, or when it is open again.
    fn leave(
        &mut self,
        placed: &HashMap<WebhookId, Placed>,
        wanted: &mut HashMap<WebhookId, Wanted>,
    ) -> Vec<Full> {
        let (mut full, last) = (Vec::new(), self.options.journal.last().0);
        for group in &mut self.groups {
            let members = std::mem::take(&mut group.members);
            for member in members {
                let is_same =
                    |it: &Wanted| it.member == member && it.wish == group.wish && it.ends == group.ends();
                if wanted.get(&member.id).is_some_and(is_same) {
                    wanted.remove(&member.id);
                    group.members.push(member);
                    continue;
                }
                let standing = self.standing.entry(member.id.clone()).or_default();
                standing.reached = Some(group.told());
                let webhook = placed.get(&member.id).map(|placed| &placed.webhook);
                let ceased = webhook.filter(|webhook| !webhook.is_owed()).and_then(|webhook| webhook.ceased);
                // The journal holds for one that is behind what it is still owed.
                if ceased.is_some_and(|ceased| group.read >= ceased.position.0.min(last))
                    && let Some(closed) = group.rest()
                {
                    let (wish, members) = (Arc::clone(&group.wish), vec![member]);
                    full.push(Full { wish, members, closed, reached: None });
                }
            }
        }
        full
    }

    /// Takes one in, behind what it has been told.
    async fn join(&mut self, id: WebhookId, wanted: Wanted, kin: &mut Kin) -> Result<(), SpoolError> {
        let reached = self.standing.entry(id).or_default().reached.take();
        let Wanted { member, wish, since, bounds: (began, ceased), ends } = wanted;
        let last = self.options.journal.last().0;
        let read = match (reached, began, since) {
            (Some(reached), _, _) => reached,
            (None, Some(began), _) => began.min(last),
            (None, None, Some(since)) => self.before(since).await,
            (None, None, None) => last,
        };
        // What happened while it was closed by request is not told.
        let between = ceased.zip(began).filter(|(start, end)| start < end && read < *end && *end <= last);
        let gap = ends.map(|ends| (ends, u64::MAX)).or(between);
        let alike = kin.entry(Arc::clone(&wish)).or_default();
        let is_fitting = |group: &Group| group.is_empty() && group.read == read && group.gap() == gap;
        let fitting = alike.iter().find(|index| self.groups.get(**index).is_some_and(is_fitting));
        match fitting.and_then(|index| self.groups.get_mut(*index)) {
            Some(group) => group.members.push(member),
            None => {
                self.has_alike |= !alike.is_empty();
                alike.push(self.groups.len());
                self.groups.push(Group::new(wish, vec![member], read).without(gap));
            }
        }
        Ok(())
    }

    /// Position of the last event before a time, as far as the journal reaches.
    pub(super) async fn before(&self, since: Timestamp) -> u64 {
        let mut end = self.options.journal.last().0;
        while end > 0 {
            let start = end.saturating_sub(LOOK);
            let (mut read, mut earlier) = (start, None);
            while read < end {
                let found = self.options.journal.read(Position(read), PORTION).await.unwrap_or_default();
                let Some((last, _)) = found.last() else { break };
                let is_earlier =
                    |(position, event): &&(Position, Arc<Event>)| position.0 <= end && event.at < since;
                earlier = found.iter().rev().find(is_earlier).map(|(position, _)| position.0).or(earlier);
                // Nothing is left of what was before.
                if read == start && found.first().is_some_and(|(first, _)| first.0 > start + 1) {
                    return earlier.unwrap_or(start);
                }
                read = last.0;
            }
            if let Some(earlier) = earlier {
                return earlier;
            }
            end = start;
        }
        0
    }

    /// Brings groups together that want the same, and have read and told as far: the same
    /// is open in them.
    pub(super) fn join_groups(&mut self) {
        if !self.has_alike {
            return;
        }
        let mut joined: Vec<Group> = Vec::with_capacity(self.groups.len());
        let (mut known, mut wishes) = (HashMap::new(), HashSet::new());
        for group in std::mem::take(&mut self.groups) {
            let place = (Arc::clone(&group.wish), group.read, group.opened(), group.gap());
            let index = *known.entry(place).or_insert(joined.len());
            match joined.get_mut(index) {
                Some(other) => other.adopt(group),
                None => {
                    wishes.insert(Arc::clone(&group.wish));
                    joined.push(group);
                }
            }
        }
        self.has_alike = wishes.len() < joined.len();
        self.groups = joined;
    }

    /// Stops telling those whose batches pile up, and those that are closed; their positions
    /// stay.
    pub(super) fn stall(&mut self) {
        let (haste, mut stopped) = (self.haste, Vec::new());
        for group in self.groups.iter_mut().filter(|group| group.told() >= haste) {
            let (most, told) = (group.wish.most_waiting(), group.told());
            let (piles, pressed) = (&self.piles, &self.pressed);
            let is_stalled = |member: &mut Member| {
                pressed.contains(&member.id) || piles.get(&member.id).is_some_and(|pile| *pile >= most)
            };
            for member in group.members.extract_if(.., is_stalled) {
                self.standing.entry(member.id.clone()).or_default().reached = Some(told);
                stopped.push(member.id);
            }
        }
        for id in stopped {
            if !self.pressed.remove(&id) {
                self.stalled.insert(id);
            }
        }
        self.groups.retain(|group| !group.members.is_empty());
    }
}
