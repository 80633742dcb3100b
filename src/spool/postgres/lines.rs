//! Lines: posts of a lane with one ordering key, of which the first alone may be sent.
//!
//! One that came behind others is marked, and found by no claim, so that a long line costs
//! no more than a short one. A mark is a hint, and a claim looks for itself whether a post is
//! free. What must not be is a mark on the first one. Whoever ends a post, or puts one behind
//! others, has committed that before looking at the line once more: the later of the two
//! finds what the earlier did. Where one of them died in between, the next round does.

use super::super::SpoolError;
use super::Shared;
use super::link::{Link, Trouble};
use std::collections::BTreeSet;

/// Lanes with ordering keys.
pub(super) type Lines = BTreeSet<(String, String)>;

/// Takes the mark off the first post of each of these. What was committed stands, whatever
/// becomes of this: the next round does it, too.
pub(super) async fn advance(shared: &Shared, lines: &Lines) {
    if lines.is_empty() {
        return;
    }
    let work = async {
        let link = shared.quick.take().await?;
        advance_on(&link, lines).await?;
        link.put_back();
        Ok::<_, Trouble>(())
    };
    if let Err(trouble) = work.await {
        tracing::warn!(error = %SpoolError::from(trouble), "posts behind others wait a little longer");
    }
}

/// The same on a link of the caller's.
pub(super) async fn advance_on(link: &Link, lines: &Lines) -> Result<(), Trouble> {
    let (lanes, keys): (Vec<_>, Vec<_>) = lines.iter().map(|(lane, key)| (lane, key)).unzip();
    link.execute(ADVANCE, &[&lanes, &keys]).await.map(drop)
}

/// The same of every line.
pub(super) async fn advance_all(link: &Link) -> Result<(), Trouble> {
    link.execute(ADVANCE_ALL, &[]).await.map(drop)
}

/// Takes the mark off the first post of each line in `n`.
macro_rules! advance {
    () => {
        "UPDATE postgate_post p SET is_behind = false FROM n CROSS JOIN LATERAL (SELECT q.id \
         FROM postgate_post q WHERE q.lane = n.lane AND q.line = n.line AND q.phase IN (0, 2) \
         ORDER BY q.id LIMIT 1) AS first WHERE p.id = first.id AND p.is_behind"
    };
}

const ADVANCE: &str =
    concat!("WITH n AS (SELECT * FROM unnest($1::text[], $2::text[]) AS n(lane, line)) ", advance!());

/// From line to line by the index, however many posts each has.
const ADVANCE_ALL: &str = concat!(
    "WITH RECURSIVE n AS ((SELECT p.lane, p.line FROM postgate_post p WHERE p.is_behind \
     ORDER BY p.lane, p.line LIMIT 1) UNION ALL SELECT next.lane, next.line FROM n CROSS JOIN LATERAL (\
     SELECT p.lane, p.line FROM postgate_post p WHERE p.is_behind AND (p.lane, p.line) > (n.lane, n.line) \
     ORDER BY p.lane, p.line LIMIT 1) AS next) ",
    advance!()
);

/// Marks whoever is behind others in its line.
pub(super) const MARK_ALL: &str = "UPDATE postgate_post p SET is_behind = true WHERE line IS NOT NULL \
    AND phase IN (0, 2) AND NOT is_behind AND EXISTS (SELECT FROM postgate_post q WHERE q.lane = p.lane \
    AND q.line = p.line AND q.phase IN (0, 2) AND q.id < p.id)";
