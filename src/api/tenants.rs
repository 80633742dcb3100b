//! `GET /tenants`: the tenants as they are configured, nothing of which is a secret.

use super::ask::{Asked, Nothing};
use super::caller::Caller;
use super::desk::Desk;
use super::problem::{Problem, json};
use super::shapes::shown;
use crate::compose::HeaderControl;
use crate::deliver::pace::Rate;
use crate::intake::TenantTerms;
use crate::tenant::Tenant;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

/// A tenant.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tenant")]
pub(super) struct TenantShape<'a> {
    name: &'a str,
    /// Posts of a day.
    daily_limit: Option<u64>,
    /// As it is configured.
    rate: Option<String>,
    /// Origins; none means any.
    may_post_to: Vec<String>,
    header_control: bool,
}

impl<'a> TenantShape<'a> {
    fn of(terms: &'a TenantTerms) -> TenantShape<'a> {
        TenantShape {
            name: terms.tenant.as_str(),
            daily_limit: terms.daily_limit,
            rate: terms.rate.map(|(count, per)| shown(Rate { count, per })),
            may_post_to: terms.may_post_to.iter().map(ToString::to_string).collect(),
            header_control: terms.header_control == HeaderControl::On,
        }
    }
}

/// `GET /tenants`: all of them, or the caller's own.
pub(super) async fn list(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, Problem> {
    let current = desk.current();
    // It is there without a word in the configuration.
    let default = TenantTerms {
        tenant: Tenant::default(),
        daily_limit: None,
        rate: None,
        may_post_to: Vec::new(),
        header_control: HeaderControl::On,
    };
    let mut all = current.tenants.configured();
    if all.iter().all(|terms| terms.tenant != default.tenant) {
        all.insert(0, &default);
    }
    let is_shown = |terms: &&TenantTerms| caller.tenant.as_ref().is_none_or(|own| *own == terms.tenant);
    let shapes: Vec<_> = all.into_iter().filter(is_shown).map(TenantShape::of).collect();
    Ok(json(StatusCode::OK, &json!({ "tenants": shapes })))
}
