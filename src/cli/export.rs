//! What `postgate spool export` writes of each living post, so that a script, or a person
//! with `curl`, can deliver what a gateway cannot any more:
//!
//! ```text
//! ID.json   what the API shows of the post, its `message_id`, the `idempotency_key` that it
//!           is sent with, its attempts as `attempt_list`, and the names of two files:
//! ID.body   `body`: the body that is sent
//! ID.eml    `message`: the mail as it was received; there is none of what was handed in
//!           over HTTP, nor of batches
//! ```
//!
//! What the posts of a message share is there once, under the id of one of them. Posts that
//! were delivered are not exported. A batch names its `webhook`; the path of its URL is
//! part of that, and not of the post.
//!
//! A message carries secrets when something of one of its posts is sealed, as it is when a
//! template may have printed a secret of the configuration; or when masking changes anything
//! in the URL, the headers, the controls or the names that its sender gave, whatever became
//! of that post. Batches and reports of failures repeat what others said and were answered,
//! and count as such. Mail and body may repeat a secret in any coding, so neither is
//! searched: of such a message `ID.json` alone is written, as the API shows it, and
//! `withheld` says `secrets`. All other messages have body and mail. What receivers answered
//! (`reason` and `response` of an attempt) is not written of any message: it may repeat what
//! was added to the attempt, or sent to another. With [`Secrets::Written`] all of it is
//! written in clear; only a recipient that hid a secret is not known to the spool any more.
//! Signatures and logins of the configuration are added to each attempt, and part of no post.
//! Bodies that versions before this one made of a template do not say what is in them, and
//! are written.
//!
//! The value of a header that is no UTF-8 is written as `value_base64`; as the API shows it,
//! U+FFFD stands for what is none.
//!
//! Nobody else may read the directory; nothing in it is ever written over. All of it is
//! durable at the end, in one go: a sync for each of a million files takes hours. An
//! `ID.json` is written behind what it names: what no whole one names is not complete.

use super::{Failure, IO, USAGE};
use crate::api;
use crate::compose;
use crate::masked::{self, Masked};
use crate::post::{Blob, Field, Post, PostId, Scheme, is_secret};
use crate::seal::SealKey;
use crate::spool::inspect::{Living, Message};
use crate::spool::{Census, PostState, sealing};
use data_encoding::BASE64;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A directory that posts are written into.
pub(super) struct Export {
    /// Where it is, as it was named.
    pub path: PathBuf,
    /// How many posts are in it.
    pub posts: Census,
    /// Posts that should be, and could not be read; each was named on standard error.
    pub unreadable: u64,
    /// Those of `posts` that are not complete, because their messages carry secrets.
    pub withheld: u64,
    directory: OwnedFd,
    secrets: Secrets,
    retain_held: Duration,
}

/// What becomes of messages that carry secrets.
pub(super) enum Secrets {
    /// What may repeat one is not written.
    Withheld,
    /// All is written in clear, as this key opens it.
    Written(Option<SealKey>),
}

/// Why a post is not there.
enum Trouble {
    /// It cannot be read; others can.
    Unreadable(String),
    /// Nothing can be written.
    Unwritable(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Unwritable(failure)
    }
}

/// The names of pieces that were written.
type Written = HashMap<(Blob, &'static str), String>;

impl Export {
    /// Makes a directory, or takes one that is empty and nobody else's; held posts are
    /// forgotten after `retain_held`.
    pub(super) fn into(path: &Path, secrets: Secrets, retain_held: Duration) -> Result<Export, Failure> {
        // Without a slash at its end, behind which a link would be followed.
        let path: PathBuf = path.components().collect();
        let failed = |error| Failure::new(IO, format_args!("cannot make {}: {error}", path.display()));
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let unfit =
            |why: &str| Failure::new(USAGE, format_args!("{} {why}; name a new directory", path.display()));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|_| unfit("is there, and is no directory that can be read"))?;
        let stat = rustix::fs::fstat(&directory).map_err(failed)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            return Err(unfit("is open to others"));
        }
        let is_entry = |entry: &Result<rustix::fs::DirEntry, _>| {
            entry.as_ref().is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))
        };
        if Dir::read_from(&directory).map_err(failed)?.any(|entry| is_entry(&entry)) {
            return Err(unfit("is not empty"));
        }
        Ok(Export { path, posts: Census::new(), unreadable: 0, withheld: 0, directory, secrets, retain_held })
    }

    /// Writes the living posts of a message.
    pub(super) fn take(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        let mut written = Written::new();
        let is_withheld = match self.secrets {
            Secrets::Written(_) => Ok(false),
            Secrets::Withheld => self.carries_secrets(message).map_err(|error| error.to_string()),
        };
        for (id, state, living) in message.posts(self.retain_held) {
            if state == PostState::Delivered {
                continue;
            }
            let living = living.map_err(unread).and_then(|living| match &is_withheld {
                Ok(false) => self.write(message, &living, &mut written),
                Ok(true) => self.describe(message, &living),
                Err(why) => Err(unread(why)),
            });
            match living {
                Ok(()) => {
                    *self.posts.entry(state).or_default() += 1;
                    self.withheld += u64::from(is_withheld == Ok(true));
                }
                Err(Trouble::Unwritable(failure)) => return Err(failure),
                Err(Trouble::Unreadable(why)) => {
                    self.unreadable += 1;
                    // Nobody may listen any more, and all others are still to be written.
                    let _ = writeln!(io::stderr(), "{id} cannot be read: {why}");
                }
            }
        }
        Ok(())
    }

    /// Makes durable what was written.
    pub(super) fn end(&self) -> Result<(), Failure> {
        rustix::fs::syncfs(&self.directory).map_err(|error| self.failed("", error))
    }

    /// Makes durable what is whole, and says what to do about the rest.
    pub(super) fn broken_off(&self, failure: Failure) -> Failure {
        let (place, whole) = (self.path.display(), self.posts.values().sum::<u64>());
        let kept = match self.end() {
            Ok(()) => format!("posts that are whole in {place}: {whole}, each with its ID.json"),
            Err(unkept) => format!("what is in {place} may not last: {}", unkept.text),
        };
        let remedy = "when that is mended (on a full disk: make room), export into another new directory";
        Failure::new(failure.code, format_args!("{}\n{kept}\n{remedy}", failure.text))
    }

    /// Whether anything of a message must not be shown. What cannot be read might be that.
    fn carries_secrets(&self, message: &Message<'_>) -> io::Result<bool> {
        let mut living = message.posts(self.retain_held);
        if message.accepted().iter().any(|post| has_secrets(post) || tells_of_others(post))
            || living.any(|(.., living)| living.map_or(true, |(listed, _)| has_secrets(&listed.post)))
        {
            return Ok(true);
        }
        if !message.accepted().iter().any(|post| is_mail(message, post)) {
            return Ok(false);
        }
        let mail = message.octets(message.received())?;
        Ok(compose::without_secrets(&mail) != mail)
    }

    /// Writes a post with all that belongs to it, in clear.
    fn write(&self, message: &Message<'_>, living: &Living, written: &mut Written) -> Result<(), Trouble> {
        let key = match &self.secrets {
            Secrets::Written(key) => key.as_ref(),
            // Nothing of it is sealed.
            Secrets::Withheld => None,
        };
        let post = &sealing::unsealed(key, &living.0.post).map_err(unread)?;
        let is_mail = is_mail(message, post);
        let wanted = [Some((post.body, "body")), is_mail.then_some((message.received(), "eml"))];
        // All is read before any of it is written.
        let mut pieces = Vec::new();
        for (blob, suffix) in wanted.into_iter().flatten().filter(|piece| !written.contains_key(piece)) {
            let octets = message.octets(blob).map_err(unread)?;
            pieces.push(((blob, suffix), sealing::unveiled(key, post, blob, octets).map_err(unread)?));
        }
        for ((blob, suffix), octets) in pieces {
            let name = format!("{}.{suffix}", post.id);
            self.make(&name, &octets)?;
            written.insert((blob, suffix), name);
        }
        let mut shown = self.shown(message, living);
        let mut say = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        say("url", json!(post.destination.origin() + &post.path));
        say("recipient", json!(post.recipient));
        say("headers", post.headers.iter().map(header).collect());
        let named = wanted.into_iter().zip(["body", "message"]);
        for (name, field) in named.filter_map(|(piece, field)| Some((written.get(&piece?)?, field))) {
            say(field, json!(name));
        }
        self.tell(post.id, shown)
    }

    /// Writes what anybody may know of a post.
    fn describe(&self, message: &Message<'_>, living: &Living) -> Result<(), Trouble> {
        let mut shown = self.shown(message, living);
        shown.values_mut().for_each(mask);
        shown.insert("withheld".to_owned(), json!("secrets"));
        self.tell(living.0.post.id, shown)
    }

    /// What is told of every post. A receiver may have answered with what proved who asks,
    /// or with what another was told.
    fn shown(&self, message: &Message<'_>, (listed, attempts): &Living) -> Map<String, Value> {
        let (post, mut shown) = (&*listed.post, api::exported(listed, attempts));
        if matches!(self.secrets, Secrets::Withheld) {
            let list = shown.get_mut("attempt_list").and_then(Value::as_array_mut);
            list.into_iter().flatten().for_each(withhold_answer);
            shown.get_mut("last_attempt").into_iter().for_each(withhold_answer);
        }
        let mut say = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        say("message_id", json!(message.id().to_string()));
        say("idempotency_key", json!(idempotency_key(post)));
        if let Some(webhook) = &post.destination.webhook {
            say("webhook", json!(webhook.as_str()));
        }
        shown
    }

    fn tell(&self, id: PostId, shown: Map<String, Value>) -> Result<(), Trouble> {
        let text = format!("{:#}\n", Value::Object(shown));
        Ok(self.make(&format!("{id}.json"), text.as_bytes())?)
    }

    /// Makes a file, which is whole or not there.
    fn make(&self, name: &str, octets: &[u8]) -> Result<(), Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file = file.map(File::from).map_err(|error| self.failed(name, error))?;
        file.write_all(octets).map_err(|error| {
            // What stays says itself that it is not whole.
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
            self.failed(name, error)
        })
    }

    fn failed(&self, name: &str, error: impl Display) -> Failure {
        Failure::new(IO, format_args!("cannot write {}: {error}", self.path.join(name).display()))
    }
}

/// Whether it was made of a mail, which is there.
fn is_mail(message: &Message<'_>, post: &Post) -> bool {
    !post.recipient.is_empty() && message.received().length > 0
}

/// Whether it is a batch of events or a report of a failure: both repeat what others said,
/// and were answered.
fn tells_of_others(post: &Post) -> bool {
    post.destination.webhook.is_some() || post.destination.scheme == Scheme::Smtp
}

/// Whether anything is sealed of a post, or would be masked.
fn has_secrets(post: &Post) -> bool {
    let hides = |field: &Field| {
        is_secret(&field.name.to_ascii_lowercase()) || masked::hides(&String::from_utf8_lossy(&field.value))
    };
    let given = [&post.idempotency_key, &post.ordering_key, &post.xs_message_id, &post.xs_mailing_id];
    let given = given.into_iter().flatten().chain(&post.tags).chain([&post.sender]);
    !post.sealed.is_empty()
        || masked::hides(&post.path)
        || masked::recipient(post) != post.recipient
        || post.headers.iter().any(hides)
        || given.into_iter().any(|text| masked::is_secret_link(text))
}

/// Takes out of an attempt what the receiver may have said.
fn withhold_answer(attempt: &mut Value) {
    if let Value::Object(told) = attempt {
        told.retain(|name, _| !matches!(name.as_str(), "reason" | "response"));
    }
}

/// Masks each text in a value that is a URL or a path.
fn mask(value: &mut Value) {
    match value {
        Value::String(text) if masked::is_secret_link(text) => *text = Masked(text).to_string(),
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::Object(values) => values.values_mut().for_each(mask),
        _ => {}
    }
}

fn unread(error: impl Display) -> Trouble {
    Trouble::Unreadable(error.to_string())
}

/// As each attempt says it.
fn idempotency_key(post: &Post) -> String {
    match (&post.idempotency_key, post.id) {
        (None, id) => id.to_string(),
        (Some(key), PostId { number: 0, .. }) => key.clone(),
        (Some(key), PostId { number, .. }) => format!("{key}-{number}"),
    }
}

/// A header field as it is sent; octets that are no text are coded.
fn header(Field { name, value }: &Field) -> Value {
    match std::str::from_utf8(value) {
        Ok(text) => json!({ "name": name, "value": text }),
        Err(_) => json!({ "name": name, "value_base64": BASE64.encode(value) }),
    }
}
