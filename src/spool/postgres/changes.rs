//! Changing posts whose rows are locked: what settlements, orders and a start have in common.

use super::super::state::{Phase, State};
use super::Shared;
use super::lines::{self, Lines};
use super::link::{Link, Taken, Trouble};
use super::row::{Kept, columns, destination_of, key_of, message_key, millis, number_of, shard_of, time_of};
use super::schema::now;
use crate::post::{Destination, PostId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Posts that are taken over in one go.
const PIECE: i64 = 1000;

/// Posts that are locked, and what becomes of them.
pub(super) struct Locked {
    /// The time of the database.
    pub now: Timestamp,
    rows: BTreeMap<PostId, Kept>,
    changed: BTreeMap<PostId, Kept>,
    ended: Vec<PostId>,
    /// Lanes that have something to send.
    rung: Vec<(Arc<Destination>, Duration)>,
    /// Lines of which a post may be the first now that was not.
    pub left: Lines,
    /// Posts of which something cannot be read.
    damages: u64,
}

impl Locked {
    /// Locks these posts, in one order: two that lock do not wait for each other.
    pub async fn lock(link: &Link, ids: impl Iterator<Item = PostId>) -> Result<Locked, Trouble> {
        let keys: Vec<_> = ids.map(key_of).collect();
        let rows = link
            .query(
                concat!(
                    "SELECT ",
                    columns!(),
                    ", ",
                    now!(),
                    " FROM postgate_post p WHERE p.id = ANY($1) ORDER BY p.id FOR UPDATE"
                ),
                &[&keys],
            )
            .await?;
        Locked::of(&rows)
    }

    fn of(rows: &[tokio_postgres::Row]) -> Result<Locked, Trouble> {
        let now = rows.first().map_or(0, |row| row.get(row.len() - 1));
        let (mut all, mut damages) = (BTreeMap::new(), 0);
        for row in rows {
            let mut kept = Kept::read(row)?;
            damages += u64::from(kept.mend());
            all.insert(kept.id, kept);
        }
        Ok(Locked {
            now: time_of(now),
            rows: all,
            damages,
            changed: BTreeMap::new(),
            ended: Vec::new(),
            rung: Vec::new(),
            left: Lines::new(),
        })
    }

    /// A post as it is now, if it lives.
    pub fn find(&self, id: PostId) -> Option<&Kept> {
        self.rows.get(&id)
    }

    /// Whether it was found, ended since or not.
    pub fn is_known(&self, id: PostId) -> bool {
        self.rows.contains_key(&id) || self.ended.contains(&id)
    }

    /// Whether anything was changed.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty() || !self.ended.is_empty()
    }

    /// Ends a post.
    pub fn end(&mut self, id: PostId) -> Result<(), Trouble> {
        if let Some(kept) = self.rows.remove(&id) {
            self.changed.remove(&id);
            self.ended.push(id);
            self.leave_line(&kept)?;
        }
        Ok(())
    }

    /// Puts a post where it waits from now on.
    pub fn put_back(&mut self, kept: Kept) -> Result<(), Trouble> {
        let Some(before) = self.rows.insert(kept.id, kept.clone()) else { return Ok(()) };
        if before.lane != kept.lane || !kept.state.phase.is_in_line() {
            self.leave_line(&before)?;
        }
        if kept.state.phase == Phase::Waiting && !kept.is_claimed {
            self.rung.push((destination_of(&kept.lane)?, kept.state.due_at.since(self.now)));
        }
        self.changed.insert(kept.id, kept);
        Ok(())
    }

    /// The next one of its line may be sent.
    fn leave_line(&mut self, kept: &Kept) -> Result<(), Trouble> {
        if let Some(line) = &kept.line {
            self.left.insert((kept.lane.clone(), line.clone()));
            self.rung.push((destination_of(&kept.lane)?, Duration::ZERO));
        }
        Ok(())
    }

    /// Writes all that was changed.
    pub async fn write(&self, link: &Link) -> Result<(), Trouble> {
        if !self.changed.is_empty() {
            update(link, self.changed.values()).await?;
        }
        let bodiless = self.changed.values().filter(|kept| kept.is_bodiless && kept.is_shared);
        release(link, bodiless.map(|kept| kept.id)).await?;
        end(link, &self.ended).await?;
        Ok(())
    }
}

/// Ends posts, whoever has them; answers how many there were. What they shared ends with
/// the last of them.
pub(super) async fn end(link: &Link, ids: &[PostId]) -> Result<u64, Trouble> {
    if ids.is_empty() {
        return Ok(0);
    }
    let keys: Vec<_> = ids.iter().copied().map(key_of).collect();
    let rows =
        link.query("DELETE FROM postgate_post WHERE id = ANY($1) RETURNING id, is_shared", &[&keys]).await?;
    let shared = rows.iter().filter(|row| row.get(1)).map(|row| super::row::id_of(row.get(0)));
    release(link, shared.collect::<Result<Vec<_>, _>>()?.into_iter()).await?;
    Ok(rows.len() as u64)
}

/// Lets go of what these posts share with others.
async fn release(link: &Link, ids: impl Iterator<Item = PostId>) -> Result<(), Trouble> {
    let messages: Vec<_> = ids.map(|id| message_key(id.message)).collect();
    if messages.is_empty() {
        return Ok(());
    }
    link.execute(
        "UPDATE postgate_content c SET living = c.living - n.posts FROM (SELECT n.message, count(*) AS posts \
         FROM unnest($1::bytea[]) AS n(message) GROUP BY 1) n WHERE c.message = n.message",
        &[&messages],
    )
    .await?;
    link.execute("DELETE FROM postgate_content WHERE message = ANY($1) AND living <= 0", &[&messages])
        .await?;
    Ok(())
}

async fn update(link: &Link, changed: impl Iterator<Item = &Kept> + Clone) -> Result<(), Trouble> {
    fn column<'a, T>(changed: impl Iterator<Item = &'a Kept>, value: impl Fn(&'a Kept) -> T) -> Vec<T> {
        changed.map(value).collect()
    }
    let state = |value: fn(&State) -> bool| column(changed.clone(), |kept| value(&kept.state));
    let number = |value: fn(&State) -> i64| column(changed.clone(), |kept| value(&kept.state));
    let (ids, lanes) =
        (column(changed.clone(), |kept| key_of(kept.id)), column(changed.clone(), |kept| &kept.lane));
    let shards = column(changed.clone(), |kept| shard_of(&kept.lane));
    let phases = column(changed.clone(), |kept| number_of(kept.state.phase));
    let claimed = column(changed.clone(), |kept| kept.is_claimed);
    let (ended, tried) = (number(|state| state.ended.into()), number(|state| state.tried.into()));
    let (due, ages) = (number(|state| millis(state.due_at)), number(|state| millis(state.ages_from)));
    let (anew, rerouted) = (state(|state| state.is_anew), state(|state| state.is_rerouted));
    let lean = state(|state| state.is_lean);
    let chronicles = column(changed.clone(), |kept| &kept.chronicle);
    let orders = column(changed.clone(), |kept| &kept.orders);
    let bodiless = column(changed.clone(), |kept| kept.is_bodiless);
    let fences = column(changed.clone(), |kept| kept.fence.cast_signed());
    link.execute(
        UPDATE,
        &[
            &ids,
            &lanes,
            &shards,
            &phases,
            &claimed,
            &ended,
            &tried,
            &due,
            &ages,
            &anew,
            &rerouted,
            &lean,
            &chronicles,
            &orders,
            &bodiless,
            &fences,
        ],
    )
    .await?;
    Ok(())
}

const UPDATE: &str = "UPDATE postgate_post p SET lane = n.lane, shard = n.shard, phase = n.phase, \
    is_claimed = n.is_claimed, ended = n.ended, tried = n.tried, due_at = n.due_at, ages_from = n.ages_from, \
    is_anew = n.is_anew, is_rerouted = n.is_rerouted, is_lean = n.is_lean, chronicle = n.chronicle, \
    orders = n.orders, fence = n.fence, is_behind = p.is_behind AND p.lane = n.lane, \
    is_shared = p.is_shared AND NOT n.is_bodiless, \
    content = CASE WHEN n.is_bodiless THEN NULL ELSE p.content END \
    FROM unnest($1::bytea[], $2::text[], $3::int2[], $4::int2[], $5::bool[], $6::int8[], $7::int8[], \
    $8::int8[], $9::int8[], $10::bool[], $11::bool[], $12::bool[], $13::bytea[], $14::bytea[], $15::bool[], \
    $16::int8[]) \
    AS n(id, lane, shard, phase, is_claimed, ended, tried, due_at, ages_from, is_anew, is_rerouted, is_lean, \
    chronicle, orders, is_bodiless, fence) WHERE p.id = n.id";

/// Takes over what was claimed by a process that is gone: as if the attempt had never begun,
/// but with what was ordered meanwhile.
pub(super) async fn take_over(link: &Link) -> Result<(), Trouble> {
    link.run("UPDATE postgate_post SET is_claimed = false WHERE is_claimed AND orders IS NULL").await?;
    loop {
        link.run("BEGIN").await?;
        let rows = link
            .query(
                concat!(
                    "SELECT ",
                    columns!(),
                    ", ",
                    now!(),
                    " FROM postgate_post p WHERE p.is_claimed ORDER BY p.id LIMIT $1 FOR UPDATE"
                ),
                &[&PIECE],
            )
            .await?;
        let mut locked = Locked::of(&rows)?;
        for kept in locked.rows.values().cloned().collect::<Vec<_>>() {
            locked.put_back(kept.unclaimed(locked.now)?)?;
        }
        locked.write(link).await?;
        link.run("COMMIT").await?;
        if rows.is_empty() {
            return lines::advance_all(link).await;
        }
    }
}

/// Ends what is done, lets others have the link, and rings.
pub(super) async fn finish(shared: &Shared, link: Taken<'_>, locked: Locked) -> Result<(), Trouble> {
    locked.write(&link).await?;
    link.commit().await?;
    shared.damages.fetch_add(locked.damages, Ordering::Relaxed);
    lines::advance(shared, &locked.left).await;
    shared.ring(&locked.rung);
    Ok(())
}
