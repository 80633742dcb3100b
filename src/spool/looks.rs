//! Looking at posts, and finding those that an order is for.
//!
//! The index says which posts a query means; what it does not know of them, their
//! text, tags and attempts, is read from the log for those that are listed. The
//! index is held for one piece of a listing at a time. A search ends after a while with
//! what it has, so that a rare filter keeps nobody waiting. All of this blocks.

use super::catalog::GREATEST;
use super::index::{Newest, Seen};
use super::job::Job;
use super::obituary;
use super::shared::Shared;
use super::{Attempt, Census, Content, Listed, Order, Page, Query, Spool, SpoolError};
use crate::post::{Post, PostId};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Posts that are looked at, and ordered, in one go.
const PIECE: usize = 1000;

/// Posts that a search reads between two looks at the index.
const FEW: usize = 256;

/// Posts that it reads however long it takes: each may have to come from the disk twice.
const LEAST: usize = 64;

/// From then on a search ends with what it has.
const LONGEST: Duration = Duration::from_millis(20);

/// Posts that a query means; see [`super::Spool::search`].
pub(super) fn search(
    shared: &Shared,
    query: &Query,
    before: Option<PostId>,
    most: usize,
) -> Result<Page, SpoolError> {
    let begun = Instant::now();
    let mut posts = Vec::new();
    let mut read_so_far = 0;
    let mut next = before.into_iter().chain(query.before()).min();
    loop {
        let wanted = if query.reads_posts() { FEW } else { (most - posts.len()).min(PIECE) };
        let Newest { found, reached } = newest(shared, query, next.unwrap_or(GREATEST), wanted)?;
        for seen in found {
            if query.is_behind(seen.id) {
                return Ok(Page { posts, next: None });
            }
            next = Some(seen.id);
            read_so_far += 1;
            let post = read(shared, &seen)?.filter(|post| query.fits(post));
            posts.extend(post.map(|post| list(shared, seen, post)));
            let is_late = read_so_far >= LEAST && begun.elapsed() > LONGEST;
            if posts.len() >= most || is_late {
                return Ok(Page { posts, next });
            }
        }
        next = reached.filter(|reached| !query.is_behind(*reached));
        if next.is_none() || begun.elapsed() > LONGEST {
            return Ok(Page { posts, next });
        }
    }
}

/// Searches on and on; see [`super::Spool::page`].
pub(super) async fn all<S: Spool + ?Sized>(
    spool: &S,
    query: Query,
    mut before: Option<PostId>,
    most: usize,
) -> Result<Vec<Listed>, SpoolError> {
    let mut all = Vec::new();
    loop {
        let page = spool.search(query.clone(), before, most - all.len()).await?;
        all.extend(page.posts);
        before = page.next;
        if before.is_none() || all.len() >= most {
            return Ok(all);
        }
    }
}

/// Counts what a query means; of posts only those are read that must be.
pub(super) fn census(shared: &Shared, query: &Query) -> Result<Census, SpoolError> {
    let mut census = Census::new();
    each_piece(shared, query, |seen| {
        for seen in seen {
            *census.entry(seen.state).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(census)
}

/// Hands over all posts that a query means, piece by piece, the newest first.
fn each_piece(
    shared: &Shared,
    query: &Query,
    mut take: impl FnMut(Vec<Seen>) -> Result<(), SpoolError>,
) -> Result<(), SpoolError> {
    let mut before = query.before();
    loop {
        let Newest { found, reached } = newest(shared, query, before.unwrap_or(GREATEST), PIECE)?;
        let mut meant = Vec::with_capacity(found.len());
        for seen in found {
            if query.is_behind(seen.id) {
                return take(meant);
            }
            let is_meant = !query.reads_posts() || read(shared, &seen)?.is_some_and(|post| query.fits(&post));
            meant.extend(is_meant.then_some(seen));
        }
        take(meant)?;
        before = reached.filter(|reached| !query.is_behind(*reached));
        if before.is_none() {
            return Ok(());
        }
    }
}

/// Every attempt of a living post that is kept.
pub(super) fn attempts(shared: &Shared, id: PostId) -> Result<Vec<Attempt>, SpoolError> {
    let entry = shared.index().find(id).ok_or(SpoolError::Unknown)?;
    Ok(shared.chronicle(id, &entry)?.attempts)
}

/// What a living post is made of.
pub(super) fn content(shared: &Shared, id: PostId) -> Result<Content, SpoolError> {
    let entry = shared.index().find(id).ok_or(SpoolError::Unknown)?;
    shared.read_content(id, &entry)
}

/// Has an order carried out, piece by piece; answers how many posts it meant.
pub(super) fn order(
    shared: &Shared,
    jobs: &Sender<Job>,
    query: &Query,
    order: &Order,
) -> Result<u64, SpoolError> {
    let mut meant = 0;
    each_piece(shared, query, |seen| {
        let ids: Vec<_> = seen.iter().map(|seen| seen.id).collect();
        if !ids.is_empty() {
            let (ack, done) = oneshot::channel();
            let told = obituary::of_order(shared, order, seen);
            jobs.send(Job::Order { ids, order: order.clone(), told, ack }).map_err(|_| SpoolError::Closed)?;
            meant += done.blocking_recv().map_err(|_| SpoolError::Closed)??;
        }
        Ok(())
    })?;
    Ok(meant)
}

fn newest(shared: &Shared, query: &Query, before: PostId, most: usize) -> Result<Newest, SpoolError> {
    let mut index = shared.index();
    let newest = index.newest(query, before, most);
    if index.is_whole() {
        Ok(newest)
    } else {
        Err(SpoolError::Failed("the catalog is being filled; try again".to_owned()))
    }
}

/// The post, unless it is over; one that cannot be read back is announced when it
/// is to be sent.
pub(super) fn read(shared: &Shared, seen: &Seen) -> Result<Option<Arc<Post>>, SpoolError> {
    match &seen.post {
        Some(post) => Ok(Some(Arc::clone(post))),
        None => match shared.read_post(seen.id, &seen.entry) {
            Err(SpoolError::Damaged(_)) => Ok(None),
            post => post.map(Some),
        },
    }
}

/// A post that was read, as others see it.
pub(super) fn list(shared: &Shared, seen: Seen, post: Arc<Post>) -> Listed {
    let state = seen.entry.state;
    let due_at = shared.clock.jump().done(state.ends_at(shared.options.retain_held));
    // Without its attempts a post is still worth being listed.
    let last = shared.chronicle(seen.id, &seen.entry).unwrap_or_default().attempts.pop();
    Listed { post, state: seen.state, ended: state.ended, due_at, last }
}
