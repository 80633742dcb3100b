//! Looking at posts: searches, counts, bodies.
//!
//! The database finds the newest posts in a range of ids and one state by an index; whatever
//! else a query says is looked up in the posts themselves. A search ends after a while with what
//! it has, so that a rare filter keeps nobody waiting.

use super::super::shared::piece;
use super::super::{Attempt, Census, Content, Counts, Listed, Page, PostState, Query, SpoolError};
use super::Shared;
use super::link::Trouble;
use super::row::{Kept, columns, damaged, destination_of, key_of, time_of};
use crate::post::{Blob, Destination, PostId};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Row;

/// Posts that are looked at in one go.
const PIECE: i64 = 1000;
/// The same where they are read, too.
const FEW: usize = 256;
/// Changes of counts that are added up whenever somebody asks; more become one a lane.
const TOLD: i64 = 1000;
/// From then on a search ends with what it has.
const LONGEST: Duration = Duration::from_millis(20);

/// The number that [`number_of`] gives the state of post `p`.
macro_rules! seen {
    () => {
        "CASE WHEN p.is_claimed THEN 4 WHEN p.phase > 0 THEN p.phase::int4 WHEN p.ended = 0 THEN 0 ELSE 5 END"
    };
}

const NEWEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM postgate_post p WHERE p.id >= $1 AND p.id < $2 ORDER BY p.id DESC LIMIT $3"
);

/// Said so that no other index is in this order: a plan that is made for any state would look
/// through all posts by id.
const NEWEST_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM postgate_post p WHERE (",
    seen!(),
    ", p.id) >= ($4, $1) AND (",
    seen!(),
    ", p.id) < ($4, $2) ORDER BY ",
    seen!(),
    " DESC, p.id DESC LIMIT $3"
);

/// What lanes hold; of the oldest post of each its time alone is looked at.
const COUNTS: &str = "SELECT t.*, (SELECT min(p.accepted_at) FROM postgate_post p \
    WHERE p.lane = t.lane AND p.phase = 0) FROM (SELECT lane, sum(waiting)::int8 AS waiting, \
    sum(sending)::int8 AS sending, sum(held)::int8 AS held, sum(failed)::int8 AS failed, count(*) \
    FROM postgate_tally GROUP BY lane) t";

const FOLD: &str = "WITH told AS (DELETE FROM postgate_tally RETURNING *) INSERT INTO postgate_tally \
    SELECT * FROM (SELECT lane, sum(waiting) AS waiting, sum(sending) AS sending, sum(held) AS held, \
    sum(failed) AS failed FROM told GROUP BY lane) t \
    WHERE waiting <> 0 OR sending <> 0 OR held <> 0 OR failed <> 0";

/// Every state with its number.
const STATES: [(PostState, i32); 6] = [
    (PostState::Queued, 0),
    (PostState::Failed, 1),
    (PostState::Held, 2),
    (PostState::Delivered, 3),
    (PostState::Sending, 4),
    (PostState::Deferred, 5),
];

fn number_of(state: PostState) -> Option<i32> {
    STATES.into_iter().find(|(known, _)| *known == state).map(|(_, number)| number)
}

fn state_of(number: i32) -> Option<PostState> {
    STATES.into_iter().find(|(_, known)| *known == number).map(|(state, _)| state)
}

/// Ids that a query may mean: from here on, and below that.
fn bounds(query: &Query, before: Option<PostId>) -> (Vec<u8>, Vec<u8>) {
    let last = vec![0xff; 11];
    let below = before.into_iter().chain(query.before()).map(key_of);
    match query.id.map(key_of) {
        // No other key is between this one and the same with an octet more.
        Some(key) => (key.clone(), below.chain([[key, vec![0]].concat()]).min().unwrap_or(last)),
        None => (Vec::new(), below.min().unwrap_or(last)),
    }
}

/// The newest rows that a query may mean.
async fn newest(
    shared: &Shared,
    query: &Query,
    before: Option<PostId>,
    most: i64,
) -> Result<Vec<Kept>, Trouble> {
    let (from, below) = bounds(query, before);
    let link = shared.quick.take().await?;
    let rows = match query.state.and_then(number_of) {
        None => link.query(NEWEST, &[&from, &below, &most]).await?,
        Some(state) => link.query(NEWEST_OF, &[&from, &below, &most, &state]).await?,
    };
    link.put_back();
    Ok(rows.iter().map(Kept::read).collect::<Result<_, _>>()?)
}

/// The post as others see it, if it can be read and is meant.
fn meant_one(shared: &Shared, query: &Query, kept: &Kept) -> Option<Listed> {
    let listed = kept.listed(shared.options.retain_held).ok()?;
    let is_meant = query.means(&listed.post.destination) && query.fits(&listed.post);
    is_meant.then_some(listed)
}

/// Posts that an order is for.
pub(super) struct Meant {
    pub ids: Vec<PostId>,
    /// Go on with what is older than this; nothing when there can be no more.
    pub next: Option<PostId>,
}

/// The next posts that a query means; not sure that there are any although there are more.
pub(super) async fn meant(shared: &Shared, query: &Query, before: Option<PostId>) -> Result<Meant, Trouble> {
    let rows = newest(shared, query, before, PIECE).await?;
    let last = rows.last().map(|kept| kept.id).filter(|id| !query.is_behind(*id));
    let ids =
        rows.iter().filter(|kept| !query.is_behind(kept.id) && meant_one(shared, query, kept).is_some());
    let ids = ids.map(|kept| kept.id).collect();
    Ok(Meant { ids, next: last.filter(|_| rows.len() as i64 == PIECE) })
}

/// Posts that a query means; see [`super::super::Spool::search`].
pub(super) async fn search(
    shared: Arc<Shared>,
    query: Arc<Query>,
    mut next: Option<PostId>,
    most: usize,
) -> Result<Page, Trouble> {
    let begun = Instant::now();
    let mut posts = Vec::new();
    loop {
        let rows = newest(&shared, &query, next, FEW as i64).await?;
        for kept in &rows {
            if query.is_behind(kept.id) {
                return Ok(Page { posts, next: None });
            }
            next = Some(kept.id);
            posts.extend(meant_one(&shared, &query, kept));
            if posts.len() >= most {
                return Ok(Page { posts, next });
            }
        }
        if rows.len() < FEW || begun.elapsed() > LONGEST {
            return Ok(Page { posts, next: next.filter(|_| rows.len() == FEW) });
        }
    }
}

/// How many posts in which state a query means; only those are read that must be.
pub(super) async fn census(shared: Arc<Shared>, query: Arc<Query>) -> Result<Census, Trouble> {
    let mut census = Census::new();
    if !query.reads_posts() {
        let (from, below) = bounds(&query, None);
        let link = shared.quick.take().await?;
        let rows = link
            .query(
                concat!(
                    "SELECT p.lane, ",
                    seen!(),
                    " AS seen, count(*) FROM postgate_post p \
                     WHERE p.id >= $1 AND p.id < $2 GROUP BY 1, 2"
                ),
                &[&from, &below],
            )
            .await?;
        link.put_back();
        for row in &rows {
            let state =
                state_of(row.get(1)).filter(|state| query.state.is_none_or(|wanted| wanted == *state));
            if let Some(state) =
                state.filter(|_| destination_of(row.get(0)).is_ok_and(|lane| query.means(&lane)))
            {
                *census.entry(state).or_default() += row.get::<_, i64>(2).cast_unsigned();
            }
        }
        return Ok(census);
    }
    let mut before = None;
    loop {
        let rows = newest(&shared, &query, before, PIECE).await?;
        for kept in rows.iter().filter(|kept| !query.is_behind(kept.id)) {
            if meant_one(&shared, &query, kept).is_some() {
                *census.entry(kept.seen()).or_default() += 1;
            }
        }
        before = rows.last().map(|kept| kept.id).filter(|id| !query.is_behind(*id));
        if before.is_none() || rows.len() < PIECE as usize {
            return Ok(census);
        }
    }
}

/// How many posts of which kind each lane holds.
pub(super) async fn counts(shared: Arc<Shared>) -> Result<Vec<(Arc<Destination>, Counts)>, Trouble> {
    let link = shared.quick.take().await?;
    let rows = link.query(COUNTS, &[]).await?;
    let told = rows.iter().map(|row| row.get::<_, i64>(5)).sum::<i64>();
    if told > rows.len() as i64 + TOLD {
        link.execute(FOLD, &[]).await?;
    }
    link.put_back();
    // Most lanes are empty most of the time.
    let holds_some = |row: &&Row| (1..=4).any(|at| row.get::<_, i64>(at) != 0);
    let counts = |row: &Row| {
        let number = |at: usize| row.get::<_, i64>(at).cast_unsigned();
        let oldest_at = row.get::<_, Option<i64>>(6).map(time_of);
        let (waiting, sending, held, failed) = (number(1), number(2), number(3), number(4));
        Ok((destination_of(row.get(0))?, Counts { waiting, sending, held, failed, oldest_at }))
    };
    Ok(rows.iter().filter(holds_some).map(counts).collect::<Result<_, SpoolError>>()?)
}

/// Adds up what was told of counts, for whoever asks next.
pub(super) async fn fold(shared: &Shared) -> Result<(), Trouble> {
    let link = shared.quick.take().await?;
    if !link.query("SELECT FROM postgate_tally OFFSET $1 LIMIT 1", &[&TOLD]).await?.is_empty() {
        link.execute(FOLD, &[]).await?;
    }
    link.put_back();
    Ok(())
}

/// Every attempt of a living post that is kept.
pub(super) async fn attempts(shared: Arc<Shared>, id: PostId) -> Result<Vec<Attempt>, Trouble> {
    let link = shared.quick.take().await?;
    let text = concat!("SELECT ", columns!(), " FROM postgate_post p WHERE p.id = $1");
    let rows = link.query(text, &[&key_of(id)]).await?;
    link.put_back();
    let kept = rows.first().map(Kept::read).transpose()?.ok_or(SpoolError::Unknown)?;
    Ok(kept.chronicle()?.attempts)
}

/// The body of a post, wherever it is.
pub(super) async fn body(shared: Arc<Shared>, id: PostId, body: Blob) -> Result<Bytes, Trouble> {
    let link = shared.quick.take().await?;
    let number = i32::from(body.number) + 1;
    let rows = link
        .query(
            "SELECT p.checksums[$2], substr(coalesce(p.content, c.octets), \
             1 + (SELECT coalesce(sum(l), 0) FROM unnest(p.lengths[1:$2 - 1]) AS l)::int4, p.lengths[$2]::int4) \
             FROM postgate_post p LEFT JOIN postgate_content c ON p.is_shared AND c.message = substr(p.id, 1, 8) \
             WHERE p.id = $1",
            &[&key_of(id), &number],
        )
        .await?;
    link.put_back();
    // It is about to be sent.
    shared.hold.stands()?;
    let row = rows.first().ok_or(SpoolError::Unknown)?;
    let octets: Option<&[u8]> = row.get(1);
    Ok(part(id, Bytes::copy_from_slice(octets.ok_or(SpoolError::Unknown)?), row.get(0), body)?)
}

/// A piece of a blob, which is as it was committed.
fn part(id: PostId, blob: Bytes, checksum: Option<i64>, body: Blob) -> Result<Bytes, SpoolError> {
    let is_whole = checksum == Some(i64::from(crc32c::crc32c(&blob)));
    piece(&blob, body).filter(|_| is_whole).ok_or_else(|| damaged(id, "body"))
}

/// What a living post is made of.
pub(super) async fn content(shared: Arc<Shared>, id: PostId) -> Result<Content, Trouble> {
    let link = shared.quick.take().await?;
    let rows = link
        .query(
            concat!(
                "SELECT ",
                columns!(),
                ", p.lengths, p.checksums, coalesce(p.content, c.octets) \
                 FROM postgate_post p LEFT JOIN postgate_content c \
                 ON p.is_shared AND c.message = substr(p.id, 1, 8) WHERE p.id = $1"
            ),
            &[&key_of(id)],
        )
        .await?;
    link.put_back();
    let row = rows.first().ok_or(SpoolError::Unknown)?;
    let (post, behind) = (Kept::read(row)?.post()?, row.len() - 3);
    let (lengths, checksums): (Vec<i64>, Vec<i64>) = (row.get(behind), row.get(behind + 1));
    let octets = row.get::<_, Option<Vec<u8>>>(behind + 2).ok_or(SpoolError::Unknown)?;
    let (mut rest, mut blobs) = (Bytes::from(octets), Vec::new());
    for length in lengths {
        let length = usize::try_from(length).unwrap_or_default().min(rest.len());
        blobs.push(rest.split_to(length));
    }
    let whole = |number: u16, body: Option<Blob>| {
        let at = usize::from(number);
        let blob = blobs.get(at).cloned().unwrap_or_default();
        let length = u32::try_from(blob.len()).unwrap_or(u32::MAX);
        part(id, blob, checksums.get(at).copied(), body.unwrap_or(Blob { number, start: 0, length }))
    };
    let (body, message) = (whole(post.body.number, Some(post.body))?, whole(0, None)?);
    Ok(Content { post, body, message })
}
