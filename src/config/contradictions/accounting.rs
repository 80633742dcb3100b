//! What cannot hold together about files of records.
//!
//! Files that have ended are told by their names, compressed and removed: nobody else's
//! may have such a name. Paths are compared as they are written, without a look at what
//! is there.

use super::super::settings::{Accounting, Config};
use super::super::walk::Section;
use crate::fanout::accounting::Naming;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// What the gateway has in `data_dir`.
const OWN: [&str; 8] =
    ["spool", "journal", "log", "tmp", "accounting", "instance", "webhook-key", "attachment-key"];
/// Of these the one in which others may have files, but not with such a name.
const LOG: (&str, &str) = ("log", "protocol-2026-01-31.log");

/// Where files are, and what they are called.
struct Place {
    directory: PathBuf,
    naming: Naming,
}

pub(super) fn find(config: &Config, root: &mut Section<'_>) {
    let sections = root.one_or_more_tables("accounting").unwrap_or_default();
    if sections.len() != config.accounting.len() {
        return;
    }
    let data = plain(&config.server.data_dir);
    let mut earlier: Vec<Place> = Vec::new();
    for (file, section) in config.accounting.iter().zip(sections) {
        // One that has no name was complained of.
        let Some(place) = place(&config.server.data_dir, file) else { continue };
        if earlier.iter().any(|other| other.meets(&place)) {
            section.complain("path", "another [[accounting]] writes to this path; name one of its own");
        } else if place.is_of_the_gateway(&data) {
            let text = "the gateway has files of its own there; write for example log/acct-%Y-%m-%d.ndjson";
            section.complain("path", text);
        }
        earlier.push(place);
    }
}

fn place(data_dir: &Path, file: &Accounting) -> Option<Place> {
    let naming = Naming::of(&file.path).ok()?;
    let directory = plain(&data_dir.join(&file.path)).parent()?.to_owned();
    Some(Place { directory, naming })
}

impl Place {
    fn meets(&self, other: &Place) -> bool {
        self.directory == other.directory && self.naming.meets(&other.naming)
    }

    fn is_of_the_gateway(&self, data: &Path) -> bool {
        let claims = |name| self.naming.claims(OsStr::new(name));
        let (log, protocol) = LOG;
        let is_below = |own: &&str| **own != *log && self.directory.starts_with(data.join(own));
        self.directory == data && OWN.into_iter().any(claims)
            || self.directory == data.join(log) && claims(protocol)
            || OWN.iter().any(is_below)
    }
}

/// A path from the root, without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}
