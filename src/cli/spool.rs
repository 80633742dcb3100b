//! `postgate spool`: looks at the spool of a gateway that does not run, and takes out
//! what is in it.

use super::table::table;
use super::{ConfigFile, DATA, Failure, IO, NO_INPUT, UNAVAILABLE, USAGE, say};
use crate::api;
use crate::app;
use crate::spool::embedded::OpenError;
use crate::spool::inspect::{Findings, inspect};
use crate::spool::{Listed, Query, Spool, SpoolError};
use clap::Subcommand;
use serde_json::json;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Look at the spool of a gateway that does not run
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate spool check
  postgate spool export /tmp/posts     each post as JSON, its message as .eml, and its body")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read and check every record; nothing is changed
    ///
    /// Exit code 65 if anything is damaged. With a gateway that runs: exit code 69.
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Write all living posts into a new directory
    ///
    /// ID.json says what is known of a post and of its attempts, secrets masked; ID.body is
    /// what is posted; MESSAGE.eml is the mail as it came. Nobody else may read the files. The
    /// spool keeps its posts.
    Export {
        /// Where to; it must not hold anything yet
        directory: PathBuf,
        #[command(flatten)]
        file: ConfigFile,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Check { json, file } => {
            let directory = place(&file)?;
            let findings = inspect(&directory).map_err(refused)?;
            if json {
                say(findings_json(&findings))?
            } else {
                tell(&findings)?
            };
            match findings.damages.len() {
                0 => Ok(()),
                1 => Err(Failure::new(DATA, "1 place is damaged")),
                places => Err(Failure::new(DATA, format_args!("{places} places are damaged"))),
            }
        }
        Action::Export { directory, file } => {
            place(&file)?;
            let config = file.load()?;
            make(&directory)?;
            super::block_on(async move {
                let (spool, embedded) = app::spool(&config).await?;
                let done = export(&spool, &directory).await;
                let closed = tokio::task::spawn_blocking(move || embedded.close()).await;
                let Exported { posts, lost } = done?;
                closed.map_err(io::Error::other)?.map_err(|error| Failure::new(IO, error))?;
                say(format_args!("{posts} posts are in {}", directory.display()))?;
                match lost {
                    0 => Ok(()),
                    _ => Err(Failure::new(DATA, format_args!("{lost} posts could not be read"))),
                }
            })
        }
    }
}

/// The directory of the spool, if there is one.
fn place(file: &ConfigFile) -> Result<PathBuf, Failure> {
    let directory = app::spool_directory(&file.load()?);
    let missing =
        || format!("there is no spool in {}; say which configuration by --config", directory.display());
    match directory.join("log").try_exists()? {
        true => Ok(directory),
        false => Err(Failure::new(NO_INPUT, missing())),
    }
}

fn refused(error: OpenError) -> Failure {
    let code = if matches!(error, OpenError::InUse(_)) { UNAVAILABLE } else { IO };
    Failure::new(code, error)
}

fn findings_json(findings: &Findings) -> serde_json::Value {
    let posts = findings.posts.iter().map(|(state, count)| (api::state_name(*state), *count));
    json!({
        "segments": findings.segments,
        "octets": findings.octets,
        "records": findings.records,
        "posts": posts.collect::<std::collections::BTreeMap<_, _>>(),
        "damages": findings.damages,
        "set_aside": findings.set_aside,
    })
}

fn tell(findings: &Findings) -> io::Result<()> {
    let Findings { segments, octets, records, posts, damages, set_aside } = findings;
    say(format_args!("{records} whole records of {octets} octets in {segments} segments"))?;
    let rows: Vec<_> =
        posts.iter().map(|(state, count)| [api::state_name(*state).to_owned(), count.to_string()]).collect();
    if !rows.is_empty() {
        say(table(["STATE", "POSTS"], &rows))?;
    }
    for name in set_aside {
        say(format_args!("set aside earlier: {name}"))?;
    }
    let row = |damage: &crate::spool::inspect::Damage| {
        [damage.file.clone(), damage.offset.to_string(), damage.octets.to_string(), damage.meaning.clone()]
    };
    if damages.is_empty() {
        return say("nothing is damaged");
    }
    say(table(["DAMAGED", "AT", "OCTETS", ""], &damages.iter().map(row).collect::<Vec<_>>()))
}

/// Makes a directory for posts, which hold what nobody else may read.
fn make(directory: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    match fs::read_dir(directory)?.next() {
        None => Ok(()),
        Some(_) => Err(Failure::new(
            USAGE,
            format_args!("{} is not empty; name a new directory", directory.display()),
        )),
    }
}

/// What came of an export.
#[derive(Default)]
struct Exported {
    posts: u64,
    /// Posts whose octets are damaged.
    lost: u64,
}

/// Posts that are looked for at a time.
const PAGE: usize = 1000;

async fn export(spool: &dyn Spool, directory: &Path) -> Result<Exported, Failure> {
    let (mut exported, mut before) = (Exported::default(), None);
    loop {
        let page =
            spool.search(Query::default(), before, PAGE).await.map_err(|error| Failure::new(IO, error))?;
        for listed in &page.posts {
            match one(spool, listed, directory).await {
                Ok(()) => exported.posts += 1,
                Err(Trouble::Post(error)) => {
                    exported.lost += 1;
                    writeln!(io::stderr(), "{}: {error}", listed.post.id)?;
                }
                Err(Trouble::Directory(error)) => return Err(error.into()),
            }
        }
        before = page.next;
        if before.is_none() {
            return Ok(exported);
        }
    }
}

/// Why a post was not written: the next may be.
enum Trouble {
    Post(SpoolError),
    Directory(io::Error),
}

impl From<SpoolError> for Trouble {
    fn from(error: SpoolError) -> Trouble {
        Trouble::Post(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Directory(error)
    }
}

async fn one(spool: &dyn Spool, listed: &Listed, directory: &Path) -> Result<(), Trouble> {
    let id = listed.post.id;
    let content = spool.content(id).await?;
    let attempts = spool.attempts(id).await?;
    let (message, body) = (format!("{}.eml", id.message), format!("{id}.body"));
    // The posts of a message share it.
    if !directory.join(&message).try_exists()? {
        write(&directory.join(&message), &content.message)?;
    }
    write(&directory.join(&body), &content.body)?;
    let mut shown = api::exported(listed, &attempts);
    shown.extend([("message".to_owned(), message.into()), ("body".to_owned(), body.into())]);
    let text = serde_json::to_vec_pretty(&shown).map_err(io::Error::other)?;
    Ok(write(&directory.join(format!("{id}.json")), &text)?)
}

fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(octets)
}
