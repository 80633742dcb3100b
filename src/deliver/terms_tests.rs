//! Which terms hold for whom.

use super::*;
use crate::post::Scheme;
use crate::tenant::Tenant;

fn destination(host: &str, port: u16) -> Destination {
    let (tenant, scheme) = (Tenant::default(), Scheme::Https);
    Destination { tenant, scheme, host: host.to_owned(), port, webhook: None }
}

#[test]
fn the_most_specific_pattern_wins_key_by_key() {
    let connections = |n| Overrides { max_connections: Some(n), ..Overrides::default() };
    let breaker = |n| Overrides { breaker: Some(n), ..Overrides::default() };
    let book = [
        ("https://a.shop.example", connections(1)),
        ("https://*.shop.example", Overrides { breaker: Some(2), ..connections(2) }),
        ("*", Overrides { retry: Some(vec![Duration::from_secs(9)]), ..connections(3) }),
        ("https://*.example", breaker(4)),
        ("https://shop.example", connections(5)),
        ("https://shop.example", connections(6)),
        ("https://shop.example:8443", breaker(7)),
    ];
    let book = book.into_iter().map(|(pattern, change)| (pattern.parse().unwrap(), change));
    let book = Book::new(Terms::default(), book.collect());
    for (host, port, max_connections, breaker) in [
        ("a.shop.example", 443, 1, 2),
        ("b.shop.example", 443, 2, 2),
        ("c.b.shop.example", 443, 2, 2),
        ("shop.example", 443, 6, 4),
        ("shop.example", 8443, 3, 7),
        ("other.example", 443, 3, 4),
        ("example", 443, 3, 10),
        ("[2001:db8::1]", 443, 3, 10),
        ("10.1.2.3", 443, 3, 10),
    ] {
        let terms = book.terms(&destination(host, port));
        let limits = terms.limits;
        assert_eq!((limits.max_connections, limits.breaker), (max_connections, breaker), "{host}:{port}");
        assert_eq!(terms.schedule.retry, [Duration::from_secs(9)]);
        assert_eq!(terms.schedule.max_age, Terms::default().schedule.max_age, "what nobody changes stays");
    }
}

#[test]
fn every_key_can_be_changed() {
    let second = Duration::from_secs(1);
    let changed = Terms {
        limits: Limits { max_connections: 1, max_streams: 2, breaker: 3, adaptive: Adaptive::Off },
        rates: Arc::new([Rate { count: 1, per: second }]),
        max_posts_per_connection: 4,
        keep_alive: second,
        http2: Http2::Off,
        connect_timeout: second,
        response_timeout: second,
        total_timeout: second,
        schedule: Schedule { retry: vec![second], max_age: second, max_attempts: Some(5) },
        follow_redirects: 6,
        tls: Arc::new(TlsTerms { least: TlsVersion::Tls13, ..TlsTerms::default() }),
        headers: Arc::new([Field { name: "X-A".to_owned(), value: b"b".to_vec() }]),
        compress: Compress::Gzip,
        ..Terms::default()
    };
    let of = changed.clone();
    let change = Overrides {
        max_connections: Some(of.limits.max_connections),
        max_streams: Some(of.limits.max_streams),
        breaker: Some(of.limits.breaker),
        adaptive: Some(of.limits.adaptive),
        rates: Some(of.rates),
        max_posts_per_connection: Some(of.max_posts_per_connection),
        keep_alive: Some(of.keep_alive),
        http2: Some(of.http2),
        connect_timeout: Some(of.connect_timeout),
        response_timeout: Some(of.response_timeout),
        total_timeout: Some(of.total_timeout),
        retry: Some(of.schedule.retry),
        max_age: Some(of.schedule.max_age),
        max_attempts: Some(of.schedule.max_attempts),
        follow_redirects: Some(of.follow_redirects),
        tls: Some(of.tls),
        headers: Some(of.headers),
        compress: Some(of.compress),
        ..Overrides::default()
    };
    let book = Book::new(Terms::default(), vec![("*".parse().unwrap(), change)]);
    assert_eq!(*book.terms(&destination("a.example", 443)), changed);
}
