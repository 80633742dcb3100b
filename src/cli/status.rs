//! `postgate status`: how a running gateway does, at one look or at one after the other.

use super::api_client::Place;
use super::table::{table, text};
use super::{Failure, block_on, destination, say, screen};
use crate::config;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// Show how a running gateway does: traffic, connections, queue, disk
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate status
  postgate status --watch              with what a second brings, and the busiest destinations
  postgate status --watch=500ms
  postgate status --json")]
pub(super) struct Arguments {
    /// Look again and again, until it is ended with Ctrl-C
    #[arg(
        long,
        short,
        value_name = "INTERVAL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s",
        value_parser = interval
    )]
    watch: Option<Duration>,
    #[command(flatten)]
    place: Place,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = config::duration(text).filter(|interval| !interval.is_zero());
    interval.ok_or_else(|| "write a duration such as 500ms or 5s".to_owned())
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { watch: interval, place } = arguments;
    block_on(async move {
        if let Some(interval) = interval {
            return watch(&place, interval).await;
        }
        let status = place.connect().await?.get("/status").await?;
        if place.json {
            return Ok(say(status)?);
        }
        Ok(say(told(&status, None))?)
    })
}

/// A look, and when it was.
type Look = (Value, Instant);

/// Destinations below a look.
const DESTINATIONS: usize = 20;

/// The first look fails as a single one does; later a gateway may come back. A program, which
/// reads JSON, is told by the exit code.
async fn watch(place: &Place, interval: Duration) -> Result<(), Failure> {
    let mut last: Option<Look> = None;
    let mut ticks = tokio::time::interval(interval);
    // A gateway that was slow to answer is not asked the more often for it.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answered = async {
            let mut client = place.connect().await?;
            let status = client.get("/status").await?;
            let path = format!("/destinations?order=busiest&limit={DESTINATIONS}");
            Ok::<_, Failure>((status, client.get(&path).await?))
        };
        match answered.await {
            Ok((status, _)) if place.json => say(status)?,
            Ok((status, destinations)) => {
                let blocks = [told(&status, last.as_ref()), destination::told(&destinations)];
                screen::show(&blocks.join("\n\n"))?;
                last = Some((status, Instant::now()));
            }
            Err(failure) if place.json || last.is_none() => return Err(failure),
            Err(failure) => screen::show(&failure.text)?,
        }
    }
}

/// Spans of time, as the answer and as people call them.
const SPANS: [(&str, &str); 5] = [
    ("total", "total"),
    ("last_hour", "last hour"),
    ("last_minute", "last minute"),
    ("peak_hour", "peak per hour"),
    ("peak_minute", "peak per minute"),
];

/// Blocks of a table each, with a blank line between. What a second brought since the
/// `last` look, when there was one.
fn told(status: &Value, last: Option<&Look>) -> String {
    let at = |path: &str| status.pointer(path).cloned().unwrap_or_default();
    let mut blocks = vec![format!(
        "{} {} is {}, up {}",
        text(status, "product"),
        text(status, "version"),
        text(status, "status"),
        lasting(at("/uptime").as_u64().unwrap_or_default())
    )];
    if status.get("traffic").is_some() {
        let rows = SPANS.map(|(span, name)| {
            volumes(name, |way, unit| text(&at(&format!("/traffic/{span}/{way}")), unit))
        });
        let rows: Vec<_> = last.map(|last| each_second(status, last)).into_iter().chain(rows).collect();
        let heads = ["TRAFFIC", "POSTS IN", "MAILS IN", "KB IN", "POSTS OUT", "REQUESTS OUT", "KB OUT"];
        blocks.push(table(heads, &rows));
        let rows = ["in", "out"].map(|way| {
            let heads = at(&format!("/connections/{way}"));
            let [cur, max, top] = ["cur", "max", "top"].map(|field| text(&heads, field));
            [way.to_owned(), cur, if max == "0" { "-".to_owned() } else { max }, top]
        });
        blocks.push(table(["CONNECTIONS", "NOW", "LIMIT", "PEAK"], &rows));
    }
    let queue = at("/queue");
    let names = ["waiting", "sending", "held", "failed", "destinations"];
    let heads = names.map(|name| name.to_uppercase());
    blocks.push(table(heads.each_ref().map(String::as_str), &[names.map(|name| text(&queue, name))]));
    if let Some(spool) = status.get("spool").filter(|spool| spool.is_object()) {
        let [spool_size, living, free, disk] =
            ["size", "living", "disk_free", "disk_size"].map(|field| size(spool, field));
        let row = [spool_size, living, free, disk, text(spool, "damages")];
        blocks.push(table(["SPOOL", "IN USE", "DISK FREE", "DISK", "DAMAGES"], &[row]));
    }
    let files = status.get("accounting").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !files.is_empty() {
        let rows: Vec<_> = files.iter().map(records).collect();
        blocks.push(table(["ACCOUNTING", "STATE", "RECORDS", "EVENTS BEHIND"], &rows));
    }
    blocks.join("\n\n")
}

/// A row of what came in and went out.
fn volumes(name: &str, volume: impl Fn(&str, &str) -> String) -> [String; 7] {
    let cells = ["in", "out"].map(|way| ["posts", "messages", "kb"].map(|unit| volume(way, unit)));
    let [[posts_in, messages_in, kb_in], [posts_out, messages_out, kb_out]] = cells;
    [name.to_owned(), posts_in, messages_in, kb_in, posts_out, messages_out, kb_out]
}

/// What a second brought since the last look; nothing when the gateway was started since.
fn each_second(status: &Value, (last, at): &Look) -> [String; 7] {
    let seconds = at.elapsed().as_secs_f64();
    volumes("a second now", |way, unit| {
        let path = format!("/traffic/total/{way}/{unit}");
        let total = |status: &Value| status.pointer(&path).and_then(Value::as_f64).unwrap_or_default();
        format!("{:.0}", (total(status) - total(last)).max(0.0) / seconds)
    })
}

/// A file, how it goes, and why it does not.
fn records(file: &Value) -> [String; 4] {
    let name = ["file", "path"].map(|field| text(file, field)).into_iter().find(|name| !name.is_empty());
    let lost = file.get("lost").and_then(Value::as_u64).filter(|lost| *lost > 0);
    let lost = lost.map(|lost| format!("{lost} events lost")).unwrap_or_default();
    let state = [text(file, "state"), text(file, "error"), lost];
    let state = state.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    [name.unwrap_or_default(), state, text(file, "records"), text(file, "behind")]
}

fn size(spool: &Value, field: &str) -> String {
    let octets = spool.get(field).and_then(Value::as_u64).unwrap_or_default();
    format!("{} MiB", octets >> 20)
}

/// Days, hours, minutes and seconds, the first two that there are.
fn lasting(seconds: u64) -> String {
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m")];
    let parts = parts.into_iter().chain([(seconds % 60, "s")]).skip_while(|(number, _)| *number == 0);
    let told: Vec<_> = parts.take(2).map(|(number, unit)| format!("{number}{unit}")).collect();
    if told.is_empty() { "0s".to_owned() } else { told.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_two_units() {
        for (seconds, told) in [(0, "0s"), (59, "59s"), (3600, "1h 0m"), (90_061, "1d 1h"), (61, "1m 1s")] {
            assert_eq!(lasting(seconds), told);
        }
    }
}
