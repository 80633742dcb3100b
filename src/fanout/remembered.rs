//! Bodies of batches that are over: made once more of what the journal still has.
//!
//! A batch says up to which event its webhook was told with it, and how many events it
//! has: they are the last before that which the webhook wants. What does not have the
//! checksum that it had is not told: something is no longer as it was then.

use super::batches::{CHECKSUM, checksum};
use super::group::Wish;
use super::webhook::Webhook;
use super::{Told, bodies};
use crate::journal::{Journal, Position};
use crate::post::Post;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;

/// Events that are read at a time.
const PIECE: u64 = 512;
/// Events that are looked at for one body.
const LOOK: u64 = 50_000;

/// The body of a batch of this webhook, as far as that can be known.
pub async fn body(
    journal: &Journal,
    webhook: &Webhook,
    post: &Post,
    hostname: &str,
) -> io::Result<Option<Bytes>> {
    let (Some(batch), Ok(wish)) = (post.batch, Wish::of(webhook)) else { return Ok(None) };
    let known = post.headers.iter().find(|field| field.name == CHECKSUM);
    let Some(known) = known.filter(|_| batch.reached > 0) else {
        // What was told again says of no position.
        return Ok(None);
    };
    let (count, mut end) = (batch.events as usize, batch.reached + 1);
    let (mut events, least) = (VecDeque::new(), end.saturating_sub(LOOK).max(1));
    while events.len() < count && end > least {
        let start = end.saturating_sub(PIECE).max(least);
        let wanted = piece(journal, start, end).await?.into_iter().filter(|told| wish.wants(told));
        let wanted: Vec<_> = wanted.collect();
        wanted.into_iter().rev().take(count - events.len()).for_each(|told| events.push_front(told));
        end = start;
    }
    let told: Vec<&Told> = events.iter().collect();
    let body = bodies(wish.format(), &told, wish.style(hostname)).into_iter().next();
    let is_it = |octets: &Bytes| {
        octets.len() == post.body.length as usize && checksum(octets).as_bytes() == known.value
    };
    Ok(body.map(|body| body.octets).filter(is_it))
}

/// The events from one position up to another, as far as they are there.
async fn piece(journal: &Journal, start: u64, end: u64) -> io::Result<Vec<Told>> {
    let (mut events, mut after) = (Vec::new(), start - 1);
    while after + 1 < end {
        let most = usize::try_from(end - 1 - after).unwrap_or(usize::MAX);
        let read = journal.read(Position(after), most).await?;
        let Some((last, _)) = read.last() else { break };
        after = last.0;
        let read = read.into_iter().filter(|(position, _)| position.0 < end);
        events.extend(read.map(|(_, event)| Told::of(event)));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Ids;
    use crate::event::{Event, EventId, Mark};
    use crate::fanout::batches::{Full, Press};
    use crate::fanout::group::{Group, Member};
    use crate::fanout::webhook::Settings;
    use crate::journal;
    use crate::post::{Timestamp, Trust};
    use crate::tenant::Tenant;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn webhook(tag: &str, format: &str) -> Webhook {
        let settings: Value = json!({ "url": "https://r.example/in", "events": ["*"], "format": format,
            "filter": { "tag": tag } });
        let settings: Settings = serde_json::from_value(settings).unwrap();
        Webhook::new(("wh_1".to_owned(), Tenant::default()), Timestamp(0), settings, String::new())
    }

    #[tokio::test]
    async fn a_body_that_was_another_is_not_known_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(journal::Options::at(directory.path().join("journal"))).unwrap();
        let event = |number: u64| Event {
            id: EventId::new(Timestamp(number), 0),
            name: "order.paid".parse().unwrap(),
            at: Timestamp(number),
            tenant: Tenant::default(),
            data: Bytes::from(format!(
                "{{\"tag\":\"{}\"}}",
                if number.is_multiple_of(2) { "a" } else { "b" }
            )),
        };
        journal.append(Mark::default(), (1..=8).map(event).collect()).await.unwrap();
        let told = webhook("a", "ndjson");
        let (destination, _) = told.destination().unwrap();
        let id = told.lane_id();
        let member = Member { id, destination: Arc::new(destination), trust: Trust::Wire };
        let mut group = Group::new(Arc::new(Wish::of(&told).unwrap()), vec![member], 0);
        for number in 1..=8 {
            group.take(number, &Arc::new(Told::of(event(number))), Timestamp(9), &mut Vec::new());
        }
        let ids = Ids::default();
        let mut press = Press::new(&ids, "gateway.example", Timestamp(9));
        let closed = group.close().unwrap();
        press.add(&Full::of(&group, closed));
        let admission = press.finish().remove(0);
        let (post, sent) = (&admission.posts[0], &admission.blobs[1]);
        for (now, is_known) in
            [(webhook("a", "ndjson"), true), (webhook("b", "ndjson"), false), (webhook("a", "json"), false)]
        {
            let found = body(&journal, &now, post, "gateway.example").await.unwrap();
            assert_eq!(found.as_ref(), is_known.then_some(sent));
        }
        let bare = Post { headers: Vec::new(), ..post.clone() };
        assert_eq!(body(&journal, &told, &bare, "gateway.example").await.unwrap(), None);
    }
}
