//! `postgate queue`: looks at the posts of a running gateway and steers them.

use super::api_client::{Client, Place, piece};
use super::table::{fields, item, plain, table, text, waiting};
use super::{Failure, USAGE, block_on, say};
use crate::clock::{self, rfc3339};
use crate::post::PostId;
use crate::units;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::io::{self, Write as _};

/// Look at posts of a running gateway, and steer them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate queue list --state failed --destination https://shop.example
  postgate queue show 52a0000000000002
  postgate queue retry --state failed --tag invoices
  postgate queue reroute --url https://new.shop.example/hook 52a0000000000002
  postgate queue hold --all")]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List posts, the newest first
    List(List),
    /// Show posts with their attempts
    Show(Ids),
    /// Try posts at once; those that failed begin anew
    Retry(Which),
    /// Hold posts until they are released
    Hold(Which),
    /// Let held posts go
    Release(Which),
    /// Delete posts
    Delete(Which),
    /// Send posts elsewhere
    Reroute(Reroute),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// Most posts
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

#[derive(Debug, clap::Args)]
struct Ids {
    /// Ids of posts
    #[arg(required = true, value_name = "ID", value_parser = id)]
    ids: Vec<PostId>,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Ids of posts; or a filter, or --all
    #[arg(value_name = "ID", value_parser = id, conflicts_with_all = ["filter", "all", "dry_run"])]
    ids: Vec<PostId>,
    #[command(flatten)]
    filter: Filter,
    /// All posts
    #[arg(long, conflicts_with = "filter")]
    all: bool,
    /// Only say how many there are
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct Reroute {
    /// Where to
    #[arg(long)]
    url: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
#[group(id = "filter", multiple = true)]
struct Filter {
    /// queued, deferred, sending, held, failed or delivered
    #[arg(long)]
    state: Option<String>,
    /// An origin, such as https://shop.example or https://*.shop.example
    #[arg(long, value_name = "ORIGIN")]
    destination: Option<String>,
    /// A tag that the sender gave
    #[arg(long)]
    tag: Option<String>,
    /// The mailing id that the sender gave (X-xsMailingId, campaign_id)
    #[arg(long)]
    job: Option<String>,
    /// The message id that the sender gave (X-xsMessageId)
    #[arg(long, value_name = "ID")]
    xs_message_id: Option<String>,
    /// A reverse-path; * stands for any text
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// A forward-path; * stands for any text
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// The recipient of a route, as in the configuration
    #[arg(long, value_name = "RECIPIENT")]
    route: Option<String>,
    /// Accepted at this time or later, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Accepted before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Accepted longer ago than this, such as 30m, 2d or 1d12h
    #[arg(long, value_name = "DURATION", value_parser = before, conflicts_with = "until")]
    older_than: Option<String>,
    /// A text somewhere in what is shown of a post
    #[arg(long, short, value_name = "TEXT")]
    q: Option<String>,
}

/// The time before which posts are older than this.
fn before(age: &str) -> Result<String, String> {
    let age = units::age(age).ok_or("write a time such as 30m, 2d or 1d12h")?;
    Ok(rfc3339(clock::wall().before(age)))
}

/// An id as it is typed.
pub(super) fn id(text: &str) -> Result<PostId, String> {
    text.parse().map_err(|_| "an id is 16 hexadecimal digits, or those and -1, -2 …".to_owned())
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { verb, place } = arguments;
    block_on(async move {
        match verb {
            Verb::List(asked) => list(&place, &asked).await,
            Verb::Show(Ids { ids }) => show(&place, &ids).await,
            Verb::Retry(which) => act(&place, "retry", &which, None).await,
            Verb::Hold(which) => act(&place, "hold", &which, None).await,
            Verb::Release(which) => act(&place, "release", &which, None).await,
            Verb::Delete(which) => act(&place, "delete", &which, None).await,
            Verb::Reroute(Reroute { url, which }) => act(&place, "reroute", &which, Some(&url)).await,
        }
    })
}

impl Filter {
    fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let fields = [
            ("state", &self.state),
            ("destination", &self.destination),
            ("tag", &self.tag),
            ("job", &self.job),
            ("xs_message_id", &self.xs_message_id),
            ("sender", &self.sender),
            ("recipient", &self.recipient),
            ("route", &self.route),
            ("since", &self.since),
            ("until", &self.until),
            ("until", &self.older_than),
            ("q", &self.q),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// Most posts that the gateway tells at a time.
const PAGE: usize = 1000;

async fn list(place: &Place, asked: &List) -> Result<(), Failure> {
    let mut client = place.connect().await?;
    let mut posts = Vec::new();
    let mut next = String::new();
    while posts.len() < asked.limit {
        let mut path = format!("/posts?limit={}", (asked.limit - posts.len()).min(PAGE));
        for (name, value) in asked.filter.fields() {
            path.push_str(&format!("&{name}={}", piece(value)));
        }
        if !next.is_empty() {
            path.push_str(&format!("&cursor={next}"));
        }
        let page = client.get(&path).await?;
        posts.extend(page.get("posts").and_then(Value::as_array).cloned().unwrap_or_default());
        next = text(&page, "next");
        if next.is_empty() {
            break;
        }
    }
    if place.json {
        return Ok(say(json!({ "posts": posts, "next": (!next.is_empty()).then_some(next) }))?);
    }
    let rows: Vec<_> = posts.iter().map(row).collect();
    Ok(say(table(["ID", "STATE", "TRIES", "NEXT", "DESTINATION", "LAST"], &rows))?)
}

fn row(post: &Value) -> [String; 6] {
    let due = ["next_attempt_at", "kept_until"].map(|field| text(post, field)).concat();
    let last = post.get("last_attempt").map(|attempt| text(attempt, "reason")).unwrap_or_default();
    let [id, state, tries, destination] =
        ["id", "state", "attempts", "destination"].map(|field| text(post, field));
    [id, state, tries, due, destination, last]
}

async fn show(place: &Place, ids: &[PostId]) -> Result<(), Failure> {
    let mut client = place.connect().await?;
    for id in ids {
        let mut post = client.get(&format!("/posts/{id}")).await?;
        let attempts = client.get(&format!("/posts/{id}/attempts")).await?;
        let attempts = attempts.get("attempts").cloned().unwrap_or_default();
        if place.json {
            if let Some(post) = post.as_object_mut() {
                post.insert("attempt_list".to_owned(), attempts);
            }
            say(post)?;
            continue;
        }
        if let Some(post) = post.as_object_mut() {
            post.remove("last_attempt");
        }
        say(fields(&post))?;
        let rows: Vec<_> = attempts.as_array().into_iter().flatten().map(attempt_row).collect();
        if !rows.is_empty() {
            say(format_args!(
                "\n{}",
                table(["TRY", "BEGUN", "SECONDS", "STATUS", "REASON", "RESPONSE"], &rows)
            ))?;
        }
        say(format_args!("\nits dialogues: postgate log --post {id}\n"))?;
    }
    Ok(())
}

fn attempt_row(attempt: &Value) -> [String; 6] {
    ["number", "started_at", "duration", "status", "reason", "response"].map(|field| text(attempt, field))
}

async fn act(place: &Place, action: &str, which: &Which, url: Option<&str>) -> Result<(), Failure> {
    if !which.ids.is_empty() {
        let mut client = place.connect().await?;
        return each(&mut client, place, action, &which.ids, url).await;
    }
    let filter: Map<_, _> =
        which.filter.fields().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    if filter.is_empty() && !which.all {
        return Err(Failure::new(
            USAGE,
            "name posts by their ids, by --state, --destination, --tag or another filter, or say --all",
        ));
    }
    let mut asked = json!({ "action": action, "filter": filter, "all": which.all, "dry_run": which.dry_run });
    if let (Some(url), Some(asked)) = (url, asked.as_object_mut()) {
        asked.insert("url".to_owned(), url.into());
    }
    let answer = place.connect().await?.post("/posts/actions", Some(&asked)).await?;
    if place.json {
        return Ok(say(answer)?);
    }
    Ok(say(format_args!("{} posts{}", text(&answer, "count"), waiting(&answer)))?)
}

/// Does something to posts one by one; one that is refused stops no other.
async fn each(
    client: &mut Client,
    place: &Place,
    action: &str,
    ids: &[PostId],
    url: Option<&str>,
) -> Result<(), Failure> {
    let (mut count, mut failed, mut paused) = (0, None, Vec::new());
    for id in ids {
        let done = match (action, url) {
            ("delete", _) => client.delete(&format!("/posts/{id}")).await,
            (_, Some(url)) => {
                client.post(&format!("/posts/{id}/{action}"), Some(&json!({ "url": url }))).await
            }
            (_, None) => client.post(&format!("/posts/{id}/{action}"), None).await,
        };
        match done {
            Ok(answer) => {
                count += 1;
                paused.extend(answer.get("paused").and_then(Value::as_array).into_iter().flatten().cloned());
                if let Some(Value::Array(left)) = answer.get("dropped_headers") {
                    let left = left.iter().map(item).collect::<Vec<_>>().join(", ");
                    let _ = writeln!(io::stderr(), "{id}: without {}", plain(&left));
                }
            }
            Err(failure) => {
                let _ = writeln!(io::stderr(), "{id}: {}", failure.text);
                failed = Some(Failure { text: format!("{count} of {} posts", ids.len()), ..failure });
            }
        }
    }
    match failed {
        Some(failure) => Err(Failure { text: format!("done: {count} of {}", ids.len()), ..failure }),
        None if place.json && paused.is_empty() => Ok(say(json!({ "count": count }))?),
        None if place.json => Ok(say(json!({ "count": count, "paused": paused }))?),
        None => Ok(say(format_args!("{count} posts{}", waiting(&json!({ "paused": paused }))))?),
    }
}
