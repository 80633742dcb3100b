//! `[[webhook]]`: the same fields, and the same rules for each, as over the API.

use super::super::secret::Secret;
use super::super::settings::Webhook;
use super::super::value::{Size, Written};
use super::super::walk::Section;
use super::super::words::Word;
use super::check_header;
use crate::fanout::webhook::{Batch, Filter, Patterns, Settings, Wrong};
use crate::fanout::{FORMATS, Format};
use crate::tenant::Tenant;
use std::time::Duration;

impl Word for Format {
    const WORDS: &'static [(&'static str, Format)] = &FORMATS;
}

pub(super) fn webhook(mut section: Section<'_>) -> Option<Webhook> {
    let mut settings = Settings::default();
    let url = section.take_required("url", "\"https://shop.example/events\"");
    section.take_one_or_more("events", &mut settings.events);
    section.take("enabled", &mut settings.enabled);
    let secret = section.take_optional::<Secret>("secret");
    section.take("description", &mut settings.description);
    section.take("format", &mut settings.format);
    if let Some(batch) = section.table("batch") {
        settings.batch = self::batch(batch);
    }
    let headers = section.take_pairs("headers", check_header).unwrap_or_default();
    settings.headers = headers.into_iter().collect();
    settings.auth = section.take_optional("auth");
    settings.rate = section.take_optional("rate");
    settings.max_connections = section.take_optional("max_connections");
    if let Some(filter) = section.table("filter") {
        settings.filter = self::filter(filter);
    }
    settings.signature_header = section.take_optional("signature_header");
    let mut tenant = Tenant::default().to_string();
    section.take("tenant", &mut tenant);
    settings.url = url?;
    // Its secret is judged with the others, and is not kept with them.
    let whole = Settings {
        secret: secret.as_ref().map(|secret| secret.value.reveal().to_owned().into()),
        ..settings.clone()
    };
    if let Err(Wrong { field, text }) = whole.check() {
        section.complain(field, text);
    }
    section.finish(&[]);
    Some(Webhook { settings, secret, tenant })
}

fn batch(mut section: Section<'_>) -> Batch {
    let mut batch = Batch::default();
    section.take("max_events", &mut batch.max_events);
    if let Some(size) = section.take_optional::<Size>("max_bytes") {
        batch.max_bytes = size.to_string();
    }
    if let Some(wait) = section.take_optional::<Duration>("max_wait") {
        batch.max_wait = Written(wait).to_string();
    }
    section.finish(&[]);
    batch
}

fn filter(mut section: Section<'_>) -> Filter {
    let mut take = |key| {
        let mut patterns = Vec::new();
        section.take_one_or_more::<String>(key, &mut patterns);
        Patterns::Any(patterns)
    };
    let filter = Filter { tag: take("tag"), destination: take("destination"), recipient: take("recipient") };
    section.finish(&[]);
    filter
}
