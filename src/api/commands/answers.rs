//! What a command comes to: one answer, or one for each of its names.
//!
//! Once something has been done for one name the command is never refused: what failed for
//! another stands in its place, beside what was done.

use super::super::problem::Problem;
use super::super::status;
use super::wrong;
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

/// Octets of what is looked at, beyond the first, that are put together.
const ROOM: usize = 1 << 20;

/// See the module.
#[derive(Default)]
pub(in crate::api) struct Answers {
    data: Vec<Value>,
    octets: usize,
    /// Whether something was done.
    is_begun: bool,
    /// Names for which it could not be.
    failed: usize,
}

impl Answers {
    /// Takes what somebody looks at: JSON, or text. The first may be of any size.
    pub async fn push(&mut self, answer: Response) -> Result<(), Problem> {
        let (data, octets) = read(answer).await?;
        self.octets += octets;
        if self.octets > ROOM && !self.data.is_empty() {
            return Err(wrong("its answers are too long for one; name fewer at a time".to_owned()));
        }
        self.data.push(data);
        Ok(())
    }

    /// Takes what came of a deed for one name, whatever its size. A failure is that of the
    /// command as long as nothing has been done.
    pub async fn note(&mut self, name: &str, came: Result<Response, Problem>) -> Result<(), Problem> {
        let data = match came {
            Err(problem) if !self.is_begun => return Err(problem),
            Err(problem) => Err(problem),
            Ok(answer) => read(answer).await.map(|(data, _)| data),
        };
        self.is_begun = true;
        self.data.push(data.unwrap_or_else(|problem| {
            self.failed += 1;
            json!({ "name": name, "error": problem.detail() })
        }));
        Ok(())
    }

    /// All of them as PowerMTA wraps an answer.
    pub fn envelope(self) -> Value {
        let Answers { mut data, failed, .. } = self;
        let names = data.len();
        let data = if names == 1 { data.pop().unwrap_or_default() } else { Value::Array(data) };
        if failed == 0 {
            return status::envelope(data);
        }
        let message = format!("{failed} of {names} names failed; error says why");
        json!({ "data": data, "status": "partial", "message": message })
    }
}

/// What an answer says, and of how many octets it was.
async fn read(answer: Response) -> Result<(Value, usize), Problem> {
    let broken = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost");
    let octets = answer.into_body().collect().await.map_err(broken)?.to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&octets).into_owned());
    Ok((serde_json::from_slice(&octets).unwrap_or_else(|_| text()), octets.len()))
}

#[cfg(test)]
mod tests {
    use super::super::super::problem;
    use super::*;

    #[tokio::test]
    async fn what_was_done_is_told_whatever_its_size_and_whatever_fails_behind_it() {
        let long = || problem::json(StatusCode::OK, &json!({ "secret": "x".repeat(ROOM) }));
        let refused = || Problem::not_found("no such webhook");
        let mut answers = Answers::default();
        assert!(answers.note("a", Err(refused())).await.is_err());
        for name in ["b", "c"] {
            assert!(answers.note(name, Ok(long())).await.is_ok());
        }
        assert!(answers.note("d", Err(refused())).await.is_ok());
        let told = answers.envelope();
        assert_eq!(told["data"][1]["secret"].as_str().map(str::len), Some(ROOM));
        assert_eq!(told["data"][2], json!({ "name": "d", "error": "no such webhook" }));
        assert_eq!((&told["status"], told["data"].as_array().map(Vec::len)), (&json!("partial"), Some(3)));

        let mut answers = Answers::default();
        assert!(answers.push(long()).await.is_ok() && answers.push(long()).await.is_err());
    }
}
