//! Events: written in the transaction of what caused them, and handed out in one order.
//!
//! The order is that of transactions, which is fixed before they end: an event is handed out
//! when every transaction before its own has ended, so that none comes behind a mark that
//! was passed. A database that was restored from a dump counts its transactions anew: what
//! it has not come to yet is written anew on opening, and a mark of that kind is none.

use super::super::SpoolError;
use super::hold::mine;
use super::link::{Link, Taken, Trouble};
use super::row::{encoded, read};
use super::{PATIENCE, Shared};
use crate::event::{Event, Mark};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Octets that are handed out at a time, if there is more than one row of them.
const PORTION: usize = 256 << 10;
/// Another process may have made some: they are looked for so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A transaction before one with events is about to end.
const SOON: Duration = Duration::from_millis(2);

/// Writes what is told, with what caused it.
pub(super) async fn append(link: &Taken<'_>, told: &[&[Event]]) -> Result<(), Trouble> {
    let told = told.iter().filter(|events| !events.is_empty());
    let octets = told.map(encoded).collect::<Result<Vec<_>, _>>()?;
    if octets.is_empty() {
        return Ok(());
    }
    link.execute(
        "INSERT INTO postgate_event (octets) \
         SELECT n.octets FROM unnest($1::bytea[]) WITH ORDINALITY AS n(octets, number) ORDER BY n.number",
        &[&octets],
    )
    .await?;
    Ok(())
}

/// Writes events that no post caused.
pub(super) async fn publish(shared: Arc<Shared>, events: Arc<Vec<Event>>) -> Result<(), Trouble> {
    let link = shared.durable.take().await?;
    link.begin().await?;
    shared.hold.confirm(&link).await?;
    append(&link, &[&events]).await?;
    link.commit().await?;
    shared.told.notify_one();
    Ok(())
}

/// What a look for events found.
enum Found {
    Events(Mark, Vec<Event>),
    /// There are some that may not be handed out yet.
    Unsettled,
    Nothing,
}

/// The next events behind a mark, when there are some. Cancel-safe.
pub(super) async fn events(shared: Arc<Shared>, after: Mark) -> Result<(Mark, Vec<Event>), SpoolError> {
    let after = if after.log == shared.log { after.place } else { (0, 0) };
    shared.insist(PATIENCE, || forget(&shared, after)).await?;
    loop {
        match shared.insist(PATIENCE, || look(&shared, after)).await? {
            Found::Events(mark, events) => {
                // Of deliveries it may not be so yet, and whoever keeps a mark that a crash
                // undoes would pass those that come in its place.
                shared.insist(PATIENCE, || shared.make_safe()).await?;
                return Ok((mark, events));
            }
            Found::Unsettled => sleep(SOON).await,
            Found::Nothing => drop(timeout(LOOK_AGAIN, shared.told.notified()).await),
        }
    }
}

/// Forgets what was passed.
async fn forget(shared: &Shared, (written, place): (u64, u64)) -> Result<(), Trouble> {
    if written == 0 {
        return Ok(());
    }
    shared.hold.stands()?;
    let link = shared.quick.take().await?;
    let (node, incarnation) = shared.hold.row();
    link.execute(FORGET, &[&written.cast_signed(), &place.cast_signed(), node, incarnation]).await?;
    link.put_back();
    Ok(())
}

async fn look(shared: &Shared, (written, place): (u64, u64)) -> Result<Found, Trouble> {
    shared.hold.stands()?;
    let link = shared.quick.take().await?;
    let (node, incarnation) = shared.hold.row();
    let rows = link.query(LOOK, &[&written.cast_signed(), &place.cast_signed(), node, incarnation]).await?;
    link.put_back();
    let (mut found, mut octets) = (None, 0);
    for row in rows.iter().take_while(|row| row.get(3)) {
        let at = (row.get::<_, i64>(0).cast_unsigned(), row.get::<_, i64>(1).cast_unsigned());
        let text: &[u8] = row.get(2);
        octets += text.len();
        if found.is_some() && octets > PORTION {
            break;
        }
        let (mark, events) = found.get_or_insert_with(|| (Mark::default(), Vec::new()));
        *mark = Mark { log: shared.log, place: at };
        match read::<Vec<Event>>(text) {
            Some(more) => events.extend(more),
            None => {
                shared.damages.fetch_add(1, Ordering::Relaxed);
                tracing::error!(place = ?at, "events cannot be read back; they are lost");
            }
        }
    }
    Ok(match found {
        Some((mark, events)) => Found::Events(mark, events),
        None if rows.is_empty() => Found::Nothing,
        None => Found::Unsettled,
    })
}

/// Writes events anew whose transactions this database has not come to yet.
pub(super) async fn renumber(link: &Link) -> Result<(), Trouble> {
    let count = link.execute(RENUMBER, &[]).await?;
    if count > 0 {
        tracing::warn!(count, "the database was restored; what it had to tell is told now");
    }
    Ok(())
}

/// The first transaction that has not begun.
macro_rules! ahead {
    () => {
        "pg_snapshot_xmax(pg_current_snapshot())::text::int8"
    };
}

const FORGET: &str = concat!(
    "DELETE FROM postgate_event WHERE (written, place) <= ($1, $2) AND $1 < ",
    ahead!(),
    " AND ",
    mine!("$3", "$4")
);

const LOOK: &str = concat!(
    "SELECT written, place, octets, written < pg_snapshot_xmin(pg_current_snapshot())::text::int8 \
     FROM postgate_event WHERE (written, place) > (CASE WHEN $1 < ",
    ahead!(),
    " THEN $1 ELSE 0 END, $2) AND ",
    mine!("$3", "$4"),
    " ORDER BY written, place LIMIT 64"
);

const RENUMBER: &str = concat!(
    "WITH ahead AS (DELETE FROM postgate_event WHERE written >= ",
    ahead!(),
    " RETURNING written, place, octets) \
     INSERT INTO postgate_event (octets) SELECT octets FROM ahead ORDER BY written, place"
);
