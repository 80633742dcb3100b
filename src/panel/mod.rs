//! The control panel: pages for whoever watches a gateway with a browser.
//!
//! It stands before the API on the same address, and asks it as any client does, with
//! the key of whoever signed in (`visit`): what somebody may see and do, whose posts
//! there are, what is hidden and how posts are looked for is written once, there.
//! Pages are made here, whole, and work without script; a script refreshes what is live
//! and shows times in the zone of whoever looks.
//!
//! Whatever a page shows of mail, posts and responses are words of strangers. Templates
//! escape every value, the policy of every page allows no script and no style but those
//! of `assets`, and HTML mail is shown in a frame that may do nothing (`mail_page`).
//!
//! A form changes something only with the token of its session, and only when it comes
//! from a page of our own (`guard`).

mod assets;
mod config;
mod cookies;
mod destinations;
mod dialogue;
mod difference;
mod drafts;
mod events;
mod guard;
mod hex;
mod layout;
mod log;
mod looks;
mod mail_page;
mod nowhere;
mod overview;
mod post;
mod posts;
mod pretty;
mod send;
mod sessions;
mod shapes;
mod sign_in;
mod steer;
mod tail;
mod transcript;
mod trouble;
mod visit;
mod webhooks;
mod whose;
mod words;

use assets::Assets;
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post as form};
use drafts::Drafts;
use looks::Looks;
use sessions::Sessions;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What all pages need.
#[derive(Clone)]
struct Panel {
    api: Router,
    sessions: Arc<Sessions>,
    assets: Arc<Assets>,
    /// Places of those that have mail read for them, which takes a multiple of its size.
    readers: Arc<Semaphore>,
    /// What live parts of pages show.
    looks: Arc<Looks>,
    /// Long forms, and who may send one.
    drafts: Arc<Drafts>,
}

/// Mails that are read at a time.
const READERS: usize = 4;

/// The panel before an API: pages at their paths, the API at its own.
pub fn front(api: Router) -> Router {
    let sessions = match Sessions::new() {
        Ok(sessions) => Arc::new(sessions),
        Err(error) => {
            tracing::error!("there is no control panel: the system gives no random octets: {error}");
            return api;
        }
    };
    let (assets, readers) = (Arc::new(Assets::new()), Arc::new(Semaphore::new(READERS)));
    let drafts = Arc::new(Drafts::new());
    let panel = Panel { api, sessions, assets, readers, looks: Arc::default(), drafts };
    let pages = Router::new()
        .route("/", get(overview::show))
        .route("/overview/live", get(overview::live))
        .route("/history", get(overview::history))
        .route(guard::SIGN_IN, get(sign_in::show).post(sign_in::enter))
        .route(sign_in::SIGN_OUT, form(sign_in::leave))
        .route(whose::CHOOSE, form(whose::choose))
        .route("/posts", get(posts::list))
        .route("/posts/actions", form(steer::many))
        .route("/posts/{id}", get(post::show))
        .route("/posts/{id}/body", get(post::body))
        .route("/posts/{id}/message", get(post::message))
        .route("/posts/{id}/transcript", get(transcript::show))
        .route("/posts/{id}/mail.html", get(mail_page::html))
        .route("/posts/{id}/attachments/{number}", get(mail_page::attachment))
        .route("/posts/{id}/{verb}", form(steer::one))
        .route("/destinations", get(destinations::list))
        .route("/destinations/live", get(destinations::live))
        .route("/destinations/actions", form(destinations::act))
        .route(config::PATH, get(config::show).post(config::act))
        .route("/events", get(events::list))
        .route("/events/stream", get(tail::stream))
        .merge(webhooks::pages())
        .route("/send", get(send::show).post(send::send))
        .route("/send/log", get(send::log))
        .route("/log", get(log::list))
        .route("/log/further", get(log::further))
        .route("/log/live", get(log::live))
        .route("/log/lines", get(log::lines))
        .layer(from_fn_with_state(panel.clone(), guard::check))
        .route("/assets/{name}", get(assets::fetch))
        .fallback(nowhere::answer)
        .with_state(panel);
    Router::new().fallback_service(pages).layer(from_fn(visit::remember))
}
