//! The tables, and how a database comes to them.
//!
//! Migrations only add: a process of the version before works on beside them. Each is one
//! transaction, and only one process makes them at a time. Times are milliseconds since the
//! epoch by the clock of the database, ids ten octets in their order: message, number.

use super::OpenError;
use super::link::Link;

/// The time of the statement, which an index can be compared with.
macro_rules! now {
    () => {
        "floor(extract(epoch FROM now()) * 1000)::int8"
    };
}

/// Whether post `p` is not behind another one of its line, see
/// [`super::super::Spool`]: none with its ordering key is under way or comes before it.
macro_rules! is_free {
    () => {
        "(p.line IS NULL OR NOT EXISTS (SELECT FROM postgate_post q WHERE q.lane = p.lane \
          AND q.line = p.line AND q.phase IN (0, 2) AND q.id < p.id) \
          AND NOT EXISTS (SELECT FROM postgate_post q WHERE q.lane = p.lane \
          AND q.line = p.line AND q.is_claimed AND q.id <> p.id))"
    };
}
pub(super) use {is_free, now};

/// The first, and those that were added since.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE postgate_spool (
  -- Tells marks of events of this spool from those of another.
  log int4 NOT NULL
);
INSERT INTO postgate_spool VALUES ((random() * 2147483646)::int4 + 1);

CREATE TABLE postgate_post (
  id bytea PRIMARY KEY,
  shard int2 NOT NULL,
  lane text COLLATE \"C\" NOT NULL,
  line text COLLATE \"C\",
  priority int2 NOT NULL,
  phase int2 NOT NULL DEFAULT 0,
  is_claimed bool NOT NULL DEFAULT false,
  fence int8 NOT NULL DEFAULT 0,
  ended int8 NOT NULL DEFAULT 0,
  tried int8 NOT NULL DEFAULT 0,
  is_anew bool NOT NULL DEFAULT false,
  is_rerouted bool NOT NULL DEFAULT false,
  is_lean bool NOT NULL DEFAULT false,
  due_at int8 NOT NULL,
  ages_from int8 NOT NULL,
  accepted_at int8 NOT NULL,
  expires_at int8,
  head bytea NOT NULL,
  chronicle bytea,
  orders bytea,
  -- Of each blob; the blobs stand back to back in content, or in that of the message.
  lengths int8[] NOT NULL,
  checksums int8[] NOT NULL,
  is_shared bool NOT NULL,
  content bytea
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_cost_delay = 0, toast_tuple_target = 256);
-- An attempt rewrites the row, and never a body: that is kept outside, not compressed, so
-- that a piece of it is read alone.
ALTER TABLE postgate_post ALTER head SET STORAGE MAIN, ALTER content SET STORAGE EXTERNAL;
CREATE INDEX postgate_post_due ON postgate_post (lane, priority, due_at, id)
  WHERE phase = 0 AND NOT is_claimed;
CREATE INDEX postgate_post_age ON postgate_post (lane, ages_from) WHERE phase = 0 AND NOT is_claimed;
CREATE INDEX postgate_post_end ON postgate_post (lane, expires_at)
  WHERE phase = 0 AND NOT is_claimed AND expires_at IS NOT NULL;
CREATE INDEX postgate_post_line ON postgate_post (lane, line, id) WHERE line IS NOT NULL;
CREATE INDEX postgate_post_claimed ON postgate_post (shard) WHERE is_claimed;
CREATE INDEX postgate_post_over ON postgate_post (phase, due_at) WHERE phase <> 0;

-- What several posts of a message share.
CREATE TABLE postgate_content (
  message bytea PRIMARY KEY,
  living int8 NOT NULL,
  octets bytea NOT NULL
);
ALTER TABLE postgate_content ALTER octets SET STORAGE EXTERNAL;

CREATE TABLE postgate_key (
  tenant text COLLATE \"C\" NOT NULL,
  key text COLLATE \"C\" NOT NULL,
  message bytea NOT NULL,
  posts int4 NOT NULL,
  fingerprint bytea,
  noted_at int8 NOT NULL,
  PRIMARY KEY (tenant, key)
);
CREATE INDEX ON postgate_key (noted_at);

-- A forgotten note stays without a value: no version comes twice.
CREATE TABLE postgate_note (
  key text COLLATE \"C\" PRIMARY KEY,
  version int8 NOT NULL,
  value bytea
);

-- Who works here, and the version of its program.
CREATE TABLE postgate_node (
  id text COLLATE \"C\" PRIMARY KEY,
  incarnation uuid NOT NULL,
  beat int8 NOT NULL DEFAULT 0,
  version text NOT NULL
) WITH (fillfactor = 50);

-- In the order of their transactions: nothing is handed out while an earlier one may still come.
CREATE TABLE postgate_event (
  written int8 NOT NULL DEFAULT pg_current_xact_id()::text::int8,
  place int8 GENERATED ALWAYS AS IDENTITY,
  octets bytea NOT NULL,
  PRIMARY KEY (written, place)
);
",
    "
-- Who set a note last: a try that was not answered is known by it.
ALTER TABLE postgate_note ADD COLUMN setter int8;
",
    "
-- Posts of a state by id, and the oldest of a lane, are found and not looked for.
CREATE INDEX postgate_post_state ON postgate_post ((CASE WHEN is_claimed THEN 4 WHEN phase > 0
  THEN phase::int4 WHEN ended = 0 THEN 0 ELSE 5 END), id);
CREATE INDEX postgate_post_oldest ON postgate_post (lane, accepted_at) WHERE phase = 0;

-- What each transaction changed of the counts of a lane; their sum is what the lane holds.
CREATE TABLE postgate_tally (
  lane text COLLATE \"C\" NOT NULL,
  waiting int8 NOT NULL,
  sending int8 NOT NULL,
  held int8 NOT NULL,
  failed int8 NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE FUNCTION postgate_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO postgate_tally
      SELECT lane, count(*) FILTER (WHERE phase = 0 AND NOT is_claimed), count(*) FILTER (WHERE is_claimed),
      count(*) FILTER (WHERE phase = 2), count(*) FILTER (WHERE phase = 1) FROM fresh GROUP BY lane;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO postgate_tally
      SELECT lane, -count(*) FILTER (WHERE phase = 0 AND NOT is_claimed), -count(*) FILTER (WHERE is_claimed),
      -count(*) FILTER (WHERE phase = 2), -count(*) FILTER (WHERE phase = 1) FROM gone GROUP BY lane;
  ELSE
    INSERT INTO postgate_tally
      SELECT * FROM (SELECT lane, coalesce(sum(n) FILTER (WHERE phase = 0 AND NOT is_claimed), 0) AS waiting,
        coalesce(sum(n) FILTER (WHERE is_claimed), 0) AS sending,
        coalesce(sum(n) FILTER (WHERE phase = 2), 0) AS held,
        coalesce(sum(n) FILTER (WHERE phase = 1), 0) AS failed
        FROM (SELECT lane, phase, is_claimed, 1 AS n FROM fresh
          UNION ALL SELECT lane, phase, is_claimed, -1 FROM gone) AS changed GROUP BY lane) AS sums
      WHERE waiting <> 0 OR sending <> 0 OR held <> 0 OR failed <> 0;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER postgate_came AFTER INSERT ON postgate_post
  REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION postgate_tell();
CREATE TRIGGER postgate_went AFTER DELETE ON postgate_post
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION postgate_tell();
CREATE TRIGGER postgate_changed AFTER UPDATE ON postgate_post
  REFERENCING NEW TABLE AS fresh OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION postgate_tell();
INSERT INTO postgate_tally
  SELECT lane, count(*) FILTER (WHERE phase = 0 AND NOT is_claimed), count(*) FILTER (WHERE is_claimed),
  count(*) FILTER (WHERE phase = 2), count(*) FILTER (WHERE phase = 1) FROM postgate_post GROUP BY lane;
",
    "
-- Whether a post came behind others of its line, see lines.rs. What is dropped are indexes.
ALTER TABLE postgate_post ADD COLUMN is_behind bool NOT NULL DEFAULT false;
DROP INDEX postgate_post_due, postgate_post_age, postgate_post_end, postgate_post_line;
CREATE INDEX postgate_post_due ON postgate_post (lane, priority, due_at, id)
  WHERE phase = 0 AND NOT is_claimed AND NOT is_behind;
CREATE INDEX postgate_post_age ON postgate_post (lane, ages_from)
  WHERE phase = 0 AND NOT is_claimed AND NOT is_behind;
CREATE INDEX postgate_post_end ON postgate_post (lane, expires_at)
  WHERE phase = 0 AND NOT is_claimed AND NOT is_behind AND expires_at IS NOT NULL;
CREATE INDEX postgate_post_line ON postgate_post (lane, line, id) WHERE line IS NOT NULL AND phase IN (0, 2);
CREATE INDEX postgate_post_busy ON postgate_post (lane, line) WHERE line IS NOT NULL AND is_claimed;
CREATE INDEX postgate_post_behind ON postgate_post (lane, line) WHERE is_behind;
UPDATE postgate_post p SET is_behind = true WHERE line IS NOT NULL AND phase IN (0, 2) AND EXISTS (
  SELECT FROM postgate_post q WHERE q.lane = p.lane AND q.line = p.line AND q.phase IN (0, 2) AND q.id < p.id);
",
    "
-- Of all posts, into the database or out of it; one that has not ended keeps gateways away.
CREATE TABLE postgate_move (
  token text PRIMARY KEY,
  -- Where its other end is.
  directory text NOT NULL,
  begun_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz
);
",
];

/// Brings the tables to the version that this process knows; refuses a newer one.
pub(super) async fn migrate(link: &Link) -> Result<(), OpenError> {
    link.run(
        "BEGIN; SELECT pg_advisory_xact_lock(1885828195); \
         CREATE TABLE IF NOT EXISTS postgate_schema (version int4 PRIMARY KEY, \
         migrated_at timestamptz NOT NULL DEFAULT now())",
    )
    .await?;
    let found = link.query("SELECT coalesce(max(version), 0) FROM postgate_schema", &[]).await?;
    let found: i32 = found.first().map_or(0, |row| row.get(0));
    let known = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (version, statements) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        link.run(statements).await?;
        link.execute("INSERT INTO postgate_schema (version) VALUES ($1)", &[&version]).await?;
    }
    link.run("COMMIT").await?;
    Ok(())
}
