//! Doing something to many posts, piece by piece, each in a transaction of its own.

use super::super::obituary::{of_listed, reason_of};
use super::super::state::Route;
use super::super::{Order, Query, SpoolError};
use super::changes::{Locked, finish};
use super::events::append;
use super::link::Trouble;
use super::looks::meant;
use super::row::{Kept, chronicle_of, lane_of, orders_of};
use super::{PATIENCE, Shared};
use crate::post::{PostId, Timestamp};
use std::sync::Arc;

/// Has an order carried out; answers how many posts it meant.
pub(super) async fn order(shared: Arc<Shared>, query: Query, order: Arc<Order>) -> Result<u64, SpoolError> {
    let (mut before, mut done) = (None, 0);
    loop {
        let piece = shared.insist(PATIENCE, || meant(&shared, &query, before)).await?;
        if !piece.ids.is_empty() {
            done += shared.insist(PATIENCE, || carry_out(&shared, &piece.ids, &order)).await?;
        }
        before = piece.next;
        if before.is_none() {
            return Ok(done);
        }
    }
}

/// Changes these posts, as far as the order means them.
async fn carry_out(shared: &Shared, ids: &[PostId], order: &Order) -> Result<u64, Trouble> {
    let link = shared.durable.take().await?;
    link.begin().await?;
    shared.hold.confirm(&link).await?;
    let mut locked = Locked::lock(&link, ids.iter().copied()).await?;
    let (mut done, mut told) = (0, Vec::new());
    for id in ids {
        let Some(kept) = locked.find(*id) else { continue };
        if order.ends() {
            let reason = reason_of(order).filter(|_| shared.options.wanted.is_wanted());
            // One that cannot be read ends as well.
            let obituary = reason.and_then(|reason| {
                of_listed(&kept.listed(shared.options.retain_held).ok()?, reason, locked.now)
            });
            told.extend(obituary.map(|(_, event)| event));
            locked.end(*id)?;
            done += 1;
        } else if let Some(kept) = ordered(kept, order, locked.now)? {
            locked.put_back(kept)?;
            done += 1;
        }
    }
    append(&link, &[&told]).await?;
    finish(shared, link, locked).await?;
    if !told.is_empty() {
        shared.told.notify_one();
    }
    Ok(done)
}

/// The post as the order makes it, now or when its attempt has ended; nothing when it is not
/// meant.
fn ordered(kept: &Kept, order: &Order, now: Timestamp) -> Result<Option<Kept>, SpoolError> {
    let mut orders = kept.orders()?;
    let Some(state) = kept.state.ordered_all(&orders, now).ordered(order, now) else { return Ok(None) };
    let mut kept = kept.clone();
    if kept.is_claimed {
        order.put_off(&mut orders);
        kept.orders = orders_of(&orders)?;
    } else {
        kept.state = state;
    }
    if let Order::Reroute { destination, trust, path, sealed } = order {
        let mut chronicle = kept.chronicle().unwrap_or_default();
        let (destination, path) = (Arc::clone(destination), path.clone());
        if !kept.is_claimed {
            kept.lane = lane_of(&destination);
        }
        chronicle.route = Some(Route { destination, trust: *trust, path, sealed: sealed.clone() });
        kept.chronicle = chronicle_of(&chronicle)?;
    }
    Ok(Some(kept))
}
