//! `/`: how the gateway does, worst first.
//!
//! What needs somebody stands at the top, each with the page where it is mended. It asks
//! for the queue and the foremost destinations, at most once a second for all tabs of a
//! key.

use super::layout::{self, Answer, Frame};
use super::looks::Age;
use super::shapes::{Destination, Destinations, Span, Status, Subscriber, Subscribers};
use super::visit::{Visit, Who};
use super::words;
use askama::Template;
use axum::extract::RawQuery;

/// Destinations in each list.
const FEW: usize = 8;

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    live: Live,
    /// What passed is told of all tenants together, or not at all.
    has_charts: bool,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "overview_live.html")]
struct LivePiece {
    live: Live,
}

/// What changes while one looks.
struct Live {
    status: Status,
    findings: Vec<Finding>,
    troubled: Vec<Destination>,
    /// Those beyond the list.
    more_troubled: u64,
    busiest: Vec<Destination>,
    /// When the oldest post was accepted that waits.
    oldest: Option<String>,
    may_send: bool,
}

/// Something that somebody may want to do something about.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    weight: Weight,
    text: String,
    link: &'static str,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Nothing gets better by itself.
    Bad,
    /// It may get better by itself.
    Warn,
    /// Somebody wanted it so.
    Note,
    /// It is as it should be.
    Good,
}

impl Weight {
    /// As style sheets name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Weight::Bad => "bad",
            Weight::Warn => "warn",
            Weight::Note => "note",
            Weight::Good => "good",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Weight::Bad => "Problem",
            Weight::Warn => "Warning",
            Weight::Note => "Note",
            Weight::Good => "Good",
        }
    }
}

/// `GET /`
pub(super) async fn show(visit: Visit) -> Answer {
    let has_charts = visit.who.as_ref().is_some_and(|who| who.sees_all);
    layout::page(&OverviewPage {
        frame: visit.frame("Overview"),
        live: look(&visit, Age::New).await?,
        has_charts,
    })
}

/// `GET /overview/live`: the part of it that is refreshed.
pub(super) async fn live(visit: Visit) -> Answer {
    layout::page(&LivePiece { live: look(&visit, Age::Recent).await? })
}

/// `GET /history`: what the charts draw.
pub(super) async fn history(visit: Visit, RawQuery(query): RawQuery) -> Answer {
    visit.pass(&format!("/api/v1/history?{}", query.unwrap_or_default())).await
}

async fn look(visit: &Visit, age: Age) -> Result<Live, super::trouble::Trouble> {
    let status: Status = visit.look("/api/v1/status", age).await?;
    let path = |order| format!("/api/v1/destinations?order={order}&limit={FEW}");
    let worst: Destinations = visit.look(&path("worst"), age).await?;
    let busiest: Destinations = visit.look(&path("busiest"), age).await?;
    // Where there can be none, none is in trouble.
    let Subscribers { webhooks } = visit.look("/api/v1/webhooks", age).await.unwrap_or_default();
    let findings = findings(&status, &worst, &webhooks);
    let all = worst.in_trouble.destinations + worst.slowed.destinations;
    let (oldest, mut troubled) = (worst.oldest, worst.destinations);
    troubled.retain(|destination| destination.trouble().is_some());
    let more_troubled = all.saturating_sub(troubled.len() as u64);
    let mut busiest = busiest.destinations;
    busiest.retain(|destination| destination.trouble().is_none());
    let may_send = visit.who.as_ref().is_some_and(Who::may_send);
    Ok(Live { status, findings, troubled, more_troubled, busiest, oldest, may_send })
}

/// What needs somebody, the worst first.
fn findings(status: &Status, destinations: &Destinations, webhooks: &[Subscriber]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |weight, text, link| found.push(Finding { weight, text, link });
    match status.status.as_str() {
        "full" => {
            say(Weight::Bad, "The disk is full: no mail is taken until there is room.".to_owned(), "/posts")
        }
        "failed" => {
            let text = "The spool cannot be written: no mail is taken. The operational log says why.";
            say(Weight::Bad, text.to_owned(), "/posts");
        }
        _ => {}
    }
    if let Some(damages) = status.spool.as_ref().map(|spool| spool.damages).filter(|damages| *damages > 0) {
        let damages = words::counted(damages, "damage");
        let text = format!("{damages} of the spool since the start: the log says what is lost.");
        say(Weight::Bad, text, "/");
    }
    for accounting in status.accounting.iter().filter(|accounting| accounting.state == "failing") {
        let error = accounting.error.as_deref().unwrap_or("the log says why");
        say(Weight::Bad, format!("Accounting cannot write {}: {error}", accounting.path), "/");
    }
    for (weight, group, what) in [
        (Weight::Warn, &destinations.in_trouble, "in trouble"),
        (Weight::Note, &destinations.slowed, "paused or slowed"),
    ] {
        if group.destinations > 0 {
            let places = words::counted(group.destinations, "destination");
            let posts = words::counted(group.queued, "post");
            say(weight, format!("{places} {what}; {posts} waiting"), "/destinations");
        }
    }
    for (weight, state, what) in [
        (Weight::Warn, "failing", "whose receiver does not take events"),
        (Weight::Warn, "disabled", "disabled, as its receiver took nothing for days"),
        (Weight::Note, "unverified", "whose receiver has not been asked"),
    ] {
        // Whoever disabled one knows.
        let is_wanted = |one: &&Subscriber| one.disabled_reason.as_deref() == Some("by request");
        let counts = |one: &&Subscriber| one.status == state && !is_wanted(one);
        let count = webhooks.iter().filter(counts).count() as u64;
        if count > 0 {
            say(weight, format!("{} {what}", words::counted(count, "webhook")), "/webhooks");
        }
    }
    if status.queue.failed > 0 {
        let text =
            format!("{} failed for good and kept for you", words::counted(status.queue.failed, "post"));
        say(Weight::Warn, text, "/posts?state=failed");
    }
    if status.queue.held > 0 {
        let text = format!("{} held back until released", words::counted(status.queue.held, "post"));
        say(Weight::Note, text, "/posts?state=held");
    }
    found.sort_by_key(|finding| finding.weight);
    found
}

impl Destination {
    /// How bad it is with it, if it is.
    pub(super) fn trouble(&self) -> Option<Weight> {
        match self.standing.as_str() {
            "trouble" => Some(Weight::Warn),
            "slowed" => Some(Weight::Note),
            _ => None,
        }
    }
}

impl Live {
    /// Rows of the table of traffic.
    fn spans(&self) -> Vec<(&'static str, &Span)> {
        let traffic = self.status.traffic.iter();
        traffic
            .flat_map(|traffic| {
                [
                    ("Last minute", &traffic.last_minute),
                    ("Last hour", &traffic.last_hour),
                    ("Best minute", &traffic.peak_minute),
                    ("Best hour", &traffic.peak_hour),
                    ("Since the start", &traffic.total),
                ]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::{Group, Queue, Spool};
    use super::*;

    #[test]
    fn the_worst_comes_first_and_a_calm_gateway_says_nothing() {
        let mut status = Status { status: "running".to_owned(), ..Status::default() };
        assert_eq!(findings(&status, &Destinations { total: 3, ..Destinations::default() }, &[]), []);
        status.queue = Queue { held: 1, failed: 1200, ..Queue::default() };
        status.status = "full".to_owned();
        status.spool = Some(Spool { damages: 3, ..Spool::default() });
        let group = |destinations, queued| Group { destinations, queued };
        let destinations =
            Destinations { in_trouble: group(2, 6), slowed: group(1, 3), ..Destinations::default() };
        let hook = |status: &str, reason: Option<&str>| Subscriber {
            status: status.to_owned(),
            disabled_reason: reason.map(str::to_owned),
        };
        let hooks = [
            hook("failing", None),
            hook("disabled", Some("failing for 5 days")),
            hook("disabled", Some("by request")),
            hook("active", None),
        ];
        let all = findings(&status, &destinations, &hooks);
        let texts: Vec<_> = all.iter().map(|finding| (finding.weight, finding.text.as_str())).collect();
        assert_eq!(
            texts,
            [
                (Weight::Bad, "The disk is full: no mail is taken until there is room."),
                (Weight::Bad, "3 damages of the spool since the start: the log says what is lost."),
                (Weight::Warn, "2 destinations in trouble; 6 posts waiting"),
                (Weight::Warn, "1 webhook whose receiver does not take events"),
                (Weight::Warn, "1 webhook disabled, as its receiver took nothing for days"),
                (Weight::Warn, "1,200 posts failed for good and kept for you"),
                (Weight::Note, "1 destination paused or slowed; 3 posts waiting"),
                (Weight::Note, "1 post held back until released"),
            ]
        );
    }
}
