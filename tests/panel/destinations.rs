//! The page of destinations, of which there may be more than it holds.

use super::browser::{Browser, text};
use super::support::DEADLINE;
use super::support::api::Scene;
use super::support::program::eventually;
use std::fs;

/// Hands in a post for each of these hosts, which are on this machine; nobody listens there.
fn post_to_nobody(scene: &Scene, hosts: impl Iterator<Item = u8>) {
    let port = scene.receiver.address.port();
    let post = |host| format!(r#"{{"url":"http://127.0.0.{host}:{port}/x","body":"x"}}"#);
    let posts: Vec<_> = hosts.map(post).collect();
    let handed = scene.post_to("/api/v1/posts", &format!("[{}]", posts.join(",")));
    assert_eq!(handed.status, 202, "{handed:?}");
}

#[test]
fn the_worst_are_on_the_page_and_the_others_are_found() {
    let scene = Scene::start("");
    post_to_nobody(&scene, 101..=160);
    scene.ends(&scene.send("/ok", ""));
    let mut browser = Browser::new(&scene);
    let page = eventually("all to be in trouble", DEADLINE, || {
        let page = text(&browser.get("/"));
        page.contains("60 destinations in trouble; 60 posts waiting").then_some(page)
    });
    assert!(page.contains(">52 more</a>"), "{page}");
    assert!(page.contains("</b> waiting, the oldest for <time datetime=\""), "{page}");
    // What does well is busiest where all others are in trouble.
    let (_, busiest) = page.split_once("Busiest destinations").unwrap();
    assert!(busiest.contains(&scene.origin()), "{page}");
    let page = text(&browser.get("/destinations"));
    assert_eq!(page.matches("value=\"pause\"").count(), 50, "{page}");
    assert!(page.contains("11 more, which do well") && !page.contains(&scene.origin()), "{page}");
    assert_eq!(page.matches("data-age").count(), 50, "{page}");
    assert!(page.len() < 130_000, "{} octets", page.len());
    let own = format!("/destinations?origin={}", scene.origin_piece());
    let page = text(&browser.get(&own));
    assert_eq!(page.matches("value=\"pause\"").count(), 1, "{page}");
    assert!(page.contains("<polyline points=\"1.0,1.0 63.0,1.0\"") && page.contains("p99 "), "{page}");
    let live = format!("/destinations/live?origin={}", scene.origin_piece());
    assert!(page.contains("hx-get=\"/destinations/live?origin=http%3A%2F%2F127%2E0%2E0%2E1%3A"), "{page}");
    let origin = scene.origin();
    let fields = [("action", "pause"), ("origin", origin.as_str()), ("found", origin.as_str())];
    let paused = browser.send("/destinations/actions", &fields);
    // What was done is seen at once, also where a page refreshes itself.
    assert!(paused.header("location").unwrap().starts_with("/destinations?origin="), "{paused:?}");
    assert!(text(&browser.get(&live)).contains("paused in the panel"));
    let none = browser.get("/destinations?origin=https%3A%2F%2F%3Cb%3E.example");
    assert!(none.status == 422 || text(&none).contains("No destination is like"), "{}", text(&none));
    assert!(
        text(&browser.get("/destinations?origin=https%3A%2F%2Fno.example"))
            .contains("No destination is like")
    );
}

/// The configuration says how fast a destination may be spoken to.
#[test]
fn a_configuration_that_was_loaded_is_seen_at_once() {
    let scene = Scene::start("");
    scene.post("/busy", "", "deferred");
    let mut browser = Browser::new(&scene);
    let page = text(&browser.get("/destinations"));
    assert!(page.contains(scene.origin().as_str()) && !page.contains(" of 7/s"), "{page}");
    let path = scene.directory.path().join("postgate.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{config}\n[[destination]]\nmatch = \"{}\"\nrate = \"7/s\"\n", scene.origin()))
        .unwrap();
    browser.get("/config");
    let before = text(&browser.get("/destinations/live"));
    assert!(!before.contains(" of 7/s"), "{before}");
    let loaded = text(&browser.send("/config", &[("action", "reload")]));
    assert!(loaded.contains("<b>Loaded</b>"), "{loaded}");
    // A page that refreshes itself does not show what it was shown a moment ago.
    let live = text(&browser.get("/destinations/live"));
    assert!(live.contains(" of 7/s"), "{live}");
}
