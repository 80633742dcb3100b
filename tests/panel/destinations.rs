//! The page of destinations, of which there may be more than it holds.

use super::browser::{Browser, text};
use super::support::DEADLINE;
use super::support::api::Scene;
use super::support::program::eventually;

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
    assert!(page.contains("<polyline points=\"1.0,1.0\"") && page.contains("p99 "), "{page}");
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
