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
    /// there was no record in it.
    ended: Option<String>,
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
    let (mut files, mut wrong) = (Vec::new(), Vec::new());
    for Turned { path, ended } in turned {
        let path = path.display().to_string();
        match ended {
            Ok(ended) => {
                let ended = ended.map(|ended| ended.display().to_string());
                files.push(FileShape { path, ended });
            }
            Err(error) => wrong.push(format!("{path}: {error}")),
        }
    }
    match wrong.is_empty() {
        true => Ok(json(StatusCode::OK, &RotatedShape { files })),
        false => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, wrong.join("; "))),
    }
}
