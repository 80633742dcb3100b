//! The configuration file for people to look at and to change: as it stands, with all
//! comments, but for the secrets that are written out in it.
//!
//! Each stands there as `***` and a mark of its own, and means itself when the text
//! comes back: a file that is changed elsewhere keeps its secrets, also where entries
//! moved, but never under another key, where they might be shown. The marks are made with a key that lives as long as the process, so that
//! nobody can try out what a secret is. What looks as if it were a secret in a comment
//! is hidden as well. Rather too much is hidden than too little.

use super::Complaints;
use super::walk::Walk;
use crate::masked::Masked;
use crate::post::is_secret;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// What stands for a secret.
const HIDDEN: &str = "***";

/// Keys that sound like secrets and hold none: names of others, files, public addresses.
const OPEN: [&str; 8] = [
    "auth",
    "client_key",
    "key_id",
    "legacy_auth_keyword",
    "ordering_key",
    "require_auth",
    "signature_version",
    "token_url",
];

/// Secrets whose keys do not say so, and the reverse: table, key, whether it is one.
const ODD: [(&str, &str, bool); 3] = [("auth", "value", true), ("spool", "url", true), ("tls", "key", false)];

/// Makes the marks of one process.
pub struct Veil {
    key: [u8; 32],
}

/// A text of a file that is shown in other words, or a plain one.
struct Place {
    span: Range<usize>,
    /// As it stands in the file, with its quotes.
    raw: String,
    /// The tables that it stands in, from the outermost, and its key; none of a comment.
    path: Vec<String>,
    value: String,
    /// What is shown instead of the value.
    shown: String,
}

impl Veil {
    /// A veil with marks of its own; fails when the system has no randomness.
    pub fn new() -> Result<Veil, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Veil { key })
    }

    /// What tells a text from any other, and nothing else of it.
    pub fn mark(&self, text: &str) -> String {
        // A key of any length is one.
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).map(|mac| mac.chain_update(text));
        mac.map(|mac| HEXLOWER.encode(&mac.finalize().into_bytes())).unwrap_or_default()
    }

    /// The text of a file without its secrets. One that is no TOML has too many places
    /// where a secret might stand.
    pub fn hide(&self, file: &str, text: &str) -> Result<String, Complaints> {
        let mut places = self.places(file, text)?;
        places.retain(|place| place.shown != place.value);
        Ok(replaced(text, places.iter().map(|place| (&place.span, written(place)))))
    }

    /// The text with the secrets of `old`, the file as it stands, where it has their
    /// marks. What is hidden there and not in the file is complained of.
    pub fn reveal(&self, file: &str, text: &str, old: &str) -> Result<String, Complaints> {
        let places = self.places(file, text)?;
        // A broken file has none that could be meant.
        let known = self.places(file, old).unwrap_or_default();
        let walk = Walk::default();
        let mut changes = Vec::new();
        for place in places.iter().filter(|place| place.value.contains(HIDDEN)) {
            let is_itself = |known: &&Place| known.value == place.value;
            let is_meant = |known: &&Place| {
                known.path == place.path && known.shown == place.value && known.shown != known.value
            };
            match known.iter().find(is_meant) {
                Some(meant) => changes.push((&place.span, meant.raw.clone())),
                None if place.path.is_empty() || known.iter().any(|known| is_itself(&known)) => {}
                None => walk.complain(
                    place.span.clone(),
                    place.path.last().cloned().unwrap_or_default(),
                    "is hidden, and the file has no such secret under this key now; write it out, or fetch the file anew",
                ),
            }
        }
        let revealed = replaced(text, changes.into_iter());
        walk.finish(file, text, revealed)
    }

    /// All texts and comments of a file, in its order.
    fn places(&self, file: &str, text: &str) -> Result<Vec<Place>, Complaints> {
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(_) => return Err(super::parse(file, text).err().unwrap_or_else(|| unreadable(file))),
        };
        let mut places = Vec::new();
        self.walk(&[], document.get_ref(), text, &mut places);
        places.sort_by_key(|place| place.span.start);
        let comments = comments(text, &places);
        places.extend(comments.into_iter().map(|span| self.comment(span, text)));
        places.sort_by_key(|place| place.span.start);
        Ok(places)
    }

    fn walk(&self, tables: &[String], entries: &DeTable<'_>, text: &str, places: &mut Vec<Place>) {
        for (key, value) in entries {
            let path = [tables, &[key.get_ref().to_string()]].concat();
            self.look(&path, value, text, places);
        }
    }

    fn look(&self, path: &[String], value: &toml::Spanned<DeValue<'_>>, text: &str, places: &mut Vec<Place>) {
        match value.get_ref() {
            DeValue::String(string) => {
                let span = value.span();
                let raw = text.get(span.clone()).unwrap_or_default().to_owned();
                let value = string.to_string();
                let shown = if is_hidden(path) { HIDDEN.to_owned() } else { Masked(&value).to_string() };
                let shown = self.marked(shown, &value);
                places.push(Place { span, raw, path: path.to_vec(), value, shown });
            }
            DeValue::Array(items) => {
                items.iter().for_each(|item| self.look(path, item, text, places));
            }
            DeValue::Table(entries) => self.walk(path, entries, text, places),
            _ => {}
        }
    }

    /// What is shown, with a mark that tells which secret it stands for.
    fn marked(&self, shown: String, value: &str) -> String {
        if shown == value {
            return shown;
        }
        let mark = self.mark(value);
        shown.replace(HIDDEN, &format!("{HIDDEN}{}", mark.get(..8).unwrap_or_default()))
    }

    /// A comment; one that sets what is a secret, or speaks of one, is shown without.
    fn comment(&self, span: Range<usize>, text: &str) -> Place {
        let value = text.get(span.clone()).unwrap_or_default().to_owned();
        let inner = value.trim_start_matches('#');
        let begin = value.len() - inner.len();
        let shown = match DeTable::parse(inner) {
            Ok(snippet) => {
                let mut inside = Vec::new();
                self.walk(&[], snippet.get_ref(), inner, &mut inside);
                inside.retain(|place| place.shown != place.value);
                let shown = replaced(inner, inside.iter().map(|place| (&place.span, written(place))));
                format!("{}{shown}", value.get(..begin).unwrap_or_default())
            }
            Err(_) if inner.contains(['"', '\'']) && speaks_of_secrets(inner) => {
                self.marked(format!("# {HIDDEN}"), &value)
            }
            Err(_) => self.marked(Masked(&value).to_string(), &value),
        };
        Place { span, raw: value.clone(), path: Vec::new(), value, shown }
    }
}

fn unreadable(file: &str) -> Complaints {
    Complaints::about_file(file, "cannot be read")
}

fn is_hidden(path: &[String]) -> bool {
    let mut names = path.iter().rev().map(String::as_str);
    let (key, table) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    if let Some((.., is_one)) = ODD.iter().find(|(odd, name, _)| *odd == table && *name == key) {
        return *is_one;
    }
    is_secret(&key.to_ascii_lowercase()) && !OPEN.contains(&key)
}

fn speaks_of_secrets(comment: &str) -> bool {
    let comment = comment.to_ascii_lowercase();
    comment.contains("whsec_") || is_secret(&comment)
}

/// How what is shown of a place is written.
fn written(place: &Place) -> String {
    if place.path.is_empty() {
        place.shown.clone()
    } else {
        toml::Value::String(place.shown.clone()).to_string()
    }
}

/// Where comments are: from a `#` that stands in no text to the end of its line.
fn comments(text: &str, strings: &[Place]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.match_indices('#') {
        let is_inside = strings.iter().any(|place| place.span.contains(&at));
        let is_behind = found.last().is_some_and(|last| at < last.end);
        if !is_inside && !is_behind {
            let end =
                text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| at + length);
            found.push(at..end);
        }
    }
    found
}

/// A text with others in some places, which come in their order.
fn replaced<'a>(text: &str, changes: impl Iterator<Item = (&'a Range<usize>, String)>) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut end = 0;
    for (span, other) in changes {
        whole.push_str(text.get(end..span.start).unwrap_or_default());
        whole.push_str(&other);
        end = span.end;
    }
    whole + text.get(end..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"# Notes: ask Ann.
[tls]
key = "key.pem" # its file
# [api] token = 'canary-0'
#password = "canary-1"
[[user]]
name = "one" # password = "canary-2"
password = "canary-3 #x"
[[user]]
name = "two"
password = { env = "TWO" }
[[route]]
recipient = "a#b@example.com"
url = "https://u:canary-4@h.example/x?token=canary-5&n=1"
auth = "crm"
headers = { Authorization = "Bearer canary-6", X-Plain = "seen" }
[[signing_key]]
secrets = ["""canary-7""", 'canary-8']
[[auth]]
name = "crm"
value = "canary-9"
# password: "canary-10"
[spool]
url = "host=db user=postgate password=canary-11"
"#;

    #[test]
    fn secrets_are_hidden_comments_stay_and_both_come_back() {
        let veil = Veil::new().unwrap();
        let shown = veil.hide("f", FILE).unwrap();
        assert!(!shown.contains("canary"), "{shown}");
        for kept in
            ["# Notes: ask Ann.", "\"key.pem\" # its file", "a#b@example.com", "\"crm\"", "&n=1", "seen"]
        {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        DeTable::parse(&shown).unwrap();
        assert_eq!(veil.reveal("f", &shown, FILE).unwrap(), FILE);
        assert_eq!(veil.hide("f", FILE).unwrap(), shown);
    }

    #[test]
    fn a_secret_follows_its_mark_and_nothing_else_is_taken_for_one() {
        let veil = Veil::new().unwrap();
        let old = "[[user]]\npassword = \"a\"\n[[user]]\npassword = 'b'\n[[user]]\nname = \"***\"\n";
        let shown = veil.hide("f", old).unwrap();
        let marks: Vec<_> = shown.split('"').filter(|text| text.starts_with("***")).collect();
        let turned = format!(
            "[[user]]\npassword = \"{}\"\n[[user]]\npassword = \"{}\"\nnote = \"{}\"",
            marks[1], marks[0], marks[2]
        );
        let revealed = "[[user]]\npassword = 'b'\n[[user]]\npassword = \"a\"\nnote = \"***\"";
        assert_eq!(veil.reveal("f", &turned, old).unwrap(), revealed);
        // Elsewhere it might be shown.
        for place in [
            "password = MARK",
            "[[user]]\nname = MARK",
            "[server]\nhostname = MARK",
            "user.x.password = MARK",
        ] {
            let text = place.replace("MARK", &format!("\"{}\"", marks[0]));
            assert!(veil.reveal("f", &text, old).is_err(), "{place}");
        }
        let comment = format!("# {}\n", marks[0]);
        assert_eq!(veil.reveal("f", &comment, old).unwrap(), comment);
        for unknown in ["***00000000", "******", "***x"] {
            let text = format!("\n password = \"{unknown}\"");
            let complaints = veil.reveal("f", &text, old).unwrap_err().to_string();
            assert!(complaints.starts_with("f:2:13: password: is hidden"), "{complaints}");
        }
        let other = Veil::new().unwrap();
        assert!(other.reveal("f", &shown, old).is_err(), "a mark of another process");
        assert_eq!(veil.hide("f", "a = ").unwrap_err().count(), 1);
    }
}
