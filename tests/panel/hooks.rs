//! Webhooks in the panel: made and changed with forms, verified, tested, and what was sent
//! to them.

use super::browser::{Browser, field, text};
use super::support::DEADLINE;
use super::support::api::Scene;
use super::support::program::eventually;
use super::{HOSTILE, block, has_marks, is_inert, key, with_keys};
use serde_json::{Value, json};

/// Makes a webhook of a path of the receiver over the API; its id.
fn made(scene: &Scene, path: &str, more: &Value) -> String {
    let mut settings =
        json!({ "url": format!("{}{path}", scene.origin()), "events": ["*"], "verify": "skip" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = scene.post_to("/api/v1/webhooks", &settings.to_string());
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

/// Publishes events of a name.
fn publish(scene: &Scene, name: &str, count: usize) {
    let events = vec![json!({ "type": name, "data": { "recipient": "jane@customer.example" } }); count];
    assert_eq!(scene.post_to("/api/v1/events", &json!(events).to_string()).status, 202);
}

fn shown(scene: &Scene, id: &str) -> Value {
    scene.get(&format!("/api/v1/webhooks/{id}")).json()
}

/// The path that follows `href="` first behind a text.
fn link<'a>(page: &'a str, behind: &str) -> &'a str {
    let (_, rest) = page.split_once(behind).unwrap_or_else(|| panic!("no {behind}: {page}"));
    rest.split_once("href=\"").unwrap().1.split('"').next().unwrap()
}

#[test]
fn a_webhook_is_made_changed_and_deleted_with_forms() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    let none = text(&browser.get("/webhooks"));
    assert!(none.contains("no webhook yet") && none.contains("href=\"/webhooks/new\""), "{none}");
    let page = text(&browser.get("/webhooks/new"));
    for offered in ["value=\"*\"", "value=\"post.*\"", "value=\"post.failed\"", "a post was given up"] {
        assert!(page.contains(offered), "{offered}: {page}");
    }
    let url = format!("{}/in?token=canary", scene.origin());
    let written = [
        ("description", "Orders"),
        ("event", "post.*"),
        ("event", "email.sent"),
        ("more_events", "order.paid"),
    ];
    let wrong = [&written[..], &[("url", "ftp://x"), ("max_events", "20"), ("secret", "canary-2")]].concat();
    let refused = browser.send("/webhooks", &wrong);
    let page = text(&refused);
    assert_eq!(refused.status, 422, "{page}");
    has_marks(&refused);
    assert!(page.contains("id=\"url-wrong\"") && page.contains("aria-describedby=\"url-wrong\""), "{page}");
    for kept in [
        "value=\"ftp://x\"",
        "value=\"Orders\"",
        "value=\"order.paid\"",
        "value=\"20\"",
        "value=\"post.*\" checked",
    ] {
        assert!(page.contains(kept), "{kept}: {page}");
    }
    assert!(!page.contains("canary-2") && !page.contains("value=\"post.failed\" checked"), "{page}");
    for (name, value, at) in [
        ("max_events", "many", "max_events"),
        ("max_wait", "2h", "max_wait"),
        ("headers", "nothing", "headers"),
        ("rate", "fast", "rate"),
        ("destination", "nowhere at all", "destination"),
        ("more_events", "a b c!", "events"),
    ] {
        let refused = browser.send("/webhooks", &[("url", &url), ("event", "*"), (name, value)]);
        assert_eq!(refused.status, 422, "{name}");
        assert!(text(&refused).contains(&format!("id=\"{at}-wrong\"")), "{name}: {}", text(&refused));
    }
    assert_eq!(scene.get("/api/v1/webhooks").json()["webhooks"], json!([]));

    let right =
        [&written[..], &[("url", url.as_str()), ("headers", "X-Team: canary-3"), ("auth", "")]].concat();
    let made = browser.send("/webhooks", &right);
    let page = text(&made);
    assert_eq!(made.status, 200, "{page}");
    assert!(page.contains("value=\"whsec_") && page.contains("never again"), "{page}");
    let webhook = scene.get("/api/v1/webhooks").json()["webhooks"][0].clone();
    let id = webhook["id"].as_str().unwrap();
    assert_eq!(webhook["events"], json!(["post.*", "email.sent", "order.paid"]));
    assert_eq!(webhook["status"], "unverified");
    for path in ["/webhooks", &format!("/webhooks/{id}"), &format!("/webhooks/{id}/edit")] {
        let page = text(&browser.get(path));
        assert!(page.contains("Orders") && page.contains("token=***"), "{path}: {page}");
        assert!(!page.contains("whsec_") && !page.contains("canary"), "{path}: {page}");
    }
    let page = text(&browser.get(&format!("/webhooks/{id}/edit")));
    assert!(
        page.contains("remove <code>x-team</code>") || page.contains("remove <code>X-Team</code>"),
        "{page}"
    );
    let (version, masked) =
        (field(&page, "version").unwrap().replace("&#34;", "\""), format!("{}/in?token=***", scene.origin()));
    let change = [
        ("version", version.as_str()),
        ("url", &masked),
        ("description", "Bills"),
        ("event", "email.*"),
        ("drop", "X-Team"),
    ];
    let saved = browser.send(&format!("/webhooks/{id}/edit"), &change);
    assert_eq!(
        (saved.status, saved.header("location").unwrap()),
        (303, format!("/webhooks/{id}?done=save").as_str())
    );
    let after = shown(&scene, id);
    assert_eq!(
        (&after["description"], &after["events"], &after["headers"]),
        (&json!("Bills"), &json!(["email.*"]), &json!({}))
    );
    // Somebody else's change is not overwritten unseen.
    let stale = browser.send(&format!("/webhooks/{id}/edit"), &change);
    assert!(stale.status == 422 && text(&stale).contains("Somebody changed it"), "{}", text(&stale));
    // What is behind *** has stayed.
    browser.send(&format!("/webhooks/{id}/test"), &[("event", "email.sent")]);
    assert_eq!(scene.receiver.received(1)[0].path, "/in?token=canary");

    for (verb, state) in [("disable", "disabled"), ("enable", "active")] {
        let first = browser.send(&format!("/webhooks/{id}/{verb}"), &[]);
        if verb == "disable" {
            assert!(text(&first).contains("Disable?"), "{}", text(&first));
            assert_eq!(shown(&scene, id)["status"], "active");
            browser.send(&format!("/webhooks/{id}/{verb}"), &[("sure", "yes")]);
            assert_eq!(shown(&scene, id)["disabled_reason"], "by request");
            assert!(text(&browser.get("/webhooks")).contains("<bdi>by request</bdi> since <time"));
        }
        assert_eq!(shown(&scene, id)["status"], state);
    }
    let asked = text(&browser.send(&format!("/webhooks/{id}/delete"), &[]));
    assert!(asked.contains("cannot be undone"), "{asked}");
    assert_eq!(shown(&scene, id)["id"], id);
    let gone = browser.send(&format!("/webhooks/{id}/delete"), &[("sure", "yes")]);
    assert_eq!(gone.header("location"), Some("/webhooks?done=delete"));
    assert_eq!(browser.get(&format!("/webhooks/{id}")).status, 404);
    assert_eq!(browser.send(&format!("/webhooks/{id}/explode"), &[]).status, 404);
}

#[test]
fn a_receiver_is_asked_and_the_exchange_is_shown() {
    let scene = Scene::start("");
    let mut browser = Browser::new(&scene);
    let unverified = json!({ "url": format!("{}/gone", scene.origin()), "events": ["post.failed"] });
    let id =
        scene.post_to("/api/v1/webhooks", &unverified.to_string()).json()["id"].as_str().unwrap().to_owned();
    let page = text(&browser.get(&format!("/webhooks/{id}")));
    assert!(page.contains("postgate-verification=") && !page.contains("value=\"dns\""), "{page}");
    let refused = browser.send(&format!("/webhooks/{id}/verify"), &[("way", "post")]);
    let page = text(&refused);
    assert!(refused.status == 422 && page.contains("Not verified") && page.contains("404"), "{page}");
    let tested = text(&browser.send(&format!("/webhooks/{id}/test"), &[]));
    for part in
        ["Not taken", "HTTP 404", "webhook-signature", "post.failed", "POST", "<h2>Answered</h2>", " s</p>"]
    {
        assert!(tested.contains(part), "{part}: {tested}");
    }
    let odd = browser.send(&format!("/webhooks/{id}/test"), &[("event", "no name")]);
    assert!(odd.status == 422 && text(&odd).contains("Not sent"), "{}", text(&odd));
    let good = made(&scene, "/ok", &json!({ "description": "Good one" }));
    let checked = text(&browser.send("/webhooks/check", &[]));
    assert!(
        checked.contains("Good one") && checked.contains(">taken<") && checked.contains(">not taken<"),
        "{checked}"
    );
    assert!(checked.find(">not taken<") < checked.find(">taken<"), "the worst first: {checked}");
    let skipped = browser.send(&format!("/webhooks/{id}/verify"), &[("way", "skip")]);
    assert_eq!(skipped.header("location"), Some(format!("/webhooks/{id}?done=verify").as_str()));
    assert_eq!(shown(&scene, &id)["verified_by"], "skip");

    let before = text(&browser.send(&format!("/webhooks/{good}/rotate-secret"), &[]));
    assert!(!before.contains("whsec_"), "{before}");
    let fresh = text(&browser.send(&format!("/webhooks/{good}/rotate-secret"), &[("sure", "yes")]));
    assert!(fresh.contains("value=\"whsec_") && fresh.contains("The old one signs as well until"), "{fresh}");
    assert!(!text(&browser.get(&format!("/webhooks/{good}"))).contains("whsec_"));
}

#[test]
fn batches_are_shown_page_by_page_and_events_are_sent_again() {
    let scene = Scene::start("");
    let id = made(&scene, "/ok", &json!({ "events": ["order.*"] }));
    let mut browser = Browser::new(&scene);
    assert!(text(&browser.get(&format!("/webhooks/{id}"))).contains("Nothing was sent to it yet"));
    publish(&scene, "order.paid", 25);
    scene.receiver.received(25);
    let path = format!("/webhooks/{id}");
    let page = eventually("all batches", DEADLINE, || {
        let delivered = scene.get(&format!("/api/v1/webhooks/{id}/batches?state=delivered&limit=50")).json();
        (delivered["batches"].as_array().unwrap().len() == 25).then(|| text(&browser.get(&path)))
    });
    assert_eq!(page.matches("View details</a>").count(), 20, "{page}");
    let older = link(&page, "rel=\"next\" ").replace("&#38;", "&");
    let second = text(&browser.get(older.trim_end_matches("#batches")));
    assert_eq!(second.matches("View details</a>").count(), 5, "{second}");
    assert!(!second.contains("hx-get"), "what stands there does not change");
    assert!(text(&browser.get(&format!("{path}?state=failed"))).contains("No batch is failed now"));
    let (_, rest) = page.split_once(&format!("href=\"{path}/batches/")).unwrap();
    let batch = rest.split('"').next().unwrap();
    let details = text(&browser.get(&format!("{path}/batches/{batch}")));
    for part in ["<code>order.paid</code>", "evt_", "jane@customer.example", "200", "JSON, indented"] {
        assert!(details.contains(part), "{part}: {details}");
    }
    assert_eq!(browser.get(&format!("{path}/batches/0123456789abcdef")).status, 404);
    browser.get(&path);
    let refused = browser.send(&format!("{path}/replay"), &[("since", "yesterday"), ("events", "order.*")]);
    let said = text(&refused);
    assert!(
        refused.status == 422 && said.contains("RFC 3339") && said.contains("value=\"yesterday\""),
        "{said}"
    );
    let counted = text(&browser.send(&format!("{path}/replay"), &[("events", "order.*")]));
    assert!(
        counted.contains("Send again: 25 events") && counted.contains("name=\"events\" value=\"order.*\""),
        "{counted}"
    );
    let none = text(&browser.send(&format!("{path}/replay"), &[("until", "2020-01-01T00:00:00Z")]));
    assert!(none.contains("0 events") && !none.contains("value=\"yes\""), "{none}");
    let begun = browser.send(&format!("{path}/replay"), &[("events", "order.*"), ("sure", "yes")]);
    assert_eq!(begun.header("location"), Some(format!("{path}?done=replay").as_str()), "{}", text(&begun));
    scene.receiver.received(50);
    assert!(text(&browser.get(&path)).contains("Sent again"));

    let failing = made(&scene, "/busy", &json!({ "events": ["order.*"], "description": "Bad one" }));
    publish(&scene, "order.paid", 1);
    let page = eventually("a failure", DEADLINE, || {
        let page = text(&browser.get("/webhooks"));
        page.contains("it has taken nothing so far").then_some(page)
    });
    assert!(page.find("Bad one") < page.find("/ok"), "the worst first: {page}");
    eventually("the failure to be settled", DEADLINE, || {
        let page = text(&browser.get(&format!("/webhooks/{failing}/live?state=deferred")));
        (page.contains("HTTP 500") && page.contains("badge deferred")).then_some(())
    });
}

#[test]
fn who_may_only_look_is_offered_no_webhook_to_make_and_other_tenants_are_shown_none() {
    let scene = with_keys();
    let mut operator = Browser::with_key(&scene, &key("default-operator"));
    operator.get("/webhooks/new");
    let url = format!("{}/ok", scene.origin());
    let form = [("url", url.as_str()), ("event", "*"), ("verify", "skip")];
    assert_eq!(operator.send("/webhooks", &form).status, 200);
    let page = text(&operator.get("/webhooks"));
    let path = link(&page, "<tbody>").to_owned();
    let mut viewer = Browser::with_key(&scene, &key("default-read"));
    for looked in ["/webhooks", &path] {
        let page = text(&viewer.get(looked));
        assert!(page.contains(&url), "{page}");
        assert_eq!(page.matches("method=\"post\"").count(), 1, "to sign out: {looked}: {page}");
        assert!(!page.contains("/new\"") && !page.contains("/edit\""), "{looked}: {page}");
    }
    for looked in ["/webhooks/new", &format!("{path}/edit")] {
        assert_eq!(viewer.get(looked).status, 403, "{looked}");
    }
    viewer.get("/webhooks");
    let change = [("url", "https://other.example/"), ("event", "*"), ("sure", "yes"), ("way", "skip")];
    for verb in ["/edit", "/disable", "/delete", "/rotate-secret", "/verify", "/test", "/replay"] {
        assert_eq!(viewer.send(&format!("{path}{verb}"), &change).status, 403, "{verb}");
    }
    for there in ["/webhooks", "/webhooks/check"] {
        assert_eq!(viewer.send(there, &form).status, 403, "{there}");
    }
    let mut other = Browser::with_key(&scene, &key("club-operator"));
    assert!(!text(&other.get("/webhooks")).contains(&url));
    assert_eq!(other.get(&path).status, 404);
    for verb in ["/edit", "/disable", "/delete", "/rotate-secret", "/verify", "/test", "/replay"] {
        assert_eq!(other.send(&format!("{path}{verb}"), &change).status, 404, "{verb}");
    }
    assert!(text(&operator.get(&path)).contains("badge active"));
    // Who is there for all says whose it is to be.
    let mut admin = Browser::with_key(&scene, &key("admin"));
    assert!(text(&admin.get("/webhooks/new")).contains("<option>club</option>"));
    admin.send("/webhooks", &[&form[..], &[("tenant", "club"), ("description", "Of the club")]].concat());
    assert!(text(&other.get("/webhooks")).contains("Of the club"));
    assert!(!text(&operator.get("/webhooks")).contains("Of the club"));
}

#[test]
fn what_strangers_say_of_webhooks_is_shown_as_words() {
    let scene = Scene::start("[journal]\nalways = true\n");
    let words = "<script>alert(1)</script> {{1337*7331}} \"><img src=x>";
    let id = made(&scene, "/ok?q=%3Cscript%3E", &json!({ "description": words, "format": "json" }));
    let event = json!({ "type": "order.paid", "data": { "recipient": HOSTILE[1], "url": HOSTILE[3], "reason": HOSTILE[0], "x": HOSTILE } });
    assert_eq!(scene.post_to("/api/v1/events", &event.to_string()).status, 202);
    scene.receiver.received(1);
    let mut browser = Browser::new(&scene);
    let batch = eventually("a batch", DEADLINE, || {
        let all = scene.get(&format!("/api/v1/webhooks/{id}/batches")).json();
        all["batches"][0]["batch_id"].as_str().map(str::to_owned)
    });
    let path = format!("/webhooks/{id}");
    for looked in
        ["/webhooks".to_owned(), path.clone(), format!("{path}/edit"), format!("{path}/batches/{batch}")]
    {
        let page = browser.get(&looked);
        assert_eq!(page.status, 200, "{looked}: {}", text(&page));
        is_inert(&text(&page));
        has_marks(&page);
    }
    is_inert(&text(&browser.send(&format!("{path}/test"), &[])));
    for odd in HOSTILE {
        let piece: String = url::form_urlencoded::byte_serialize(odd.as_bytes()).collect();
        is_inert(&text(&browser.get(&format!("/webhooks?done={piece}"))));
        is_inert(&text(&browser.get(&format!("{path}?state={piece}"))));
        is_inert(&text(
            &browser
                .send("/webhooks", &[("url", odd), ("event", odd), ("description", odd), ("headers", odd)]),
        ));
        is_inert(&text(&browser.send(&format!("{path}/replay"), &[("since", odd)])));
        is_inert(&text(&browser.send(&format!("{path}/verify"), &[("way", odd)])));
    }
}

#[test]
fn a_webhook_of_the_configuration_is_shown_and_not_changed() {
    let scene = Scene::start(&format!(
        "{}[[webhook]]\nurl = \"https://r.example/in\"\nevents = [\"*\"]\n",
        block("admin")
    ));
    let mut browser = Browser::with_key(&scene, &key("admin"));
    let list = text(&browser.get("/webhooks"));
    assert!(list.contains("in the configuration"), "{list}");
    let path = link(&list, "<tbody>").to_owned();
    let page = text(&browser.get(&path));
    assert!(
        page.contains("is changed there") && !page.contains("Edit") && !page.contains("Delete"),
        "{page}"
    );
    assert!(page.contains("Send a test"), "{page}");
    let refused = browser.send(&format!("{path}/delete"), &[("sure", "yes")]);
    assert_eq!(refused.status, 409, "{}", text(&refused));
}
