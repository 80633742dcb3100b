//! What filters look for in an event: patterns, read once and then only compared.
//!
//! A rule. `*` stands for any characters; tags and tenants are compared as they are,
//! forward-paths without case, destinations by their origin. What an event does not say
//! fits no pattern of it.

use super::Told;
use super::settings::{Filter, Patterns, Wrong, wrong};
use crate::url_pattern::UrlPattern;

/// A pattern of one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pattern {
    Tenant(String),
    Tag(String),
    Destination(UrlPattern),
    /// In lower case.
    Recipient(String),
}

impl Pattern {
    /// One of destinations; the error says what to write instead.
    pub fn destination(text: &str) -> Result<Pattern, String> {
        text.parse().map(Pattern::Destination)
    }

    /// One of forward-paths.
    pub fn recipient(text: &str) -> Pattern {
        Pattern::Recipient(text.to_lowercase())
    }

    /// Whether an event is about what is meant.
    pub fn fits(&self, told: &Told) -> bool {
        match self {
            Pattern::Tenant(pattern) => is_like(told.event().tenant.as_str(), pattern),
            Pattern::Tag(pattern) => told.tags().iter().any(|tag| is_like(tag, pattern)),
            Pattern::Destination(pattern) => told.origin().is_some_and(|origin| pattern.covers(origin)),
            Pattern::Recipient(pattern) => told.recipient().is_some_and(|it| is_like(it, pattern)),
        }
    }
}

/// The filter of a webhook, read: for each field that it names, what is let through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sieve(Vec<Vec<Pattern>>);

impl Sieve {
    /// That of a filter.
    pub fn of(filter: &Filter) -> Result<Sieve, Wrong> {
        let texts = Patterns::texts;
        let tags = texts(&filter.tag).iter().cloned().map(Pattern::Tag).collect();
        let destination = |text: &String| {
            Pattern::destination(text).or_else(|bad| wrong("filter", format!("destination: {bad}")))
        };
        let destinations: Result<_, _> = texts(&filter.destination).iter().map(destination).collect();
        let recipients = texts(&filter.recipient).iter().map(|text| Pattern::recipient(text)).collect();
        let fields: [Vec<_>; 3] = [tags, destinations?, recipients];
        Ok(Sieve(fields.into_iter().filter(|field| !field.is_empty()).collect()))
    }

    /// Whether an event is about what is meant.
    pub fn lets_through(&self, told: &Told) -> bool {
        self.0.iter().all(|field| field.iter().any(|pattern| pattern.fits(told)))
    }
}

/// Whether a text is like a pattern, in which `*` stands for any characters; linear in
/// both for each `*`.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut pieces: Vec<_> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}
