//! Lines: posts of a lane with one ordering key, of which the first alone may be sent.
//!
//! One that came behind others is marked, and found by no claim, so that a long line costs
//! no more than a short one. A mark is a hint, and a claim looks for itself whether a post is
//! free. What must not be is a mark on the first one. Whoever ends a post, or puts one behind
//! others, has committed that before looking at the line once more: the later of the two
//! finds what the earlier did. Where one of them died in between, the next round does.

use super::Shared;
use super::link::{Link, Trouble};
use std::collections::BTreeSet;

/// Lanes with ordering keys.
pub(super) type Lines = BTreeSet<(String, String)>;

/// Takes the mark off the first post of each of these.
pub(super) async fn advance(shared: &Shared, lines: &Lines) -> Result<(), Trouble> {
    if !lines.is_empty() {
        let link = shared.quick.take().await?;
        advance_on(&link, lines).await?;
        link.put_back();
    }
    Ok(())
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
