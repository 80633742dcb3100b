//! Posts with all that is known of them, as rows: put in for another spool, and got out for one.

use super::super::SpoolError;
use super::super::moving::cargo::{Cargo, OCTETS, POSTS};
use super::super::record::BlobHead;
use super::super::shared::NOTES;
use super::super::state::Life;
use super::link::{Link, Trouble};
use super::row::{
    Kept, chronicle_of, columns, damaged, head_of, id_of, key_of, lane_of, message_key, millis, number_of,
    shard_of,
};
use crate::clock;
use crate::post::{MessageId, Post, PostId};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use tokio_postgres::Row;

/// The posts of messages, column by column.
#[derive(Default)]
struct Columns {
    ids: Vec<Vec<u8>>,
    lanes: Vec<String>,
    shards: Vec<i16>,
    lines: Vec<Option<String>>,
    priorities: Vec<i16>,
    phases: Vec<i16>,
    ended: Vec<i64>,
    tried: Vec<i64>,
    anew: Vec<bool>,
    rerouted: Vec<bool>,
    lean: Vec<bool>,
    due: Vec<i64>,
    ages_from: Vec<i64>,
    accepted: Vec<i64>,
    expires: Vec<Option<i64>>,
    heads: Vec<Vec<u8>>,
    chronicles: Vec<Option<Vec<u8>>>,
    /// Arrays in the text form of the database.
    lengths: Vec<String>,
    checksums: Vec<String>,
    is_shared: Vec<bool>,
    contents: Vec<Option<Vec<u8>>>,
    /// What the posts of one message share: its key, how many they are, the octets.
    shared: (Vec<Vec<u8>>, Vec<i64>, Vec<Vec<u8>>),
}

impl Columns {
    fn push(&mut self, cargo: &Cargo) -> Result<(), SpoolError> {
        let heads = &cargo.accepted.blobs;
        let list = |numbers: Vec<String>| format!("{{{}}}", numbers.join(","));
        let lengths = list(heads.iter().map(|head| head.length.to_string()).collect());
        let checksums = list(heads.iter().map(|head| head.checksum.to_string()).collect());
        let living = cargo.living().count();
        // Of one that is only listed there is no content.
        let has_content = !heads.is_empty();
        let is_shared = has_content && living > 1;
        if is_shared {
            self.shared.0.push(message_key(cargo.accepted.message));
            self.shared.1.push(living as i64);
            self.shared.2.push(cargo.blobs.concat());
        }
        for (post, life) in cargo.living() {
            self.push_post(post, life)?;
            self.lengths.push(lengths.clone());
            self.checksums.push(checksums.clone());
            self.is_shared.push(is_shared);
            self.contents.push((has_content && !is_shared).then(|| cargo.blobs.concat()));
        }
        Ok(())
    }

    fn push_post(&mut self, post: &Post, Life { state, chronicle }: &Life) -> Result<(), SpoolError> {
        let route = chronicle.route.as_ref().filter(|_| state.is_rerouted);
        let lane = lane_of(route.map_or(&post.destination, |route| &route.destination));
        self.ids.push(key_of(post.id));
        self.shards.push(shard_of(&lane));
        self.lanes.push(lane);
        self.lines.push(post.ordering_key.clone());
        self.priorities.push(i16::from(post.priority.min(9)));
        self.phases.push(number_of(state.phase));
        self.ended.push(state.ended.into());
        self.tried.push(state.tried.into());
        self.anew.push(state.is_anew);
        self.rerouted.push(state.is_rerouted);
        self.lean.push(state.is_lean);
        self.due.push(millis(state.due_at));
        self.ages_from.push(millis(state.ages_from));
        self.accepted.push(millis(post.accepted_at));
        self.expires.push(post.expires_at.map(millis));
        self.heads.push(head_of(post)?);
        self.chronicles.push(chronicle_of(chronicle)?);
        Ok(())
    }

    async fn insert(&self, link: &Link) -> Result<(), Trouble> {
        let Columns { ids, lanes, shards, lines, priorities, phases, ended, tried, anew, .. } = self;
        let Columns { rerouted, lean, due, ages_from, accepted, expires, heads, chronicles, .. } = self;
        let Columns { lengths, checksums, is_shared, contents, shared, .. } = self;
        link.execute(
            INSERT,
            &[
                ids, lanes, shards, lines, priorities, phases, ended, tried, anew, rerouted, lean, due,
                ages_from, accepted, expires, heads, chronicles, lengths, checksums, is_shared, contents,
            ],
        )
        .await?;
        link.execute(SHARE, &[&shared.0, &shared.1, &shared.2]).await?;
        Ok(())
    }
}

/// Puts messages in, but for what is there already.
pub(super) async fn put(link: &Link, cargos: &[Cargo]) -> Result<(), Trouble> {
    let first = |cargo: &Cargo| cargo.living().next().map(|(post, _)| key_of(post.id));
    let firsts: Vec<_> = cargos.iter().filter_map(first).collect();
    let known = link.query("SELECT id FROM postgate_post WHERE id = ANY($1)", &[&firsts]).await?;
    let known: HashSet<Vec<u8>> = known.iter().map(|row| row.get(0)).collect();
    let mut columns = Columns::default();
    // All that lives of a message came with its first post.
    for cargo in cargos.iter().filter(|cargo| first(cargo).is_some_and(|key| !known.contains(&key))) {
        columns.push(cargo)?;
    }
    columns.insert(link).await?;
    put_keys(link, cargos).await
}

async fn put_keys(link: &Link, cargos: &[Cargo]) -> Result<(), Trouble> {
    let now = clock::wall();
    let keyed = cargos.iter().map(|cargo| &cargo.accepted);
    let keyed = keyed.filter(|accepted| accepted.accepted_at.after(NOTES) > now);
    for accepted in keyed {
        let Some(key) = &accepted.idempotency_key else { continue };
        let earlier = accepted.earlier();
        let fingerprint = earlier.fingerprint.map(|fingerprint| fingerprint.0.to_vec());
        let (message, posts) = (message_key(earlier.message), i32::from(earlier.posts));
        let noted_at = millis(accepted.accepted_at);
        link.execute(KEY, &[&accepted.tenant.as_str(), key, &message, &posts, &fingerprint, &noted_at])
            .await?;
    }
    Ok(())
}

/// The next messages behind this key of a post, and the key of the last post among them;
/// nothing when there are no more.
pub(super) async fn get(link: &Link, after: &[u8]) -> Result<Option<(Vec<u8>, Vec<Cargo>)>, Trouble> {
    let Some(last) = last_of_piece(link, after).await? else { return Ok(None) };
    let rows = link.query(PIECE, &[&after, &last]).await?;
    let messages: Vec<Vec<u8>> =
        rows.iter().filter_map(|row| Some(row.get::<_, &[u8]>(0).get(..8)?.to_vec())).collect();
    let text = "SELECT message, octets FROM postgate_content WHERE message = ANY($1)";
    let contents = link.query(text, &[&messages]).await?;
    let content = |row: &Row| (row.get::<_, Vec<u8>>(0), Bytes::from(row.get::<_, Vec<u8>>(1)));
    Ok(Some((last, cargos(&rows, &contents.iter().map(content).collect())?)))
}

/// The greatest key of a post in the next piece, which ends with a message.
async fn last_of_piece(link: &Link, after: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
    let rows = link.query(SIZES, &[&after, &(POSTS as i64)]).await?;
    let (mut octets, mut last) = (0, None);
    for row in &rows {
        let id = id_of(row.get(0))?;
        octets += usize::try_from(row.get::<_, i64>(1)).unwrap_or_default();
        let message = *last.get_or_insert(id.message);
        if id.message != message && octets > OCTETS {
            break;
        }
        last = Some(id.message);
    }
    // One may have more posts than a piece.
    Ok(last.map(|message: MessageId| key_of(PostId { message, number: u16::MAX })))
}

/// What these rows and what they share say, message by message.
fn cargos(rows: &[Row], contents: &HashMap<Vec<u8>, Bytes>) -> Result<Vec<Cargo>, SpoolError> {
    let (mut whole, mut cargos) =
        (BTreeMap::<MessageId, (Vec<(Post, Life)>, Bytes, &Row)>::new(), Vec::new());
    for row in rows {
        let kept = Kept::read(row)?;
        let living = (kept.accepted()?, Life { state: kept.state, chronicle: kept.chronicle()? });
        let own = row.get::<_, Option<Vec<u8>>>(row.len() - 1).map(Bytes::from);
        let shared = || contents.get(&message_key(kept.id.message)).cloned();
        match own.or_else(|| if kept.is_shared { shared() } else { None }) {
            Some(octets) => {
                let entry = whole.entry(kept.id.message).or_insert_with(|| (Vec::new(), octets, row));
                entry.0.push(living);
            }
            None if kept.is_shared => return Err(damaged(kept.id, "content")),
            None => cargos.extend(Cargo::of(vec![living], Vec::new(), Vec::new())),
        }
    }
    for (message, (living, mut octets, row)) in whole {
        let id = PostId { message, number: 0 };
        let numbers = |at: usize| row.get::<_, Vec<i64>>(row.len() - at).into_iter();
        let mut heads = Vec::new();
        for (length, checksum) in numbers(3).zip(numbers(2)) {
            let number = |number: i64| u32::try_from(number).map_err(|_| damaged(id, "length"));
            heads.push(BlobHead { length: number(length)?, checksum: number(checksum)? });
        }
        let mut blobs = Vec::new();
        for head in &heads {
            let length = head.length as usize;
            if octets.len() < length {
                return Err(damaged(id, "content"));
            }
            let blob = octets.split_to(length);
            if crc32c::crc32c(&blob) != head.checksum {
                return Err(damaged(id, "content"));
            }
            blobs.push(blob);
        }
        cargos.extend(Cargo::of(living, heads, blobs));
    }
    Ok(cargos)
}

const INSERT: &str = "INSERT INTO postgate_post (id, lane, shard, line, priority, phase, ended, tried, is_anew, \
    is_rerouted, is_lean, due_at, ages_from, accepted_at, expires_at, head, chronicle, lengths, checksums, \
    is_shared, content) \
    SELECT n.id, n.lane, n.shard, n.line, n.priority, n.phase, n.ended, n.tried, n.is_anew, n.is_rerouted, \
    n.is_lean, n.due_at, n.ages_from, n.accepted_at, n.expires_at, n.head, n.chronicle, n.lengths::int8[], \
    n.checksums::int8[], n.is_shared, n.content \
    FROM unnest($1::bytea[], $2::text[], $3::int2[], $4::text[], $5::int2[], $6::int2[], $7::int8[], \
    $8::int8[], $9::bool[], $10::bool[], $11::bool[], $12::int8[], $13::int8[], $14::int8[], $15::int8[], \
    $16::bytea[], $17::bytea[], $18::text[], $19::text[], $20::bool[], $21::bytea[]) \
    AS n(id, lane, shard, line, priority, phase, ended, tried, is_anew, is_rerouted, is_lean, due_at, \
    ages_from, accepted_at, expires_at, head, chronicle, lengths, checksums, is_shared, content)";

const SHARE: &str = "INSERT INTO postgate_content (message, living, octets) \
    SELECT * FROM unnest($1::bytea[], $2::int8[], $3::bytea[])";

/// The newest message with a key is met first.
const KEY: &str = "INSERT INTO postgate_key (tenant, key, message, posts, fingerprint, noted_at) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, key) DO NOTHING";

const SIZES: &str = "SELECT p.id, coalesce((SELECT sum(length) FROM unnest(p.lengths) AS length), 0)::int8 \
    FROM postgate_post p WHERE p.id > $1 ORDER BY p.id LIMIT $2";

const PIECE: &str = concat!(
    "SELECT ",
    columns!(),
    ", p.lengths, p.checksums, p.content FROM postgate_post p WHERE p.id > $1 AND p.id <= $2 ORDER BY p.id"
);
