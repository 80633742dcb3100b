//! `/posts/{id}/transcript`: the dialogues of a post in the order in which they were.
//!
//! It is what one look through the protocol log finds, as `/log` has it the newest first: a
//! post that came long ago may need more looks, and more lines than have room here. The page
//! says so, and that one goes on from there, by itself.

use super::dialogue::{Dialogue, ROOM, Shown};
use super::layout::{self, Answer, Frame};
use super::visit::Visit;
use super::words;
use askama::Template;
use axum::extract::Path;
use serde::Deserialize;

/// Most lines of a dialogue.
const LINES: usize = 400;

/// `GET /protocol-log`, as far as it is needed here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Log {
    level: String,
    dialogues: Vec<Dialogue>,
    next: Option<String>,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "transcript.html")]
struct TranscriptPage {
    frame: Frame,
    id: String,
    /// `off`, `errors` or `full`.
    level: String,
    /// How it came: a session, or a request.
    came: Vec<Shown>,
    /// Its attempts.
    sent: Vec<Shown>,
    /// Where `/log` goes on, if there may be more that is older.
    further: Option<String>,
}

/// `GET /posts/{id}/transcript`
pub(super) async fn show(visit: Visit, Path(id): Path<String>) -> Answer {
    let path = format!("/api/v1/protocol-log?limit=200&post={}", words::piece(&id));
    let Log { level, mut dialogues, next } = visit.get(&path).await?;
    dialogues.reverse();
    // What brought it comes first, and has room first.
    let (came, sent): (Vec<_>, Vec<_>) = dialogues.into_iter().partition(|one| !one.session.starts_with('H'));
    let mut room = ROOM;
    let mut shown = |all: Vec<Dialogue>| -> Vec<_> {
        all.into_iter().map(|one| Shown::of(one, LINES, &mut room, true)).collect()
    };
    let (came, sent) = (shown(came), shown(sent));
    let further = next.map(|next| format!("/log?post={}&cursor={}", words::piece(&id), words::piece(&next)));
    let frame = visit.frame(format!("Protocol log of post {id}"));
    layout::page(&TranscriptPage { frame, id, level, came, sent, further })
}
