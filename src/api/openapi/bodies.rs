//! Bodies that a handler reads or writes field by field, as JSON Schema 2020-12.
//!
//! All others are derived from their types. An answer here has all of its fields, and no
//! other: `schemathesis` looks at what the program answers, and would find one.

use super::super::shapes::{AttemptShape, DestinationShape, PostShape};
use super::super::status::Listener;
use super::super::tenants::TenantShape;
use super::super::webhooks::batches::BatchShape;
use super::super::webhooks::replay::ReplayShape;
use super::super::webhooks::shape::WebhookShape;
use super::takes;
use crate::fanout::webhook::Settings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

type Schemas<'a> = &'a mut SchemaGenerator;

/// An object with all of these fields, and no other.
fn object(fields: Value) -> Schema {
    let names: Vec<_> = fields.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    json_schema!({
        "type": "object", "properties": fields, "required": names, "additionalProperties": false,
    })
}

fn list(items: impl Into<Value>) -> Value {
    json!({ "type": "array", "items": items.into() })
}

/// A field that may be missing, or `null`.
fn maybe(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// A page of posts.
pub(in crate::api) fn posts(schemas: Schemas<'_>) -> Schema {
    let post = schemas.subschema_for::<PostShape>();
    object(json!({ "posts": list(post), "next": maybe("string") }))
}

/// The attempts of a post.
pub(in crate::api) fn attempts(schemas: Schemas<'_>) -> Schema {
    object(json!({ "attempts": list(schemas.subschema_for::<AttemptShape>()) }))
}

/// The dialogues of a post.
pub(in crate::api) fn transcript(_: Schemas<'_>) -> Schema {
    let lines = list(text());
    object(json!({ "id": text(), "smtp": lines, "http": lines, "truncated": { "type": "boolean" } }))
}

/// Destinations.
pub(in crate::api) fn destinations(schemas: Schemas<'_>) -> Schema {
    let group = object(json!({ "destinations": count(), "queued": count() }));
    object(json!({
        "destinations": list(schemas.subschema_for::<DestinationShape>()),
        "total": count(),
        "in_trouble": group,
        "slowed": group,
        "oldest": { "type": ["string", "null"], "format": "date-time" },
    }))
}

/// How many it concerned.
pub(in crate::api) fn counted(_: Schemas<'_>) -> Schema {
    object(json!({ "count": count() }))
}

/// Routes, as they are configured.
pub(in crate::api) fn routes(_: Schemas<'_>) -> Schema {
    object(json!({ "routes": list(json!({ "type": "object" })) }))
}

/// Tenants.
pub(in crate::api) fn tenants(schemas: Schemas<'_>) -> Schema {
    object(json!({ "tenants": list(schemas.subschema_for::<TenantShape<'_>>()) }))
}

/// Webhooks.
pub(in crate::api) fn webhooks(schemas: Schemas<'_>) -> Schema {
    object(json!({ "webhooks": list(schemas.subschema_for::<WebhookShape<'_>>()) }))
}

/// Batches of a webhook.
pub(in crate::api) fn batches(schemas: Schemas<'_>) -> Schema {
    let batch = schemas.subschema_for::<BatchShape>();
    object(json!({ "batches": list(batch), "next": maybe("string") }))
}

/// A batch with all that is known of it.
pub(in crate::api) fn batch(schemas: Schemas<'_>) -> Schema {
    let (short, post) = (schemas.subschema_for::<BatchShape>(), schemas.subschema_for::<PostShape>());
    let attempts = list(schemas.subschema_for::<AttemptShape>());
    let more =
        json!({ "attempt_list": attempts, "post": post, "body": maybe("string"), "body_base64": text() });
    json_schema!({
        "type": "object",
        "allOf": [short],
        "properties": more,
        "required": ["attempt_list", "post", "body"],
    })
}

/// Batches in SparkPost's shape.
pub(in crate::api) fn batch_status(_: Schemas<'_>) -> Schema {
    let fields = json!({
        "batch_id": text(), "ts": time(), "attempts": count(), "response_code": text(), "failure_code": text(),
    });
    let mut one = object(fields);
    one.insert("required".to_owned(), json!(["batch_id", "ts", "attempts"]));
    object(json!({ "results": list(one) }))
}

/// What is sent again to a webhook.
pub(in crate::api) fn replays(schemas: Schemas<'_>) -> Schema {
    object(json!({ "replays": list(schemas.subschema_for::<ReplayShape>()) }))
}

/// A configuration that is good.
pub(in crate::api) fn good(_: Schemas<'_>) -> Schema {
    object(json!({ "ok": { "const": true }, "restart": list(text()) }))
}

/// The answer of a command, as PowerMTA wraps it.
pub(in crate::api) fn envelope(_: Schemas<'_>) -> Schema {
    let status = json!({ "enum": ["success", "partial"] });
    object(json!({ "data": {}, "status": status, "message": text() }))
}

fn event() -> Schema {
    let data = json!({ "type": "object" });
    object(json!({ "id": text(), "type": text(), "timestamp": time(), "tenant": text(), "data": data }))
}

/// A page of events.
pub(in crate::api) fn events(_: Schemas<'_>) -> Schema {
    object(json!({ "events": list(event()), "next": maybe("string") }))
}

/// The kinds of events.
pub(in crate::api) fn types(_: Schemas<'_>) -> Schema {
    let kind = object(json!({ "type": text(), "description": text(), "sample": event() }));
    object(json!({ "types": list(kind) }))
}

/// Examples of events.
pub(in crate::api) fn samples(_: Schemas<'_>) -> Schema {
    let sparkpost = object(json!({ "msys": { "type": "object" } }));
    object(json!({ "results": list(json!({ "anyOf": [event(), sparkpost] })) }))
}

/// Events that were published.
pub(in crate::api) fn published(_: Schemas<'_>) -> Schema {
    let (one, many) = (object(json!({ "id": text() })), object(json!({ "ids": list(text()) })));
    json_schema!({ "oneOf": [one, many] })
}

/// Events as they are handed in: one, or a list.
pub(in crate::api) fn handed() -> Schema {
    let name = json!({
        "type": "string",
        "maxLength": 64,
        "pattern": "^(?!([pP][oO][sS][tT]|[dD][eE][sS][tT][iI][nN][aA][tT][iI][oO][nN]|[wW][eE][bB][hH][oO][oO][kK])\\.)[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)+$",
        "description": "Not one of the gateway's own, which begin with post., destination. or webhook.",
    });
    let mut one = object(json!({ "type": name, "data": { "type": ["object", "null"] } }));
    one.insert("required".to_owned(), json!(["type"]));
    json_schema!({ "oneOf": [one, { "type": "array", "items": one, "minItems": 1, "maxItems": 1000 }] })
}

/// A text, if there is one, that is like this regular expression.
fn like(pattern: &str) -> Value {
    json!({ "type": ["string", "null"], "pattern": pattern, "maxLength": 255 })
}

/// One line that is not empty.
const LINE: &str = "^[^\\x00-\\x1f\\x7f-\\x9f]+$";
/// Printable ASCII.
const VISIBLE: &str = "^[ -~]+$";
const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";
const DURATION: &str = "^[0-9]{1,9}(ms|s|m|h|d)$";
const HEADER: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";
const VALUE: &str = "^[^\\x00-\\x08\\x0a-\\x1f\\x7f]*$";

/// One post as it is handed in, or a list.
pub(in crate::api) fn direct() -> Schema {
    let value = json!({ "type": "string", "pattern": VALUE });
    let when = json!({
        "anyOf": [time(), { "type": "string", "pattern": DURATION }, { "type": "null" }],
        "description": "RFC 3339, or from now, such as `15m`.",
    });
    let post = json!({
        "type": "object",
        "required": ["url"],
        "additionalProperties": false,
        "properties": {
            "url": { "type": "string", "pattern": "^https?://", "maxLength": 2048 },
            "method": { "enum": ["POST", "PUT", "PATCH", "GET", "DELETE", null], "default": "POST" },
            "headers": {
                "type": ["object", "null"],
                "propertyNames": { "pattern": HEADER },
                "additionalProperties": { "anyOf": [value, list(value)] },
            },
            "content_type": like(VISIBLE),
            "body": {
                "type": ["string", "null"],
                "description": "Or `body_base64`, or `json`; only GET and DELETE go without.",
            },
            "body_base64": { "type": ["string", "null"], "contentEncoding": "base64", "pattern": BASE64 },
            "json": { "description": "Any value; it is sent as it is written." },
            "not_before": when,
            "expires": when,
            "priority": {
                "type": ["integer", "null"], "minimum": 0, "maximum": 9, "description": "0 is first.",
            },
            "ordering_key": like(LINE),
            "idempotency_key": like(VISIBLE),
            "tags": {
                "type": ["array", "null"],
                "items": { "type": "string", "pattern": LINE, "maxLength": 255 },
                "maxItems": 5,
            },
            "sign_with": maybe("string"),
            "auth": maybe("string"),
        },
    });
    json_schema!({
        "oneOf": [post, { "type": "array", "items": post, "minItems": 1, "maxItems": 1000 }],
        "examples": [
            { "url": "https://shop.example/orders", "json": { "order": 17 } },
            [{ "url": "https://shop.example/orders", "body": "hello" }],
        ],
    })
}

/// Mail in the shape of Transmissions.
pub(in crate::api) fn transmission() -> Schema {
    let closed = |fields: Value, required: Value| json!({ "type": "object", "properties": fields, "required": required, "additionalProperties": false });
    let open = |fields: Value| json!({ "type": ["object", "null"], "properties": fields, "additionalProperties": false });
    let address = json!({ "anyOf": [text(), closed(json!({ "email": text() }), json!(["email"]))] });
    let own_id = open(json!({ "*custommessageid": { "type": ["string", "null"], "maxLength": 255 } }));
    let recipient = closed(
        json!({ "address": address, "return_path": maybe("string"), "substitution_data": own_id }),
        json!(["address"]),
    );
    let fields = json!({
        "return_path": { "type": ["string", "null"], "description": "An empty text is the null sender." },
        "campaign_id": { "type": ["string", "null"], "maxLength": 255 },
        "recipients": { "type": "array", "items": recipient, "minItems": 1, "maxItems": 10_000 },
        "content": closed(json!({ "email_rfc822": text() }), json!(["email_rfc822"])),
        "options": open(json!({ "smtputf8": maybe("boolean") })),
    });
    let Ok(mut whole) = Schema::try_from(closed(fields, json!(["recipients", "content"]))) else {
        return Schema::default();
    };
    let example = json!({
        "return_path": "app@example.com",
        "recipients": [{ "address": "post@https://shop.example/orders" }],
        "content": { "email_rfc822": "Subject: hello\r\n\r\nhello\r\n" },
    });
    whole.insert("examples".to_owned(), json!([example]));
    whole
}

/// An object.
pub(in crate::api) fn any_object(_: Schemas<'_>) -> Schema {
    json_schema!({ "type": "object" })
}

/// A text, whatever its type.
pub(in crate::api) fn any_text() -> Schema {
    json_schema!({ "type": "string" })
}

/// An address in a query; several may be there.
pub(in crate::api) fn addresses() -> Schema {
    json_schema!({ "type": "array", "items": { "type": "string" }, "description": "Forward-paths." })
}

/// A webhook as it is made.
pub(in crate::api) fn webhook() -> Schema {
    let mut schema = takes::schema::<Settings>();
    schema.insert("required".to_owned(), json!(["url", "events"]));
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        let what = "Nobody has to be asked whether the receiver wants events.";
        fields.insert("verify".to_owned(), json!({ "const": "skip", "description": what }));
    }
    schema
}

/// A change of one (RFC 7396): `null` makes of a setting what it is without a word.
pub(in crate::api) fn patch() -> Schema {
    let mut schema = takes::schema::<Settings>();
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        for (_, field) in fields {
            *field = json!({ "anyOf": [field.clone(), { "type": "null" }] });
        }
    }
    schema
}

/// Whether a test was taken, and what was answered.
fn outcome() -> Map<String, Value> {
    let fields = json!({
        "delivered": { "type": "boolean" },
        "status": maybe("integer"),
        "error": maybe("string"),
        "duration": { "type": "number", "description": "In seconds." },
    });
    fields.as_object().cloned().unwrap_or_default()
}

/// A test of a webhook: the whole exchange.
pub(in crate::api) fn exchange(_: Schemas<'_>) -> Schema {
    let headers = json!({ "type": "object", "additionalProperties": text() });
    let request = object(json!({ "method": text(), "url": text(), "headers": headers, "body": text() }));
    let mut fields = outcome();
    fields.insert("request".to_owned(), request.into());
    let answered = json!({ "type": ["object", "null"], "additionalProperties": text() });
    fields.insert("headers".to_owned(), answered);
    fields.insert("body".to_owned(), maybe("string"));
    object(fields.into())
}

/// Tests of all webhooks.
pub(in crate::api) fn tests(_: Schemas<'_>) -> Schema {
    let mut fields = outcome();
    fields.insert("id".to_owned(), text());
    let mut one = object(fields.into());
    // Where nothing was sent, nothing took time.
    one.insert("required".to_owned(), json!(["delivered", "error", "id"]));
    object(json!({ "webhooks": list(one) }))
}

/// What SparkPost answers to a validation.
pub(in crate::api) fn validated(_: Schemas<'_>) -> Schema {
    let headers = json!({ "type": "object", "additionalProperties": text() });
    let response = object(json!({ "status": count(), "headers": headers, "body": text() }));
    object(json!({ "results": object(json!({ "msg": text(), "response": response })) }))
}

fn traffic(spans: [&str; 5], units: [&str; 3]) -> Value {
    let of = |names: &[&str], field: &Value| {
        let fields: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), field.clone())).collect();
        Value::from(object(fields.into()))
    };
    let volume = of(&units, &json!({ "type": "number", "minimum": 0 }));
    of(&spans, &of(&["in", "out"], &volume))
}

/// How a file of records goes.
fn records() -> Schema {
    object(json!({
        "path": text(), "file": maybe("string"), "state": { "enum": ["writing", "failing"] },
        "error": maybe("string"), "position": count(), "behind": count(), "records": count(), "failures": count(),
    }))
}

/// The figures, in our own words or in those of PowerMTA.
pub(in crate::api) fn status(schemas: Schemas<'_>) -> Schema {
    let heads = object(json!({ "cur": count(), "max": count(), "top": count() }));
    let queue = json!({ "waiting": count(), "sending": count(), "held": count(), "failed": count(), "destinations": count() });
    let disk = json!({
        "size": count(), "living": count(), "files": count(), "damages": count(),
        "disk_free": maybe("integer"), "disk_size": maybe("integer"), "is_read": { "type": "boolean" },
    });
    let mut own = object(json!({
        "product": { "const": "Postgate" }, "version": text(), "status": state(), "now": time(),
        "started_at": time(), "uptime": count(), "queue": object(queue),
        "traffic": traffic(["total", "last_hour", "last_minute", "peak_hour", "peak_minute"], ["posts", "messages", "kb"]),
        "connections": object(json!({ "in": heads, "out": heads })),
        "spool": { "anyOf": [object(disk), { "type": "null" }] },
        "accounting": list(records()), "listeners": list(schemas.subschema_for::<Listener>()),
    }));
    // A tenant is told of its own alone.
    let common = ["product", "version", "status", "now", "started_at", "uptime", "queue"];
    own.insert("required".to_owned(), json!(common));
    let mta = json!({ "type": "object" });
    let status = json!({ "type": "object", "required": ["timeNow", "startupTime", "queue", "status"] });
    let data = object(json!({ "mta": mta, "status": status }));
    let wrapped = object(json!({ "data": data, "status": { "const": "success" }, "message": text() }));
    json_schema!({ "oneOf": [own, wrapped] })
}

fn state() -> Value {
    json!({ "enum": ["running", "full", "failed"] })
}
