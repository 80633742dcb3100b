//! An admin chooses a tenant for all pages; nobody else chooses anything.

use super::browser::{Browser, text};
use super::support::DEADLINE;
use super::support::api::Scene;
use super::support::program::eventually;
use super::{key, with_keys};

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
