//! `/config`: the configuration file, edited in place; checked, compared, then applied.
//!
//! The file comes from the API without its secrets, and the API says what is wrong with
//! a text and whether the file is still the one that was opened. Every answer has what
//! was typed in it, also one to who is not signed in any more. Nothing is applied that
//! was not shown first as a difference to the file as it stands, or, of a very long one,
//! its beginning.

use super::difference::{self, Hunk, Line};
use super::drafts::{Draft, ends};
use super::guard::Fields;
use super::layout::{self, Answer, Frame};
use super::overview::Weight;
use super::trouble::Trouble;
use super::visit::Visit;
use super::words::counted;
use askama::Template;
use axum::body::to_bytes;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode, header};
use serde::Deserialize;
use std::time::Instant;
use tokio::task::spawn_blocking;

/// Where the page is.
pub(super) const PATH: &str = "/config";

const FILE: &str = "/api/v1/config";
const CHECK: &str = "/api/v1/config/check";
const RELOAD: &str = "/api/v1/reload";

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "config.html")]
struct ConfigPage {
    frame: Frame,
    told: Told,
    /// Nothing where there is no file that could be edited.
    draft: Option<Draft>,
}

#[derive(Template)]
#[template(config = "src/panel/askama.toml", path = "config_difference.html")]
struct DifferencePage {
    frame: Frame,
    told: Told,
    draft: Draft,
    hunks: Vec<Hunk>,
    /// The version of the file that it differs from.
    against: String,
}

/// What came of it.
#[derive(Default)]
struct Told {
    news: Vec<News>,
    faults: Vec<Fault>,
}

struct News {
    weight: Weight,
    word: &'static str,
    text: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Fault {
    field: String,
    detail: String,
    /// From 1.
    line: Option<usize>,
    /// From 1, in characters.
    column: Option<usize>,
    /// The line as it was typed.
    #[serde(skip)]
    excerpt: String,
}

/// The file as it stands.
struct File {
    text: String,
    version: String,
}

/// What the API refuses.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    detail: String,
    errors: Vec<Fault>,
}

/// What is said of a good configuration.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Good {
    /// What of it needs a restart.
    restart: Vec<String>,
}

impl Told {
    fn say(mut self, weight: Weight, word: &'static str, text: impl Into<String>) -> Told {
        self.news.push(News { weight, word, text: text.into() });
        self
    }

    /// What is wrong with a text, line by line.
    fn of(refusal: Refusal, text: &str) -> Told {
        if refusal.errors.is_empty() {
            return Told::default().say(Weight::Bad, "Not applied", refusal.detail);
        }
        let lines: Vec<_> = text.lines().collect();
        let excerpt = |fault: &Fault| lines.get(fault.line?.checked_sub(1)?).copied();
        let faults = refusal.errors.into_iter().map(|fault| {
            let excerpt = excerpt(&fault).unwrap_or_default().to_owned();
            Fault { excerpt, ..fault }
        });
        Told { faults: faults.collect(), ..Told::default() }
    }

    /// What waits for a restart.
    fn later(self, good: &Good) -> Told {
        if good.restart.is_empty() {
            return self;
        }
        let text = format!("As before until the gateway is started again: {}.", good.restart.join(", "));
        self.say(Weight::Note, "Restart", text)
    }

    /// What the difference between the lines of a file and of what is to be written hides.
    fn hidden(mut self, file: &File, draft: &Draft, more: usize) -> Told {
        if ends(&file.text) != draft.ends {
            let text = format!(
                "Not all lines of the file end in {ends}; applying ends all of them so, also those that are \
                 not shown as changed.",
                ends = draft.ends.to_uppercase()
            );
            self = self.say(Weight::Warn, "Ends of lines", text);
        }
        if more > 0 {
            let text =
                format!("{} more of the difference: too much for a page.", counted(more as u64, "line"));
            self = self.say(Weight::Warn, "Not all is shown", text);
        }
        self
    }

    fn is_refusal(&self) -> bool {
        !self.faults.is_empty() || self.news.iter().any(|news| news.weight == Weight::Bad)
    }

    /// What stands above the complaints.
    fn heading(&self) -> String {
        counted(self.faults.len() as u64, "complaint")
    }
}

/// `GET /config`
pub(super) async fn show(visit: Visit) -> Answer {
    match fetch(&visit).await? {
        Ok(file) => {
            visit.panel.drafts.show(&visit.session, Instant::now());
            editor(&visit, Told::default(), Some(Draft::of(&file.text, file.version)))
        }
        Err(refusal) => unread(&visit, Told::default(), refusal),
    }
}

/// `POST /config`: what is to be done with what was typed.
pub(super) async fn act(visit: Visit, fields: Fields) -> Answer {
    let draft = Draft::typed(&fields);
    let done = match fields.text("action").unwrap_or_default() {
        "edit" => editor(&visit, Told::default(), Some(draft)),
        "check" => check(&visit, draft).await,
        "difference" => compare(&visit, Told::default(), draft).await,
        "apply" => apply(&visit, draft, fields.whole("against")).await,
        "reload" => reload(&visit, draft).await,
        _ => {
            let detail = "a configuration is checked, compared, applied or loaded; nothing was done";
            Err(Trouble::new(StatusCode::NOT_FOUND, detail))
        }
    };
    Ok(done.unwrap_or_else(|trouble| keep(&visit, &fields, &trouble)))
}

/// Who sends a form after the end of the session.
pub(super) fn signed_out() -> Trouble {
    Trouble::new(StatusCode::FORBIDDEN, "the session has ended; nothing was done")
}

/// The page with what was typed into a form that did nothing.
pub(super) fn keep(visit: &Visit, fields: &Fields, trouble: &Trouble) -> Response {
    let told = Told::default().say(Weight::Bad, "Not done", trouble.detail.clone());
    let page = editor(visit, told, Some(Draft::typed(fields)));
    let mut response = page.unwrap_or_else(|trouble| trouble.into_response());
    *response.status_mut() = trouble.status;
    response
}

async fn check(visit: &Visit, draft: Draft) -> Answer {
    let told = match tell(visit, Method::POST, CHECK, draft.written(), None).await? {
        Ok(good) => Told::default().say(Weight::Good, "Good", "This would do as it is.").later(&good),
        Err(refusal) => Told::of(refusal, &draft.text),
    };
    editor(visit, told, Some(draft))
}

/// Shows what would be applied, and to what.
async fn compare(visit: &Visit, mut told: Told, draft: Draft) -> Answer {
    let file = match fetch(visit).await? {
        Ok(file) => file,
        Err(refusal) => return editor(visit, Told::of(refusal, ""), Some(draft)),
    };
    let (old, new) = (file.text.replace("\r\n", "\n"), draft.text.clone());
    let unmade = |_| Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "the difference could not be made");
    let found = spawn_blocking(move || difference::between(&old, &new)).await.map_err(unmade)?;
    if found.is_none() {
        let text = "What stands here is what stands in the file; there is nothing to apply.";
        return editor(visit, told.say(Weight::Note, "No difference", text), Some(draft));
    }
    if told.news.is_empty() && file.version != draft.version {
        let text = "Somebody changed the file since you opened it. This is the difference to it as it \
                    stands now: what you did not take out, somebody put in, and applying takes it out.";
        told = told.say(Weight::Warn, "Changed meanwhile", text);
    }
    told = told.hidden(&file, &draft, found.more);
    match tell(visit, Method::POST, CHECK, draft.written(), None).await? {
        Ok(good) => told = told.later(&good),
        Err(refusal) => told.faults = Told::of(refusal, &draft.text).faults,
    }
    let frame = visit.frame("Configuration");
    layout::page(&DifferencePage { frame, told, draft, hunks: found.hunks, against: file.version })
}

async fn apply(visit: &Visit, draft: Draft, against: &str) -> Answer {
    let done = tell(visit, Method::PUT, FILE, draft.written(), Some(against)).await;
    visit.panel.looks.end();
    match done? {
        Ok(good) => {
            let text = "The file is written, and in force.";
            let told = Told::default().say(Weight::Good, "Applied", text).later(&good);
            afresh(visit, told).await
        }
        Err(Refusal { status: StatusCode::PRECONDITION_FAILED, .. }) => {
            let text = "Somebody changed the file meanwhile, so nothing was applied. This is the difference to \
                        it as it stands now: what you did not take out, somebody put in.";
            let told = Told::default().say(Weight::Bad, "Not applied", text);
            let mut response = compare(visit, told, draft).await?;
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
            Ok(response)
        }
        Err(refusal) => editor(visit, Told::of(refusal, &draft.text), Some(draft)),
    }
}

async fn reload(visit: &Visit, draft: Draft) -> Answer {
    let done = visit.send(Method::POST, RELOAD, String::new(), None).await;
    visit.panel.looks.end();
    let told = match heard(done?).await? {
        Ok(good) => {
            Told::default().say(Weight::Good, "Loaded", "The file is in force as it stands.").later(&good)
        }
        // It is about the file, not about what was typed.
        Err(refusal) => {
            let text = format!("The file was not loaded, and all is as before: {}", refusal.detail);
            Told::default().say(Weight::Bad, "Not loaded", text)
        }
    };
    if draft.is_changed() { editor(visit, told, Some(draft)) } else { afresh(visit, told).await }
}

/// The page with the file as it stands now. What was done is said, whatever becomes of that.
async fn afresh(visit: &Visit, told: Told) -> Answer {
    match fetch(visit).await {
        Ok(Ok(file)) => editor(visit, told, Some(Draft::of(&file.text, file.version))),
        Ok(Err(refusal)) => unread(visit, told, refusal),
        Err(trouble) => editor(visit, told.say(Weight::Warn, "Not shown", trouble.detail), None),
    }
}

fn editor(visit: &Visit, told: Told, draft: Option<Draft>) -> Answer {
    let is_refusal = told.is_refusal();
    let page = layout::page(&ConfigPage { frame: visit.frame("Configuration"), told, draft })?;
    let status = if is_refusal { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok((status, page).into_response())
}

/// The page where the file cannot be shown.
fn unread(visit: &Visit, told: Told, refusal: Refusal) -> Answer {
    let text = match refusal.status {
        StatusCode::UNPROCESSABLE_ENTITY => {
            let why = "The file cannot be read, so that nobody knows where its secrets are; mend it where \
                       it stands";
            format!("{why}: {}", refusal.detail)
        }
        _ => refusal.detail,
    };
    editor(visit, told.say(Weight::Warn, "Not shown", text), None)
}

/// The file, or why it cannot be shown.
async fn fetch(visit: &Visit) -> Result<Result<File, Refusal>, Trouble> {
    let response = visit.send(Method::GET, FILE, String::new(), None).await?;
    if !response.status().is_success() {
        return Ok(Err(refused(response).await?));
    }
    let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let version = tag.unwrap_or_default().trim_matches('"').to_owned();
    let octets = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    let text = String::from_utf8(octets.into()).map_err(|_| Trouble::not_understood())?;
    Ok(Ok(File { text, version }))
}

/// What the API says to a text.
async fn tell(
    visit: &Visit,
    method: Method,
    path: &str,
    text: String,
    version: Option<&str>,
) -> Result<Result<Good, Refusal>, Trouble> {
    // Nothing would mean the file as it stands.
    if text.trim().is_empty() {
        let detail = "The text is empty; that would be a file without anything.".to_owned();
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(Err(Refusal { status, detail, ..Refusal::default() }));
    }
    heard(visit.send(method, path, text, version).await?).await
}

async fn heard(response: Response) -> Result<Result<Good, Refusal>, Trouble> {
    if !response.status().is_success() {
        return Ok(Err(refused(response).await?));
    }
    let octets = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    serde_json::from_slice(&octets).map(Ok).map_err(|_| Trouble::not_understood())
}

/// What is wrong, where that is the text or the file.
async fn refused(response: Response) -> Result<Refusal, Trouble> {
    let status = response.status();
    let octets = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    let about = [
        StatusCode::CONFLICT,
        StatusCode::PRECONDITION_FAILED,
        StatusCode::UNPROCESSABLE_ENTITY,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::INTERNAL_SERVER_ERROR,
    ];
    if !about.contains(&status) {
        return Err(Trouble::told(status, &octets));
    }
    let refusal: Refusal = serde_json::from_slice(&octets).unwrap_or_default();
    Ok(Refusal { status, ..refusal })
}
