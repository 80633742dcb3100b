//! The table of calls below `/api/v1`: the role that each needs, its path, what answers.
//!
//! It is the only place where a call gets its path, so that none is without a role.

use super::caller::behind;
use super::desk::Desk;
use super::webhooks::trial;
use super::{
    commands, config, destinations, events, inject, mail, posts, routes, status, stream, tenants, transcript,
    webhooks,
};
use crate::intake::Role::{self, Admin, Inject, Operator, Read};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, delete, get, patch, post, put};

type Call = (Role, &'static str, MethodRouter<Desk>);

fn about_posts() -> Vec<Call> {
    vec![
        (Read, "/posts", get(posts::list)),
        (Inject, "/posts", post(inject::posts)),
        (Inject, "/messages", post(mail::messages)),
        (Operator, "/posts/actions", post(posts::act)),
        (Read, "/posts/{id}", get(posts::show)),
        (Operator, "/posts/{id}", delete(posts::delete)),
        (Read, "/posts/{id}/attempts", get(posts::attempts)),
        (Read, "/posts/{id}/body", get(posts::body)),
        (Read, "/posts/{id}/message", get(posts::message)),
        (Read, "/posts/{id}/transcript", get(transcript::show)),
        (Operator, "/posts/{id}/retry", post(posts::retry)),
        (Operator, "/posts/{id}/hold", post(posts::hold)),
        (Operator, "/posts/{id}/release", post(posts::release)),
        (Operator, "/posts/{id}/reroute", post(posts::reroute)),
    ]
}

fn about_destinations() -> Vec<Call> {
    vec![
        (Read, "/destinations", get(destinations::list)),
        (Read, "/destinations/{origin}", get(destinations::show)),
        (Operator, "/destinations/{origin}/pause", post(destinations::pause)),
        (Operator, "/destinations/{origin}/resume", post(destinations::resume)),
        (Operator, "/destinations/{origin}/flush", post(destinations::flush)),
        (Operator, "/destinations/{origin}/purge", post(destinations::purge)),
    ]
}

fn about_webhooks() -> Vec<Call> {
    vec![
        (Read, "/webhooks", get(webhooks::list)),
        (Operator, "/webhooks", post(webhooks::create)),
        (Operator, "/webhooks/check", post(trial::check)),
        (Read, "/webhooks/{id}", get(webhooks::show)),
        (Operator, "/webhooks/{id}", patch(webhooks::change)),
        (Operator, "/webhooks/{id}", delete(webhooks::delete)),
        (Operator, "/webhooks/{id}/rotate-secret", post(webhooks::rotate)),
        (Operator, "/webhooks/{id}/test", post(trial::test)),
        (Operator, "/webhooks/{id}/validate", post(trial::validate)),
        (Operator, "/webhooks/{id}/verify", post(trial::verify)),
    ]
}

fn about_events() -> Vec<Call> {
    vec![
        (Read, "/events", get(events::list)),
        (Inject, "/events", post(events::publish).layer(DefaultBodyLimit::max(events::BODY))),
        (Read, "/events/types", get(events::types)),
        (Read, "/events/samples", get(events::show_samples)),
        (Read, "/events/stream", get(stream::stream)),
    ]
}

fn about_the_gateway() -> Vec<Call> {
    let large = |call: MethodRouter<Desk>| call.layer(DefaultBodyLimit::max(config::LARGEST));
    vec![
        (Read, "/routes", get(routes::list)),
        (Read, "/tenants", get(tenants::list)),
        (Read, "/status", get(status::show)),
        (Admin, "/config", get(config::read)),
        (Admin, "/config", large(put(config::write))),
        (Admin, "/config/check", large(post(config::check))),
        (Admin, "/reload", post(config::reload)),
        (Operator, "/commands", post(commands::run)),
    ]
}

/// All calls, each behind its role.
pub(super) fn router(desk: &Desk) -> Router<Desk> {
    let all = [about_posts(), about_destinations(), about_events(), about_webhooks(), about_the_gateway()];
    all.into_iter()
        .flatten()
        .fold(Router::new(), |router, (role, path, call)| router.route(path, behind(desk, role, call)))
}
