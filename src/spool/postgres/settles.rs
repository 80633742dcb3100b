//! How claimed posts ended.
//!
//! What leaves nothing behind is deleted, whoever has it, and not waited for: losing that is
//! a repeat under the same id. Everything else is durable before it is answered, and changes
//! nothing under an old fence.

use super::super::outcomes::LISTED;
use super::super::state::{Phase, Route, State};
use super::super::{Attempt, Claim, Order, Settlement, SpoolError};
use super::changes::{Locked, end, finish};
use super::events::append;
use super::link::Trouble;
use super::row::{Kept, chronicle_of, lane_of};
use super::{Options, Shared, WRITE};
use crate::event::Event;
use crate::post::{Post, Timestamp};
use std::sync::Arc;

/// Notes how these ended, and what is told of it.
pub(super) async fn settle(
    shared: Arc<Shared>,
    done: Arc<Vec<(Claim, Settlement)>>,
    events: Arc<Vec<Event>>,
) -> Result<(), Trouble> {
    let options = &shared.options;
    // The next of an ordered line waits until it is durable that this one is over.
    let rides = |(claim, settlement): &(Claim, Settlement)| {
        let post = &*claim.post;
        *settlement == Settlement::Delivered && !options.keeps(post) && post.ordering_key.is_none()
    };
    let is_told = if done.iter().all(rides) {
        ride(&shared, &done, &events).await?
    } else {
        let link = shared.durable.take().await?;
        link.begin().await?;
        let mut locked = Locked::lock(&link, done.iter().map(|(claim, _)| claim.post.id)).await?;
        for (claim, settlement) in done.iter() {
            note(&mut locked, options, claim, settlement)?;
            // A try before this one may have ended it, and been cut off then.
            let line = claim.post.ordering_key.clone();
            locked.left.extend(line.map(|line| (lane_of(&claim.post.destination), line)));
        }
        // What a try before this one ended may wait for a standby still: who writes waits, too.
        if done.iter().any(|(claim, _)| !locked.is_known(claim.post.id)) {
            link.execute(WRITE, &[]).await?;
        }
        let is_told = locked.is_changed() && !events.is_empty();
        append(&link, &[if is_told { &events[..] } else { &[] }]).await?;
        finish(&shared, link, locked).await?;
        is_told
    };
    if is_told {
        shared.told.notify_one();
    }
    Ok(())
}

/// Ends posts that leave nothing behind; whether that was told.
async fn ride(shared: &Shared, done: &[(Claim, Settlement)], events: &[Event]) -> Result<bool, Trouble> {
    let ids: Vec<_> = done.iter().map(|(claim, _)| claim.post.id).collect();
    let link = shared.quick.take().await?;
    link.begin().await?;
    let is_told = end(&link, &ids).await? > 0 && !events.is_empty();
    append(&link, &[if is_told { events } else { &[] }]).await?;
    link.commit().await?;
    Ok(is_told)
}

/// Notes attempts under way as a gateway leaves them that stops.
pub(super) async fn cut_off(shared: &Shared) -> Result<(), Trouble> {
    let claims = shared.hands.all();
    if claims.is_empty() {
        return Ok(());
    }
    let link = shared.durable.take().await?;
    link.begin().await?;
    let mut locked = Locked::lock(&link, claims.iter().map(|(id, _)| *id)).await?;
    for (id, fence) in claims {
        let kept = locked.find(id).filter(|kept| kept.is_claimed && kept.fence == fence);
        let settled = kept.map(|kept| settled(kept, &shared.options, &Settlement::cut_off(), locked.now));
        if let Some(kept) = settled.transpose()?.flatten() {
            locked.put_back(kept)?;
        }
    }
    finish(shared, link, locked).await
}

/// What becomes of one post.
fn note(
    locked: &mut Locked,
    options: &Options,
    claim: &Claim,
    settlement: &Settlement,
) -> Result<(), Trouble> {
    let (id, now) = (claim.post.id, locked.now);
    let Some(kept) = locked.find(id) else { return Ok(()) };
    if settlement.is_delivered() && options.keeps(&claim.post) {
        let shelved = shelved(kept, options, &claim.post, settlement, now)?;
        return shelved.map_or(Ok(()), |shelved| locked.put_back(shelved));
    }
    // A crash of the database may have forgotten the claim.
    let is_newest = kept.is_claimed && kept.fence == claim.fence || kept.fence < claim.fence;
    let kept = &Kept { fence: kept.fence.max(claim.fence), ..kept.clone() };
    if *settlement == Settlement::Delivered {
        return locked.end(id);
    }
    if !is_newest {
        return Ok(());
    }
    match settled(kept, options, settlement, now)? {
        Some(kept) => locked.put_back(kept),
        None => locked.end(id),
    }
}

/// A delivered post that is kept, whoever has it now and whatever was ordered meanwhile.
fn shelved(
    kept: &Kept,
    options: &Options,
    post: &Post,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<Option<Kept>, SpoolError> {
    let retain = options.retain_delivered;
    let retain = if post.batch.is_some() { retain.max(LISTED) } else { retain };
    let is_shelved = kept.state.phase == Phase::Shelved;
    let Some(state) = kept.state.settled(settlement, now, retain).filter(|_| !is_shelved) else {
        return Ok(None);
    };
    let mut chronicle = kept.chronicle().unwrap_or_default();
    if state.is_rerouted {
        // It may have been ordered to go elsewhere once more, too late.
        let (destination, path) = (Arc::clone(&post.destination), post.path.clone());
        let sealed = post.sealed.path.clone();
        chronicle.route = Some(Route { destination, trust: post.trust, path, sealed });
    }
    let number = kept.state.next_attempt();
    settlement.attempt().into_iter().for_each(|last| chronicle.push(Attempt { number, ..last.clone() }));
    let chronicle = chronicle_of(&chronicle)?;
    Ok(Some(Kept { state, chronicle, is_claimed: false, orders: None, ..kept.clone() }))
}

/// A post after its attempt, and after what was ordered meanwhile; nothing when it leaves
/// nothing behind.
fn settled(
    kept: &Kept,
    options: &Options,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<Option<Kept>, SpoolError> {
    let is_listed = matches!(settlement, Settlement::Listed { .. });
    let retain = if is_listed { options.retain_delivered.max(LISTED) } else { options.retain_failed };
    let Some(state) = kept.state.settled(settlement, now, retain) else { return Ok(None) };
    let mut kept = Kept { state, is_bodiless: is_listed, ..kept.clone() }.unclaimed(now)?;
    // One that says where the post goes stays, although it cannot be read: nobody sends it then.
    if let (Some(last), Ok(mut chronicle)) = (settlement.attempt(), kept.chronicle()) {
        chronicle.push(Attempt { number: state.tried, ..last.clone() });
        kept.chronicle = chronicle_of(&chronicle)?;
    }
    Ok(Some(kept))
}

impl Kept {
    /// The post when its claim is over: what was ordered meanwhile is done now.
    pub(super) fn unclaimed(self, now: Timestamp) -> Result<Kept, SpoolError> {
        let orders = self.orders()?;
        let state: State = self.state.ordered_all(&orders, now);
        let goes_to = orders.iter().find_map(|order| match order {
            Order::Reroute { destination, .. } if state.is_rerouted => Some(lane_of(destination)),
            _ => None,
        });
        let lane = goes_to.unwrap_or_else(|| self.lane.clone());
        Ok(Kept { state, lane, is_claimed: false, orders: None, ..self })
    }
}
