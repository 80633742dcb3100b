//! Webhooks over the API of the running program: made, changed and deleted, verified in
//! each way against a real receiver, tested, and sealed on the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use memchr::memmem;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::DEADLINE;
use support::api::{Response, Scene};
use support::name_server::{Answer, NameServer, in_a_world_of_its_own};
use support::program::eventually;
use support::receiver::{Act, Receiver, Request, answer, raw};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A request with further header lines.
fn call(scene: &Scene, (method, path): (&str, &str), headers: &str, body: &Value) -> Response {
    let (host, body) = (scene.api, if body.is_null() { String::new() } else { body.to_string() });
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    scene.raw(&format!(
        "{method} /api/v1/webhooks{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{kind}{headers}\
         Connection: close\r\n\r\n{body}"
    ))
}

fn made(scene: &Scene, settings: &Value) -> Value {
    let response = call(scene, ("POST", ""), "", settings);
    assert_eq!(response.status, 201, "{response:?}");
    response.json()
}

fn path(webhook: &Value, more: &str) -> String {
    format!("/{}{more}", webhook["id"].as_str().unwrap())
}

fn settings(url: &str) -> Value {
    json!({ "url": url, "events": ["post.*"] })
}

/// What is in all files below a directory.
fn files(directory: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![std::fs::read(path).unwrap()] })
        .collect()
}

#[test]
fn a_webhook_is_made_shown_changed_and_deleted() {
    let mut scene = Scene::start("");
    let asked = json!({ "url": "https://r.example/in?token=canary-1", "events": ["post.failed", "email.*"],
        "description": "orders", "format": "ndjson", "headers": { "X-Own": "canary-2" },
        "filter": { "tag": "bill" }, "rate": "10/s", "max_connections": 3 });
    let response = call(&scene, ("POST", ""), "", &asked);
    let webhook = response.json();
    let own = path(&webhook, "");
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(response.header("location").unwrap(), format!("/api/v1/webhooks{own}"));
    assert_eq!(response.header("etag"), Some("\"1\""));
    assert!(own.starts_with("/wh_") && webhook["secret"].as_str().unwrap().starts_with("whsec_"));
    for (field, expected) in [
        ("url", json!("https://r.example/in?token=***")),
        ("events", json!(["post.failed", "email.*"])),
        ("enabled", json!(true)),
        ("status", json!("unverified")),
        ("format", json!("ndjson")),
        ("batch", json!({ "max_events": 500, "max_bytes": "1MiB", "max_wait": "1s" })),
        ("headers", json!({ "X-Own": null })),
        ("filter", json!({ "tag": "bill" })),
        ("last_success_at", Value::Null),
    ] {
        assert_eq!(webhook[field], expected, "{field}");
    }
    let looked = call(&scene, ("GET", &own), "", &Value::Null);
    assert!(looked.json()["secret"].is_null(), "shown once");
    assert_eq!(call(&scene, ("GET", &own), "If-None-Match: \"1\"\r\n", &Value::Null).status, 304);
    assert_eq!(call(&scene, ("GET", ""), "", &Value::Null).json()["webhooks"][0]["id"], webhook["id"]);

    let patch = json!({ "enabled": false, "filter": { "tag": null, "recipient": ["*@a.example"] } });
    let changed = call(&scene, ("PATCH", &own), "If-Match: \"1\"\r\n", &patch);
    assert_eq!((changed.status, changed.header("etag")), (200, Some("\"2\"")), "{changed:?}");
    let changed = changed.json();
    assert_eq!((&changed["status"], &changed["description"]), (&json!("disabled"), &json!("orders")));
    assert_eq!(changed["filter"], json!({ "recipient": ["*@a.example"] }));
    for (method, body) in [("PATCH", json!({ "enabled": true })), ("DELETE", Value::Null)] {
        assert_eq!(call(&scene, (method, &own), "If-Match: \"1\"\r\n", &body).status, 412, "{method}");
    }

    scene.gateway.end("-TERM");
    let log = std::fs::read(scene.directory.path().join("stderr")).unwrap();
    let kept: Vec<_> =
        files(&scene.directory.path().join("postgate-data")).into_iter().chain([log]).collect();
    let holds = |text: &str| kept.iter().any(|octets| memmem::find(octets, text.as_bytes()).is_some());
    assert!(holds(webhook["id"].as_str().unwrap()), "it is kept in one of these");
    for secret in ["canary", "r.example", "whsec_"] {
        assert!(!holds(secret), "{secret}");
    }
    scene.again();
    assert_eq!(call(&scene, ("GET", &own), "", &Value::Null).json(), changed);
    assert_eq!(call(&scene, ("DELETE", &own), "If-Match: \"2\"\r\n", &Value::Null).status, 204);
    assert_eq!(call(&scene, ("GET", &own), "", &Value::Null).status, 404);
}

#[test]
fn webhooks_take_no_more_room_than_their_file_should() {
    let scene = Scene::start("");
    let filter = |patterns: usize| json!({ "recipient": vec!["x".repeat(250); patterns] });
    let large = |patterns: usize| json!({ "url": "https://r.example/in", "events": ["*"], "filter": filter(patterns) });
    let refused = call(&scene, ("POST", ""), "", &large(70));
    assert_eq!(refused.status, 413, "{refused:?}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("16384 octets"), "{refused:?}");
    let webhook = made(&scene, &large(1));
    let patch = json!({ "filter": filter(70) });
    assert_eq!(call(&scene, ("PATCH", &path(&webhook, "")), "", &patch).status, 413);
    let full = (0..600).find_map(|_| {
        let response = call(&scene, ("POST", ""), "", &large(60));
        (response.status != 201).then_some(response)
    });
    let full = full.expect("there is no end");
    assert_eq!(full.status, 507, "{full:?}");
    assert_eq!(call(&scene, ("DELETE", &path(&webhook, "")), "", &Value::Null).status, 204);
}

#[test]
fn what_is_no_webhook_is_refused_by_its_field() {
    let scene = Scene::start("[[tenant]]\nname = \"shop\"\nmay_post_to = [\"https://*.shop.example\"]");
    let url = "https://r.example/in";
    for (given, status, field) in [
        (json!({ "url": "ftp://r.example", "events": ["*"] }), 422, "url"),
        (json!({ "url": url }), 422, "events"),
        (json!({ "url": url, "events": ["x"] }), 422, "events"),
        (json!({ "url": url, "events": ["*"], "colour": 1 }), 422, ""),
        (json!({ "url": url, "events": ["*"], "format": "xml" }), 422, ""),
        (json!({ "url": url, "events": ["*"], "verify": "maybe" }), 422, "verify"),
    ] {
        let response = call(&scene, ("POST", ""), "", &given);
        assert_eq!(response.status, status, "{given} {response:?}");
        let said = response.json();
        assert_eq!(said["errors"][0]["field"].as_str().unwrap_or_default(), field, "{said}");
    }
    let tenant = "X-Tenant-ID: shop\r\n";
    let foreign = call(&scene, ("POST", ""), tenant, &settings(url));
    assert_eq!((foreign.status, &foreign.json()["errors"][0]["field"]), (422, &json!("url")));
    assert_eq!(call(&scene, ("POST", ""), tenant, &settings("https://a.shop.example/x")).status, 201);
    for id in ["/wh_1", "/..%2Fpauses", "/wh_01ARYZ6S410000000000000000", "/x"] {
        assert_eq!(call(&scene, ("GET", id), "", &Value::Null).status, 404, "{id}");
    }
}

#[test]
fn a_tenants_webhooks_are_its_own() {
    let scene = Scene::start("");
    let (a, b) = ("X-Tenant-ID: a\r\n", "X-Tenant-ID: b\r\n");
    let webhook = call(&scene, ("POST", ""), a, &settings("https://r.example/in")).json();
    assert_eq!(webhook["tenant"], "a");
    let count = |headers| {
        call(&scene, ("GET", ""), headers, &Value::Null).json()["webhooks"].as_array().unwrap().len()
    };
    assert_eq!((count(a), count(b), count("")), (1, 0, 1));
    for (method, more, body) in [
        ("GET", "", Value::Null),
        ("PATCH", "", json!({ "enabled": false })),
        ("DELETE", "", Value::Null),
        ("POST", "/test", json!({})),
        ("POST", "/verify", json!({ "way": "skip" })),
        ("POST", "/validate", json!({ "message": {} })),
        ("POST", "/rotate-secret", json!({})),
        ("GET", "/batches", Value::Null),
        ("GET", "/batches/52a0000000000002", Value::Null),
        ("GET", "/batch-status", Value::Null),
        ("POST", "/replay", json!({ "all": true })),
        ("GET", "/replays", Value::Null),
    ] {
        let own = path(&webhook, more);
        assert_eq!(call(&scene, (method, &own), b, &body).status, 404, "{method} {more}");
    }
    assert_eq!(call(&scene, ("GET", &path(&webhook, "")), a, &Value::Null).json(), {
        let mut known = webhook.clone();
        known.as_object_mut().unwrap().remove("secret");
        known
    });
}

/// A receiver in this runtime; its answers may be exchanged.
fn receiver(runtime: &Runtime, script: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static) -> Receiver {
    runtime.block_on(Receiver::start(script))
}

fn ok(headers: &str, body: &str) -> Vec<Act> {
    vec![raw(&format!("HTTP/1.1 200 x\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()))]
}

fn verify(scene: &Scene, webhook: &Value, way: &str) -> Response {
    call(scene, ("POST", &path(webhook, "/verify")), "", &json!({ "way": way }))
}

fn status(scene: &Scene, webhook: &Value) -> String {
    let shown = call(scene, ("GET", &path(webhook, "")), "", &Value::Null).json();
    shown["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_receiver_shows_that_it_wants_events_and_only_by_the_right_answer() {
    let scene = Scene::start("[journal]\nalways = true\n");
    let runtime = Runtime::new().unwrap();
    let challenge = |request: &Request| -> String {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        body["challenge"].as_str().unwrap_or_default().to_owned()
    };
    type Script = fn(&Request, &str) -> Vec<Act>;
    let cases: [(&str, bool, Script); 12] = [
        ("challenge", true, |_, text| ok("", text)),
        ("challenge", true, |_, text| ok("", &format!("{{\"challenge\":\"{text}\"}}"))),
        ("challenge", false, |_, _| ok("", "hello")),
        ("challenge", false, |_, _| answer(500)),
        ("options", true, |_, _| ok("WebHook-Allowed-Origin: gateway.example\r\n", "")),
        ("options", true, |_, _| ok("WebHook-Allowed-Origin: *\r\n", "")),
        ("options", false, |_, _| ok("WebHook-Allowed-Origin: other.example\r\n", "")),
        ("options", false, |_, _| ok("", "")),
        ("post", true, |_, _| answer(204)),
        ("post", false, |_, _| answer(404)),
        ("post", false, |_, _| vec![Act::Close]),
        ("file", false, |_, _| ok("", "postgate-verification=0")),
    ];
    for (way, is_proof, script) in cases {
        let there = receiver(&runtime, move |request| script(request, &challenge(request)));
        let webhook = made(&scene, &settings(&format!("http://{}/in/hook", there.address)));
        let response = verify(&scene, &webhook, way);
        let expected = if is_proof { (200, "active") } else { (422, "unverified") };
        assert_eq!((response.status, status(&scene, &webhook).as_str()), expected, "{way} {response:?}");
        let request = &there.requests()[0];
        let method = request.head.split(' ').next().unwrap();
        assert_eq!(
            method,
            match way {
                "options" => "OPTIONS",
                "file" => "GET",
                _ => "POST",
            }
        );
        assert_eq!(request.header("webhook-signature").is_some(), method == "POST", "{request:?}");
        assert!(request.header("cdn-loop").unwrap().starts_with("postgate; id="));
    }
    // Nobody has to be asked, and a new URL has to be asked again.
    let webhook = made(&scene, &settings("http://127.0.0.1:9/x"));
    assert_eq!(verify(&scene, &webhook, "guess").status, 422);
    assert_eq!(verify(&scene, &webhook, "skip").json()["verified_by"], "skip");
    let moved = json!({ "url": "http://127.0.0.1:9/y" });
    assert_eq!(call(&scene, ("PATCH", &path(&webhook, "")), "", &moved).json()["status"], "unverified");
    call(&scene, ("PATCH", &path(&webhook, "")), "", &json!({ "enabled": false }));
    let mut told = Vec::new();
    eventually("events of the webhook", DEADLINE, || {
        let events = scene.get("/api/v1/events?type=webhook.*").json();
        let own = |event: &&Value| event["data"]["webhookId"] == webhook["id"];
        let events = events["events"].as_array().unwrap().iter().filter(own);
        told = events.map(|event| (event["type"].clone(), event["data"]["reason"].clone())).collect();
        (told.len() == 2).then_some(())
    });
    assert!(told.contains(&(json!("webhook.verified"), json!("skip"))), "{told:?}");
    assert!(told.contains(&(json!("webhook.disabled"), json!("by request"))), "{told:?}");
    let mut skipped = settings("http://127.0.0.1:9/x");
    skipped["verify"] = json!("skip");
    assert_eq!(made(&scene, &skipped)["status"], "active");
}

#[test]
fn a_file_below_the_root_or_beside_the_script_is_a_proof() {
    let scene = Scene::start("");
    let runtime = Runtime::new().unwrap();
    for index in [0, 1] {
        let file: Arc<Mutex<Option<(String, String)>>> = Arc::default();
        let served = Arc::clone(&file);
        let there = receiver(&runtime, move |request| {
            let file = served.lock().unwrap().clone();
            let target = request.head.split(' ').nth(1).unwrap();
            match file.filter(|(path, _)| path == target) {
                Some((_, content)) => ok("", &format!("{content}\n")),
                None => answer(404),
            }
        });
        let webhook = made(&scene, &settings(&format!("http://{}/in/hook.php?x=1", there.address)));
        let proof = &webhook["verification"]["file"];
        assert_eq!(verify(&scene, &webhook, "file").status, 422, "it is not there");
        let url = proof["urls"][index].as_str().unwrap();
        let path = url.strip_prefix(&format!("http://{}", there.address)).unwrap().to_owned();
        assert_eq!(path.starts_with("/in/"), index == 1, "{path}");
        *file.lock().unwrap() = Some((path, proof["content"].as_str().unwrap().to_owned()));
        let shown = verify(&scene, &webhook, "file").json();
        assert_eq!((&shown["status"], &shown["verified_by"]), (&json!("active"), &json!("file")), "{shown}");
        assert!(shown["verification"].is_null());
    }
}

#[test]
fn a_txt_record_is_a_proof() {
    in_a_world_of_its_own("a_txt_record_is_a_proof", || {
        let texts: Arc<Mutex<Vec<String>>> = Arc::default();
        let served = Arc::clone(&texts);
        let texts_of = Answer::Texts(Arc::new(move || served.lock().unwrap().clone()));
        let server = NameServer::start(&[("_postgate.hook.example", &[texts_of])]);
        let scene = Scene::start("");
        let webhook = made(&scene, &settings("https://hook.example/in"));
        let proof = webhook["verification"]["dns"].clone();
        assert_eq!(proof["name"], "_postgate.hook.example");
        let refused = verify(&scene, &webhook, "dns");
        assert_eq!((refused.status, status(&scene, &webhook).as_str()), (422, "unverified"), "{refused:?}");
        *texts.lock().unwrap() = vec!["v=spf1 -all".to_owned(), "postgate-verification=1".to_owned()];
        assert_eq!(verify(&scene, &webhook, "dns").status, 422);
        texts.lock().unwrap().push(proof["text"].as_str().unwrap().to_owned());
        let verified = verify(&scene, &webhook, "dns").json();
        assert_eq!(verified["verified_by"], "dns", "{verified}");
        assert!(server.asked().iter().any(|(name, _)| name == "_postgate.hook.example"));
        // An address has no such record.
        let literal = made(&scene, &settings(&format!("http://{}/in", Ipv4Addr::LOCALHOST)));
        assert_eq!(verify(&scene, &literal, "dns").status, 422);
    });
}

#[test]
fn a_test_shows_the_exchange_and_verifies() {
    let scene = Scene::start("");
    let runtime = Runtime::new().unwrap();
    let there = receiver(&runtime, |request| match request.head.contains("/good") {
        true => ok("X-Seen: yes\r\nSet-Cookie: canary\r\n", "thanks"),
        false => answer(503),
    });
    // As Mailtura documents it.
    let tenant = "Authorization: Bearer none\r\nX-Tenant-ID: acme\r\n";
    let mut asked = settings(&format!("http://{}/good?token=canary", there.address));
    asked["events"] = json!(["sent", "delivered", "bounced"]);
    asked["enabled"] = json!(true);
    asked["secret"] = json!("your-webhook-secret-of-32-octets");
    asked["signature_header"] = json!("X-Mailtura-Signature");
    asked["headers"] = json!({ "Authorization": "Bearer canary", "X-Own": "shown" });
    let webhook = call(&scene, ("POST", ""), tenant, &asked).json();
    assert!(webhook["secret"].is_null(), "it is known");
    let body = json!({ "eventType": "delivered" });
    let told = call(&scene, ("POST", &path(&webhook, "/test")), tenant, &body).json();
    for (pointer, expected) in [
        ("/delivered", json!(true)),
        ("/status", json!(200)),
        ("/body", json!("thanks")),
        ("/headers/x-seen", json!("yes")),
        ("/headers/set-cookie", json!("***")),
        ("/request/method", json!("POST")),
        ("/request/headers/authorization", json!("***")),
        ("/request/headers/x-own", json!("***")),
        ("/error", Value::Null),
    ] {
        assert_eq!(told.pointer(pointer), Some(&expected), "{pointer} {told}");
    }
    assert!(!told.to_string().contains("canary"), "{told}");
    assert!(told["duration"].as_f64().unwrap() < 10.0);
    let request = &there.requests()[0];
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&sent["type"], &sent["tenant"]), (&json!("email.delivered"), &json!("acme")));
    assert_eq!(told["request"]["body"].as_str().unwrap().as_bytes(), request.body);
    assert_eq!(request.header("x-mailtura-signature").unwrap().len(), 64);
    assert_eq!(request.header("webhook-id"), sent["id"].as_str());
    assert_eq!(request.header("authorization"), Some("Bearer canary"));
    assert_eq!(status(&scene, &webhook), "active", "it was taken");

    let moved = json!({ "url": format!("http://{}/bad", there.address) });
    call(&scene, ("PATCH", &path(&webhook, "")), "", &moved);
    let told = call(&scene, ("POST", &path(&webhook, "/test")), "", &Value::Null).json();
    assert_eq!((&told["delivered"], &told["status"]), (&json!(false), &json!(503)));
    assert_eq!(status(&scene, &webhook), "unverified");
    for bad in [json!({ "eventType": "x" }), json!({ "type": "post.failed" })] {
        let status = call(&scene, ("POST", &path(&webhook, "/test")), "", &bad).status;
        assert!((400..=422).contains(&status), "{bad} {status}");
    }
}

#[test]
fn all_are_checked_sparkpost_validates_and_secrets_are_rotated() {
    let scene = Scene::start("");
    let runtime = Runtime::new().unwrap();
    let there =
        receiver(
            &runtime,
            |request| if request.head.contains("/good") { ok("X-A: b\r\n", "OK") } else { answer(500) },
        );
    let url = |path: &str| format!("http://{}{path}", there.address);
    let urls = [url("/good"), url("/bad"), "http://10.0.0.1/x".to_owned()];
    let webhooks: Vec<_> = urls.iter().map(|url| made(&scene, &settings(url))).collect();
    let checked = call(&scene, ("POST", "/check"), "", &Value::Null).json();
    let outcomes = checked["webhooks"].as_array().unwrap();
    for (webhook, (delivered, status)) in
        webhooks.iter().zip([(true, json!(200)), (false, json!(500)), (false, Value::Null)])
    {
        let outcome = outcomes.iter().find(|outcome| outcome["id"] == webhook["id"]).unwrap();
        assert_eq!((&outcome["delivered"], &outcome["status"]), (&json!(delivered), &status), "{checked}");
    }
    let denied = outcomes.iter().find(|outcome| outcome["id"] == webhooks[2]["id"]).unwrap();
    assert!(denied["error"].as_str().unwrap().contains("egress-denied"), "{denied}");
    // What tests say is kept together: a webhook changes by none but the one that verifies it.
    call(&scene, ("POST", "/check"), "", &Value::Null);
    for (webhook, etag, told) in [
        (&webhooks[0], "\"2\"", "last_success_at"),
        (&webhooks[1], "\"1\"", "last_failure_at"),
        (&webhooks[2], "\"1\"", "last_failure_at"),
    ] {
        let shown = call(&scene, ("GET", &path(webhook, "")), "", &Value::Null);
        assert_eq!(shown.header("etag"), Some(etag), "{shown:?}");
        assert!(shown.json()[told].is_string(), "{shown:?}");
    }

    let message = json!({ "message": { "msys": {} } });
    let valid = call(&scene, ("POST", &path(&webhooks[0], "/validate")), "", &message).json();
    let expected = json!({ "status": 200, "body": "OK" });
    assert_eq!(valid["results"]["msg"], "Test POST to endpoint succeeded");
    for field in ["status", "body"] {
        assert_eq!(valid["results"]["response"][field], expected[field]);
    }
    assert_eq!(there.requests().last().unwrap().body, b"[{\"msys\":{}}]");
    assert_eq!(call(&scene, ("POST", &path(&webhooks[1], "/validate")), "", &message).status, 400);

    let rotated = call(&scene, ("POST", &path(&webhooks[0], "/rotate-secret")), "", &Value::Null).json();
    assert_ne!(rotated["secret"], webhooks[0]["secret"]);
    assert!(rotated["old_secret_until"].as_str().unwrap().ends_with('Z'));
    call(&scene, ("POST", &path(&webhooks[0], "/test")), "", &Value::Null);
    let request = there.requests().pop().unwrap();
    let signatures: Vec<_> = request.header("webhook-signature").unwrap().split(' ').collect();
    assert_eq!(signatures.len(), 2);
    let id = request.header("webhook-id").unwrap();
    let at = request.header("webhook-timestamp").unwrap().parse().unwrap();
    for (webhook, signature) in [(&rotated, signatures[0]), (&webhooks[0], signatures[1])] {
        let verifier = standardwebhooks::Webhook::new(webhook["secret"].as_str().unwrap()).unwrap();
        assert_eq!(verifier.sign(id, at, &request.body).unwrap(), signature);
    }
}

#[test]
fn webhooks_of_the_configuration_are_shown_tested_and_not_changed() {
    let runtime = Runtime::new().unwrap();
    // The operator's own URLs lead where strangers' may not.
    let listener = runtime.block_on(TcpListener::bind("[::1]:0")).unwrap();
    let there = runtime.block_on(async { Receiver::on(listener, |_| answer(200)) });
    let files = TempDir::new().unwrap();
    let secret = files.path().join("whsec");
    std::fs::write(&secret, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let scene = Scene::start(&format!(
        "[[webhook]]\nurl = \"http://{}/one\"\nevents = [\"*\"]\nsecret = {{ file = {secret:?} }}\n",
        there.address
    ));
    let list = || call(&scene, ("GET", ""), "", &Value::Null).json()["webhooks"].clone();
    let webhook = list()[0].clone();
    assert_eq!((&webhook["fixed"], &webhook["status"]), (&json!(true), &json!("active")), "{webhook}");
    assert!(webhook["secret"].is_null() && webhook["created_at"].is_null());
    for (method, more, body) in [
        ("PATCH", "", json!({ "enabled": false })),
        ("DELETE", "", Value::Null),
        ("POST", "/rotate-secret", json!({})),
        ("POST", "/verify", json!({ "way": "skip" })),
    ] {
        let response = call(&scene, (method, &path(&webhook, more)), "", &body);
        assert_eq!(response.status, 409, "{method} {more} {response:?}");
    }
    let told = call(&scene, ("POST", &path(&webhook, "/test")), "", &Value::Null).json();
    assert_eq!(told["status"], 200, "{told}");
    assert!(there.requests()[0].header("webhook-signature").is_some());
    let own = made(&scene, &settings(&format!("http://{}/own", there.address)));
    let refused = call(&scene, ("POST", &path(&own, "/test")), "", &Value::Null).json();
    assert!(refused["error"].as_str().unwrap().contains("egress-denied"), "{refused}");

    let config = scene.directory.path().join("postgate.toml");
    let changed = std::fs::read_to_string(&config).unwrap().replace("/one", "/two");
    std::fs::write(&config, changed).unwrap();
    scene.gateway.signal("-HUP");
    let is_new = || list()[0]["url"].as_str().unwrap().ends_with("/two").then_some(());
    eventually("the new webhook", DEADLINE, is_new);
    assert_eq!(list().as_array().unwrap().len(), 2);
}

#[test]
fn the_command_line_makes_verifies_tests_and_deletes() {
    let scene = Scene::start("");
    let runtime = Runtime::new().unwrap();
    let there = receiver(&runtime, |_| answer(200));
    let url = format!("http://{}/in", there.address);
    let ran = |arguments: &[&str]| {
        let (code, said, wrong) = scene.run(&[&["webhook"], arguments].concat());
        (code, said + &wrong)
    };
    let secret = scene.directory.path().join("secret");
    std::fs::write(&secret, "a-secret-of-its-owner\nand no more\n").unwrap();
    let secret = secret.to_str().unwrap();
    let (code, said) = ran(&["create", &url, "--event", "post.*", "--format", "ndjson", "--json"]);
    let webhook: Value = serde_json::from_str(&said).unwrap();
    let id = webhook["id"].as_str().unwrap();
    assert!(code == 0 && webhook["secret"].as_str().unwrap().starts_with("whsec_"), "{said}");
    for (arguments, code, expected) in [
        (&["list"][..], 0, "unverified  ndjson"),
        (&["verify", id, "guess"], 65, "way"),
        (&["verify", id, "post"], 0, "verified_by      post"),
        (&["test", id, "--event", "post.failed"], 0, "delivered        true"),
        (&["test", id, "--json"], 0, "\"delivered\":true"),
        (&["check"], 0, "true       200"),
        (&["show", id], 0, "status           active"),
        (&["change", id, "--max-events", "7", "--header", "X-A: canary"], 0, "batch.max_events 7"),
        (&["change", id, "--tag", "bill", "--rate", "5/s"], 0, "filter.tag       bill"),
        (&["change", id, "--unset", "filter", "--json"], 0, "\"filter\":{}"),
        (&["change", id, "--secret-file", secret], 0, "rate             5/s"),
        (&["change", id, "--header", "X-A"], 64, "Name: value"),
        (&["change", id, "--rate", "often"], 65, "rate"),
        (&["change", id], 64, "name what changes"),
        (&["disable", id], 0, "disabled"),
        (&["show", id], 0, "status           disabled"),
        (&["enable", id, "wh_1"], 65, "done: 1 of 2"),
        (&["rotate-secret", id], 0, "old_secret_until"),
        (&["delete", id], 0, "deleted"),
        (&["show", id], 65, "no such webhook"),
    ] {
        let (ended, said) = ran(arguments);
        assert!(ended == code && said.contains(expected), "{arguments:?} {ended}: {said}");
        assert!(!said.contains("canary") && !said.contains("a-secret-of-its-owner"), "{said}");
    }
}
