//! Style and scripts of the panel, in the program itself.
//!
//! Their names hold a digest of what they are, so that a browser keeps each for good and
//! asks for another after an upgrade. `htmx.min.js` is htmx 2.0.11, and `uplot.min.js` and
//! `uplot.min.css` are uPlot 1.6.32 (its `dist/uPlot.iife.min.js`), as their projects publish
//! them on npm. The licence of each stands beside it, and is handed out with it as
//! `/assets/htmx.LICENSE` and `/assets/uplot.LICENSE`: that of uPlot asks for it in all copies.
//!
//! Who takes gzip gets it: it makes all of them a third. There are no secrets in them. Pages
//! have some, and are sent as they are: how far they shrink would tell of them (BREACH).

use super::Panel;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::{Compression, GzBuilder};
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;

/// One of them, which is written as its name.
pub(super) struct Asset {
    name: String,
    kind: &'static str,
    /// How long a browser keeps it.
    kept: &'static str,
    octets: &'static [u8],
    /// The same in gzip, since somebody asked for it; nothing where that failed.
    packed: OnceLock<Option<Bytes>>,
}

/// Of a name that is never given to anything else.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// Those of this program.
pub(super) struct Assets {
    /// How everything looks.
    pub style: Asset,
    /// Times, and what of a page is stale.
    pub script: Asset,
    /// What draws charts.
    pub uplot: Asset,
    /// Where it puts what it draws.
    pub uplot_style: Asset,
    /// What passed lately, told and drawn.
    pub chart: Asset,
    /// Lines of a configuration that is edited.
    pub config: Asset,
    /// Events as they happen.
    pub events: Asset,
    /// What refreshes parts of pages.
    pub htmx: Asset,
    /// The mark in a browser's tab.
    pub icon: Asset,
    /// Of what others wrote, by names that stay.
    licences: [Asset; 2],
}

impl Assets {
    pub(super) fn new() -> Assets {
        Assets {
            style: Asset::new("panel", "css", include_bytes!("assets/panel.css")),
            script: Asset::new("panel", "js", include_bytes!("assets/panel.js")),
            uplot: Asset::new("uplot", "js", include_bytes!("assets/uplot.min.js")),
            uplot_style: Asset::new("uplot", "css", include_bytes!("assets/uplot.min.css")),
            chart: Asset::new("chart", "js", include_bytes!("assets/chart.js")),
            config: Asset::new("config", "js", include_bytes!("assets/config.js")),
            events: Asset::new("events", "js", include_bytes!("assets/events.js")),
            htmx: Asset::new("htmx", "js", include_bytes!("assets/htmx.min.js")),
            icon: Asset::new("icon", "svg", include_bytes!("assets/icon.svg")),
            licences: [
                Asset::licence("htmx.LICENSE", include_bytes!("assets/htmx.LICENSE")),
                Asset::licence("uplot.LICENSE", include_bytes!("assets/uplot.LICENSE")),
            ],
        }
    }

    fn find(&self, name: &str) -> Option<&Asset> {
        let Assets { style, script, uplot, uplot_style, chart, config, events, htmx, icon, licences } = self;
        let all = [style, script, uplot, uplot_style, chart, config, events, htmx, icon];
        all.into_iter().chain(licences).find(|asset| asset.name == name)
    }
}

impl Asset {
    fn new(stem: &str, suffix: &str, octets: &'static [u8]) -> Asset {
        let digest = HEXLOWER.encode(Sha256::digest(octets).get(..8).unwrap_or_default());
        let kind = match suffix {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        let name = format!("{stem}.{digest}.{suffix}");
        Asset { name, kind, kept: FOR_GOOD, octets, packed: OnceLock::new() }
    }

    /// One that people look for by its name.
    fn licence(name: &str, octets: &'static [u8]) -> Asset {
        let kind = "text/plain; charset=utf-8";
        Asset { name: name.to_owned(), kind, kept: "no-cache", octets, packed: OnceLock::new() }
    }

    /// In gzip, made once: 50 kB take a few milliseconds.
    fn packed(&self) -> Option<Bytes> {
        let pack = || {
            let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
            encoder.write_all(self.octets).ok()?;
            encoder.finish().ok().map(Bytes::from)
        };
        self.packed.get_or_init(pack).clone()
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// `GET /assets/{name}`: for anybody, as there is nothing in them.
pub(super) async fn fetch(
    State(panel): State<Panel>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let fields = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let Some(asset) = panel.assets.find(&name) else {
        return (StatusCode::NOT_FOUND, fields, "there is no such asset\n").into_response();
    };
    let kept = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, asset.kept),
        (header::VARY, "accept-encoding"),
    ];
    match takes_gzip(&headers).then(|| asset.packed()).flatten() {
        Some(packed) => (fields, kept, [(header::CONTENT_ENCODING, "gzip")], packed).into_response(),
        None => (fields, kept, asset.octets).into_response(),
    }
}

/// Whether `Accept-Encoding` names gzip, and not to refuse it (RFC 9110 section 12.5.3). Who
/// takes whatever there is (`*`) gets it as it is, unless that (`identity`) is refused.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|field| field.to_str().ok());
    let codings: Vec<_> = fields.flat_map(|field| field.split(',')).filter_map(coding).collect();
    let takes = |wanted: &str| {
        codings.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|&(_, is_taken)| is_taken)
    };
    takes("gzip").unwrap_or(takes("*") == Some(true) && takes("identity") == Some(false))
}

/// The name of a coding, and whether it is taken: whether its weight is above zero. Nothing
/// of what is written otherwise than in section 12.4.2.
fn coding(text: &str) -> Option<(&str, bool)> {
    let Some((name, weight)) = text.split_once(';') else { return Some((text.trim(), true)) };
    let (q, weight) = weight.trim().split_once('=')?;
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    let is_part = part.len() <= 3 && part.bytes().all(|digit| digit.is_ascii_digit());
    let has_more = part.bytes().any(|digit| digit != b'0');
    let is_taken = match whole {
        "0" => has_more,
        "1" if !has_more => true,
        _ => return None,
    };
    (q.eq_ignore_ascii_case("q") && is_part).then_some((name.trim(), is_taken))
}
