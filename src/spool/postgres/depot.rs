//! What is moved into the database from another spool, or out of it: as it stands there, by a
//! process that does nothing else and keeps gateways away.
//!
//! The row of a move says that it is not done: then no gateway begins its work here.

use super::super::moving::cargo::Cargo;
use super::super::{Census, Noted, Query, SpoolError};
use super::commits::earlier_in;
use super::hosts::Hosts;
use super::link::{Taken, Trouble};
use super::open::{gather, in_time};
use super::row::time_of;
use super::{OpenError, Options, Shared, events, freight, hold, lines, looks, notes};
use crate::event::{Event, Mark};
use crate::tenant::Tenant;
use std::sync::Arc;
use tokio::task::JoinSet;

/// How far a move has come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Begun {
    /// Nothing is known of it.
    Nothing,
    /// It has begun.
    Half,
    /// It has ended.
    Ended,
}

/// See the module.
pub(in super::super) struct Depot {
    shared: Arc<Shared>,
    /// Ends with it.
    _beats: JoinSet<()>,
}

/// Where a move that has not ended has its other end.
pub(super) async fn half_done(shared: &Shared) -> Result<Option<String>, Trouble> {
    let link = shared.quick.take().await?;
    let rows = link.query("SELECT directory FROM postgate_move WHERE ended_at IS NULL", &[]).await?;
    link.put_back();
    Ok(rows.first().map(|row| row.get(0)))
}

impl Depot {
    /// Opens the database, making its tables when they are missing.
    pub async fn open(options: Options) -> Result<Depot, OpenError> {
        let hosts = Arc::new(Hosts::of(&options.url)?);
        let (shared, _) = in_time(gather(&hosts, options)).await?;
        let mut beats = JoinSet::new();
        beats.spawn(hold::keep(Arc::clone(&shared)));
        Ok(Depot { shared, _beats: beats })
    }

    /// Lets gateways in.
    pub async fn close(&self) {
        self.shared.hold.leave(async { Ok(()) }).await;
    }

    /// How far this move has come.
    pub async fn find(&self, token: &str) -> Result<Begun, SpoolError> {
        let link = self.link().await?;
        let rows =
            link.query("SELECT ended_at IS NULL FROM postgate_move WHERE token = $1", &[&token]).await?;
        link.put_back();
        Ok(rows.first().map_or(Begun::Nothing, |row| if row.get(0) { Begun::Half } else { Begun::Ended }))
    }

    /// Where a move that has not ended has its other end.
    pub async fn half_done(&self) -> Result<Option<String>, SpoolError> {
        Ok(half_done(&self.shared).await?)
    }

    /// Whether there is nothing that another spool could be in the way of.
    pub async fn is_empty(&self) -> Result<bool, SpoolError> {
        let link = self.link().await?;
        let text = "SELECT NOT EXISTS (SELECT FROM postgate_post) AND NOT EXISTS (SELECT FROM postgate_key) \
             AND NOT EXISTS (SELECT FROM postgate_event) AND NOT EXISTS (SELECT FROM postgate_note)";
        let rows = link.query(text, &[]).await?;
        link.put_back();
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// Says that this move has begun, whose other end is this directory.
    pub async fn begin(&self, token: &str, directory: &str) -> Result<(), SpoolError> {
        let link = self.link().await?;
        let text = "INSERT INTO postgate_move (token, directory) VALUES ($1, $2)";
        link.execute(text, &[&token, &directory]).await?;
        link.put_back();
        Ok(())
    }

    /// Says that all has arrived here: from now on it is here.
    pub async fn end(&self, token: &str) -> Result<(), SpoolError> {
        let link = self.link().await?;
        // The newest come first: only now it is known who is behind whom.
        link.execute(lines::MARK_ALL, &[]).await?;
        link.execute(END, &[&token]).await?;
        link.put_back();
        Ok(())
    }

    /// Forgets all, which has arrived elsewhere.
    pub async fn clear(&self, token: &str) -> Result<(), SpoolError> {
        self.forget(END, token).await
    }

    /// Forgets all, and the move, as if it had never begun.
    pub async fn give_up(&self, token: &str) -> Result<(), SpoolError> {
        self.forget("DELETE FROM postgate_move WHERE token = $1", token).await
    }

    /// Forgets the move, and nothing else.
    pub async fn call_off(&self, token: &str) -> Result<(), SpoolError> {
        let link = self.link().await?;
        link.execute("DELETE FROM postgate_move WHERE token = $1", &[&token]).await?;
        link.put_back();
        Ok(())
    }

    async fn forget(&self, ending: &'static str, token: &str) -> Result<(), SpoolError> {
        let link = self.link().await?;
        link.begin().await?;
        link.run(
            "DELETE FROM postgate_post; DELETE FROM postgate_content; DELETE FROM postgate_key; \
             DELETE FROM postgate_note; DELETE FROM postgate_event",
        )
        .await?;
        if link.execute(ending, &[&token]).await? == 0 {
            // Nothing is committed.
            return Err(SpoolError::Failed("the database knows nothing of this move".to_owned()));
        }
        Ok(link.commit().await?)
    }

    /// Which posts are here.
    pub async fn census(&self) -> Result<Census, SpoolError> {
        Ok(looks::census(Arc::clone(&self.shared), Arc::new(Query::default())).await?)
    }

    /// Whether there are events behind a mark.
    pub async fn has_events(&self, after: Mark) -> Result<bool, SpoolError> {
        let (written, place) = if after.log == self.shared.log { after.place } else { (0, 0) };
        let link = self.link().await?;
        let text = "SELECT EXISTS (SELECT FROM postgate_event WHERE (written, place) > ($1, $2))";
        let rows = link.query(text, &[&written.cast_signed(), &place.cast_signed()]).await?;
        link.put_back();
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// The next events behind a mark.
    pub async fn events(&self, after: Mark) -> Result<(Mark, Vec<Event>), SpoolError> {
        events::events(Arc::clone(&self.shared), after).await
    }

    /// All facts, and the greatest version of those that were forgotten.
    pub async fn facts(&self) -> Result<(Vec<(String, Noted)>, u64), SpoolError> {
        let facts = notes::beginning(Arc::clone(&self.shared), Arc::from("")).await?;
        let link = self.link().await?;
        let text = "SELECT coalesce(max(version), 0) FROM postgate_note WHERE value IS NULL";
        let rows = link.query(text, &[]).await?;
        link.put_back();
        Ok((facts, rows.first().map_or(0, |row| row.get::<_, i64>(0).cast_unsigned())))
    }

    /// Takes facts in with their versions.
    pub async fn take_facts(&self, facts: &[(String, Noted)]) -> Result<(), SpoolError> {
        let link = self.link().await?;
        let keys: Vec<_> = facts.iter().map(|(key, _)| key.as_str()).collect();
        let versions: Vec<_> = facts.iter().map(|(_, noted)| noted.version.cast_signed()).collect();
        let values: Vec<_> = facts.iter().map(|(_, noted)| &*noted.value).collect();
        link.execute(
            "INSERT INTO postgate_note (key, version, value) \
             SELECT * FROM unnest($1::text[], $2::int8[], $3::bytea[]) \
             ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value",
            &[&keys, &versions, &values],
        )
        .await?;
        link.put_back();
        Ok(())
    }

    /// Takes messages in, but for what is here already; all of them or none.
    pub async fn take_in(&self, cargos: &[Cargo]) -> Result<(), SpoolError> {
        let link = self.link().await?;
        link.begin().await?;
        freight::put(&link, cargos).await?;
        Ok(link.commit().await?)
    }

    /// The next messages behind this key of a post, and the key of the last post among them;
    /// nothing when there are no more.
    pub async fn take_out(&self, after: &[u8]) -> Result<Option<(Vec<u8>, Vec<Cargo>)>, SpoolError> {
        let link = self.link().await?;
        let taken = freight::get(&link, after).await?;
        link.put_back();
        Ok(taken)
    }

    /// The next idempotency keys behind this one, and the last of them.
    pub async fn keys(
        &self,
        after: &(String, String),
    ) -> Result<Option<((String, String), Vec<Cargo>)>, SpoolError> {
        let link = self.link().await?;
        let text = "SELECT message, posts, fingerprint, tenant, key, noted_at FROM postgate_key \
             WHERE (tenant, key) > ($1, $2) ORDER BY tenant, key LIMIT 256";
        let rows = link.query(text, &[&after.0, &after.1]).await?;
        link.put_back();
        let keys = rows.iter().map(|row| {
            let earlier = earlier_in(row)?;
            let key = (Tenant::new(row.get(3)), row.get(4));
            let noted_at = time_of(row.get(5));
            Ok(Cargo::key(key, (earlier.message, earlier.posts), earlier.fingerprint, noted_at))
        });
        let keys = keys.collect::<Result<Vec<_>, SpoolError>>()?;
        Ok(rows.last().map(|row| ((row.get(3), row.get(4)), keys)))
    }

    /// A connection, as long as nobody else works here.
    async fn link(&self) -> Result<Taken<'_>, SpoolError> {
        self.shared.hold.stands()?;
        Ok(self.shared.durable.take().await?)
    }
}

const END: &str = "UPDATE postgate_move SET ended_at = now() WHERE token = $1 AND ended_at IS NULL";
