//! Committers: tasks that make messages durable, in groups.
//!
//! Each takes all that waits, inserts it in one transaction and answers when the server says
//! that this is durable. Who finds a post there already writes it again as it is: a repeat
//! that wrote nothing would be answered without a wait for the standbys, although the first
//! commit may still wait for them.

use super::super::record::Accepted;
use super::super::shared::NOTES;
use super::super::state::began_at;
use super::super::{Committed, Earlier, SpoolError};
use super::lines::{self, Lines};
use super::link::{Taken, Trouble};
use super::row::{head_of, key_of, lane_of, message_key, millis, shard_of, span};
use super::schema::now;
use super::{PATIENCE, Shared, events};
use crate::post::{Admission, Fingerprint, MessageId, Timestamp};
use crate::tenant::Tenant;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_postgres::Row;

/// Messages of one group.
const GROUP: usize = 256;
/// Octets after which a group is sent before more is taken.
const GROUP_OCTETS: usize = 4 << 20;

/// A message to be committed.
pub(super) struct Commit {
    pub admission: Arc<Admission>,
    /// What it counts as while it waits.
    pub octets: usize,
    pub ack: oneshot::Sender<Result<Committed, SpoolError>>,
}

/// Commits for as long as the spool is open.
pub(super) async fn run(shared: Arc<Shared>, jobs: Arc<Mutex<mpsc::UnboundedReceiver<Commit>>>) {
    let mut next = None;
    loop {
        let (group, left) = collect(&jobs, next).await;
        if group.is_empty() {
            return;
        }
        next = left;
        let admissions: Vec<_> = group.iter().map(|commit| Arc::clone(&commit.admission)).collect();
        let answers = keep_all(&shared, &admissions).await;
        for (Commit { admission, octets, ack }, answer) in group.into_iter().zip(answers) {
            shared.waiting.fetch_sub(octets, Ordering::Relaxed);
            if answer == Ok(Committed::Kept) {
                let now = crate::clock::wall();
                let after = |post: &crate::post::Post| post.not_before_at.unwrap_or_default().since(now);
                admission.posts.iter().for_each(|post| shared.doorbell.ring(&post.destination, after(post)));
            }
            // A caller that has gone does not undo a commit.
            let _ = ack.send(answer);
        }
    }
}

/// Waits for a message and takes those that wait with it, each id and key once; the one that
/// must wait for them is given back.
async fn collect(
    jobs: &Mutex<mpsc::UnboundedReceiver<Commit>>,
    first: Option<Commit>,
) -> (Vec<Commit>, Option<Commit>) {
    let mut group: Vec<Commit> = Vec::new();
    let (mut ids, mut keys, mut octets) = (HashSet::new(), HashSet::new(), 0);
    // Who has one already does not wait behind another committer that has none.
    let mut jobs = if first.is_some() { jobs.try_lock().ok() } else { Some(jobs.lock().await) };
    let mut next = match (first, &mut jobs) {
        (None, Some(jobs)) => jobs.recv().await,
        (first, _) => first,
    };
    while let Some(commit) = next {
        let admission = &commit.admission;
        let key = admission.idempotency_key.clone().map(|key| (admission.tenant.clone(), key));
        let is_new = ids.insert(admission.message) && key.is_none_or(|key| keys.insert(key));
        if !is_new {
            return (group, Some(commit));
        }
        octets += commit.octets;
        group.push(commit);
        if group.len() >= GROUP || octets >= GROUP_OCTETS {
            break;
        }
        next = jobs.as_mut().and_then(|jobs| jobs.try_recv().ok());
    }
    (group, None)
}

/// Keeps a group; what is refused of several is tried alone, so that each has its own answer.
async fn keep_all(shared: &Arc<Shared>, group: &[Arc<Admission>]) -> Vec<Result<Committed, SpoolError>> {
    let once = |group: Vec<Arc<Admission>>| async move {
        shared.insist(PATIENCE, || keep(Arc::clone(shared), group.clone())).await
    };
    match once(group.to_vec()).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if group.len() == 1 || shared.health.borrow().refusal().is_some() => {
            group.iter().map(|_| Err(error.clone())).collect()
        }
        Err(_) => {
            let mut answers = Vec::with_capacity(group.len());
            for admission in group {
                let alone = once(vec![Arc::clone(admission)]).await;
                answers.push(alone.map(|mut answer| answer.pop().unwrap_or(Committed::Kept)));
            }
            answers
        }
    }
}

/// Inserts a group in one transaction.
async fn keep(shared: Arc<Shared>, group: Vec<Arc<Admission>>) -> Result<Vec<Committed>, Trouble> {
    // Nobody would be rung for what a gateway takes that was overtaken.
    shared.hold.stands()?;
    let link = shared.durable.take().await?;
    link.begin().await?;
    let (mut repeated, mut known) = note_keys(&link, &group).await?;
    let kept: Vec<_> = group.iter().filter(|one| !repeated.contains_key(&one.message)).collect();
    let (again, behind) = insert(&link, &kept).await?;
    known.extend(again);
    let told = kept.iter().filter(|one| !known.contains(&one.message));
    let told: Vec<_> = told.map(|one| &one.events[..]).filter(|events| !events.is_empty()).collect();
    events::append(&link, &told).await?;
    link.commit().await?;
    lines::advance(&shared, &behind).await;
    if !told.is_empty() {
        shared.told.notify_one();
    }
    let answer = |one: &Arc<Admission>| repeated.remove(&one.message).unwrap_or(Committed::Kept);
    Ok(group.iter().map(answer).collect())
}

/// Notes the idempotency keys of a group. Which messages repeat another one, and which of
/// those without posts were there already.
async fn note_keys(
    link: &Taken<'_>,
    group: &[Arc<Admission>],
) -> Result<(HashMap<MessageId, Committed>, HashSet<MessageId>), Trouble> {
    let (mut repeated, mut known) = (HashMap::new(), HashSet::new());
    let mut keyed: Vec<_> =
        group.iter().filter_map(|one| Some((one, one.idempotency_key.as_ref()?))).collect();
    // In one order: two groups do not wait for each other.
    keyed.sort_by_key(|(one, key)| (one.tenant.as_str(), *key));
    for (one, key) in keyed {
        let (tenant, age) = (one.tenant.as_str(), span(NOTES));
        link.execute(
            concat!(
                "DELETE FROM postgate_key WHERE tenant = $1 AND key = $2 AND noted_at <= ",
                now!(),
                " - $3"
            ),
            &[&tenant, key, &age],
        )
        .await?;
        let own = Earlier::of(one.message, &one.posts, one.fingerprint);
        let fingerprint = own.fingerprint.map(|fingerprint| fingerprint.0.to_vec());
        let (message, posts) = (message_key(own.message), i32::from(own.posts));
        let rows = link
            .query(
                concat!(
                    "INSERT INTO postgate_key (tenant, key, message, posts, fingerprint, noted_at) \
                     VALUES ($1, $2, $3, $4, $5, ",
                    now!(),
                    ") \
                     ON CONFLICT (tenant, key) DO UPDATE SET key = excluded.key \
                     RETURNING message, posts, fingerprint, xmax = 0"
                ),
                &[&tenant, key, &message, &posts, &fingerprint],
            )
            .await?;
        let Some(row) = rows.first() else { continue };
        let earlier = earlier_in(row)?;
        if earlier.message != own.message {
            repeated.insert(own.message, Committed::Repeated(earlier));
        } else if !row.get::<_, bool>(3) && one.posts.is_empty() {
            known.insert(own.message);
        }
    }
    Ok((repeated, known))
}

/// What a key stands for.
pub(super) async fn earlier(
    shared: Arc<Shared>,
    tenant: Tenant,
    key: Arc<str>,
) -> Result<Option<Earlier>, Trouble> {
    // Written, for the answer is worth what the commit is, which may still wait for a standby.
    let link = shared.durable.take().await?;
    let rows = link
        .query(
            concat!(
                "UPDATE postgate_key SET key = key WHERE tenant = $1 AND key = $2 AND noted_at > ",
                now!(),
                " - $3 RETURNING message, posts, fingerprint"
            ),
            &[&tenant.as_str(), &&*key, &span(NOTES)],
        )
        .await?;
    link.put_back();
    Ok(rows.first().map(earlier_in).transpose()?)
}

/// What a row says of a key: its message, how many posts it made, what it asked for.
pub(super) fn earlier_in(row: &Row) -> Result<Earlier, SpoolError> {
    let message: &[u8] = row.get(0);
    let wrong = || SpoolError::Damaged("an idempotency key in the database".to_owned());
    let message = MessageId(u64::from_be_bytes(message.try_into().map_err(|_| wrong())?));
    let fingerprint =
        row.get::<_, Option<&[u8]>>(2).and_then(|octets| octets.try_into().ok().map(Fingerprint));
    Ok(Earlier { message, posts: u16::try_from(row.get::<_, i32>(1)).unwrap_or(u16::MAX), fingerprint })
}

/// The posts of a group, column by column.
#[derive(Default)]
struct Columns {
    ids: Vec<Vec<u8>>,
    shards: Vec<i16>,
    lanes: Vec<String>,
    lines: Vec<Option<String>>,
    priorities: Vec<i16>,
    not_before: Vec<Option<i64>>,
    accepted: Vec<i64>,
    ages_from: Vec<i64>,
    expires: Vec<Option<i64>>,
    heads: Vec<Vec<u8>>,
    /// Arrays in the text form of the database.
    lengths: Vec<String>,
    checksums: Vec<String>,
    contents: Vec<Option<Vec<u8>>>,
    /// What the posts of one message share: its key, how many they are, the octets.
    shared: (Vec<Vec<u8>>, Vec<i64>, Vec<Vec<u8>>),
}

impl Columns {
    fn push(&mut self, admission: &Admission) -> Result<(), SpoolError> {
        let blobs = Accepted::fresh(admission, Timestamp::default()).blobs;
        let list = |numbers: Vec<String>| format!("{{{}}}", numbers.join(","));
        let lengths = list(blobs.iter().map(|blob| blob.length.to_string()).collect());
        let checksums = list(blobs.iter().map(|blob| blob.checksum.to_string()).collect());
        let octets = admission.blobs.concat();
        let content = match &admission.posts[..] {
            [] => return Ok(()),
            [_] => Some(octets),
            many => {
                self.shared.0.push(message_key(admission.message));
                self.shared.1.push(many.len() as i64);
                self.shared.2.push(octets);
                None
            }
        };
        for post in &admission.posts {
            let lane = lane_of(&post.destination);
            self.ids.push(key_of(post.id));
            self.shards.push(shard_of(&lane));
            self.lanes.push(lane);
            self.lines.push(post.ordering_key.clone());
            self.priorities.push(i16::from(post.priority.min(9)));
            self.not_before.push(post.not_before_at.map(millis));
            self.accepted.push(millis(post.accepted_at));
            self.ages_from.push(millis(began_at(post)));
            self.expires.push(post.expires_at.map(millis));
            self.heads.push(head_of(post)?);
            self.lengths.push(lengths.clone());
            self.checksums.push(checksums.clone());
        }
        self.contents.push(content);
        // The others of its message have none.
        self.contents.resize(self.ids.len(), None);
        Ok(())
    }
}

/// Inserts the posts of a group; answers which messages were there already, and in which lines
/// some stand behind others.
async fn insert(link: &Taken<'_>, group: &[&Arc<Admission>]) -> Result<(HashSet<MessageId>, Lines), Trouble> {
    let mut columns = Columns::default();
    group.iter().try_for_each(|one| columns.push(one))?;
    if columns.ids.is_empty() {
        return Ok((HashSet::new(), Lines::new()));
    }
    let Columns { ids, shards, lanes, lines, priorities, not_before, accepted, ages_from, .. } = &columns;
    let Columns { expires, heads, lengths, checksums, contents, shared, .. } = &columns;
    let rows = link
        .query(
            INSERT,
            &[
                ids, shards, lanes, lines, priorities, not_before, accepted, ages_from, expires, heads,
                lengths, checksums, contents,
            ],
        )
        .await?;
    if !shared.0.is_empty() {
        link.execute(SHARE, &[&shared.0, &shared.1, &shared.2]).await?;
    }
    let (mut known, mut fresh) = (HashSet::new(), Vec::new());
    for row in &rows {
        let key: &[u8] = row.get(0);
        let id = super::row::id_of(key)?;
        if row.get(1) {
            fresh.push((id.message, key));
        } else {
            known.insert(id.message);
        }
    }
    // Those of its posts that are over do not begin again.
    let again: Vec<_> = fresh.into_iter().filter(|(message, _)| known.contains(message)).collect();
    if !again.is_empty() {
        let again: Vec<_> = again.into_iter().map(|(_, key)| key).collect();
        link.execute("DELETE FROM postgate_post WHERE id = ANY($1)", &[&again]).await?;
    }
    let behind = rows.iter().filter_map(|row| Some((row.get::<_, Option<_>>(2)?, row.get(3))));
    Ok((known, behind.collect()))
}

/// A post says when it was accepted by another clock: it does not wait for this one.
const INSERT: &str = concat!(
    "INSERT INTO postgate_post (id, shard, lane, line, priority, due_at, accepted_at, ages_from, expires_at, \
     head, lengths, checksums, content, is_shared, is_behind) \
     SELECT n.id, n.shard, n.lane, n.line, n.priority, \
     coalesce(n.not_before, least(n.accepted, ",
    now!(),
    ")), \
     n.accepted, n.ages_from, n.expires, n.head, n.lengths::int8[], n.checksums::int8[], n.content, \
     n.content IS NULL, \
     n.line IS NOT NULL AND (row_number() OVER (PARTITION BY n.lane, n.line ORDER BY n.id) > 1 \
     OR EXISTS (SELECT FROM postgate_post q WHERE q.lane = n.lane AND q.line = n.line \
     AND q.phase IN (0, 2) AND q.id < n.id)) \
     FROM unnest($1::bytea[], $2::int2[], $3::text[], $4::text[], $5::int2[], $6::int8[], $7::int8[], \
     $8::int8[], $9::int8[], $10::bytea[], $11::text[], $12::text[], $13::bytea[]) \
     AS n(id, shard, lane, line, priority, not_before, accepted, ages_from, expires, head, lengths, \
     checksums, content) ORDER BY n.id \
     ON CONFLICT (id) DO UPDATE SET id = excluded.id \
     RETURNING id, xmax = 0, CASE WHEN is_behind THEN lane END, line"
);

const SHARE: &str = "INSERT INTO postgate_content (message, living, octets) \
    SELECT n.message, n.living, n.octets FROM unnest($1::bytea[], $2::int8[], $3::bytea[]) \
    AS n(message, living, octets) ORDER BY n.message \
    ON CONFLICT (message) DO UPDATE SET message = excluded.message";
