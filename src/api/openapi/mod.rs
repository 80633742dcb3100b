//! `GET /openapi.json`: what this API takes and answers, as OpenAPI 3.1.
//!
//! It is made from the table of calls when it is asked for, and says nothing that is not
//! there: what a call takes is read off the arguments of its handler (`takes`), what it
//! answers are the types that are written (`call`) or, where a handler writes field by
//! field, stands in `bodies`. Every error is a `Problem` (RFC 9457); those that a proxy
//! would answer are not told of.

pub(super) mod bodies;
pub(super) mod call;
mod takes;

use super::ask::{Asked, Nothing};
use super::caller::Caller;
use super::calls;
use super::problem::{Problem, json};
use axum::response::Response;
use call::{Answer, Call, Content};
use http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use schemars::transform::ReplaceBoolSchemas;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// `GET /openapi.json`
pub(super) async fn show(_: Caller, Asked(Nothing {}): Asked<Nothing>) -> Response {
    json(StatusCode::OK, &document(&calls::all()))
}

/// What every request may be refused with, whatever it asks for.
const ANY: [StatusCode; 6] = [
    StatusCode::BAD_REQUEST,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::MISDIRECTED_REQUEST,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::LOOP_DETECTED,
];

/// The same of one that needs a key.
const KEYED: [StatusCode; 3] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];

/// What a refusal of each status means here.
const REFUSALS: [(StatusCode, &str); 20] = [
    (StatusCode::BAD_REQUEST, "The request cannot be understood."),
    (StatusCode::UNAUTHORIZED, "There is no key in the request that is known here."),
    (StatusCode::FORBIDDEN, "The key does not allow it, or a browser asks for another site."),
    (StatusCode::NOT_FOUND, "There is no such thing for this caller."),
    (StatusCode::REQUEST_TIMEOUT, "The request took too long."),
    (StatusCode::CONFLICT, "What is there does not allow it; the text says why."),
    (StatusCode::GONE, "It was there and is no more."),
    (StatusCode::PRECONDITION_FAILED, "It is not what If-Match names; look again."),
    (StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than this call takes."),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body has a type or an encoding that is not taken."),
    (StatusCode::RANGE_NOT_SATISFIABLE, "There are no such octets."),
    (StatusCode::MISDIRECTED_REQUEST, "Without keys, only names of this machine are answered to."),
    (StatusCode::UNPROCESSABLE_ENTITY, "It is understood, but a field cannot be so; `errors` names it."),
    (StatusCode::TOO_MANY_REQUESTS, "Too much at a time; come again."),
    (StatusCode::INTERNAL_SERVER_ERROR, "Something is broken here; the operational log says more."),
    (StatusCode::SERVICE_UNAVAILABLE, "Not now; come again."),
    (StatusCode::INSUFFICIENT_STORAGE, "There is no room to keep it; come again."),
    (StatusCode::LOOP_DETECTED, "This gateway sent the request to itself."),
    (StatusCode::PRECONDITION_REQUIRED, "It is changed only by those who say what they have seen."),
    (StatusCode::LENGTH_REQUIRED, "The length of the body has to be said."),
];

/// Header fields of answers: whether they are always there, and what they are.
const HEADERS: [(&str, bool, &str); 9] = [
    ("ETag", false, "The version, for If-Match and If-None-Match."),
    ("Location", true, "Where it is now."),
    ("Content-Disposition", true, "A name for the file."),
    ("Accept-Ranges", true, "Parts may be asked for."),
    ("Content-Range", true, "Which part it is, of how many octets."),
    ("WWW-Authenticate", true, "What is needed."),
    ("Retry-After", true, "Seconds until another try is worth it."),
    ("Content-Security-Policy", true, "What a browser may do with it: nothing."),
    ("Allow", true, "The methods that there are."),
];

/// How types are described; some readers know no `true` as a schema.
fn settings() -> SchemaSettings {
    let mut plain = ReplaceBoolSchemas::default();
    plain.skip_additional_properties = true;
    SchemaSettings::draft2020_12().with_transform(plain).with(|settings| {
        settings.meta_schema = None;
        settings.definitions_path = "/components/schemas".into();
        settings.inline_subschemas = true;
    })
}

fn document(calls: &[Call]) -> Value {
    let settings = settings().for_serialize().with(|settings| settings.inline_subschemas = false);
    let mut schemas = settings.into_generator();
    let problem = json!(schemas.subschema_for::<Problem>());
    let mut paths = Map::new();
    for call in calls {
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(call.method.to_owned(), operation(call, calls, &mut schemas));
        }
    }
    let refusals = REFUSALS.iter().map(|(status, what)| (name(*status), refusal(*status, what, &problem)));
    let refusals: Map<_, _> = refusals.collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Postgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Mail becomes HTTP posts that are kept until they are delivered.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": refusals,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of the configuration. Where there is none, none is needed \
                                    on the gateway's own machine.",
                },
            },
        },
    })
}

fn operation(call: &Call, calls: &[Call], schemas: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<_> = named(call.path).map(in_path).collect();
    parameters.extend(call.taken.parameters.iter().cloned());
    let mut operation = json!({
        "operationId": id(call),
        "summary": call.what,
        "tags": [words(call.path).next().unwrap_or("gateway")],
        "parameters": parameters,
        "responses": responses(call, calls, schemas),
    });
    let Some(fields) = operation.as_object_mut() else { return operation };
    if let Some(role) = call.role {
        fields.insert("security".to_owned(), json!([{ "key": [role.as_str()] }]));
    }
    if !call.taken.bodies.is_empty() {
        let body = json!({ "required": call.taken.is_body_required, "content": call.taken.bodies });
        fields.insert("requestBody".to_owned(), body);
    }
    operation
}

fn responses(call: &Call, calls: &[Call], schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let answer = |answer: &Answer| (answer.status.as_str().to_owned(), response(answer, calls, schemas));
    let mut responses: Map<_, _> = call.answers.iter().map(answer).collect();
    let mut refusals: BTreeSet<_> = ANY.into_iter().chain(call.refusals.iter().copied()).collect();
    refusals.extend(&call.taken.refusals);
    refusals.extend(KEYED.iter().filter(|_| call.role.is_some()));
    for status in refusals {
        let reference = json!({ "$ref": format!("#/components/responses/{}", name(status)) });
        responses.insert(status.as_str().to_owned(), reference);
    }
    responses
}

fn response(answer: &Answer, calls: &[Call], schemas: &mut SchemaGenerator) -> Value {
    let mut response = json!({ "description": answer.what });
    let Some(fields) = response.as_object_mut() else { return response };
    if !answer.headers.is_empty() {
        fields.insert("headers".to_owned(), headers(&answer.headers));
    }
    if let Some((kind, content)) = &answer.content {
        let media = match content {
            Content::Json(schema) => json!({ "schema": schema(schemas) }),
            Content::Text => json!({ "schema": { "type": "string" } }),
            Content::Octets => json!({}),
        };
        fields.insert("content".to_owned(), json!({ *kind: media }));
    }
    if let Some((pointer, path)) = answer.leads {
        let link = |call: &Call| {
            let mut names = named(call.path).filter(|_| call.path.starts_with(path));
            let (Some(name), None) = (names.next(), names.next()) else { return None };
            let parameters = json!({ name: format!("$response.body#{pointer}") });
            Some((id(call), json!({ "operationId": id(call), "parameters": parameters })))
        };
        let links: Map<_, _> = calls.iter().filter_map(link).collect();
        fields.insert("links".to_owned(), links.into());
    }
    response
}

fn refusal(status: StatusCode, what: &str, problem: &Value) -> Value {
    let mut response =
        json!({ "description": what, "content": { "application/problem+json": { "schema": problem } } });
    let fields = match status {
        StatusCode::UNAUTHORIZED => headers(&["WWW-Authenticate"]),
        StatusCode::TOO_MANY_REQUESTS => headers(&["Retry-After"]),
        _ => return response,
    };
    if let Some(response) = response.as_object_mut() {
        response.insert("headers".to_owned(), fields);
    }
    response
}

fn headers(names: &[&str]) -> Value {
    let of = |name: &&str| HEADERS.iter().find(|(known, ..)| known == name);
    let header = |(name, required, what): &(&str, bool, &str)| {
        let kind = if *name == "Retry-After" { "integer" } else { "string" };
        let header = json!({ "description": what, "required": required, "schema": { "type": kind } });
        ((*name).to_owned(), header)
    };
    Value::Object(names.iter().filter_map(of).map(header).collect())
}

/// What an error is called among the responses.
fn name(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or("Error").split_whitespace().collect()
}

/// The words of a path below the API's own.
fn words(path: &str) -> impl Iterator<Item = &str> {
    let own = path.strip_prefix(calls::BASE).unwrap_or(path);
    own.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

fn id(call: &Call) -> String {
    std::iter::once(call.method).chain(words(call.path)).collect::<Vec<_>>().join("_")
}

/// What a path names.
fn named(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn in_path(name: &str) -> Value {
    let (what, example) = match name {
        "origin" => ("An origin or a pattern of some, percent-encoded.", "https://shop.example"),
        "number" => ("Which attachment, from 1.", "1"),
        _ => ("As it was answered.", "0123456789abcdef"),
    };
    let schema = json!({ "type": "string", "minLength": 1 });
    json!({ "name": name, "in": "path", "required": true, "description": what, "schema": schema, "example": example })
}

#[cfg(test)]
mod tests;
