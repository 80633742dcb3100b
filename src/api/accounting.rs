//! `/accounting/rotate`: files of records end when somebody says so.

use super::ask::{Given, Nothing};
use super::desk::Desk;
use super::problem::{Problem, json};
use crate::fanout::accounting::accounts::Turned;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

/// What came of it, file by file.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Rotated")]
pub(super) struct RotatedShape {
    files: Vec<FileShape>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RotatedFile")]
struct FileShape {
    /// As the configuration has it.
    path: String,
    /// Where the file is that ended; it may be compressed there. `null` where it goes on, for
    /// there was no record in it, or for the reason that `error` says.
    ended: Option<String>,
    /// Why it could not be ended; absent where nothing was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// `POST /accounting/rotate`: all files, also those of which one cannot be ended.
pub(super) async fn rotate(
    State(desk): State<Desk>,
    Given(Nothing {}): Given<Nothing>,
) -> Result<Response, Problem> {
    let turned = match &desk.options.accounts {
        Some(accounts) => accounts.turn().await,
        None => Vec::new(),
    };
    if turned.is_empty() {
        let detail = "no file of records is configured; [accounting] path names one";
        return Err(Problem::not_found(detail));
    }
    // Where one is now is told though another could not be ended: nobody could ask again.
    let file = |Turned { path, ended }: Turned| {
        let (ended, error) = match ended {
            Ok(ended) => (ended.map(|ended| ended.display().to_string()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        FileShape { path: path.display().to_string(), ended, error }
    };
    Ok(json(StatusCode::OK, &RotatedShape { files: turned.into_iter().map(file).collect() }))
}
