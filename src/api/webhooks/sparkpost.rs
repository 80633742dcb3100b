//! Calls that programs written for SparkPost's webhooks make, in its shapes and under its
//! names of events.
//!
//! What they ask is answered from what other calls tell; there is nothing behind them
//! that is theirs alone. Validation is in `trial`.

use super::super::ask::Asked;
use super::super::caller::Caller;
use super::super::events::sample_batch;
use super::super::problem::Problem;
use super::Answer;
use crate::fanout::{Format, sparkpost};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;

/// The query of `…/events/samples`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Samples {
    events: Option<String>,
}

/// `GET /webhooks/events/samples`: a batch as SparkPost's, of its types of events or of our
/// names.
pub(in crate::api) async fn samples(caller: Caller, Asked(Samples { events }): Asked<Samples>) -> Answer {
    let mut names = Vec::new();
    match events.as_deref() {
        None => names.extend(sparkpost::types().map(|(_, name)| name)),
        Some(events) => {
            for event in events.split(',').map(str::trim) {
                names.extend(named(event)?);
            }
        }
    }
    sample_batch(&caller, names, Format::SparkPost)
}

/// The names of what SparkPost calls so.
fn named(event: &str) -> Result<Vec<&str>, Problem> {
    if event.contains('.') {
        return Ok(vec![event]);
    }
    let names: Vec<_> = sparkpost::types().filter(|(kind, _)| *kind == event).map(|(_, name)| name).collect();
    if names.is_empty() {
        let known: BTreeSet<_> = sparkpost::types().map(|(kind, _)| kind).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        let detail = format!("{event:?} is no type that there is; there are {known}");
        return Err(Problem::bad_field("events", detail));
    }
    Ok(names)
}
