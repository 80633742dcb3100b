//! `GET /history`: what passed lately, step by step, for charts.
//!
//! Nobody counts by tenant, so one of several is refused rather than shown what others do.

use super::ask::Asked;
use super::caller::Caller;
use super::desk::Desk;
use super::problem::{Problem, json};
use crate::clock::rfc3339;
use crate::metrics::{Past, SERIES, Span};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The query of `GET /history`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asking {
    /// The last hour, unless it is said.
    #[serde(default = "hour")]
    #[schemars(extend("enum" = ["hour", "day"]))]
    span: String,
}

fn hour() -> String {
    "hour".to_owned()
}

/// What is answered.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "History")]
pub(super) struct HistoryShape {
    step_seconds: u64,
    /// When the last step ended.
    until: String,
    series: SeriesShape,
}

/// Posts of each step, the oldest first, as far back as is known; `null` where the
/// gateway did not run.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Series")]
struct SeriesShape {
    r#in: Vec<Option<u32>>,
    delivered: Vec<Option<u32>>,
    deferred: Vec<Option<u32>>,
    failed: Vec<Option<u32>>,
}

impl HistoryShape {
    fn of(past: &Past) -> HistoryShape {
        let [r#in, delivered, deferred, failed] = std::array::from_fn::<_, { SERIES.len() }, _>(|series| {
            past.steps.iter().map(|step| step.and_then(|step| step.get(series).copied())).collect()
        });
        HistoryShape {
            step_seconds: past.step.as_secs(),
            until: rfc3339(past.until),
            series: SeriesShape { r#in, delivered, deferred, failed },
        }
    }
}

/// `GET /history`
pub(super) async fn show(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(Asking { span }): Asked<Asking>,
) -> Result<Response, Problem> {
    let span = match span.as_str() {
        "hour" => Span::Hour,
        "day" => Span::Day,
        _ => return Err(Problem::bad_field("span", "write hour or day")),
    };
    if let Some(tenant) = desk.one_of_several(&caller) {
        let detail = format!(
            "the history is that of all tenants together, and this is asked for {tenant} alone; \
             an admin's key without X-Tenant-ID shows it"
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(json(StatusCode::OK, &HistoryShape::of(&desk.metrics.past(span))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::Timestamp;
    use std::time::Duration;

    #[test]
    fn a_day_of_a_busy_gateway_is_small() {
        // 9,999 posts a minute, of which some fail.
        let step = Some([9_999, 9_990, 9, 9]);
        let past = Past {
            step: Duration::from_mins(1),
            until: Timestamp(1_769_860_800_000),
            steps: vec![step; 1440],
        };
        let text = serde_json::to_string(&HistoryShape::of(&past)).unwrap();
        assert!(text.len() <= 20 << 10, "{} octets", text.len());
        assert!(
            text.starts_with(
                r#"{"step_seconds":60,"until":"2026-01-31T12:00:00.000Z","series":{"in":[9999,"#
            )
        );
    }
}
