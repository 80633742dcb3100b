//! `/config` and `/reload`: the configuration file, as it stands and as it is to be.
//!
//! The file comes without its secrets, which stay what they are where they come back
//! hidden. It is TOML (`application/toml`), not JSON: its comments are for people.

use super::ask::{Asked, Nothing};
use super::conditions::matching;
use super::desk::Desk;
use super::problem::{Problem, json};
use super::setup::{Outcome, Refused, Wish};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

/// Most octets of a configuration file.
pub(super) const LARGEST: usize = 1 << 20;

type Answer = Result<Response, Problem>;

/// `GET /config`
pub(super) async fn read(State(desk): State<Desk>, Asked(Nothing {}): Asked<Nothing>) -> Answer {
    answer(&desk, Wish::Read).await
}

/// `PUT /config`
pub(super) async fn write(
    State(desk): State<Desk>,
    headers: HeaderMap,
    Asked(Nothing {}): Asked<Nothing>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let bare = |tag: &str| tag.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    let expect = matching(&headers).map(|tags| tags.into_iter().filter_map(bare).collect());
    let text = text(&read_whole(body)?)?;
    if text.trim().is_empty() {
        return Err(Problem::bad_field("config", "the file is empty; send it whole"));
    }
    answer(&desk, Wish::Write { text, expect }).await
}

/// `POST /config/check`: the body, or the file as it stands.
pub(super) async fn check(
    State(desk): State<Desk>,
    Asked(Nothing {}): Asked<Nothing>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let body = read_whole(body)?;
    let text = if body.is_empty() { None } else { Some(text(&body)?) };
    answer(&desk, Wish::Check(text)).await
}

/// `POST /reload`
pub(super) async fn reload(State(desk): State<Desk>, Asked(Nothing {}): Asked<Nothing>) -> Answer {
    answer(&desk, Wish::Reload).await
}

fn read_whole(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| match rejection.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(status, format!("the file is larger than {LARGEST} octets"))
        }
        status => Problem::new(status, "the body could not be read"),
    })
}

fn text(body: &Bytes) -> Result<String, Problem> {
    let text = std::str::from_utf8(body).map(str::to_owned);
    text.map_err(|_| Problem::bad_field("config", "the file is not text in UTF-8"))
}

async fn answer(desk: &Desk, wish: Wish) -> Answer {
    Ok(match ask(desk, wish).await? {
        Outcome::Text { text, tag } => {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/toml"));
            tagged(([kind], text).into_response(), Some(&tag))
        }
        Outcome::Good { restart, tag } => {
            tagged(json(StatusCode::OK, &json!({ "ok": true, "restart": restart })), tag.as_deref())
        }
    })
}

/// Asks whoever holds the configuration.
pub(super) async fn ask(desk: &Desk, wish: Wish) -> Result<Outcome, Problem> {
    let nobody = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway takes no configuration now");
    let setup = desk.options.setup.as_ref().ok_or_else(nobody)?;
    setup.ask(wish).await.ok_or_else(nobody)?.map_err(problem)
}

fn tagged(mut response: Response, tag: Option<&str>) -> Response {
    let tag = tag.and_then(|tag| HeaderValue::try_from(format!("\"{tag}\"")).ok());
    response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
    response
}

fn problem(refused: Refused) -> Problem {
    match refused {
        Refused::NoFile => Problem::new(
            StatusCode::CONFLICT,
            "the gateway runs without a configuration file; start it with one (--config)",
        ),
        Refused::Changed => Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "the file is not the one that If-Match names; fetch it anew",
        ),
        Refused::Bad(faults) => Problem::bad_config(faults),
        Refused::File(detail) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail),
    }
}
