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
//! No secret of a post is written: `***` stands for the values of fields and parameters whose
//! names speak of one and for the userinfo and the tokens of URLs, also where the mail, the
//! body or an answer repeat them; `body_is_masked` says that the body does. A URL in a coded
//! form is not looked into. Signatures and logins of the configuration are added to each
//! attempt, and part of no post.
//!
//! Nobody else may read the directory; nothing in it is ever written over. All of it is
//! durable at the end, in one go: a sync for each of a million files takes hours.

use super::{Failure, IO, USAGE};
use crate::api;
use crate::compose;
use crate::masked::{self, Masked};
use crate::post::{Blob, Field, HIDDEN, Post, PostId, is_secret};
use crate::seal::SealKey;
use crate::spool::inspect::{Living, Message};
use crate::spool::{Census, PostState, SpoolError, sealing};
use bytes::Bytes;
use data_encoding::BASE64;
use memchr::memmem;
use rustix::fs::{Dir, Mode, OFlags};
use serde_json::{Value, json};
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
    directory: OwnedFd,
    key: Option<SealKey>,
    retain_held: Duration,
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

/// A piece of a message that is to be written.
struct Piece {
    name: String,
    octets: Bytes,
    is_masked: bool,
}

/// Texts that no file may have in it, and what it has instead.
type Secrets = Vec<(Vec<u8>, String)>;

/// A shorter value of a field would be found where it is none.
const LEAST: usize = 6;

/// The names of pieces that were written, and whether they are masked.
type Written = HashMap<(Blob, &'static str), (String, bool)>;

impl Export {
    /// Makes a directory, or takes one that is empty and nobody else's. With `key` secrets
    /// are found; held posts are forgotten after `retain_held`.
    pub(super) fn into(path: &Path, key: Option<SealKey>, retain_held: Duration) -> Result<Export, Failure> {
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
        Ok(Export { path, posts: Census::new(), unreadable: 0, directory, key, retain_held })
    }

    /// Writes the living posts of a message.
    pub(super) fn take(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        let mut written = Written::new();
        let secrets = message.accepted().iter().map(|post| self.secrets(post));
        let secrets = secrets.collect::<Result<Vec<_>, _>>().map(|of_each| of_each.concat());
        for (id, state, living) in message.posts(self.retain_held) {
            if state == PostState::Delivered {
                continue;
            }
            let living = living.map_err(unread).and_then(|living| {
                let mut secrets = secrets.clone().map_err(unread)?;
                secrets.extend(self.secrets(&living.0.post).map_err(unread)?);
                self.write((message, &secrets), living, &mut written)
            });
            match living {
                Ok(()) => *self.posts.entry(state).or_default() += 1,
                Err(Trouble::Unwritable(failure)) => return Err(failure),
                Err(Trouble::Unreadable(why)) => {
                    self.unreadable += 1;
                    writeln!(io::stderr(), "{id} cannot be read: {why}")?;
                }
            }
        }
        Ok(())
    }

    /// Makes durable what was written.
    pub(super) fn end(&self) -> Result<(), Failure> {
        rustix::fs::syncfs(&self.directory).map_err(|error| self.failed("", error))
    }

    fn write(
        &self,
        (message, secrets): (&Message<'_>, &Secrets),
        (listed, attempts): Living,
        written: &mut Written,
    ) -> Result<(), Trouble> {
        let post = &*listed.post;
        let is_mail = !post.recipient.is_empty() && message.received().length > 0;
        let wanted = [Some((post.body, "body")), is_mail.then_some((message.received(), "eml"))];
        // All is read before any of it is written.
        let mut pieces = Vec::new();
        for key in wanted.into_iter().flatten().filter(|key| !written.contains_key(key)) {
            pieces.push((key, self.read((message, secrets), post, key)?));
        }
        for (key, Piece { name, octets, is_masked }) in pieces {
            self.make(&name, &octets)?;
            written.insert(key, (name, is_masked));
        }
        let mut shown = api::exported(&listed, &attempts);
        let mut say = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        say("message_id", json!(message.id().to_string()));
        say("idempotency_key", json!(idempotency_key(post)));
        say("headers", post.headers.iter().map(header).collect());
        if let Some(webhook) = &post.destination.webhook {
            say("webhook", json!(webhook.as_str()));
        }
        if let Some((name, is_masked)) = written.get(&(post.body, "body")) {
            say("body", json!(name));
            say("body_is_masked", json!(is_masked));
        }
        if let Some((name, _)) = written.get(&(message.received(), "eml")).filter(|_| is_mail) {
            say("message", json!(name));
        }
        let text = Bytes::from(format!("{:#}\n", Value::Object(shown)));
        Ok(self.make(&format!("{}.json", post.id), &without(text, secrets))?)
    }

    /// A piece of a message, without its secrets.
    fn read(
        &self,
        (message, secrets): (&Message<'_>, &Secrets),
        post: &Post,
        (blob, suffix): (Blob, &str),
    ) -> Result<Piece, Trouble> {
        let octets = message.octets(blob).map_err(unread)?;
        let octets = sealing::unveiled(self.key.as_ref(), post, blob, octets).map_err(unread)?;
        // What begins as the mail does says what that says.
        let is_headed = (blob.number, blob.start) == (0, 0);
        let shown = if is_headed { compose::without_secrets(&octets) } else { octets.clone() };
        let shown = without(shown, secrets);
        Ok(Piece { name: format!("{}.{suffix}", post.id), is_masked: shown != octets, octets: shown })
    }

    /// What a post keeps to itself.
    fn secrets(&self, post: &Post) -> Result<Secrets, SpoolError> {
        let opened = sealing::unsealed(self.key.as_ref(), post)?;
        let hidden = opened.headers.iter().filter(|field| field.hides());
        let mut secrets: Secrets = hidden.flat_map(|field| texts(&field.value)).collect();
        if masked::hides(&opened.path) {
            let shown = Masked(&opened.path).to_string();
            secrets.push((opened.path.into_bytes(), shown));
        }
        Ok(secrets)
    }

    fn make(&self, name: &str, octets: &[u8]) -> Result<(), Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(io::Error::from).map(File::from);
        file.and_then(|mut file| file.write_all(octets)).map_err(|error| self.failed(name, error))
    }

    fn failed(&self, name: &str, error: impl Display) -> Failure {
        Failure::new(IO, format_args!("cannot write {}: {error}", self.path.join(name).display()))
    }
}

/// The texts by which the value of a field is known elsewhere: itself, the token in it, and
/// the login that it is made of (RFC 7617).
fn texts(value: &[u8]) -> impl Iterator<Item = (Vec<u8>, String)> {
    let token = value.rsplit(|octet| *octet == b' ').next().unwrap_or_default();
    let login = value.strip_prefix(b"Basic ").and_then(|coded| BASE64.decode(coded).ok());
    let texts = [Some(value.to_vec()), Some(token.to_vec()), login].into_iter().flatten();
    texts.filter(|text| text.len() >= LEAST).map(|text| (text, HIDDEN.to_owned()))
}

/// The octets without secrets, wherever they are.
fn without(mut octets: Bytes, secrets: &Secrets) -> Bytes {
    for (secret, shown) in secrets {
        let (mut written, mut copied) = (Vec::new(), 0);
        for at in memmem::find_iter(&octets, secret) {
            written.extend_from_slice(octets.get(copied..at).unwrap_or_default());
            written.extend_from_slice(shown.as_bytes());
            copied = at + secret.len();
        }
        if copied > 0 {
            written.extend_from_slice(octets.get(copied..).unwrap_or_default());
            octets = written.into();
        }
    }
    octets
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

/// A header field, whose value is as good as hidden where its name speaks of a secret.
fn header(Field { name, value }: &Field) -> Value {
    let is_hidden = is_secret(&name.to_ascii_lowercase());
    let value =
        if is_hidden { HIDDEN.to_owned() } else { Masked(&String::from_utf8_lossy(value)).to_string() };
    json!({ "name": name, "value": value })
}
