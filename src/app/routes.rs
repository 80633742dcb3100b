//! Routes in the words of composing, one for each URL, and in those of the API.

use super::delivery::field;
use super::options::{header_control, octets};
use crate::compose::{self, Check, Endpoint, Entry};
use crate::config::{self, Config, Method, Route};
use serde::Deserialize;
use std::sync::Arc;

/// The routes that one block of the configuration makes; the error names a URL that
/// is not one.
pub(super) fn routes(route: &Route) -> Result<Vec<compose::Route>, String> {
    let entry = entry(route)?;
    let to = |url: &String| {
        Ok(compose::Route {
            priority: route.priority,
            entry: entry.clone(),
            method: method(route.method).to_owned(),
            payload: route.payload.clone(),
            attachments: match route.attachments {
                config::Attachments::Inline => compose::Attachments::Inline,
                config::Attachments::Url => {
                    compose::Attachments::Url { inline_limit: octets(route.inline_limit) }
                }
                config::Attachments::Omit => compose::Attachments::Omit,
            },
            vars: route.words(),
            has_secret_vars: route.has_secret_words(),
            header_control: header_control(route.header_control),
            reports: route.reports,
            headers: route.headers.iter().map(field).collect(),
            order: route.ordering,
            mode: match route.mode {
                config::Mode::Async => compose::Mode::Async,
                config::Mode::Sync => compose::Mode::Sync(compose::Sync {
                    timeout: route.sync_timeout,
                    fallback: route.sync_fallback,
                }),
            },
            // An empty name is none.
            sign_with: route.sign_with.clone().filter(|name| !name.is_empty()),
            auth: route.auth.clone().filter(|name| !name.is_empty()),
            ..compose::Route::new(route.recipient.clone(), endpoint(url)?)
        })
    };
    route.urls.iter().map(to).collect()
}

/// The routes as they are configured, with their secrets hidden.
pub(super) fn shown(config: &Config) -> Vec<serde_json::Value> {
    #[derive(Deserialize)]
    struct Routes {
        #[serde(default)]
        route: Vec<serde_json::Value>,
    }
    // What is written there is TOML.
    toml::from_str(&config::effective(config)).map_or(Vec::new(), |Routes { route }| route)
}

fn entry(route: &Route) -> Result<Entry, String> {
    let check = |check: &config::Check| {
        Ok::<_, String>(Arc::new(Check {
            url: endpoint(&check.url)?,
            format: check.format,
            timeout: check.timeout,
            fallback: check.fallback,
            cache: check.cache,
        }))
    };
    Ok(Entry {
        message_size: route.message_size.map(octets),
        allow_from: route.allow_from.clone(),
        check: route.check.as_ref().map(check).transpose()?,
    })
}

fn endpoint(url: &str) -> Result<Endpoint, String> {
    url.parse().map_err(|error| format!("{url}: {error}"))
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Get => "GET",
        Method::Delete => "DELETE",
    }
}
