//! `/posts/{id}`: one post, with its request, its mail, and what came of each attempt.
//!
//! A part that cannot be read says so in its place; the others are there.

use super::layout::{self, Answer, Frame};
use super::mail_page;
use super::pretty::{self, Shown};
use super::shapes::{Attempt, Attempts, Post};
use super::trouble::Trouble;
use super::visit::Visit;
use super::words;
use crate::compose::Letter;
use askama::Template;
use axum::extract::Path;
use http::StatusCode;

/// Larger bodies are for download alone.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Most octets of a text of mail on its page.
const TEXT: usize = 128 * 1024;

/// Header fields of mail that are always shown.
const FIRST: [&str; 5] = ["From", "To", "Cc", "Date", "Subject"];

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "post.html")]
struct PostPage {
    frame: Frame,
    /// Where its pages are.
    path: String,
    attempts: Vec<Attempt>,
    body: Result<Shown, String>,
    /// Nothing for what was handed in over HTTP.
    letter: Option<Result<Letter, String>>,
    actions: Vec<(&'static str, &'static str)>,
    may_steer: bool,
    post: Post,
}

/// `GET /posts/{id}`
pub(super) async fn show(visit: Visit, Path(id): Path<String>) -> Answer {
    let post = find(&visit, &id).await?;
    let base = format!("/api/v1/posts/{}", post.id);
    let Attempts { mut attempts } = visit.get(&format!("{base}/attempts")).await?;
    // The last one says how it stands.
    attempts.reverse();
    let letter = match post.recipient.is_empty() {
        true => None,
        false => Some(mail_page::letter(&visit, &post.id).await.map_err(|trouble| trouble.detail)),
    };
    layout::page(&PostPage {
        frame: visit.frame(format!("Post {}", post.id)),
        path: format!("/posts/{}", post.id),
        body: body_of(&visit, &post).await.map_err(|trouble| trouble.detail),
        actions: actions(&post.state),
        may_steer: visit.may_steer(),
        attempts,
        letter,
        post,
    })
}

/// The post of an id that somebody wrote.
async fn find(visit: &Visit, id: &str) -> Result<Post, Trouble> {
    visit.get(&format!("/api/v1/posts/{}", words::piece(id))).await
}

/// What its body says.
async fn body_of(visit: &Visit, post: &Post) -> Result<Shown, Trouble> {
    if post.body_size > LARGEST {
        let detail = format!("The body has {}; download it to look at it.", words::octets(post.body_size));
        return Err(Trouble::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let body = visit.fetch(&format!("/api/v1/posts/{}/body", post.id)).await?;
    let is_kind = |name: &str| name.eq_ignore_ascii_case("content-type");
    let kind =
        post.headers.iter().find(|field| is_kind(&field.name)).and_then(|field| field.value.as_deref());
    Ok(pretty::shown(&body, kind.unwrap_or_default()))
}

/// What can be done to a post in a state.
fn actions(state: &str) -> Vec<(&'static str, &'static str)> {
    let all = [("retry", "Retry now"), ("hold", "Hold"), ("release", "Release")];
    let can = |verb: &str| match verb {
        "retry" => state != "sending" && state != "delivered",
        "hold" => matches!(state, "queued" | "deferred" | "sending"),
        _ => state == "held",
    };
    all.into_iter().filter(|(verb, _)| can(verb)).collect()
}

/// `GET /posts/{id}/body`: a download, as the API has it.
pub(super) async fn body(visit: Visit, Path(id): Path<String>) -> Answer {
    visit.pass(&format!("/api/v1/posts/{}/body", words::piece(&id))).await
}

/// `GET /posts/{id}/message`: the same of the mail.
pub(super) async fn message(visit: Visit, Path(id): Path<String>) -> Answer {
    visit.pass(&format!("/api/v1/posts/{}/message", words::piece(&id))).await
}

impl PostPage {
    /// Header fields of the mail that are always shown.
    fn first<'a>(&self, letter: &'a Letter) -> Vec<&'a (String, String)> {
        let is_first = |name: &str| FIRST.iter().any(|first| first.eq_ignore_ascii_case(name));
        letter.fields.iter().filter(|(name, _)| is_first(name)).collect()
    }

    /// The text of the mail, as much as has room here.
    fn text<'a>(&self, letter: &'a Letter) -> Option<(&'a str, bool)> {
        let text = letter.text.as_deref()?;
        let start = text.get(..text.floor_char_boundary(TEXT)).unwrap_or(text);
        Some((start, start.len() < text.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::actions;

    #[test]
    fn what_would_do_nothing_is_not_offered() {
        for (state, verbs) in [
            ("queued", &["retry", "hold"][..]),
            ("deferred", &["retry", "hold"]),
            ("sending", &["hold"]),
            ("held", &["retry", "release"]),
            ("failed", &["retry"]),
            ("delivered", &[]),
        ] {
            let offered: Vec<_> = actions(state).into_iter().map(|(verb, _)| verb).collect();
            assert_eq!(offered, verbs, "{state}");
        }
    }
}
