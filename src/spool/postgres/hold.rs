//! Who works on the database: one process, for as long as it is seen to live.
//!
//! It has a row with a counter, which it moves on once a beat. It sends nothing after a
//! span that begins *before* it sent its last beat that was answered, and that is shorter than
//! what another one waits who has watched the counter stand still, on a connection that lives.
//! Both go by their own monotonic clock: no two work at once, whatever the clocks of the
//! machines say and however long one of them stood still. While the database is away nobody
//! sees a beat missing: the first one that is answered goes on where it was.
//!
//! Who was overtaken finds its row gone, and does nothing more until it is started again.
//! Leases of a part of the lanes there are none yet.

use super::hosts::Hosts;
use super::link::{Commits, Link, Links, Trouble, Value};
use super::{OpenError, Shared};
use crate::spool::{Health, SpoolError};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Beats of a lease.
const BEATS: u32 = 5;

/// What this process holds; see the module.
pub(super) struct Hold {
    node: String,
    incarnation: String,
    lease: Duration,
    /// For beats alone: they wait behind nothing.
    links: Links,
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Posts may be sent until then.
    Until(Instant),
    /// Another process works.
    Overtaken,
    /// This one is about to end.
    Left,
}

/// The row of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    node: String,
    incarnation: String,
    beat: i64,
    version: String,
}

impl Hold {
    /// Whether posts may be taken and sent now.
    pub fn stands(&self) -> Result<(), Trouble> {
        match *self.standing() {
            Standing::Until(until) if Instant::now() < until => Ok(()),
            Standing::Until(_) => Err(Trouble::Lost("it has not answered for too long".to_owned())),
            Standing::Overtaken => {
                let text = "another gateway has taken the database over; stop that one and start this one";
                Err(Trouble::Refused(SpoolError::Failed(text.to_owned())))
            }
            Standing::Left => Err(Trouble::Refused(SpoolError::Closed)),
        }
    }

    /// The same by the row of this process, which is kept until the transaction ends: what another
    /// one must not find done once it works here.
    pub async fn confirm(&self, link: &Link) -> Result<(), Trouble> {
        self.stands()?;
        let found = link.query(CONFIRM, &[&self.node, &self.incarnation]).await?;
        if found.is_empty() && !self.is_over() {
            *self.standing() = Standing::Overtaken;
        }
        self.stands()
    }

    /// What [`mine!`] is asked with.
    pub fn row(&self) -> (&String, &String) {
        (&self.node, &self.incarnation)
    }

    /// Whether this process has nothing to do here any more.
    pub fn is_over(&self) -> bool {
        !matches!(*self.standing(), Standing::Until(_))
    }

    /// Does what is left to do, and lets another process begin at once.
    pub async fn leave(&self, last: impl Future<Output = Result<(), Trouble>>) {
        if self.is_over() {
            return;
        }
        *self.standing() = Standing::Left;
        let gone = async {
            last.await?;
            let link = self.links.take().await?;
            link.execute(LEAVE, &[&self.node, &self.incarnation]).await
        };
        // Without it the next one waits until it has seen no beat for a lease.
        if !matches!(timeout(self.lease, gone).await, Ok(Ok(_))) {
            tracing::warn!("the database does not answer: the next start waits until no more beats come");
        }
    }

    /// One more beat was answered, which was sent then.
    fn extend(&self, sent_at: Instant) {
        let mut standing = self.standing();
        if let Standing::Until(until) = &mut *standing {
            *until = sent_at + lasts(self.lease);
        }
    }

    /// One more beat: whether it found the row of this process, and when it was sent.
    async fn beat(&self) -> Result<(bool, Instant), Trouble> {
        // To find a host that answers may take longer than a beat, and has its own limits.
        let link = self.links.take().await?;
        let sent_at = Instant::now();
        let values: [Value<'_>; 2] = [&self.node, &self.incarnation];
        let changed = timeout(self.lease * 2 / BEATS, link.execute(BEAT, &values)).await;
        let changed = changed.map_err(|_| Trouble::Lost("it takes too long".to_owned()))??;
        link.put_back();
        Ok((changed > 0, sent_at))
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a beat lets posts be sent: less than another one waits, by what it takes an
/// attempt to begin.
fn lasts(lease: Duration) -> Duration {
    lease * 7 / 10
}

/// Takes the database for this process, when no other one works on it. Waits for one that
/// died until that is sure. Commits on the link are durable: who took it keeps it when a
/// standby becomes the primary.
pub(super) async fn join(
    hosts: &Arc<Hosts>,
    link: &Link,
    node: &str,
    lease: Duration,
) -> Result<Hold, OpenError> {
    let mut watched: Option<(Seen, Instant)> = None;
    loop {
        let began_at = Instant::now();
        let seen = look(link).await?;
        let is_dead = match (&seen, &watched) {
            (None, _) => true,
            (Some(seen), Some((was, since))) if seen == was => since.elapsed() >= lease + lease / BEATS,
            (Some(_), None) => false,
            (Some(Seen { node, version, .. }), Some(_)) => {
                return Err(OpenError::InUse { node: node.clone(), version: version.clone() });
            }
        };
        if is_dead && let Some(incarnation) = take(link, node, seen.as_ref()).await? {
            return Ok(Hold {
                node: node.to_owned(),
                incarnation,
                lease,
                links: Links::new(Arc::clone(hosts), Commits::Quickly),
                standing: Mutex::new(Standing::Until(began_at + lasts(lease))),
            });
        }
        if watched.is_none()
            && let Some(seen) = seen
        {
            tracing::info!(node = seen.node, "another gateway was here; its beats are waited for");
            watched = Some((seen, Instant::now()));
        }
        sleep(lease / BEATS / 2).await;
    }
}

/// Who works here, if anybody does.
async fn look(link: &Link) -> Result<Option<Seen>, Trouble> {
    let rows = link.query("SELECT id, incarnation::text, beat, version FROM postgate_node", &[]).await?;
    let seen = |row: &tokio_postgres::Row| Seen {
        node: row.get(0),
        incarnation: row.get(1),
        beat: row.get(2),
        version: row.get(3),
    };
    Ok(rows.first().map(seen))
}

/// Puts this process in the place of one that stands still, or of none; nothing when another
/// one was faster, or that one lives.
async fn take(link: &Link, node: &str, dead: Option<&Seen>) -> Result<Option<String>, Trouble> {
    link.run("BEGIN; SELECT pg_advisory_xact_lock(1885828196)").await?;
    if let Some(Seen { node, incarnation, beat, .. }) = dead {
        link.execute(REMOVE, &[node, incarnation, beat]).await?;
    }
    let rows = link.query(ENTER, &[&node, &env!("CARGO_PKG_VERSION")]).await?;
    link.run("COMMIT").await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// Beats for as long as this process works here.
pub(super) async fn keep(shared: Arc<Shared>) {
    let hold = &shared.hold;
    let mut is_answered = true;
    loop {
        sleep(hold.lease / BEATS).await;
        let beat = hold.beat().await;
        if *hold.standing() == Standing::Left {
            return;
        }
        match beat {
            Ok((false, _)) => break,
            Ok((true, sent_at)) => {
                hold.extend(sent_at);
                is_answered = true;
            }
            Err(trouble) => {
                // Told once: it may be away for long.
                if std::mem::take(&mut is_answered) {
                    tracing::warn!(error = %SpoolError::from(trouble), "a beat was not answered");
                }
                shared.durable.doubt();
                shared.quick.doubt();
            }
        }
    }
    *hold.standing() = Standing::Overtaken;
    if let Err(trouble) = hold.stands() {
        let error = SpoolError::from(trouble).to_string();
        tracing::error!("{error}");
        shared.health.send_replace(Health::Failed(error));
    }
}

/// Whether the row of this process is there; see [`Hold::row`].
macro_rules! mine {
    ($node:literal, $incarnation:literal) => {
        concat!(
            "EXISTS (SELECT FROM postgate_node WHERE id = ",
            $node,
            " AND incarnation = ",
            $incarnation,
            "::text::uuid)"
        )
    };
}
pub(super) use mine;

/// A beat may come in between, a removal may not.
const CONFIRM: &str =
    "SELECT FROM postgate_node WHERE id = $1 AND incarnation = $2::text::uuid FOR KEY SHARE";

const BEAT: &str = "UPDATE postgate_node SET beat = beat + 1 WHERE id = $1 AND incarnation = $2::text::uuid";

const LEAVE: &str = "DELETE FROM postgate_node WHERE id = $1 AND incarnation = $2::text::uuid";

const REMOVE: &str = "DELETE FROM postgate_node WHERE id = $1 AND incarnation = $2::text::uuid AND beat = $3";

const ENTER: &str = "INSERT INTO postgate_node (id, incarnation, version) SELECT $1, gen_random_uuid(), $2 \
    WHERE NOT EXISTS (SELECT FROM postgate_node) RETURNING incarnation::text";
