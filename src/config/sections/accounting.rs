//! `[accounting]`: what is written of what happened, and where.

use super::super::secret::Secret;
use super::super::settings::{Accounting, Discretion};
use super::super::value::Size;
use super::super::walk::{Section, nearest};
use super::super::words::Word;
use super::take_time;
use crate::fanout::accounting::accounts::{Layout, Packing};
use crate::fanout::accounting::{Fields, Filter, Naming, RECORD_TYPES, RecordType, column_names};
use std::path::PathBuf;
use std::time::Duration;

/// A file that is smaller holds hardly a record.
const SMALLEST: Size = Size(1 << 10);
/// Shorter times make more files than anybody reads.
const SHORTEST: Duration = Duration::from_secs(60);
/// Addresses are few enough to be tried out under a key that is.
const SHORTEST_KEY: usize = 16;

impl Word for Layout {
    const WORDS: &'static [(&'static str, Layout)] = &[("ndjson", Layout::Ndjson), ("csv", Layout::Csv)];
}

impl Word for Packing {
    const WORDS: &'static [(&'static str, Packing)] = &[("none", Packing::Plain), ("gzip", Packing::Gzip)];
}

impl Word for Discretion {
    const WORDS: &'static [(&'static str, Discretion)] =
        &[("retain", Discretion::Retain), ("redact", Discretion::Redact), ("hmac-sha256", Discretion::Hmac)];
}

impl Word for RecordType {
    const WORDS: &'static [(&'static str, RecordType)] = &RECORD_TYPES;
}

pub(super) fn accounting(mut section: Section<'_>) -> Option<Accounting> {
    let path = section.take_required::<PathBuf>("path", "\"log/acct-%Y-%m-%d.ndjson\"");
    if let Some(Err(text)) = path.as_deref().map(Naming::of) {
        section.complain("path", text);
    }
    let mut accounting = Accounting::at(path.clone().unwrap_or_default());
    section.take("format", &mut accounting.format);
    section.take_list("types", &mut accounting.types);
    if accounting.types.is_empty() {
        section.complain("types", "nothing would be written; name types of records, or leave it out");
    }
    section.take_list("fields", &mut accounting.fields);
    check_fields(&section, &accounting.fields);
    if let Some(filter) = section.table("filter") {
        accounting.filter = self::filter(filter);
    }
    section.take("privacy", &mut accounting.privacy);
    accounting.privacy_key = section.take_optional::<Secret>("privacy_key");
    check_privacy(&section, &accounting);
    section.take("max_size", &mut accounting.max_size);
    if accounting.max_size < SMALLEST {
        section.complain("max_size", format!("too small for records; write at least \"{SMALLEST}\""));
    }
    take_time(&mut section, "rotate", &mut accounting.rotate);
    if accounting.rotate > Duration::ZERO && accounting.rotate < SHORTEST {
        section.complain("rotate", "too many files; write at least \"1m\"");
    }
    take_time(&mut section, "keep", &mut accounting.keep);
    section.take("compress", &mut accounting.compress);
    section.finish(&[]);
    path.map(|_| accounting)
}

fn check_fields(section: &Section<'_>, fields: &[String]) {
    let known: Vec<_> = column_names().collect();
    for (index, field) in fields.iter().enumerate() {
        let Err(name) = Fields::select(&[field]) else { continue };
        let text = match nearest(name.trim_start_matches('!'), &known) {
            Some(near) => format!("{name:?} is no column; did you mean {near}?"),
            None => format!("{name:?} is no column; those are {}", known.join(", ")),
        };
        section.complain_element("fields", index, text);
    }
    if fields.is_empty() {
        section.complain("fields", "nothing but the type would be written; name columns, or leave it out");
    }
}

fn check_privacy(section: &Section<'_>, accounting: &Accounting) {
    match (accounting.privacy, &accounting.privacy_key) {
        // One that is there and bad was complained of.
        (Discretion::Hmac, None) if !section.has("privacy_key") => {
            section.complain("privacy", "hmac-sha256 needs a key; add privacy_key = { file = \"path\" }");
        }
        (Discretion::Hmac, Some(key)) if key.value.reveal().len() < SHORTEST_KEY => {
            let text = format!("addresses could be tried out; write at least {SHORTEST_KEY} octets");
            section.complain("privacy_key", text);
        }
        (Discretion::Retain | Discretion::Redact, Some(_)) => {
            section.complain("privacy_key", "nothing uses it; write privacy = \"hmac-sha256\", or remove it");
        }
        _ => {}
    }
}

fn filter(mut section: Section<'_>) -> Filter {
    let lists = Filter::FIELDS.map(|field| {
        let mut list = Vec::new();
        section.take_one_or_more::<String>(field, &mut list);
        list
    });
    let filter = Filter::of(lists).unwrap_or_else(|bad| {
        section.complain_element(bad.field, bad.index, bad.text);
        Filter::default()
    });
    section.finish(&[]);
    filter
}
