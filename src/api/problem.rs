//! What went wrong, as `application/problem+json` (RFC 9457).
//!
//! The one place where errors of the spool and of those who ask become HTTP. The
//! texts name what to do, and no secret.

use super::setup::Fault;
use crate::envelope::Refusal;
use crate::spool::SpoolError;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// An error as it is answered.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// Nothing beyond what the status says (RFC 9457 section 4.2.1).
    r#type: &'static str,
    title: &'static str,
    #[serde(serialize_with = "number")]
    #[schemars(with = "u16", range(min = 400, max = 599))]
    status: StatusCode,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Wrong>,
    #[serde(skip)]
    remedy: Option<Remedy>,
}

/// What a field of the response asks for.
#[derive(Clone, Copy, Debug)]
enum Remedy {
    /// A key.
    Key,
    /// So many seconds of patience.
    Wait(u64),
}

impl Remedy {
    fn after(wait: Duration) -> Remedy {
        Remedy::Wait(seconds(wait))
    }
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Wrong {
    pub field: String,
    pub detail: String,
    /// Where it is in a text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Wrong {
    /// What is wrong with this field.
    pub(super) fn of(field: impl Into<String>, detail: impl Into<String>) -> Wrong {
        let (field, detail) = (shortened(field.into()), shortened(detail.into()));
        Wrong { field, detail, line: None, column: None }
    }
}

/// Most octets that are told of what somebody sent.
const LONGEST: usize = 1000;

/// A text that may hold what somebody sent, however long that is.
pub(super) fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('\u{2026}');
        // What was cut off would be kept otherwise.
        text.shrink_to_fit();
    }
    text
}

/// Most fields of one request of which it is told what is wrong.
const MOST_WRONGS: usize = 100;

/// When to try again where nobody knows better.
const AGAIN: Duration = Duration::from_secs(30);

fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// An error of this status; the text says what to do.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error");
        Problem {
            r#type: "about:blank",
            title,
            status,
            detail: detail.into(),
            errors: Vec::new(),
            remedy: None,
        }
    }

    /// What happened, and what to do.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// A request that cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, shortened(detail.into()))
    }

    /// A request that is understood, but one of its fields cannot be so.
    pub(super) fn bad_field(field: impl Into<String>, detail: impl Into<String>) -> Problem {
        Problem::bad_fields(vec![Wrong::of(field, detail)])
    }

    /// A configuration that is wrong, with all that is.
    pub(super) fn bad_config(faults: Vec<Fault>) -> Problem {
        let text = faults.iter().map(|Fault { place, field, detail }| match place {
            Some((line, column)) => format!("line {line}, column {column}: {field}: {detail}"),
            None => detail.clone(),
        });
        let text = text.collect::<Vec<_>>().join("\n");
        let wrong = |Fault { place, field, detail }: Fault| {
            let (line, column) = place.unzip();
            Wrong { line, column, ..Wrong::of(field, detail) }
        };
        let errors = faults.into_iter().map(wrong).collect();
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text) }
    }

    /// The same for one or more fields.
    pub(super) fn bad_fields(mut errors: Vec<Wrong>) -> Problem {
        let first = errors.first().map(|wrong| format!("{}: {}", wrong.field, wrong.detail));
        let text = match errors.len() {
            0 | 1 => first.unwrap_or_default(),
            count => format!("{count} things are wrong; the first is {}", first.unwrap_or_default()),
        };
        errors.truncate(MOST_WRONGS);
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text) }
    }

    /// What the door refuses, and when to try again if that is known.
    pub(super) fn refused(refusal: &Refusal, wait: Duration) -> Problem {
        let (status, usual) = match (refusal.code, refusal.subject) {
            (452, 3) => (StatusCode::INSUFFICIENT_STORAGE, Some(AGAIN)),
            (452, 5) | (400..=499, 7) => (StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(1))),
            (400..=499, _) => (StatusCode::SERVICE_UNAVAILABLE, Some(AGAIN)),
            (552, _) => (StatusCode::PAYLOAD_TOO_LARGE, None),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, None),
        };
        let remedy = usual.map(|usual| Remedy::after(usual.max(wait)));
        Problem { remedy, ..Problem::new(status, &refusal.text) }
    }

    /// The same of several recipients; who may try again may do so with all of them.
    pub(super) fn refused_recipients(refused: Vec<(String, Refusal)>) -> Problem {
        let worst = refused.iter().map(|(_, refusal)| refusal).max_by_key(|refusal| refusal.code);
        let base = worst.map(|refusal| Problem::refused(refusal, Duration::ZERO));
        let wrong = |(field, refusal): (String, Refusal)| Wrong::of(field, refusal.to_string());
        let Problem { detail, errors, .. } = Problem::bad_fields(refused.into_iter().map(wrong).collect());
        let base = base.unwrap_or_else(|| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ""));
        Problem { detail, errors, ..base }
    }

    /// There is no room to keep anything now.
    pub(super) fn no_room() -> Problem {
        let text = "insufficient storage; try again later";
        Problem::refused(&Refusal::new(452, (3, 1), text), Duration::ZERO)
    }

    /// A request that shows no key that is known, whatever it shows instead (RFC 6750).
    pub(super) fn unauthorized() -> Problem {
        let detail = "this call needs a key that is known here, as Authorization: Bearer KEY";
        Problem { remedy: Some(Remedy::Key), ..Problem::new(StatusCode::UNAUTHORIZED, detail) }
    }

    /// A request that may come again in a while (RFC 6585 section 4).
    pub(super) fn too_many(detail: impl Into<String>, wait: Duration) -> Problem {
        let detail = format!("{}; try again in {} s", detail.into(), seconds(wait));
        Problem { remedy: Some(Remedy::after(wait)), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn method_not_allowed() -> Problem {
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path has other methods; the field Allow names them",
        )
    }
}

/// Whole seconds, and none too early.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Problem {
        let status = match &error {
            SpoolError::Unknown => StatusCode::NOT_FOUND,
            SpoolError::Changed => StatusCode::CONFLICT,
            SpoolError::Full => StatusCode::INSUFFICIENT_STORAGE,
            SpoolError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            SpoolError::Failed(_) | SpoolError::Damaged(_) | SpoolError::Sealed => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Problem::new(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self);
        let headers = response.headers_mut();
        match self.remedy {
            None => {}
            Some(Remedy::Key) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Some(Remedy::Wait(seconds)) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
        }
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// A response of JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        // Only maps with odd keys fail, and there are none.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
