//! `[[route]]`, key by key.

use super::super::settings::{Check, Route};
use super::super::value::Size;
use super::super::walk::Section;
use super::{check_header, check_url, check_var, take_time};
use crate::compose::Pattern;
use std::time::Duration;

/// URLs of one route.
const MOST_URLS: usize = 100;
const URL: &str = "https://shop.example/inbound";

pub(super) fn route(mut section: Section<'_>) -> Option<Route> {
    let recipient = recipient(&mut section);
    let urls = urls(&mut section);
    let is_whole = recipient.is_some() && !urls.is_empty();
    // What stands for it is not kept.
    let missing = || "*@invalid".parse::<Pattern>().ok();
    let mut route = Route { urls, ..Route::new(recipient.or_else(missing)?, String::new()) };
    section.take("priority", &mut route.priority);
    section.take("method", &mut route.method);
    section.take("payload", &mut route.payload);
    section.take("attachments", &mut route.attachments);
    section.take("inline_limit", &mut route.inline_limit);
    route.vars = section.take_pairs("vars", check_var).unwrap_or_default();
    section.take("header_control", &mut route.header_control);
    route.headers = section.take_pairs("headers", check_header).unwrap_or_default();
    route.sign_with = section.take_optional("sign_with");
    route.auth = section.take_optional("auth");
    section.take("reports", &mut route.reports);
    section.take("ordering", &mut route.ordering);
    section.take("mode", &mut route.mode);
    take_time(&mut section, "sync_timeout", &mut route.sync_timeout);
    // RFC 5321 section 4.5.3.2.6: a client waits for ten minutes.
    if route.sync_timeout > Duration::from_secs(300) {
        section.complain("sync_timeout", "longer than clients wait; write at most \"5m\"");
    }
    section.take("sync_fallback", &mut route.sync_fallback);
    section.take_some("message_size", &mut route.message_size);
    if route.message_size == Some(Size(0)) {
        section.complain("message_size", "0 would let nothing through; remove the key for no limit");
    }
    section.take_one_or_more("allow_from", &mut route.allow_from);
    route.check = check(&mut section);
    section.finish(&[]);
    is_whole.then_some(route)
}

/// `recipient` or `regex`.
fn recipient(section: &mut Section<'_>) -> Option<Pattern> {
    let has_regex = section.has("regex");
    if has_regex && section.has("recipient") {
        section.complain("regex", "there is a recipient; remove one of the two");
    }
    let regex: Option<String> = section.take_optional("regex");
    let regex = regex.map(|text| Pattern::regex(&text));
    if let Some(Err(text)) = &regex {
        section.complain("regex", format!("{text}; write one such as '^order-(\\d+)@hooks\\.example$'"));
    }
    let address = match has_regex {
        true => section.take_optional::<Pattern>("recipient"),
        false => section.take_required::<Pattern>("recipient", "\"orders@hooks.example\""),
    };
    regex.and_then(Result::ok).or(address)
}

fn urls(section: &mut Section<'_>) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    if section.has("url") {
        section.take_one_or_more("url", &mut urls);
        if section.count("url") == 0 {
            section.complain("url", format!("an empty list; write one or more such as {URL:?}"));
        }
    } else {
        section.take_required::<String>("url", &format!("{URL:?}"));
    }
    if urls.len() > MOST_URLS {
        section.complain("url", format!("too many; name at most {MOST_URLS}"));
    }
    // An element of a wrong type was left out and told about: places would be wrong.
    let is_whole = section.count("url") == urls.len();
    for (index, url) in urls.iter().enumerate() {
        let index = if is_whole { index } else { usize::MAX };
        if let Err(text) = check_url(url, URL) {
            section.complain_element("url", index, text);
        }
        if urls.iter().take(index).any(|other| other == url) {
            section.complain_element("url", index, "it is there already; remove one");
        }
    }
    urls
}

fn check(section: &mut Section<'_>) -> Option<Check> {
    let url: Option<String> = section.take_optional("check_url");
    if let Some(Err(text)) = url.as_deref().map(|url| check_url(url, "https://shop.example/recipients")) {
        section.complain("check_url", text);
    }
    let is_asked_for = url.is_some();
    let mut check = Check::new(url.unwrap_or_default());
    section.take("check_format", &mut check.format);
    take_time(section, "check_timeout", &mut check.timeout);
    if check.timeout > Duration::from_secs(60) {
        section.complain("check_timeout", "longer than a client should wait; write at most \"60s\"");
    }
    section.take("check_fallback", &mut check.fallback);
    section.take("check_cache", &mut check.cache);
    if check.cache > Duration::from_hours(24) {
        section.complain("check_cache", "longer than an answer can count; write at most \"1d\"");
    }
    is_asked_for.then_some(check)
}
