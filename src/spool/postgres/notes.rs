//! Notes: small durable facts, each with a version that no other of its key ever had.

use super::super::{Noted, SpoolError};
use super::Shared;
use super::link::Trouble;
use bytes::Bytes;
use std::sync::Arc;
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
) -> Result<u64, Trouble> {
    let link = shared.durable.take().await?;
    let expected = expect.map(u64::cast_signed);
    let version = match value {
        Some(value) => {
            let rows = link.query(SET, &[&key, &&*value, &expected]).await?;
            rows.first().map(|row| row.get::<_, i64>(0).cast_unsigned())
        }
        None => {
            let forgotten = link.execute(FORGET, &[&key, &expected]).await?;
            // Where there is none it need not be forgotten.
            let is_none = async || {
                let text = "SELECT FROM postgate_note WHERE key = $1 AND value IS NOT NULL";
                Ok::<_, Trouble>(link.query(text, &[&key]).await?.is_empty())
            };
            (forgotten > 0 || expect.is_none_or(|expect| expect == 0) && is_none().await?).then_some(0)
        }
    };
    link.put_back();
    Ok(version.ok_or(SpoolError::Changed)?)
}

/// A forgotten one counts on from its last version.
const SET: &str = "INSERT INTO postgate_note AS n (key, version, value) \
    SELECT $1, 1, $2 WHERE $3::int8 IS NULL OR $3 = 0 OR EXISTS (SELECT FROM postgate_note WHERE key = $1) \
    ON CONFLICT (key) DO UPDATE SET version = n.version + 1, value = excluded.value \
    WHERE $3::int8 IS NULL OR $3 = CASE WHEN n.value IS NULL THEN 0 ELSE n.version END RETURNING version";

const FORGET: &str = "UPDATE postgate_note SET value = NULL \
    WHERE key = $1 AND value IS NOT NULL AND ($2::int8 IS NULL OR version = $2)";
