//! Which posts this process has in hand, beside what the database says.
//!
//! A claim whose answer was lost with its connection is written, and nobody knows of it. So
//! it is looked from time to time for posts that are claimed and in nobody's hands: two looks
//! in a row, while no claim of their lane was under way all the time, and they wait again.
//!
//! A claim that a crash of the database forgot is made once more, under the same fence: what is
//! in hand by it is not given out again. One with a newer fence was settled in between.

use super::super::SpoolError;
use super::changes::{Locked, finish};
use super::link::Trouble;
use super::row::id_of;
use super::{PATIENCE, Shared};
use crate::post::PostId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub(super) struct Hands(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// Posts with the fences of their claims.
    posts: HashMap<PostId, u64>,
    /// Of the claims of a lane that are under way, how many looks there were before each.
    asking: HashMap<String, Vec<u64>>,
    /// How many there were until now.
    looks: u64,
}

/// A claim of a lane is under way, since so many looks.
pub(super) struct Asking<'a>(&'a Hands, &'a str, u64);

impl Hands {
    /// Says that posts of a lane may be claimed, until this is dropped.
    pub fn ask<'a>(&'a self, lane: &'a str) -> Asking<'a> {
        let mut held = self.held();
        let looks = held.looks;
        held.asking.entry(lane.to_owned()).or_default().push(looks);
        Asking(self, lane, looks)
    }

    /// Takes a post in hand, unless it is by this claim or a newer one.
    pub fn take(&self, id: PostId, fence: u64) -> bool {
        let mut held = self.held();
        let is_new = held.posts.get(&id).is_none_or(|has| *has < fence);
        if is_new {
            held.posts.insert(id, fence);
        }
        is_new
    }

    /// Lets go of a post, if it is in hand by this claim.
    pub fn drop(&self, id: PostId, fence: u64) {
        let mut held = self.held();
        if held.posts.get(&id) == Some(&fence) {
            held.posts.remove(&id);
        }
    }

    /// All that is in hand, with the fences of its claims.
    pub fn all(&self) -> Vec<(PostId, u64)> {
        self.held().posts.iter().map(|(id, fence)| (*id, *fence)).collect()
    }

    /// Of what is found claimed, what nobody has; whoever asks for its lane since before the
    /// last look may be about to get it.
    fn loose(&self, claimed: Vec<(PostId, u64, String)>) -> HashSet<(PostId, u64)> {
        let mut held = self.held();
        let is_expected =
            |lane: &String| held.asking.get(lane).is_some_and(|all| all.iter().any(|at| *at < held.looks));
        let is_loose = |(id, fence, lane): &(PostId, u64, String)| {
            held.posts.get(id) != Some(fence) && !is_expected(lane)
        };
        let loose = claimed.into_iter().filter(is_loose).map(|(id, fence, _)| (id, fence)).collect();
        held.looks += 1;
        loose
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut held = self.0.held();
        if let Some(all) = held.asking.get_mut(self.1) {
            all.iter().position(|at| *at == self.2).map(|place| all.swap_remove(place));
            if all.is_empty() {
                held.asking.remove(self.1);
            }
        }
    }
}

/// Lets posts wait again that nobody has, look after look.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut before = HashSet::new();
    while !shared.hold.is_over() {
        sleep(LOOK).await;
        match look(&shared, &before).await {
            Ok(loose) => before = loose,
            Err(error) => tracing::warn!(%error, "claims cannot be looked through now"),
        }
    }
}

async fn look(
    shared: &Shared,
    before: &HashSet<(PostId, u64)>,
) -> Result<HashSet<(PostId, u64)>, SpoolError> {
    let claimed = shared.insist(PATIENCE, || claimed(shared)).await?;
    let loose = shared.hands.loose(claimed);
    let lost: Vec<_> = loose.intersection(before).copied().collect();
    if !lost.is_empty() {
        shared.insist(PATIENCE, || put_back(shared, &lost)).await?;
    }
    Ok(loose)
}

async fn claimed(shared: &Shared) -> Result<Vec<(PostId, u64, String)>, Trouble> {
    // What another process has in hand is not loose.
    shared.hold.stands()?;
    let link = shared.quick.take().await?;
    let rows = link.query("SELECT id, fence, lane FROM postgate_post WHERE is_claimed", &[]).await?;
    link.put_back();
    let claim = |row: &tokio_postgres::Row| {
        Ok((id_of(row.get(0))?, row.get::<_, i64>(1).cast_unsigned(), row.get(2)))
    };
    Ok(rows.iter().map(claim).collect::<Result<_, SpoolError>>()?)
}

async fn put_back(shared: &Shared, lost: &[(PostId, u64)]) -> Result<(), Trouble> {
    shared.hold.stands()?;
    let link = shared.quick.take().await?;
    link.begin().await?;
    let mut locked = Locked::lock(&link, lost.iter().map(|(id, _)| *id)).await?;
    for (id, fence) in lost {
        let kept = locked.find(*id).filter(|kept| kept.is_claimed && kept.fence == *fence).cloned();
        if let Some(kept) = kept {
            locked.put_back(kept.unclaimed(locked.now)?)?;
        }
    }
    finish(shared, link, locked).await
}
