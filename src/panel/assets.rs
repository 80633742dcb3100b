//! Style and scripts of the panel, in the program itself.
//!
//! Their names hold a digest of what they are, so that a browser keeps each for good and
//! asks for another after an upgrade. `htmx.min.js` is htmx 2.0.11 as its project publishes it;
//! its licence stands beside it.

use super::Panel;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use data_encoding::HEXLOWER;
use http::{StatusCode, header};
use sha2::{Digest as _, Sha256};

const STYLE: &[u8] = include_bytes!("assets/panel.css");
const SCRIPT: &[u8] = include_bytes!("assets/panel.js");
const CHART: &[u8] = include_bytes!("assets/chart.js");
const CONFIG: &[u8] = include_bytes!("assets/config.js");
const EVENTS: &[u8] = include_bytes!("assets/events.js");
const HTMX: &[u8] = include_bytes!("assets/htmx.min.js");
const ICON: &[u8] = include_bytes!("assets/icon.svg");

/// Names of assets, as pages have them.
pub(super) struct Assets {
    /// How everything looks.
    pub style: String,
    /// Times, and what of a page is stale.
    pub script: String,
    /// What passed lately, drawn.
    pub chart: String,
    /// Lines of a configuration that is edited.
    pub config: String,
    /// Events as they happen.
    pub events: String,
    /// What refreshes parts of pages.
    pub htmx: String,
    /// The mark in a browser's tab.
    pub icon: String,
}

impl Assets {
    /// Those of this program.
    pub(super) fn new() -> Assets {
        Assets {
            style: named("panel", "css", STYLE),
            script: named("panel", "js", SCRIPT),
            chart: named("chart", "js", CHART),
            config: named("config", "js", CONFIG),
            events: named("events", "js", EVENTS),
            htmx: named("htmx", "js", HTMX),
            icon: named("icon", "svg", ICON),
        }
    }

    fn find(&self, name: &str) -> Option<(&'static str, &'static [u8])> {
        let all = [
            (&self.style, "text/css; charset=utf-8", STYLE),
            (&self.script, "text/javascript; charset=utf-8", SCRIPT),
            (&self.chart, "text/javascript; charset=utf-8", CHART),
            (&self.config, "text/javascript; charset=utf-8", CONFIG),
            (&self.events, "text/javascript; charset=utf-8", EVENTS),
            (&self.htmx, "text/javascript; charset=utf-8", HTMX),
            (&self.icon, "image/svg+xml", ICON),
        ];
        all.into_iter().find(|(known, _, _)| *known == name).map(|(_, kind, octets)| (kind, octets))
    }
}

/// `GET /assets/{name}`: for anybody, as there is nothing in them.
pub(super) async fn fetch(State(panel): State<Panel>, Path(name): Path<String>) -> Response {
    let fields = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let Some((kind, octets)) = panel.assets.find(&name) else {
        return (StatusCode::NOT_FOUND, fields, "there is no such asset\n").into_response();
    };
    let kept = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (fields, kept, octets).into_response()
}

fn named(stem: &str, suffix: &str, octets: &[u8]) -> String {
    let digest = HEXLOWER.encode(Sha256::digest(octets).get(..8).unwrap_or_default());
    format!("{stem}.{digest}.{suffix}")
}
