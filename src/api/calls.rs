//! The table of calls: the role that each needs, its method and path, what answers, and
//! what it says of itself.
//!
//! It is the only place where a call gets its path, so that none is without a role, and
//! none is missing in the document at `/openapi.json`, which is made from this table.
//! There, what a call takes is read off the arguments of its handler: a type with
//! `JsonSchema` in [`Asked`](super::ask::Asked) is its query, one in
//! [`Given`](super::ask::Given) its body. What it answers, a row says: `answers` with the
//! type that is written, or `writes` with a schema of `openapi::bodies` where there is
//! none; `with` names header fields of that answer, `refuses` statuses beyond those of
//! any call, and `leads` says where an id stands for other calls. `schemathesis` calls
//! all of them, and finds what is not so.

use super::caller::{self, CallerShape, behind};
use super::desk::Desk;
use super::history::HistoryShape;
use super::openapi::bodies;
use super::openapi::call::{Call, delete, get, patch, post, put};
use super::shapes::{OrderedShape, PostShape};
use super::webhooks::{batches, replay, shape::WebhookShape, sparkpost, trial};
use super::{
    accounting, attachments, commands, config, destinations, events, health, history, inject, mail, openapi,
    posts, protocol_log, publish, routes, send_test, status, stream, tenants, transcript, webhooks,
};
use crate::intake::Role::{self, Admin, Inject, Operator, Read};
use crate::metrics::CONTENT_TYPE;
use axum::Router;
use http::StatusCode as Is;
use schemars::json_schema;

/// What the paths of the API begin with.
pub(super) const BASE: &str = "/api/v1";

/// Needs no key.
const ANYBODY: Option<Role> = None;

/// What makes a repeat a no-op: 1 to 255 octets of printable ASCII.
const KEY: &str = "^[!-~]([ -~]{0,253}[!-~])?$";

const OCTETS: &str = "application/octet-stream";
const TOML: &str = "application/toml";
const JSON: &str = "application/json";

/// Posts are handed in, and looked at.
fn about_posts() -> Vec<Call> {
    const FULL: [Is; 2] = [Is::CONFLICT, Is::INSUFFICIENT_STORAGE];
    let handed = |call: Call| {
        call.heeds_like("Idempotency-Key", KEY, "Makes a repeat of the request a no-op.").refuses(&FULL)
    };
    vec![
        get(Read, "/api/v1/posts", posts::list, "Lists posts, the newest first")
            .writes(Is::OK, "A page; only one without `next` is the last.", bodies::posts)
            .leads("/posts/0/id", "/api/v1/posts/"),
        handed(post(Inject, "/api/v1/posts", inject::posts, "Hands in a post, or a list of up to 1,000"))
            .takes(JSON, bodies::direct())
            .answers::<inject::AcceptedShape>(Is::ACCEPTED, "They are on disk.")
            .leads("/id", "/api/v1/posts/")
            .answers::<inject::AcceptedShape>(Is::OK, "They were, by a request with the same key."),
        handed(post(Inject, "/api/v1/messages", mail::messages, "Hands in mail, taken as over SMTP"))
            .takes(JSON, bodies::transmission())
            .takes("message/rfc822", bodies::any_text())
            .asks("from", bodies::any_text())
            .asks("to", bodies::addresses())
            .answers::<mail::AcceptedShape>(Is::ACCEPTED, "It is on disk.")
            .leads("/posts/0", "/api/v1/posts/")
            .answers::<mail::AcceptedShape>(Is::OK, "It was, by a request with the same key."),
        post(
            Inject,
            "/api/v1/send-test",
            send_test::send,
            "Sends a message over SMTP, and shows what was said",
        )
        .answers::<send_test::SentShape>(Is::OK, "What came of it, accepted or not.")
        .leads("/id", "/api/v1/posts/")
        .refuses(&[Is::CONFLICT, Is::UNPROCESSABLE_ENTITY, Is::SERVICE_UNAVAILABLE]),
        get(Read, "/api/v1/posts/{id}", posts::show, "Shows a post")
            .answers::<PostShape>(Is::OK, "The post."),
        get(Read, "/api/v1/posts/{id}/attempts", posts::attempts, "Lists the attempts of a post").writes(
            Is::OK,
            "Each, the first one first.",
            bodies::attempts,
        ),
        get(Read, "/api/v1/posts/{id}/body", posts::body, "Fetches what a post sends")
            .sends(Is::OK, OCTETS, "Its octets.")
            .with(&["Content-Disposition"]),
        get(Read, "/api/v1/posts/{id}/message", posts::message, "Fetches the mail a post was made of")
            .sends(Is::OK, OCTETS, "The mail.")
            .with(&["Content-Disposition"]),
        get(Read, "/api/v1/posts/{id}/transcript", transcript::show, "Shows the dialogues of a post").writes(
            Is::OK,
            "As the protocol log has them.",
            bodies::transcript,
        ),
    ]
}

/// Posts are steered.
fn about_orders() -> Vec<Call> {
    const FULL: [Is; 2] = [Is::CONFLICT, Is::INSUFFICIENT_STORAGE];
    let ordered = |call: Call| call.answers::<OrderedShape>(Is::OK, "How many it concerned.").refuses(&FULL);
    vec![
        ordered(post(Operator, "/api/v1/posts/actions", posts::act, "Does something to many posts")),
        ordered(delete(Operator, "/api/v1/posts/{id}", posts::delete, "Deletes a post")),
        ordered(post(Operator, "/api/v1/posts/{id}/retry", posts::retry, "Tries a post again now")),
        ordered(post(Operator, "/api/v1/posts/{id}/hold", posts::hold, "Holds a post back")),
        ordered(post(Operator, "/api/v1/posts/{id}/release", posts::release, "Lets a held post go")),
        ordered(post(Operator, "/api/v1/posts/{id}/reroute", posts::reroute, "Sends a post elsewhere")),
    ]
}

fn about_destinations() -> Vec<Call> {
    const FULL: [Is; 1] = [Is::INSUFFICIENT_STORAGE];
    let counted = |call: Call| call.writes(Is::OK, "How many it concerned.", bodies::counted).refuses(&FULL);
    vec![
        get(Read, "/api/v1/destinations", destinations::list, "Lists destinations")
            .writes(Is::OK, "All that there are.", bodies::destinations)
            .leads("/destinations/0/origin", "/api/v1/destinations/"),
        get(Read, "/api/v1/destinations/{origin}", destinations::show, "Shows an origin's destinations")
            .writes(Is::OK, "One for each tenant that uses it.", bodies::destinations)
            .refuses(&[Is::UNPROCESSABLE_ENTITY]),
        counted(post(
            Operator,
            "/api/v1/destinations/{origin}/pause",
            destinations::pause,
            "Sends nothing there until it is resumed",
        )),
        counted(post(Operator, "/api/v1/destinations/{origin}/resume", destinations::resume, "Ends a pause")),
        post(Operator, "/api/v1/destinations/{origin}/flush", destinations::flush, "Tries all there again")
            .answers::<OrderedShape>(Is::OK, "How many it concerned.")
            .refuses(&FULL),
        counted(post(
            Operator,
            "/api/v1/destinations/{origin}/backoff",
            destinations::back_off,
            "Sends probes only until one is answered",
        )),
        counted(post(
            Operator,
            "/api/v1/destinations/{origin}/recover",
            destinations::recover,
            "Ends a backoff",
        )),
        counted(post(
            Operator,
            "/api/v1/destinations/{origin}/purge",
            destinations::purge,
            "Deletes what waits there",
        )),
    ]
}

fn about_webhooks() -> Vec<Call> {
    const FIXED: [Is; 2] = [Is::CONFLICT, Is::INSUFFICIENT_STORAGE];
    const ONE: &str = "/api/v1/webhooks/{id}";
    let shown = |call: Call| call.answers::<WebhookShape<'_>>(Is::OK, "The webhook.").with(&["ETag"]);
    let changed = |call: Call| {
        let call = call.heeds("If-Match", "The version that is meant, as ETag named it.");
        call.refuses(&FIXED).refuses(&[Is::PRECONDITION_FAILED])
    };
    vec![
        get(Read, "/api/v1/webhooks", webhooks::list, "Lists webhooks")
            .writes(Is::OK, "All that there are.", bodies::webhooks)
            .leads("/webhooks/0/id", "/api/v1/webhooks/"),
        post(Operator, "/api/v1/webhooks", webhooks::create, "Makes a webhook")
            .takes(JSON, bodies::webhook())
            .answers::<WebhookShape<'_>>(Is::CREATED, "It is there. A new secret is shown this once.")
            .with(&["ETag", "Location"])
            .leads("/id", "/api/v1/webhooks/")
            .refuses(&FIXED),
        post(Operator, "/api/v1/webhooks/check", trial::check, "Tests all webhooks").writes(
            Is::OK,
            "What came of it.",
            bodies::tests,
        ),
        get(Read, "/api/v1/webhooks/events/samples", sparkpost::samples, "Shows a batch, as SparkPost")
            .writes(Is::OK, "Examples.", bodies::samples),
        shown(get(Read, ONE, webhooks::show, "Shows a webhook"))
            .heeds("If-None-Match", "A version that the caller has.")
            .says(Is::NOT_MODIFIED, "It is that version.")
            .with(&["ETag"]),
        changed(shown(patch(Operator, ONE, webhooks::change, "Changes a webhook (RFC 7396)")))
            .takes(JSON, bodies::patch()),
        changed(delete(Operator, ONE, webhooks::delete, "Deletes a webhook"))
            .says(Is::NO_CONTENT, "It is gone."),
        changed(shown(post(
            Operator,
            "/api/v1/webhooks/{id}/rotate-secret",
            webhooks::rotate,
            "Gives it a new secret; the old one signs for a day more",
        ))),
        post(Operator, "/api/v1/webhooks/{id}/test", trial::test, "Sends a sample event").writes(
            Is::OK,
            "The exchange.",
            bodies::exchange,
        ),
        post(Operator, "/api/v1/webhooks/{id}/validate", trial::validate, "Sends a message, as SparkPost")
            .writes(Is::OK, "The receiver took it.", bodies::validated),
        shown(post(Operator, "/api/v1/webhooks/{id}/verify", trial::verify, "Asks its receiver"))
            .refuses(&FIXED),
    ]
}

/// What was sent to webhooks, and what is to be sent again.
fn about_batches() -> Vec<Call> {
    vec![
        get(Read, "/api/v1/webhooks/{id}/batch-status", batches::status, "Lists batches, as SparkPost")
            .writes(Is::OK, "Those that failed at least once.", bodies::batch_status),
        get(Read, "/api/v1/webhooks/{id}/batches", batches::list, "Lists batches, the newest first").writes(
            Is::OK,
            "A page; only one without `next` is the last.",
            bodies::batches,
        ),
        get(Read, "/api/v1/webhooks/{id}/batches/{batch}", batches::show, "Shows a batch").writes(
            Is::OK,
            "With each attempt, the request and its body.",
            bodies::batch,
        ),
        post(Operator, "/api/v1/webhooks/{id}/replay", replay::begin, "Sends events again")
            .answers::<replay::CountShape>(Is::OK, "How many it would be.")
            .answers::<replay::CountShape>(Is::ACCEPTED, "How many it will be.")
            .refuses(&[Is::CONFLICT, Is::INSUFFICIENT_STORAGE]),
        get(Read, "/api/v1/webhooks/{id}/replays", replay::list, "Lists what is sent again").writes(
            Is::OK,
            "The newest first.",
            bodies::replays,
        ),
    ]
}

fn about_events() -> Vec<Call> {
    vec![
        get(Read, "/api/v1/events", events::list, "Lists events, the newest first")
            .writes(Is::OK, "A page; only one without `next` is the last.", bodies::events)
            .refuses(&[Is::NOT_FOUND]),
        post(Inject, "/api/v1/events", publish::publish, "Publishes an event, or a list of them")
            .takes(JSON, bodies::handed())
            .writes(Is::ACCEPTED, "They are on disk.", bodies::published)
            .refuses(&[Is::INSUFFICIENT_STORAGE]),
        get(Read, "/api/v1/events/types", events::types, "Lists the kinds of events").writes(
            Is::OK,
            "Each with an example.",
            bodies::types,
        ),
        get(Read, "/api/v1/events/samples", events::show_samples, "Shows what a batch holds").writes(
            Is::OK,
            "Examples.",
            bodies::samples,
        ),
        get(Read, "/api/v1/events/stream", stream::stream, "Tells events as they happen")
            .heeds("Last-Event-ID", "What the stream before ended with.")
            .tells("text/event-stream", "Server-Sent Events, without end.")
            .refuses(&[Is::NOT_FOUND]),
    ]
}

fn about_the_gateway() -> Vec<Call> {
    const FILE: [Is; 3] = [Is::CONFLICT, Is::UNPROCESSABLE_ENTITY, Is::SERVICE_UNAVAILABLE];
    let good = |call: Call| call.writes(Is::OK, "It is good.", bodies::good).with(&["ETag"]).refuses(&FILE);
    vec![
        get(Read, "/api/v1/caller", caller::show, "Says whose key a call shows, and what it allows")
            .answers::<CallerShape>(Is::OK, "The key."),
        get(Read, "/api/v1/routes", routes::list, "Lists routes").writes(
            Is::OK,
            "As configured, secrets hidden.",
            bodies::routes,
        ),
        get(Read, "/api/v1/tenants", tenants::list, "Lists tenants").writes(
            Is::OK,
            "As configured.",
            bodies::tenants,
        ),
        get(Read, "/api/v1/status", status::show, "Shows the figures operators watch").writes(
            Is::OK,
            "In our words, or in PowerMTA's.",
            bodies::status,
        ),
        get(Read, "/api/v1/history", history::show, "Shows what passed lately, step by step")
            .answers::<HistoryShape>(Is::OK, "An hour in steps of ten seconds, or a day in minutes."),
        get(Read, "/api/v1/protocol-log", protocol_log::list, "Shows dialogues of the protocol log")
            .answers::<protocol_log::PageShape>(Is::OK, "A page; only one without `next` is the last.")
            .refuses(&[Is::NOT_FOUND, Is::UNPROCESSABLE_ENTITY]),
        get(Read, "/api/v1/protocol-log/lines", protocol_log::follow, "Shows what is added to it")
            .answers::<protocol_log::LinesShape>(Is::OK, "Lines, and where it goes on.")
            .refuses(&[Is::NOT_FOUND, Is::UNPROCESSABLE_ENTITY]),
        get(Admin, "/api/v1/config", config::read, "Fetches the configuration file")
            .tells(TOML, "The file, secrets hidden.")
            .with(&["ETag"])
            .refuses(&FILE),
        good(put(Admin, "/api/v1/config", config::write, "Replaces the configuration file"))
            .up_to(config::LARGEST)
            .takes(TOML, bodies::any_text())
            .heeds("If-Match", "The version that is meant, as ETag named it.")
            .refuses(&[Is::PRECONDITION_FAILED]),
        good(post(Admin, "/api/v1/config/check", config::check, "Says whether a configuration would do"))
            .up_to(config::LARGEST)
            .may_take(TOML, bodies::any_text()),
        good(post(Admin, "/api/v1/reload", config::reload, "Puts the file in force")),
        post(Admin, "/api/v1/accounting/rotate", accounting::rotate, "Ends each file of records now")
            .answers::<accounting::RotatedShape>(Is::OK, "The files: where each is, or why it goes on.")
            .refuses(&[Is::NOT_FOUND]),
        post(Operator, "/api/v1/commands", commands::run, "Carries out a command, as PowerMTA does")
            .writes(Is::OK, "What came of it.", bodies::envelope)
            .refuses(&[Is::NOT_FOUND, Is::CONFLICT, Is::INSUFFICIENT_STORAGE]),
        get(Read, "/api/v1/openapi.json", openapi::show, "Describes the API").writes(
            Is::OK,
            "This document.",
            bodies::any_object,
        ),
    ]
}

/// What is beside the API.
fn about_the_house() -> Vec<Call> {
    const PART: [&str; 5] =
        ["Content-Disposition", "ETag", "Accept-Ranges", "Content-Security-Policy", "Content-Range"];
    let number = || json_schema!({ "type": "string" });
    vec![
        get(ANYBODY, "/healthz", health::alive, "Says whether the gateway lives")
            .tells("text/plain; charset=utf-8", "It does."),
        get(ANYBODY, "/readyz", health::ready, "Says whether the spool takes posts")
            .tells("text/plain; charset=utf-8", "It does."),
        get(Read, "/metrics", health::metrics, "Counts, for Prometheus").tells(CONTENT_TYPE, "All of them."),
        get(ANYBODY, "/attachments/{id}/{number}", attachments::fetch, "Fetches an attachment")
            .asks("expires", number())
            .asks("signature", number())
            .heeds("Range", "Which octets.")
            .heeds("If-None-Match", "What the caller has.")
            .heeds("If-Range", "What the caller has a part of.")
            .sends(Is::OK, "*/*", "The attachment.")
            .with(PART.split_last().map_or(&[], |(_, all)| all))
            .sends(Is::PARTIAL_CONTENT, "*/*", "A part of it.")
            .with(&PART)
            .says(Is::NOT_MODIFIED, "The caller has it.")
            .refuses(&[Is::FORBIDDEN, Is::GONE, Is::RANGE_NOT_SATISFIABLE]),
    ]
}

/// All calls there are.
pub(super) fn all() -> Vec<Call> {
    let all = [
        about_posts(),
        about_orders(),
        about_destinations(),
        about_events(),
        about_webhooks(),
        about_batches(),
        about_the_gateway(),
        about_the_house(),
    ];
    all.into_iter().flatten().collect()
}

/// All calls, each behind its role.
pub(super) fn router(desk: &Desk) -> Router<Desk> {
    all().into_iter().fold(Router::new(), |router, Call { role, path, handler, .. }| {
        router.route(
            path,
            match role {
                Some(role) => behind(desk, role, handler),
                None => handler,
            },
        )
    })
}
