//! What went wrong, as a page says it: what the API answered, or what the panel refuses.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What the page is answered with.
    pub status: StatusCode,
    /// What happened, and what to do.
    pub detail: String,
    /// What is wrong with single fields.
    pub errors: Vec<String>,
    /// The same by the names that fields have in the API, also of one alone.
    pub fields: Vec<(String, String)>,
}

/// What the API says of an error (RFC 9457), as far as it is shown.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    errors: Vec<Wrong>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wrong {
    field: String,
    detail: String,
}

impl Trouble {
    /// An error of the panel's own.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Trouble {
        Trouble { status, detail: detail.into(), errors: Vec::new(), fields: Vec::new() }
    }

    /// What the API answered with this status.
    pub(super) fn told(status: StatusCode, body: &[u8]) -> Trouble {
        let Problem { detail, errors } = serde_json::from_slice(body).unwrap_or_default();
        let fields: Vec<_> = errors.into_iter().map(|Wrong { field, detail }| (field, detail)).collect();
        // One alone stands in the text already.
        let several = fields.iter().filter(|_| fields.len() > 1);
        let errors = several.map(|(field, detail)| format!("{field}: {detail}")).collect();
        Trouble { status, detail, errors, fields }
    }

    /// An answer of the API that is not as it was when the panel was made.
    pub(super) fn not_understood() -> Trouble {
        Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "the API answered what the panel does not understand")
    }

    /// What happened in a few words.
    pub(super) fn title(&self) -> &'static str {
        match self.status {
            StatusCode::NOT_FOUND => "There is nothing here",
            StatusCode::FORBIDDEN => "That is not allowed",
            StatusCode::CONFLICT => "There is nothing to be done",
            StatusCode::TOO_MANY_REQUESTS => "Too many requests",
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => "That is not understood",
            _ => self.status.canonical_reason().unwrap_or("Something went wrong"),
        }
    }
}

/// Bare; `guard` makes a page of it.
impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
