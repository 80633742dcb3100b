//! What is done now and then: posts whose time is over are forgotten, and a database that
//! was away is looked for.

use super::super::obituary::of_listed;
use super::super::shared::NOTES;
use super::super::state::Phase;
use super::super::{Health, SpoolError};
use super::changes::{Locked, finish};
use super::claims::lanes;
use super::events::append;
use super::lines;
use super::link::Trouble;
use super::looks;
use super::row::{id_of, span};
use super::schema::now;
use super::{PATIENCE, PAUSE, Shared};
use crate::post::Destination;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks for what nobody rang for.
const LOOK: Duration = Duration::from_secs(10);
/// Between two rounds.
const ROUND: Duration = Duration::from_secs(60);
/// Posts that are forgotten in one go.
const PIECE: usize = 1000;
/// Batches of a webhook that are listed when they are over; older ones are forgotten.
const LISTED: i64 = 1000;

/// Opens the door again when the database writes durably.
pub(super) async fn recover(shared: Arc<Shared>) {
    let mut health = shared.health.subscribe();
    while health.wait_for(|health| *health != Health::Open).await.is_ok() && !shared.hold.is_over() {
        // However long it waits for its standbys.
        match shared.insist(Duration::MAX, || shared.make_safe()).await {
            // A gateway that was overtaken takes nothing.
            Ok(()) => shared.health.send_modify(|health| {
                if !shared.hold.is_over() {
                    *health = Health::Open;
                }
            }),
            Err(_) => sleep(PAUSE.1).await,
        }
    }
}

/// Rings for all that is due, look after look: another process may have committed it and
/// died before it rang, or may have been overtaken.
pub(super) async fn ring(shared: Arc<Shared>) {
    loop {
        sleep(LOOK).await;
        match shared.insist(PATIENCE, || due(&shared)).await {
            Ok(lanes) => shared.ring(&lanes),
            Err(error) => tracing::warn!(%error, "lanes cannot be looked through now"),
        }
    }
}

async fn due(shared: &Arc<Shared>) -> Result<Vec<(Arc<Destination>, Duration)>, Trouble> {
    let link = shared.quick.take().await?;
    lines::advance_all(&link).await?;
    link.put_back();
    lanes(Arc::clone(shared)).await
}

/// Forgets what is over, round after round.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        if let Err(error) = round(&shared).await {
            tracing::warn!(%error, "what is over cannot be forgotten now");
        }
        sleep(ROUND).await;
    }
}

async fn round(shared: &Shared) -> Result<(), SpoolError> {
    while shared.insist(PATIENCE, || forget(shared)).await? == PIECE {}
    shared.insist(PATIENCE, || looks::fold(shared)).await?;
    shared.insist(PATIENCE, || tidy(shared)).await
}

/// Forgets posts whose time is over, up to so many.
async fn forget(shared: &Shared) -> Result<usize, Trouble> {
    let options = &shared.options;
    let link = shared.durable.take().await?;
    link.begin().await?;
    let rows = link
        .query(
            concat!(
                "SELECT id FROM postgate_post WHERE phase IN (1, 3) AND due_at <= ",
                now!(),
                " OR phase = 2 AND due_at < ",
                now!(),
                " AND due_at <= ",
                now!(),
                " - $1 LIMIT $2"
            ),
            &[&span(options.retain_held), &(PIECE as i64)],
        )
        .await?;
    if rows.is_empty() {
        link.commit().await?;
        return Ok(0);
    }
    shared.hold.confirm(&link).await?;
    let ids = rows.iter().map(|row| id_of(row.get(0))).collect::<Result<Vec<_>, _>>()?;
    let mut locked = Locked::lock(&link, ids.iter().copied()).await?;
    let mut told = Vec::new();
    for id in ids {
        // Something may have been done to it before it was locked.
        let Some(kept) = locked.find(id).filter(|kept| kept.state.is_over(locked.now, options.retain_held))
        else {
            continue;
        };
        if kept.state.phase == Phase::Held && options.wanted.is_wanted() {
            let listed = kept.listed(options.retain_held).ok();
            told.extend(listed.and_then(|listed| of_listed(&listed, "expired", locked.now)));
        }
        tracing::info!(post = %id, state = ?kept.seen(), "the retention time of a post is over; it is forgotten");
        locked.end(id)?;
    }
    let told: Vec<_> = told.into_iter().map(|(_, event)| event).collect();
    append(&link, &[&told]).await?;
    finish(shared, link, locked).await?;
    if !told.is_empty() {
        shared.told.notify_one();
    }
    Ok(rows.len())
}

/// Forgets keys whose time is over, and all but the newest batches that are listed.
async fn tidy(shared: &Shared) -> Result<(), Trouble> {
    let link = shared.quick.take().await?;
    link.begin().await?;
    shared.hold.confirm(&link).await?;
    let text = concat!("DELETE FROM postgate_key WHERE noted_at <= ", now!(), " - $1");
    link.execute(text, &[&span(NOTES)]).await?;
    link.execute(
        "DELETE FROM postgate_post WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER \
         (PARTITION BY lane ORDER BY id DESC) AS number FROM postgate_post \
         WHERE phase = 3 AND content IS NULL AND NOT is_shared) AS listed WHERE number > $1)",
        &[&LISTED],
    )
    .await?;
    link.commit().await
}
