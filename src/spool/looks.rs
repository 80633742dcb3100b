//! Looking at posts, and finding those that an order is for.
//!
//! The index says which posts a query means; what it does not know of them, their
//! text, tags and attempts, is read from the log for those that are listed. The
//! index is held for one piece of a listing at a time. All of this blocks.

use super::catalog::GREATEST;
use super::index::Seen;
use super::job::Job;
use super::shared::Shared;
use super::state::Phase;
use super::{Attempt, Content, Listed, Order, Query, SpoolError};
use crate::post::{Post, PostId};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use tokio::sync::oneshot;

/// Posts that are looked at, and ordered, in one go.
const PIECE: usize = 1000;

/// Posts that a query means; see [`super::Spool::page`].
pub(super) fn page(
    shared: &Shared,
    query: &Query,
    before: Option<PostId>,
    most: usize,
) -> Result<Vec<Listed>, SpoolError> {
    let mut listed = Vec::new();
    let mut before = before.unwrap_or(GREATEST);
    while listed.len() < most {
        let wanted = if query.tag.is_some() { PIECE } else { (most - listed.len()).min(PIECE) };
        let piece = newest(shared, query, before, wanted)?;
        let Some(last) = piece.last() else { break };
        before = last.id;
        for seen in piece {
            let Some(post) = read(shared, &seen)? else { continue };
            if listed.len() < most && has_tag(&post, query) {
                listed.push(list(shared, seen, post));
            }
        }
    }
    Ok(listed)
}

/// Every attempt of a living post that is kept.
pub(super) fn attempts(shared: &Shared, id: PostId) -> Result<Vec<Attempt>, SpoolError> {
    let entry = shared.index().find(id).ok_or(SpoolError::Unknown)?;
    Ok(shared.chronicle(id, &entry)?.attempts)
}

/// What a living post is made of.
pub(super) fn content(shared: &Shared, id: PostId) -> Result<Content, SpoolError> {
    let entry = shared.index().find(id).ok_or(SpoolError::Unknown)?;
    let (body, message) = shared.read_content(id, &entry)?;
    Ok(Content { body, message })
}

/// Has an order carried out, piece by piece; answers how many posts it meant.
pub(super) fn order(
    shared: &Shared,
    jobs: &Sender<Job>,
    query: &Query,
    order: &Order,
) -> Result<u64, SpoolError> {
    let mut before = GREATEST;
    let mut meant = 0;
    loop {
        let piece = newest(shared, query, before, PIECE)?;
        let Some(last) = piece.last() else { return Ok(meant) };
        before = last.id;
        let mut ids = Vec::with_capacity(piece.len());
        for seen in piece {
            let is_tagged =
                query.tag.is_none() || read(shared, &seen)?.is_some_and(|post| has_tag(&post, query));
            ids.extend(is_tagged.then_some(seen.id));
        }
        if ids.is_empty() {
            continue;
        }
        let (ack, done) = oneshot::channel();
        jobs.send(Job::Order { ids, order: order.clone(), ack }).map_err(|_| SpoolError::Closed)?;
        meant += done.blocking_recv().map_err(|_| SpoolError::Closed)??;
    }
}

fn newest(shared: &Shared, query: &Query, before: PostId, most: usize) -> Result<Vec<Seen>, SpoolError> {
    let mut index = shared.index();
    let found = index.newest(query, before, most);
    if index.is_whole() {
        Ok(found)
    } else {
        Err(SpoolError::Failed("the catalog is being filled; try again".to_owned()))
    }
}

/// The post, unless it is over; one that cannot be read back is announced when it
/// is to be sent.
fn read(shared: &Shared, seen: &Seen) -> Result<Option<Arc<Post>>, SpoolError> {
    match &seen.post {
        Some(post) => Ok(Some(Arc::clone(post))),
        None => match shared.read_post(seen.id, &seen.entry) {
            Err(SpoolError::Damaged(_)) => Ok(None),
            post => post.map(Some),
        },
    }
}

fn has_tag(post: &Post, query: &Query) -> bool {
    query.tag.as_ref().is_none_or(|tag| post.tags.contains(tag))
}

fn list(shared: &Shared, seen: Seen, post: Arc<Post>) -> Listed {
    let state = seen.entry.state;
    let due_at = match state.phase {
        Phase::Held => state.due_at.after(shared.options.retain_held),
        Phase::Waiting | Phase::DeadLetter | Phase::Shelved => state.due_at,
    };
    // Without its attempts a post is still worth being listed.
    let last = shared.chronicle(seen.id, &seen.entry).unwrap_or_default().attempts.pop();
    Listed { post, state: seen.state, ended: state.ended, due_at, last }
}
