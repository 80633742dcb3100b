//! Calls as users of other products make them, typed into curl, against the running
//! program: Mailtura's webhooks, SparkPost's validate, samples and batch-status, and what
//! steers and watches PowerMTA.
//!
//! A line is as it is typed there but for the place and the key; where curl's answers go
//! is said in its own configuration, outside of the line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::process::Command;
use support::api::Scene;
use support::collector::Arrival;
use support::tools::is_there;

const KEY: &str = "pgk_of-the-one-who-types";

fn scene(more: &str) -> Scene {
    let digest = HEXLOWER.encode(&Sha256::digest(KEY));
    let key = format!("[[api_key]]\nname = \"typist\"\ndigest = \"sha256:{digest}\"\nrole = \"admin\"\n");
    let scene = Scene::start(&format!("{key}{more}"));
    let quiet = "silent\nshow-error\nwrite-out = \"\\n%{http_code}\"\n";
    std::fs::write(scene.directory.path().join(".curlrc"), quiet).unwrap();
    scene
}

/// What a shell makes of a line: the status, and the answer if there is one.
fn typed(scene: &Scene, line: &str, id: &str) -> (u16, Value) {
    let line = line
        .replace("GATEWAY", &format!("http://{}", scene.api))
        .replace("YOUR_KEY", KEY)
        .replace("RECEIVER", &scene.origin())
        .replace("WEBHOOK", id);
    let mut shell = Command::new("sh");
    let said = shell.args(["-c", &line]).env("CURL_HOME", scene.directory.path()).output().unwrap();
    assert!(said.status.success(), "{line}: {said:?}");
    let text = String::from_utf8(said.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    let answer = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
    (status.parse().unwrap(), answer)
}

fn id(webhook: &Value) -> String {
    webhook["id"].as_str().unwrap().to_owned()
}

/// As Mailtura's sample for receivers makes it: of the octets that came.
fn signature(secret: &str, arrival: &Arrival) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(&arrival.body);
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

const CREATE: &str = r#"curl -X POST GATEWAY/api/v1/webhooks \
  -H "Authorization: Bearer YOUR_KEY" \
  -H "X-Tenant-ID: acme-corp" \
  -H "Content-Type: application/json" \
  -d '{
    "url": "RECEIVER/webhooks/mailtura",
    "events": ["delivered", "opened", "clicked", "bounced"],
    "enabled": true
  }'"#;

const LIST: &str = r#"curl GATEWAY/api/v1/webhooks \
  -H "Authorization: Bearer YOUR_KEY" \
  -H "X-Tenant-ID: acme-corp""#;

const UPDATE: &str = r#"curl -X PATCH GATEWAY/api/v1/webhooks/WEBHOOK \
  -H "Authorization: Bearer YOUR_KEY" \
  -H "X-Tenant-ID: acme-corp" \
  -H "Content-Type: application/json" \
  -d '{
    "events": ["delivered", "bounced"]
  }'"#;

const TEST: &str = r#"curl -X POST GATEWAY/api/v1/webhooks/WEBHOOK/test \
  -H "Authorization: Bearer YOUR_KEY" \
  -H "X-Tenant-ID: acme-corp" \
  -H "Content-Type: application/json" \
  -d '{
    "eventType": "email.delivered"
  }'"#;

const DELETE: &str = r#"curl -X DELETE GATEWAY/api/v1/webhooks/WEBHOOK \
  -H "Authorization: Bearer YOUR_KEY" \
  -H "X-Tenant-ID: acme-corp""#;

#[test]
fn the_lines_of_mailturas_manual_work() {
    if !is_there("curl") {
        return;
    }
    let scene = scene("");
    let (status, webhook) = typed(&scene, CREATE, "");
    assert_eq!((status, &webhook["enabled"], &webhook["tenant"]), (201, &json!(true), &json!("acme-corp")));
    let (own, secret) = (id(&webhook), webhook["secret"].as_str().unwrap());
    let (status, list) = typed(&scene, LIST, "");
    assert_eq!((status, &list["webhooks"][0]["id"]), (200, &json!(own)));
    let (_, others) = typed(&scene, &LIST.replace("acme-corp", "other"), "");
    assert_eq!(others["webhooks"], json!([]));

    let (status, changed) = typed(&scene, UPDATE, &own);
    assert_eq!((status, &changed["events"]), (200, &json!(["delivered", "bounced"])));
    let (status, told) = typed(&scene, TEST, &own);
    assert_eq!((status, &told["delivered"], &told["status"]), (200, &json!(true), &json!(200)), "{told}");
    let arrival = scene.receiver.received(1).pop().unwrap();
    assert_eq!(arrival.path, "/webhooks/mailtura");
    assert!(!arrival.headers.contains_key("x-mailtura-signature"), "nobody asked for it");
    assert_eq!(arrival.headers["x-postgate-signature"], signature(secret, &arrival));

    // Who checks Mailtura's signature asks for it, and may have a secret of his own.
    let asks = r#""signature_header": "X-Mailtura-Signature", "secret": "your-webhook-secret""#;
    let asking = UPDATE.replace(r#""events": ["delivered", "bounced"]"#, asks);
    let (status, changed) = typed(&scene, &asking, &own);
    assert_eq!((status, &changed["signature_header"]), (200, &json!("X-Mailtura-Signature")), "{changed}");
    typed(&scene, TEST, &own);
    let arrival = scene.receiver.received(2).pop().unwrap();
    assert_eq!(arrival.headers["x-mailtura-signature"], signature("your-webhook-secret", &arrival));
    let event: Value = serde_json::from_slice(&arrival.body).unwrap();
    assert_eq!(event["type"], "email.delivered");
    assert!(event["id"].as_str().unwrap().starts_with("evt_"), "{event}");
    assert!(event["timestamp"].as_str().unwrap().ends_with('Z'), "{event}");
    for field in ["emailId", "recipient", "subject", "deliveredAt"] {
        assert!(event["data"][field].is_string(), "{field} of {event}");
    }

    // The test has shown that it wants events: from then on it is told of what happens.
    let sent = r#"{ "type": "email.opened" }, { "type": "email.delivered", "data": { "emailId": "m-1" } }"#;
    let publish = LIST.replace("webhooks", "events") + &format!(" --json '[{sent}]'");
    assert_eq!(typed(&scene, &publish, "").0, 202);
    let arrival = scene.receiver.received(3).pop().unwrap();
    let event: Value = serde_json::from_slice(&arrival.body).unwrap();
    assert_eq!((&event["type"], &event["data"]["emailId"]), (&json!("email.delivered"), &json!("m-1")));
    assert_eq!(arrival.headers["x-mailtura-signature"], signature("your-webhook-secret", &arrival));

    assert_eq!(typed(&scene, &DELETE.replace("acme-corp", "other"), &own).0, 404);
    assert_eq!(typed(&scene, DELETE, &own), (204, Value::Null));
    assert_eq!(typed(&scene, LIST, "").1["webhooks"], json!([]));
}

const VALIDATE: &str = r#"curl -X POST GATEWAY/api/v1/webhooks/WEBHOOK/validate \
  -H "Authorization: Bearer YOUR_KEY""#;

const SAMPLES: &str = r#"curl "GATEWAY/api/v1/webhooks/events/samples?events=bounce,delivery" \
  -H "Authorization: Bearer YOUR_KEY""#;

const BATCH_STATUS: &str = r#"curl "GATEWAY/api/v1/webhooks/WEBHOOK/batch-status?limit=1000" \
  -H "Authorization: Bearer YOUR_KEY""#;

#[test]
fn sparkposts_calls_are_answered_in_its_shapes() {
    if !is_there("curl") {
        return;
    }
    let scene = scene("");
    let sparkpost = r#""enabled": true, "format": "sparkpost""#;
    let (_, webhook) = typed(&scene, &CREATE.replace(r#""enabled": true"#, sparkpost), "");
    let own = id(&webhook);
    let message = r#" -H "Content-Type: application/json" -d '{"message": {"msys": {}}}'"#;
    for line in [VALIDATE.to_owned(), format!("{VALIDATE}{message}")] {
        let (status, answer) = typed(&scene, &line, &own);
        let results = &answer["results"];
        assert_eq!((status, &results["msg"]), (200, &json!("Test POST to endpoint succeeded")), "{answer}");
        assert_eq!((&results["response"]["status"], &results["response"]["body"]), (&json!(200), &json!("")));
        assert!(results["response"]["headers"].is_object(), "{answer}");
    }
    for arrival in scene.receiver.received(2) {
        assert_eq!(arrival.body, b"[{\"msys\":{}}]");
        assert!(!arrival.headers["x-messagesystems-batch-id"].is_empty());
    }
    assert_eq!(typed(&scene, BATCH_STATUS, &own), (200, json!({ "results": [] })));
    let (status, answer) = typed(&scene, SAMPLES, "");
    assert_eq!(status, 200);
    let kind = |event: &Value| event["msys"]["message_event"]["type"].as_str().unwrap().to_owned();
    let kinds: Vec<_> = answer["results"].as_array().unwrap().iter().map(kind).collect();
    assert_eq!(kinds, ["bounce", "delivery", "delivery"], "of a post, and of a post and a mail");
    let all = SAMPLES.replace("?events=bounce,delivery", "");
    assert!(typed(&scene, &all, "").1["results"].as_array().unwrap().len() > 8);
    assert_eq!(typed(&scene, &SAMPLES.replace("bounce", "dance"), "").0, 422);
}
