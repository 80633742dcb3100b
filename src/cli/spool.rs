//! `postgate spool`: looks at the spool of a gateway that does not run, and writes what is
//! left in it where others can deliver it.

use super::export::{Export, Secrets};
use super::table::table;
use super::{CONFIG, ConfigFile, DATA, Failure, NO_INPUT, block_on, say};
use crate::api::state_name;
use crate::app;
use crate::config::{Backend, Config};
use crate::post::PostId;
use crate::spool::Census;
use crate::spool::inspect::{Damage, Findings, Inspection};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two words of how far a move has come.
const PROGRESS: Duration = Duration::from_secs(1);

/// Look at the spool of a gateway that does not run, take out what is left in it, or move it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate spool check
  postgate spool check --config /etc/postgate/postgate.toml --json
  postgate spool export /root/posts
  postgate spool migrate")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read and check every record; nothing is changed, nor need it be writable
    ///
    /// Exit code 65 if anything is damaged or missing, 66 where there is no spool, 69 while a
    /// gateway has it open, 74 if it cannot be read or a newer version has written it. What
    /// stands behind the last whole record is no damage: nobody knows whether it was ever
    /// accepted.
    ///
    /// A post that is missing is one of which later records speak and whose message is gone.
    /// Unless it had been delivered just before the process ended, it is lost.
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Write each post that is queued, deferred, held or failed into files; the spool stays
    ///
    /// ID.json says what is known of the post ID: URL, headers, state, attempts, and the
    /// names of the files with its body (ID.body) and with the mail as it was received
    /// (ID.eml; posts that were handed in over HTTP have none). What posts of one mail share
    /// is there once. By hand a post is delivered by
    ///
    ///   curl -g --path-as-is -X METHOD -H 'NAME: VALUE' --data-binary @ID.body URL
    ///
    /// with method, headers (and idempotency_key as Idempotency-Key), body and url of ID.json.
    /// The rest of the URL of a batch is that of its webhook; a report of failure (smtp://) is
    /// a mail to its recipient.
    ///
    /// Of a message that carries secrets (credentials or tokens in a URL, a header or a control
    /// field of one of its posts, or a secret that its route has for a template) only ID.json
    /// is written, as the API shows it: *** in the URL, no values of headers that might be
    /// secret, and "withheld": "secrets". Body and mail are not written. Batches of events and
    /// reports of failures count as such messages: they repeat what others said. What receivers
    /// answered is left out of every ID.json. With --with-secrets all of it is written, in
    /// clear, but for a recipient that hid a secret, which the spool does not keep. Keep the
    /// directory as you keep the spool.
    ///
    /// A value of a header that is no UTF-8 is there as value_base64.
    ///
    /// All that is whole is exported, what is lost is named as by `spool check`, with the same exit
    /// codes; 65 also if a post could not be read, which is named. If it ends early, as on a
    /// full disk (exit code 74), only what an ID.json names is complete.
    Export {
        /// Where to: a new directory, or an empty one that is open to nobody else
        directory: PathBuf,
        /// Write secrets too, in clear
        #[arg(long)]
        with_secrets: bool,
        /// Say as JSON what was found
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Move all posts to the backend that the configuration names: from data_dir to the database, or back
    ///
    /// With backend = "postgres" in [spool] all goes to the database of url, with backend =
    /// "embedded" all of that database comes into data_dir: posts in whatever state, with their
    /// ids, attempts and times; keys of what was sent twice; pauses, rates and webhooks. The
    /// journal stays where it is.
    ///
    /// The gateway is stopped for so long. If the move is interrupted, however that comes,
    /// nothing is lost and no gateway starts on either side: run it again, and it goes on. What
    /// was moved is removed where it was when all has arrived.
    ///
    /// Exit code 65 if the spool is damaged and stays where it is, 66 where there is none, 69
    /// while a gateway has either open or the database is away, 78 where there is a spool already.
    Migrate {
        #[command(flatten)]
        file: ConfigFile,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Check { json, file } => {
            let findings = inspection(&file.load()?)?.read(|_| Ok::<_, Failure>(()))?;
            let said = if json { say(Value::Object(as_json(&findings))) } else { tell(&findings) };
            // Also when nobody listens.
            damaged(&findings, 0)?;
            Ok(said?)
        }
        Action::Export { directory, with_secrets, json, file } => {
            let config = file.load()?;
            let inspection = inspection(&config)?;
            let secrets =
                if with_secrets { Secrets::Written(app::seal_key(&config)?) } else { Secrets::Withheld };
            let (export, findings) = export(inspection, &directory, secrets, config.retention.held)?;
            let said = if json {
                say(Value::Object(export_as_json(&export, &findings)))
            } else {
                tell_export(&export).and_then(|()| tell_damages(&findings))
            };
            damaged(&findings, export.unreadable)?;
            Ok(said?)
        }
        Action::Migrate { file } => migrate(&file.load()?),
    }
}

fn migrate(config: &Config) -> Result<(), Failure> {
    if config.spool.url.is_none() {
        let text = "[spool] url names no database to move posts to or from; write it below backend";
        return Err(Failure::new(CONFIG, text));
    }
    let last = Cell::new(Instant::now());
    let progress = |done, of| {
        if done == of || last.get().elapsed() >= PROGRESS {
            last.set(Instant::now());
            // That nobody listens is no reason not to do it.
            let _ = writeln!(io::stderr(), "moved {done} of {of} posts");
        }
    };
    block_on(async {
        let posts = app::move_spool(config, progress).await?;
        let place = match config.spool.backend {
            Backend::Embedded => app::spool_directory(config).display().to_string(),
            Backend::Postgres => "the database".to_owned(),
        };
        Ok(say(format_args!("{place} has all: {}", counted(&posts)))?)
    })
}

fn export(
    inspection: Inspection,
    directory: &Path,
    secrets: Secrets,
    retain_held: Duration,
) -> Result<(Export, Findings), Failure> {
    let are_written = matches!(secrets, Secrets::Written(_));
    let mut export = Export::into(directory, secrets, retain_held)?;
    if are_written {
        let place = export.path.display();
        // That nobody listens is no reason not to do it.
        let _ = writeln!(io::stderr(), "{place} has secrets in clear in it: keep it to yourself");
    }
    let findings = inspection.read(|message| export.take(message));
    let findings = findings.map_err(|failure: Failure| export.broken_off(failure))?;
    export.end()?;
    Ok((export, findings))
}

fn export_as_json(export: &Export, findings: &Findings) -> Map<String, Value> {
    let mut found = as_json(findings);
    found.insert("exported".to_owned(), json!(named(&export.posts)));
    found.insert("unreadable".to_owned(), json!(export.unreadable));
    found.insert("withheld".to_owned(), json!(export.withheld));
    found
}

fn tell_export(Export { path, posts, withheld, .. }: &Export) -> io::Result<()> {
    say(format_args!("exported {} to {}", counted(posts), path.display()))?;
    if *withheld == 0 {
        return Ok(());
    }
    let why = "without body and mail: their messages carry secrets, or tell of others";
    say(format_args!("{withheld} of them {why}; --with-secrets writes those too, in clear"))
}

/// How many posts there are, and of each state.
fn counted(posts: &Census) -> String {
    let of_each: Vec<_> = named(posts).iter().map(|(state, count)| format!("{count} {state}")).collect();
    let all = posts.values().sum::<u64>();
    let of_each = if all > 0 { format!(" ({})", of_each.join(", ")) } else { String::new() };
    format!("{all} posts{of_each}")
}

/// The spool of a gateway, which has none open.
fn inspection(config: &Config) -> Result<Inspection, Failure> {
    let directory = app::spool_directory(config);
    if !directory.join("log").try_exists()? {
        let text =
            format!("there is no spool in {}; say which configuration by --config", directory.display());
        return Err(Failure::new(NO_INPUT, text));
    }
    Ok(Inspection::of(&directory)?)
}

/// Says by the exit code that something is lost, or could not be read.
fn damaged(findings: &Findings, unreadable: u64) -> Result<(), Failure> {
    let found = [
        (findings.damages.len() as u64, ["place is damaged", "places are damaged"]),
        (findings.missing.len() as u64, ["post is missing", "posts are missing"]),
        (unreadable, ["post could not be read", "posts could not be read"]),
    ];
    let is_found = |(count, _): &(u64, _)| *count > 0;
    let told =
        |(count, [one, many]): (u64, [&str; 2])| format!("{count} {}", if count == 1 { one } else { many });
    let found: Vec<_> = found.into_iter().filter(is_found).map(told).collect();
    if found.is_empty() { Ok(()) } else { Err(Failure::new(DATA, found.join(", "))) }
}

fn named(posts: &Census) -> BTreeMap<&'static str, u64> {
    posts.iter().map(|(state, count)| (state_name(*state), *count)).collect()
}

fn as_json(findings: &Findings) -> Map<String, Value> {
    let Findings { segments, octets, records, posts, damages, missing, set_aside } = findings;
    let missing: Vec<_> = missing.iter().map(PostId::to_string).collect();
    let told = [
        ("segments", json!(segments)),
        ("octets", json!(octets)),
        ("records", json!(records)),
        ("posts", json!(named(posts))),
        ("damages", json!(damages)),
        ("missing", json!(missing)),
        ("set_aside", json!(set_aside)),
    ];
    told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn tell(findings: &Findings) -> io::Result<()> {
    let Findings { segments, octets, records, posts, set_aside, .. } = findings;
    say(format_args!("{records} whole records of {octets} octets in {segments} segments"))?;
    let rows: Vec<_> =
        posts.iter().map(|(state, count)| [state_name(*state).to_owned(), count.to_string()]).collect();
    if !rows.is_empty() {
        say(table(["STATE", "POSTS"], &rows))?;
    }
    for name in set_aside {
        say(format_args!("set aside earlier: {name}"))?;
    }
    tell_damages(findings)
}

fn tell_damages(Findings { damages, missing, .. }: &Findings) -> io::Result<()> {
    if damages.is_empty() && missing.is_empty() {
        return say("nothing is damaged");
    }
    missing.iter().try_for_each(|id| say(format_args!("missing: {id}")))?;
    if damages.is_empty() {
        return Ok(());
    }
    let row = |damage: &Damage| {
        [damage.file.clone(), damage.offset.to_string(), damage.octets.to_string(), damage.meaning.clone()]
    };
    say(table(["DAMAGED", "AT", "OCTETS", ""], &damages.iter().map(row).collect::<Vec<_>>()))
}
