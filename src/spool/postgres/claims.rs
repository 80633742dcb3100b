//! Taking posts of a lane, and which lanes have some.
//!
//! A claim is written, so that an attempt is known of whatever happens to the process, but
//! not waited for: one that is lost is a post that is sent again. Of each priority the due
//! ones are found by themselves, so that those that are not due yet are not looked at.

use super::super::{Attempt, Claim, Claimed, SpoolError};
use super::lines;
use super::link::{Taken, Trouble};
use super::row::{Kept, columns, destination_of, key_of, span};
use super::schema::{is_free, now};
use super::{PATIENCE, Shared};
use crate::post::Destination;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Takes up to `max` posts of a lane that are due, or those whose time is over.
pub(super) async fn claim(
    shared: Arc<Shared>,
    lane: String,
    max_age: Option<Duration>,
    max: usize,
) -> Result<Claimed, SpoolError> {
    let _asking = shared.hands.ask(&lane);
    let mut claimed = shared.insist(PATIENCE, || take(&shared, &lane, max_age, max)).await?;
    claimed.claims.retain(|claim| shared.hands.take(claim.post.id, claim.fence));
    Ok(claimed)
}

async fn take(
    shared: &Shared,
    lane: &str,
    max_age: Option<Duration>,
    max: usize,
) -> Result<Claimed, Trouble> {
    shared.hold.stands()?;
    let link = shared.quick.take().await?;
    let most = i64::try_from(max).unwrap_or(i64::MAX);
    let rows = match max_age {
        None => link.query(DUE, &[&lane, &most]).await?,
        Some(max_age) => link.query(OVER, &[&lane, &most, &span(max_age)]).await?,
    };
    let mut kept = rows.iter().map(Kept::read).collect::<Result<Vec<_>, _>>()?;
    // Priorities are those of their posts.
    kept.sort_by_key(|kept| (kept.state.due_at, kept.id));
    let mut claims = Vec::with_capacity(kept.len());
    for kept in kept {
        match kept.claim() {
            Ok(claim) => claims.push(claim),
            Err(error) => put_aside(shared, &link, &kept, &error).await?,
        }
    }
    claims.sort_by_key(|claim: &Claim| claim.post.priority);
    let rows = link.query(NEXT, &[&lane]).await?;
    link.put_back();
    let next = rows.first().and_then(|row| row.get::<_, Option<i64>>(0)).map(ahead);
    Ok(Claimed { claims, next })
}

/// Every lane with posts to be sent, and how long until its next one is due.
pub(super) async fn lanes(shared: Arc<Shared>) -> Result<Vec<(Arc<Destination>, Duration)>, Trouble> {
    let link = shared.quick.take().await?;
    let rows = link.query(LANES, &[]).await?;
    link.put_back();
    let lane = |row: &tokio_postgres::Row| Ok((destination_of(row.get(0))?, ahead(row.get(1))));
    Ok(rows.iter().map(lane).collect::<Result<Vec<_>, SpoolError>>()?)
}

/// A span that is zero when it is over.
fn ahead(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// Makes a dead letter of a post that cannot be read any more.
async fn put_aside(
    shared: &Shared,
    link: &Taken<'_>,
    kept: &Kept,
    error: &SpoolError,
) -> Result<(), Trouble> {
    shared.damages.fetch_add(1, Ordering::Relaxed);
    tracing::error!(post = %kept.id, %error, "a post cannot be read back; it is kept as a dead letter");
    let mut chronicle = kept.chronicle().unwrap_or_default();
    let number = kept.state.next_attempt();
    chronicle.push(Attempt { number, ..Attempt::because(error.to_string()) });
    let chronicle = super::row::chronicle_of(&chronicle)?;
    let until = span(shared.options.retain_failed);
    link.execute(
        concat!(
            "UPDATE postgate_post SET phase = 1, is_claimed = false, orders = NULL, chronicle = $2, due_at = ",
            now!(), " + $3 WHERE id = $1"
        ),
        &[&key_of(kept.id), &chronicle, &until],
    )
    .await?;
    let line = kept.line.clone().map(|line| (kept.lane.clone(), line));
    lines::advance_on(link, &line.into_iter().collect()).await
}

/// Posts that may be claimed.
macro_rules! waits {
    () => {
        concat!("p.phase = 0 AND NOT p.is_claimed AND NOT p.is_behind AND ", is_free!())
    };
}

/// The first due post of each priority of lane `l.lane`.
macro_rules! next_of {
    ($lane:literal) => {
        concat!(
            "SELECT min(f.due_at) FROM generate_series(0, 9) AS n(priority) CROSS JOIN LATERAL (\
             SELECT p.due_at FROM postgate_post p WHERE p.lane = ",
            $lane,
            " AND p.priority = n.priority::int2 AND ",
            waits!(),
            " ORDER BY p.due_at, p.id LIMIT 1) f"
        )
    };
}

const DUE: &str = concat!(
    "WITH due AS MATERIALIZED (SELECT f.id FROM generate_series(0, 9) AS n(priority) CROSS JOIN LATERAL (\
     SELECT p.id, p.due_at FROM postgate_post p WHERE p.lane = $1 AND p.priority = n.priority::int2 \
     AND p.due_at <= ",
    now!(),
    " AND ",
    waits!(),
    " ORDER BY p.due_at, p.id LIMIT $2 FOR UPDATE SKIP LOCKED) f \
     ORDER BY n.priority, f.due_at, f.id LIMIT $2) \
     UPDATE postgate_post p SET is_claimed = true, fence = p.fence + 1 FROM due WHERE p.id = due.id RETURNING ",
    columns!()
);

/// An end of its own that was over when a dead letter began anew is void.
const OVER: &str = concat!(
    "WITH aged AS MATERIALIZED (SELECT p.id FROM postgate_post p WHERE p.lane = $1 AND p.ages_from <= ",
    now!(),
    " - $3 AND ",
    waits!(),
    " ORDER BY p.ages_from LIMIT $2 FOR UPDATE SKIP LOCKED), \
     ending AS MATERIALIZED (SELECT p.id FROM postgate_post p WHERE p.lane = $1 AND p.expires_at <= ",
    now!(),
    " AND p.expires_at IS NOT NULL AND NOT (p.is_anew AND p.expires_at <= p.ages_from) AND ",
    waits!(),
    " ORDER BY p.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
     over AS (SELECT id FROM aged UNION SELECT id FROM ending LIMIT $2) \
     UPDATE postgate_post p SET is_claimed = true, fence = p.fence + 1 FROM over WHERE p.id = over.id RETURNING ",
    columns!()
);

const NEXT: &str = concat!("SELECT (", next_of!("$1"), ") - ", now!());

/// From lane to lane by the index, however many posts each has.
const LANES: &str = concat!(
    "WITH RECURSIVE l AS ((SELECT p.lane FROM postgate_post p WHERE p.phase = 0 AND NOT p.is_claimed \
     AND NOT p.is_behind ORDER BY p.lane LIMIT 1) UNION ALL SELECT (SELECT p.lane FROM postgate_post p \
     WHERE p.phase = 0 AND NOT p.is_claimed AND NOT p.is_behind AND p.lane > l.lane \
     ORDER BY p.lane LIMIT 1) FROM l WHERE l.lane IS NOT NULL) \
     SELECT l.lane, n.due_at - ",
    now!(),
    " FROM l CROSS JOIN LATERAL (",
    next_of!("l.lane"),
    ") AS n(due_at) WHERE l.lane IS NOT NULL AND n.due_at IS NOT NULL"
);
