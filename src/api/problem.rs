//! What went wrong, as `application/problem+json` (RFC 9457).
//!
//! The one place where errors of the spool and of those who ask become HTTP. The
//! texts name what to do, and no secret.

use super::setup::Fault;
use crate::spool::SpoolError;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// An error as it is answered.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Problem {
    /// Nothing beyond what the status says (RFC 9457 section 4.2.1).
    r#type: &'static str,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Wrong>,
    /// A field of the response that belongs to it.
    #[serde(skip)]
    field: Option<(HeaderName, HeaderValue)>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, Serialize)]
struct Wrong {
    field: Cow<'static, str>,
    detail: String,
    /// Where it is in a text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

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
            field: None,
        }
    }

    /// A request that cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// A request that is understood, but one of its fields cannot be so.
    pub(super) fn bad_field(field: &'static str, detail: impl Into<String>) -> Problem {
        let detail = detail.into();
        let text = format!("{field}: {detail}");
        let errors = vec![Wrong { field: field.into(), detail, line: None, column: None }];
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text) }
    }

    /// A configuration that is wrong, with all that is.
    pub(super) fn bad_config(faults: Vec<Fault>) -> Problem {
        let text = faults.iter().map(|Fault { place, field, detail }| match place {
            Some((line, column)) => format!("line {line}, column {column}: {field}: {detail}"),
            None => detail.clone(),
        });
        let text = text.collect::<Vec<_>>().join("\n");
        let wrong = |Fault { place, field, detail }| {
            let (line, column) = place.unzip();
            Wrong { field: Cow::Owned(field), detail, line, column }
        };
        let errors = faults.into_iter().map(wrong).collect();
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text) }
    }

    /// A request that shows no key that is known, whatever it shows instead (RFC 6750).
    pub(super) fn unauthorized() -> Problem {
        let field = Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        let detail = "this call needs a key that is known here, as Authorization: Bearer KEY";
        Problem { field, ..Problem::new(StatusCode::UNAUTHORIZED, detail) }
    }

    /// A request that may come again in a while (RFC 6585 section 4).
    pub(super) fn too_many(detail: impl Into<String>, wait: Duration) -> Problem {
        // Whole seconds, and none too early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let field = Some((header::RETRY_AFTER, HeaderValue::from(seconds)));
        let detail = format!("{}; try again in {seconds} s", detail.into());
        Problem { field, ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail) }
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

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Problem {
        let status = match &error {
            SpoolError::Unknown => StatusCode::NOT_FOUND,
            SpoolError::Changed => StatusCode::CONFLICT,
            SpoolError::Full => StatusCode::INSUFFICIENT_STORAGE,
            SpoolError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            SpoolError::Failed(_) | SpoolError::Damaged(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem::new(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self);
        if let Some((name, value)) = self.field {
            response.headers_mut().insert(name, value);
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
