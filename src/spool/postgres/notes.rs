//! Notes: small durable facts, each with a version that no other of its key ever had.

use super::super::{Noted, SpoolError};
use super::link::Trouble;
use super::{PATIENCE, Shared};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::Row;

/// A fact.
pub(super) async fn note(shared: Arc<Shared>, key: Arc<str>) -> Result<Option<Noted>, Trouble> {
    let link = shared.quick.take().await?;
    let text = "SELECT key, version, value FROM postgate_note WHERE key = $1 AND value IS NOT NULL";
    let rows = link.query(text, &[&&*key]).await?;
    link.put_back();
    Ok(rows.first().map(|row| noted(row).1))
}

/// The facts whose keys begin so, by key.
pub(super) async fn beginning(
    shared: Arc<Shared>,
    beginning: Arc<str>,
) -> Result<Vec<(String, Noted)>, Trouble> {
    let link = shared.quick.take().await?;
    let rows = link
        .query(
            "SELECT key, version, value FROM postgate_note \
             WHERE key >= $1 AND starts_with(key, $1) AND value IS NOT NULL ORDER BY key",
            &[&&*beginning],
        )
        .await?;
    link.put_back();
    Ok(rows.iter().map(noted).collect())
}

fn noted(row: &Row) -> (String, Noted) {
    let value = Bytes::from(row.get::<_, Vec<u8>>(2));
    (row.get(0), Noted { version: row.get::<_, i64>(1).cast_unsigned(), value })
}

/// Sets or forgets a fact; answers its version.
pub(super) async fn set(
    shared: &Shared,
    key: &str,
    value: Option<Bytes>,
    expect: Option<u64>,
) -> Result<u64, SpoolError> {
    loop {
        let found = shared.insist(PATIENCE, || find(shared, key)).await?;
        let is_there = found.is_some_and(|(_, is_there)| is_there);
        let version = found.map_or(0, |(version, _)| version);
        let seen = if is_there { version.cast_unsigned() } else { 0 };
        if expect.is_some_and(|expect| expect != seen) {
            return Err(SpoolError::Changed);
        }
        // Where there is none it need not be forgotten.
        if value.is_none() && !is_there {
            return Ok(0);
        }
        let (setter, tries) = (fastrand::i64(..), AtomicU32::new(0));
        let work = || {
            tries.fetch_add(1, Ordering::Relaxed);
            put(shared, key, value.as_deref(), (version, is_there, setter))
        };
        match shared.insist(PATIENCE, work).await? {
            Some(version) => return Ok(version),
            // Set by another one after it was looked at, and before this one.
            None if expect.is_none() && tries.into_inner() == 1 => {}
            // Whether a try that was not answered came before that is not known.
            None => return Err(SpoolError::Changed),
        }
    }
}

/// The last version of a fact, if it ever had one, and whether it is not forgotten.
async fn find(shared: &Shared, key: &str) -> Result<Option<(i64, bool)>, Trouble> {
    let link = shared.quick.take().await?;
    let rows =
        link.query("SELECT version, value IS NOT NULL FROM postgate_note WHERE key = $1", &[&key]).await?;
    link.put_back();
    Ok(rows.first().map(|row| (row.get(0), row.get(1))))
}

/// Sets a fact that is as it was found, or as a try of the same setter left it: what is written
/// again is waited for again. Nothing when it is another one.
async fn put(
    shared: &Shared,
    key: &str,
    value: Option<&[u8]>,
    (version, is_there, setter): (i64, bool, i64),
) -> Result<Option<u64>, Trouble> {
    let link = shared.durable.take().await?;
    link.begin().await?;
    shared.hold.confirm(&link).await?;
    let rows = match value {
        Some(value) => link.query(SET, &[&key, &value, &version, &is_there, &setter]).await?,
        None => link.query(FORGET, &[&key, &version, &setter]).await?,
    };
    link.commit().await?;
    Ok(rows.first().map(|row| row.get::<_, i64>(0).cast_unsigned()))
}

/// A forgotten one counts on from its last version.
const SET: &str = "INSERT INTO postgate_note AS n (key, version, value, setter) VALUES ($1, $3::int8 + 1, $2, $5) \
    ON CONFLICT (key) DO UPDATE \
    SET version = excluded.version, value = excluded.value, setter = excluded.setter \
    WHERE n.version = $3 AND (n.value IS NOT NULL) = $4 \
    OR n.version = excluded.version AND n.setter = excluded.setter RETURNING version";

const FORGET: &str = "UPDATE postgate_note SET value = NULL, setter = $3 \
    WHERE key = $1 AND version = $2 AND (value IS NOT NULL OR setter = $3) RETURNING 0::int8";
