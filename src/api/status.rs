//! `GET /status`: the figures that operators of mail servers watch, at one look.
//!
//! They are counted while mail passes; looking costs what there are destinations, not
//! what there are posts. `?format=json` spells them as PowerMTA's monitoring does, for
//! programs that know that. A tenant is told of its own queue alone.

use super::ask::Asked;
use super::caller::Caller;
use super::desk::Desk;
use super::problem::{Problem, json};
use crate::clock;
use crate::fanout::accounting::accounts::{Accounts, Standing};
use crate::metrics::{Flow, Turnstile, Volume};
use crate::spool::{Health, Usage};
use crate::tenant::Tenant;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// Where mail is taken, and how.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Listener {
    /// An address and a port, or the path of a socket.
    pub address: String,
    /// `smtp` or `lmtp`.
    #[schemars(extend("enum" = ["smtp", "lmtp"]))]
    pub protocol: &'static str,
    /// When it is encrypted: `none`, `starttls` or `implicit`.
    #[schemars(extend("enum" = ["none", "starttls", "implicit"]))]
    pub tls: &'static str,
    /// Where this machine itself reaches it, `HOST:PORT` or `unix:/path`; nothing when only
    /// proxies do.
    #[serde(skip)]
    pub reached_at: Option<String>,
}

/// The query of `GET /status`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Format {
    #[schemars(extend("enum" = ["json"]))]
    format: Option<String>,
}

/// `GET /status`
pub(super) async fn show(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(Format { format }): Asked<Format>,
) -> Result<Response, Problem> {
    let figures = figures(&desk, caller.tenant.as_ref()).await?;
    match format.as_deref() {
        None => Ok(json(StatusCode::OK, &figures.told())),
        Some("json") => Ok(json(StatusCode::OK, &envelope(figures.told_as_powermta()))),
        Some(_) => Err(Problem::bad_field("format", "write json, or leave it out")),
    }
}

/// An answer as PowerMTA wraps it.
pub(super) fn envelope(data: Value) -> Value {
    json!({ "data": data, "status": "success", "message": "" })
}

/// Everything that is shown.
pub(super) struct Figures {
    age: Duration,
    state: &'static str,
    queue: Queue,
    /// What is nobody's alone.
    common: Option<Common>,
}

/// Posts of each state, and where they go.
#[derive(Default)]
struct Queue {
    waiting: u64,
    sending: u64,
    held: u64,
    failed: u64,
    destinations: usize,
    hosts: usize,
}

struct Common {
    incoming: Flow,
    outgoing: Flow,
    clients: Heads,
    connections: Heads,
    spool: Option<Usage>,
    accounting: Vec<Standing>,
    listeners: Vec<Listener>,
}

/// Connections: now, allowed (0: no limit), at most so far.
struct Heads {
    cur: usize,
    max: usize,
    top: usize,
}

impl Heads {
    fn at(turnstile: &Turnstile) -> Heads {
        let (cur, top) = turnstile.heads();
        Heads { cur, max: turnstile.most(), top }
    }

    fn told(&self) -> Value {
        json!({ "cur": self.cur, "max": self.max, "top": self.top })
    }
}

/// Takes all figures.
pub(super) async fn figures(desk: &Desk, tenant: Option<&Tenant>) -> Result<Figures, Problem> {
    let mut queue = Queue::default();
    let mut hosts = HashSet::new();
    for (lane, counts) in desk.spool.counts().await? {
        if tenant.is_some_and(|tenant| *tenant != lane.tenant) {
            continue;
        }
        queue.waiting += counts.waiting;
        queue.sending += counts.sending;
        queue.held += counts.held;
        queue.failed += counts.failed;
        queue.destinations += 1;
        hosts.insert(lane.host.clone());
    }
    queue.hosts = hosts.len();
    let metrics = &desk.metrics;
    let common = match tenant {
        Some(_) => None,
        None => Some(Common {
            incoming: metrics.incoming.flow(),
            outgoing: metrics.outgoing.flow(),
            clients: Heads::at(&metrics.clients),
            connections: Heads::at(&metrics.connections),
            spool: desk.spool.usage().await?,
            accounting: desk.options.accounts.as_ref().map(Accounts::standings).unwrap_or_default(),
            listeners: desk.options.listeners.clone(),
        }),
    };
    let state = match *desk.spool.health().borrow() {
        Health::Open => "running",
        Health::Full => "full",
        Health::Failed(_) => "failed",
    };
    Ok(Figures { age: metrics.incoming.age(), state, queue, common })
}

impl Figures {
    /// In our own words; kB are 1,024 octets.
    pub(super) fn told(&self) -> Value {
        let now = clock::wall();
        let queue = &self.queue;
        let mut told = json!({
            "product": "Postgate",
            "version": env!("CARGO_PKG_VERSION"),
            "status": self.state,
            "now": clock::rfc3339(now),
            "started_at": clock::rfc3339(now.before(self.age)),
            "uptime": self.age.as_secs(),
            "queue": {
                "waiting": queue.waiting,
                "sending": queue.sending,
                "held": queue.held,
                "failed": queue.failed,
                "destinations": queue.destinations,
            },
        });
        if let (Some(common), Some(told)) = (&self.common, told.as_object_mut()) {
            let spans = ["total", "last_hour", "last_minute", "peak_hour", "peak_minute"];
            told.insert("traffic".to_owned(), common.traffic(spans, ["posts", "messages", "kb"]));
            let connections = json!({ "in": common.clients.told(), "out": common.connections.told() });
            told.insert("connections".to_owned(), connections);
            told.insert("spool".to_owned(), common.spool.as_ref().map_or(Value::Null, disk));
            told.insert("accounting".to_owned(), common.accounting.iter().map(records).collect());
            told.insert("listeners".to_owned(), json!(common.listeners));
        }
        told
    }

    /// In the words of PowerMTA's `/status?format=json`: `data` of it.
    pub(super) fn told_as_powermta(&self) -> Value {
        let now = clock::wall();
        let queue = &self.queue;
        let posts = queue.waiting + queue.sending + queue.held;
        let living = self.common.as_ref().and_then(|common| common.spool).unwrap_or_default().living;
        let waiting = json!({ "rcp": posts, "dom": queue.hosts, "kb": kilobytes(living) });
        let mut status = json!({
            "timeNow": clock::rfc3339(now),
            "startupTime": clock::rfc3339(now.before(self.age)),
            "shuttingDown": false,
            "queue": { "httpDelivery": waiting },
            "status": self.state,
        });
        if let (Some(common), Some(status)) = (&self.common, status.as_object_mut()) {
            let spans = ["total", "lastHr", "lastMin", "topPerHr", "topPerMin"];
            status.insert("traffic".to_owned(), common.traffic(spans, ["rcp", "msg", "kb"]));
            let conn = json!({ "smtpIn": common.clients.told(), "smtpOut": common.connections.told() });
            status.insert("conn".to_owned(), conn);
            let usage = common.spool.unwrap_or_default();
            let spool = json!({
                "initPct": if usage.is_read { 100 } else { 0 },
                "dirs": 1,
                "files": {
                    "inUse": usage.files_in_use,
                    "recycled": usage.files.saturating_sub(usage.files_in_use),
                    "total": usage.files,
                },
                "totalRcp": posts + queue.failed,
                "maxRcp": 0,
            });
            status.insert("spool".to_owned(), spool);
        }
        let mut mta = json!({ "product": { "name": "Postgate", "version": env!("CARGO_PKG_VERSION") } });
        if let (Some(_), Some(mta)) = (&self.common, mta.as_object_mut()) {
            mta.extend(machine());
        }
        json!({ "mta": mta, "status": status })
    }
}

/// What the gateway runs on, in the words of PowerMTA.
fn machine() -> Map<String, Value> {
    let system = rustix::system::uname();
    let [os, release, host, machine] =
        [system.sysname(), system.release(), system.nodename(), system.machine()]
            .map(|text| text.to_string_lossy().into_owned());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    Map::from_iter([
        ("os".to_owned(), json!({ "name": os, "version": release })),
        ("cpu".to_owned(), json!({ "type": machine, "count": count })),
        ("fullHostName".to_owned(), Value::from(host)),
    ])
}

impl Common {
    /// What went in and out in each span, in three units.
    fn traffic(&self, spans: [&str; 5], units: [&str; 3]) -> Value {
        let of = |flow: &Flow| {
            [flow.total, flow.last_hour, flow.last_minute, flow.peak_hour, flow.peak_minute]
                .map(|volume| in_units(volume, units))
        };
        let both = of(&self.incoming).into_iter().zip(of(&self.outgoing));
        let told = spans.into_iter().zip(both).map(|(span, (incoming, outgoing))| {
            (span.to_owned(), json!({ "in": incoming, "out": outgoing }))
        });
        Value::Object(told.collect())
    }
}

fn in_units(volume: Volume, [posts, messages, kb]: [&str; 3]) -> Value {
    json!({ posts: volume.posts, messages: volume.messages, kb: kilobytes(volume.octets) })
}

/// With one decimal.
fn kilobytes(octets: u64) -> f64 {
    (octets as f64 / 102.4).round() / 10.0
}

fn disk(usage: &Usage) -> Value {
    json!({
        "size": usage.octets,
        "living": usage.living,
        "files": usage.files,
        "disk_free": usage.free,
        "disk_size": usage.total,
        "is_read": usage.is_read,
        "damages": usage.damages,
    })
}

fn records(standing: &Standing) -> Value {
    json!({
        "path": standing.path,
        "file": standing.file,
        "state": if standing.trouble.is_some() { "failing" } else { "writing" },
        "error": standing.trouble,
        "position": standing.position,
        "behind": standing.behind,
        "records": standing.records,
        "failures": standing.failures,
        "lost": standing.lost,
    })
}
