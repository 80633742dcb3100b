//! Redirects: which are followed, where to, and with what.

use crate::support::receiver::{Receiver, answer, answer_with};
use crate::support::{nobody, post};
use crate::{Engine, failed, loopback, origin, pattern, quick};
use postgate::deliver::lane::Limits;
use postgate::deliver::retry::Schedule;
use postgate::deliver::target::Egress;
use postgate::deliver::terms::{Book, Overrides, Terms};
use postgate::post::{Field, Post, Scheme, Trust};
use postgate::spool::Settlement;
use std::sync::Arc;
use std::time::Duration;

fn following(count: u32) -> Terms {
    Terms { follow_redirects: count, ..quick() }
}

/// A receiver that redirects to this; what it does not, it takes.
async fn redirecting(
    status: u16,
    location: impl Fn(usize) -> Option<String> + Send + Sync + 'static,
) -> Receiver {
    Receiver::start(move |request| match location(request.index) {
        Some(location) => answer_with(status, &format!("Location: {location}\r\n")),
        None => answer(200),
    })
    .await
}

#[tokio::test]
async fn a_redirect_is_followed_with_method_and_body() {
    for status in [307, 308] {
        for location in [
            "/there?x=%20",
            "there?x=%20",
            "//127.0.0.1:PORT/there?x=%20",
            "HTTP://127.0.0.1:PORT/there?x=%20#part",
        ] {
            let (port, ported) = tokio::sync::watch::channel(0);
            let receiver = redirecting(status, move |index| {
                (index == 0).then(|| location.replace("PORT", &ported.borrow().to_string()))
            })
            .await;
            port.send_replace(receiver.address.port());
            let engine = Engine::start(following(1));
            let to = origin(Scheme::Http, "127.0.0.1", receiver.address);
            let mut post = post(1, &to);
            post.method = "PUT".to_owned();
            post.headers.push(Field { name: "Authorization".to_owned(), value: b"secret".to_vec() });
            let id = engine.send(post, b"the body").await;
            assert_eq!(engine.spool.settled(id, 1).await, [Settlement::Delivered], "{status} {location}");
            let requests = receiver.requests();
            assert!(requests[1].head.starts_with("PUT /there?x=%20 HTTP/1.1\r\n"), "{}", requests[1].head);
            assert_eq!(requests[1].body, b"the body");
            assert_eq!(requests[1].header("Authorization"), Some("secret"), "it is the same origin");
            assert_eq!((requests[1].connection, receiver.connections()), (0, 1), "{location}");
            let log = engine.stop().await;
            assert!(log.contains("attempt 1: redirected to http://127.0.0.1:"), "{log}");
        }
    }
}

#[tokio::test]
async fn another_origin_gets_the_post_without_our_secrets() {
    let there = Receiver::start(|_| answer(200)).await;
    let place = format!("http://hook.localhost:{}/there", there.address.port());
    let location = place.clone();
    let here = redirecting(308, move |_| Some(location.clone())).await;
    let engine = Engine::start(following(1));
    let mut post = post(1, &origin(Scheme::Http, "127.0.0.1", here.address));
    for name in ["Authorization", "Cookie", "X-Api-Key", "X-Token", "X-Signature", "X-Plain"] {
        post.headers.push(Field { name: name.to_owned(), value: b"value".to_vec() });
    }
    let id = engine.send(post, b"the body").await;
    assert_eq!(engine.spool.settled(id, 1).await, [Settlement::Delivered]);
    let request = &there.requests()[0];
    assert_eq!(request.body, b"the body");
    assert_eq!(request.header("Host"), Some(place[7..].trim_end_matches("/there")));
    for (name, goes_along) in [
        ("Authorization", false),
        ("Cookie", false),
        ("X-Api-Key", false),
        ("X-Token", false),
        ("X-Signature", true),
        ("X-Plain", true),
        ("Idempotency-Key", true),
    ] {
        assert_eq!(request.header(name).is_some(), goes_along, "{name}");
    }
    there.ended(1).await;
}

#[tokio::test]
async fn what_is_not_followed_fails_with_where_it_led() {
    let cases = [
        (0, 308, "http://127.0.0.1:9/x", "308 Permanent Redirect to http://127.0.0.1:9/x (not followed)"),
        (5, 301, "http://127.0.0.1:9/x", "301 Moved Permanently to http://127.0.0.1:9/x (not followed)"),
        (5, 302, "/x", "302 Found to /x (not followed)"),
        (5, 303, "/x", "303 See Other to /x (not followed)"),
        (5, 304, "/x", "304 Not Modified to /x (not followed)"),
        (5, 307, "/hook", "307 Temporary Redirect to /hook (a loop)"),
        (
            5,
            308,
            "file:///etc/passwd",
            "308 Permanent Redirect to file:///etc/passwd (not followed: the URL does not begin with http:// or https://)",
        ),
        (
            5,
            308,
            "javascript:alert(1)",
            "308 Permanent Redirect to javascript:alert(1) (not followed: the URL does not begin with http:// or https://)",
        ),
        (
            5,
            308,
            "http://u:canary@127.0.0.1:9/",
            "308 Permanent Redirect to http://***@127.0.0.1:9/ (not followed: the URL holds credentials)",
        ),
        (
            5,
            308,
            "http://a b/",
            "308 Permanent Redirect to http://a b/ (not followed: the URL is too long, or holds a blank or a backslash)",
        ),
        (
            5,
            308,
            "http:\\\\a/",
            "308 Permanent Redirect to http:\\\\a/ (not followed: the URL is too long, or holds a blank or a backslash)",
        ),
        (5, 308, "http://a:0/", "308 Permanent Redirect to http://a:0/ (not followed: the URL names port 0)"),
    ];
    for (count, status, location, reason) in cases {
        let receiver = redirecting(status, move |_| Some(location.to_owned())).await;
        let engine = Engine::start(following(count));
        let settlement = engine.first(1, &origin(Scheme::Http, "127.0.0.1", receiver.address)).await;
        assert_eq!(failed(&settlement), reason);
        assert_eq!(receiver.requests().len(), 1, "{location}");
    }
}

#[tokio::test]
async fn so_many_are_followed_and_no_more() {
    let receiver = redirecting(308, |index| Some(format!("/hop{index}"))).await;
    let engine = Engine::start(following(3));
    let settlement = engine.first(1, &origin(Scheme::Http, "127.0.0.1", receiver.address)).await;
    assert_eq!(failed(&settlement), "308 Permanent Redirect to /hop3 (too many redirects)");
    assert_eq!(receiver.requests().len(), 4);
}

#[tokio::test]
async fn a_hop_is_judged_as_untrusted_whoever_named_the_first_url() {
    let inside = Receiver::start(|_| answer(200)).await;
    let places = [
        (format!("http://127.0.0.1:{}/", inside.address.port()), "127.0.0.1 is loopback"),
        ("http://169.254.169.254/latest".to_owned(), "169.254.169.254 is link-local"),
        ("http://[::ffff:10.0.0.1]/".to_owned(), "is an IPv4-mapped address"),
        ("http://0x7f.1:25/".to_owned(), "127.0.0.1 is loopback"),
    ];
    for (place, rule) in places {
        let location = place.clone();
        let receiver = redirecting(308, move |_| Some(location.clone())).await;
        let book = Book::new(following(2), Vec::new());
        let engine = Engine::of(book, Egress { allow: Vec::new(), ..loopback() });
        let to = origin(Scheme::Http, "127.0.0.1", receiver.address);
        let settlement = engine.first_of(Post { trust: Trust::Operator, ..post(1, &to) }).await;
        let reason = failed(&settlement);
        assert!(reason.starts_with("egress-denied: ") && reason.contains(rule), "{place}: {reason}");
        assert_eq!(receiver.requests().len(), 1);
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn the_operators_trust_holds_within_the_origin() {
    let receiver = redirecting(308, |index| (index == 0).then(|| "/there".to_owned())).await;
    let engine = Engine::of(Book::new(following(1), Vec::new()), Egress { allow: Vec::new(), ..loopback() });
    let to = origin(Scheme::Http, "127.0.0.1", receiver.address);
    let post = Post { trust: Trust::Operator, ..post(1, &to) };
    assert_eq!(engine.first_of(post).await, Settlement::Delivered);
}

#[tokio::test]
async fn trouble_behind_a_redirect_is_none_of_who_redirects() {
    let (_bound, nobody) = nobody();
    let busy = Receiver::start(|_| answer_with(503, "Retry-After: 3600\r\n")).await;
    for (there, reason) in [(nobody, "connection refused"), (busy.address, "503 Service Unavailable")] {
        let location = format!("http://{there}/");
        let here = redirecting(308, move |index| (index < 2).then(|| location.clone())).await;
        let schedule = Schedule { retry: vec![Duration::from_secs(3600)], ..quick().schedule };
        let limits = Limits { breaker: 1, ..quick().limits };
        let engine = Engine::start(Terms { schedule, limits, ..following(1) });
        let to = origin(Scheme::Http, "127.0.0.1", here.address);
        for number in 1..=2 {
            let settlement = engine.first(number, &to).await;
            assert_eq!(crate::deferred(&settlement), reason);
        }
        assert_eq!(engine.first(3, &to).await, Settlement::Delivered, "{reason}");
    }
}

#[tokio::test]
async fn the_terms_of_a_hop_are_those_of_its_origin() {
    let there = Receiver::start(|_| answer(200)).await;
    let location = format!("http://127.0.0.1:{}/", there.address.port());
    let here = redirecting(308, move |_| Some(location.clone())).await;
    // A proxy that is not there stands before the hop alone.
    let (_bound, nobody) = nobody();
    let proxy = postgate::deliver::profile::Proxy {
        kind: postgate::deliver::profile::ProxyKind::Http,
        host: "127.0.0.1".to_owned(),
        port: nobody.port(),
        credentials: None,
    };
    let change = Overrides { proxy: Some(Some(Arc::new(proxy))), ..Overrides::default() };
    let hop = origin(Scheme::Http, "127.0.0.1", there.address);
    let book = Book::new(following(1), vec![(pattern(&hop), change)]);
    let engine = Engine::of(book, loopback());
    let settlement = engine.first(1, &origin(Scheme::Http, "127.0.0.1", here.address)).await;
    let reason = crate::deferred(&settlement);
    assert_eq!(
        reason,
        format!("the proxy http://{nobody}: connection refused; start it, or name another (proxy)")
    );
}
