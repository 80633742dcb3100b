//! An admin chooses a tenant for all pages; nobody else chooses anything.

use super::browser::{Browser, field, text};
use super::support::DEADLINE;
use super::support::api::Scene;
use super::support::program::eventually;
use super::{key, with_keys};
use std::fs;

/// A post of the default tenant, which waits for its next attempt.
fn waiting(scene: &Scene, admin: &mut Browser<'_>) -> String {
    let id = scene.send("/busy", "");
    eventually("the first attempt", DEADLINE, || {
        text(&admin.get("/posts")).contains("500 Internal Server Error").then_some(())
    });
    id
}

/// Chooses, and keeps the choice beside the session as a browser does.
fn choose(browser: &mut Browser<'_>, tenant: &str) {
    let session = browser.cookie.clone().unwrap().split("; ").next().unwrap().to_owned();
    browser.get("/");
    let chosen = browser.send("/tenant", &[("tenant", tenant)]);
    assert_eq!((chosen.status, chosen.header("location")), (303, Some("/")), "{chosen:?}");
    let set = chosen.header("set-cookie").unwrap();
    for wanted in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(wanted), "{set}");
    }
    browser.cookie = Some(format!("{session}; {}", set.split(';').next().unwrap()));
}

#[test]
fn what_an_admin_chose_holds_for_all_pages() {
    let scene = with_keys();
    let mut admin = Browser::with_key(&scene, &key("admin"));
    let id = waiting(&scene, &mut admin);
    let page = text(&admin.get("/"));
    assert!(page.contains("<option>club</option>") && page.contains("<option>default</option>"), "{page}");
    let pages = ["/posts", "/destinations", "/destinations/live", "/events"];
    for (tenant, is_seen) in [("club", false), ("default", true), ("", true)] {
        choose(&mut admin, tenant);
        for path in &pages[..3] {
            let page = text(&admin.get(path));
            assert_eq!(
                page.contains(&id) || page.contains(&scene.origin()),
                is_seen,
                "{tenant} {path}: {page}"
            );
        }
        for path in pages.iter().filter(|path| !path.ends_with("/live")) {
            let page = text(&admin.get(path));
            let chosen = format!("<option selected>{tenant}</option>");
            assert_eq!(page.contains(&chosen), !tenant.is_empty(), "{tenant} {path}: {page}");
        }
        assert_eq!(admin.get(&format!("/posts/{id}")).status, if is_seen { 200 } else { 404 });
        // What is said of all tenants together is not said of one.
        let page = text(&admin.get("/"));
        assert_eq!(page.contains("href=\"/log\""), tenant.is_empty(), "{tenant}: {page}");
        assert_eq!(admin.get("/log").status, if tenant.is_empty() { 200 } else { 403 });
    }
    let none = admin.send("/tenant", &[("tenant", "<b>nobody")]);
    assert_eq!((none.status, none.header("set-cookie")), (422, None), "{none:?}");
    assert!(text(&none).contains("no such tenant"), "{}", text(&none));
}

#[test]
fn a_choice_gives_nobody_more_than_a_key_does() {
    let scene = with_keys();
    let mut admin = Browser::with_key(&scene, &key("admin"));
    let id = waiting(&scene, &mut admin);
    choose(&mut admin, "default");
    let choice = admin.cookie.clone().unwrap().split("; ").nth(1).unwrap().to_owned();
    let mut club = Browser::with_key(&scene, &key("club-operator"));
    assert!(!text(&club.get("/")).contains("action=\"/tenant\""));
    assert_eq!(club.send("/tenant", &[("tenant", "default")]).status, 422);
    // As if somebody else had chosen in the same browser before.
    club.cookie = Some(format!("{}; {choice}", club.cookie.clone().unwrap()));
    let page = text(&club.get("/posts"));
    assert!(!page.contains(&id) && page.contains("club-operator"), "{page}");
    // A tenant that is there no more is not looked at.
    let session = admin.cookie.clone().unwrap().split("; ").next().unwrap().to_owned();
    admin.cookie = Some(format!("{session}; {}", choice.replace("default", "gone")));
    assert!(text(&admin.get("/posts")).contains(&id));
    // Who signs in there with another key is let in.
    let mut next = Browser::new(&scene);
    next.cookie = Some(format!("{session}; {choice}"));
    next.get("/");
    assert_eq!(next.send("/sign-in", &[("key", &key("club-operator"))]).status, 303);
}

#[test]
fn where_there_is_one_tenant_there_is_no_choice() {
    let scene = Scene::start("");
    assert!(!text(&Browser::new(&scene).get("/")).contains("action=\"/tenant\""));
}

/// Whether a post is there, whatever a browser looks at.
fn is_there(scene: &Scene, id: &str) -> bool {
    let head = format!("GET /api/v1/posts/{id} HTTP/1.1\r\nHost: {}\r\n", scene.api);
    let key = format!("Authorization: Bearer {}\r\nConnection: close\r\n\r\n", key("admin"));
    scene.raw(&(head + &key)).status == 200
}

#[test]
fn a_form_does_nothing_to_others_than_its_page_showed() {
    let scene = with_keys();
    let mut admin = Browser::with_key(&scene, &key("admin"));
    let id = waiting(&scene, &mut admin);
    let origin = scene.origin();
    for (shown, then) in [("club", ""), ("", "default"), ("default", ""), ("club", "default")] {
        choose(&mut admin, shown);
        admin.get("/posts");
        let token = admin.token.clone();
        // On another page of the same browser.
        choose(&mut admin, then);
        for (path, fields) in [
            ("/posts/actions", vec![("action", "delete"), ("sure", "yes")]),
            ("/posts/actions", vec![("action", "delete")]),
            (&format!("/posts/{id}/delete"), vec![("sure", "yes")]),
            ("/destinations/actions", vec![("action", "pause"), ("origin", &origin)]),
            ("/send", vec![("to", "post@http://127.0.0.1:1/")]),
        ] {
            admin.token = token.clone();
            let refused = admin.send(path, &fields);
            assert_eq!(refused.status, 403, "{shown} then {then}, {path}: {}", text(&refused));
            let page = text(&refused);
            assert!(page.contains("the form is of a page of") && page.contains("nothing was done"), "{page}");
        }
        assert!(is_there(&scene, &id), "{shown} then {then}");
        assert!(!text(&admin.get("/destinations")).contains("paused in the panel"));
        // Forms that are of nobody's posts go on.
        admin.token = token;
        assert_eq!(admin.send("/tenant", &[("tenant", shown)]).status, 303);
        admin = Browser::with_key(&scene, &key("admin"));
    }
    // What was shown is done, and one signs out of any page.
    choose(&mut admin, "default");
    admin.get("/posts");
    let sure = text(&admin.send("/posts/actions", &[("action", "delete")]));
    admin.token = field(&sure, "token").unwrap();
    let done = admin.send("/posts/actions", &[("action", "delete"), ("sure", "yes")]);
    assert_eq!((done.status, is_there(&scene, &id)), (200, false), "{}", text(&done));
    let token = admin.token.clone();
    choose(&mut admin, "club");
    admin.token = token;
    assert_eq!(admin.send("/sign-out", &[]).status, 303);
    assert_eq!(admin.get("/posts").status, 303);
}

#[test]
fn a_tenant_that_is_renamed_meanwhile_is_not_all_of_them() {
    let scene = with_keys();
    let mut admin = Browser::with_key(&scene, &key("admin"));
    let id = waiting(&scene, &mut admin);
    admin.get("/posts");
    let all = admin.token.clone();
    choose(&mut admin, "club");
    admin.get("/posts");
    let (own, cookie) = (admin.token.clone(), admin.cookie.clone().unwrap());
    let path = scene.directory.path().join("postgate.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("\"club\"", "\"team\"")).unwrap();
    let reload = format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\n\r\n",
        scene.api,
        key("admin")
    );
    assert_eq!(scene.raw(&reload).status, 200);
    for token in [own, all] {
        (admin.token, admin.cookie) = (token, Some(cookie.clone()));
        let refused = admin.send("/posts/actions", &[("action", "delete"), ("sure", "yes")]);
        assert_eq!(refused.status, 403, "{}", text(&refused));
        assert!(text(&refused).contains("the tenant club was chosen and is there no more"));
        assert!(is_there(&scene, &id));
    }
    // The next page says so and forgets it; a part of one would not have said it.
    admin.cookie = Some(cookie.clone());
    let part = admin.ask("GET", "/destinations/live", "HX-Request: true\r\nPostgate-Shown: club\r\n", "");
    assert_eq!((part.status, part.header("set-cookie")), (409, None), "{part:?}");
    let page = admin.get("/posts");
    assert!(text(&page).contains("<bdi>club</bdi>, which was chosen, is there no more"), "{}", text(&page));
    assert!(page.header("set-cookie").unwrap().contains("-tenant=;"), "{page:?}");
    assert!(text(&page).contains(&id));
}

#[test]
fn a_live_part_tells_of_nobody_that_its_page_did_not_show() {
    let scene = with_keys();
    let mut admin = Browser::with_key(&scene, &key("admin"));
    waiting(&scene, &mut admin);
    for (shown, then, status) in [
        ("default", "default", 200),
        ("club", "default", 409),
        ("default", "", 409),
        ("", "default", 409),
        ("", "", 200),
    ] {
        choose(&mut admin, shown);
        let page = text(&admin.get("/destinations"));
        let said = format!("<body hx-headers='{{\"Postgate-Shown\":\"{shown}\"}}'>");
        assert!(page.contains(&said), "{said}: {page}");
        choose(&mut admin, then);
        let lines = format!("HX-Request: true\r\nPostgate-Shown: {shown}\r\n");
        for path in ["/destinations/live", "/overview/live", "/webhooks/live"] {
            let part = admin.ask("GET", path, &lines, "");
            assert_eq!(part.status, status, "{shown} then {then}, {path}: {}", text(&part));
            assert_eq!(text(&part).contains(&scene.origin()), status == 200 && !path.contains("webhooks"));
        }
    }
}
