//! Section 2.7: URLs and names that lead where no mail may.

use crate::support::DEADLINE;
use crate::support::api::Scene;
use crate::support::collector::{Answer as Said, Collector};
use crate::support::hostile::{Act, Hostile, Sender, honest, response, timed};
use crate::support::name_server::{Answer, NameServer, PUBLIC, addresses, in_a_world_of_its_own};
use crate::support::program::{Client, Gateway, Reply, eventually};
use data_encoding::BASE64URL_NOPAD;
use postgate::compose::Endpoint;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;
use tempfile::TempDir;

/// A file that says nothing of egress: only the public internet is reached.
const PUBLIC_ONLY: &str = r#"
[[listener]]
address = "127.0.0.1:0"

[limits]
connection_rate = "1000000/m"

[delivery]
retry = ["1h"]
"#;

/// A URL in the form that survives any octet.
fn recipient(url: &str) -> String {
    format!("post+{}@postgate.local", BASE64URL_NOPAD.encode(url.as_bytes()))
}

/// What is said to a URL at RCPT.
fn said(sender: &Sender, url: &str) -> String {
    match Client::connect(sender.gateway.smtp).unwrap().envelope(&[recipient(url)]) {
        Ok(()) => "accepted".to_owned(),
        Err(Reply::Said(line)) => line,
        Err(other) => panic!("{url:?}: {other:?}"),
    }
}

fn refused(sender: &Sender, urls: &[&str], begin: &str) {
    for url in urls {
        let reply = said(sender, url);
        assert!(reply.starts_with(begin), "{url:?}: {reply}");
    }
}

const BAD_URL: &str = "553 5.1.3 ";
const DENIED: &str = "550 5.7.1 egress-denied: ";

#[test]
fn u1_u2_u3_what_is_no_url_to_post_to_is_refused_before_anything_is_parsed() {
    let sender = Sender::start(PUBLIC_ONLY);
    for octet in (0..0x21_u8).chain([0x7f, b'\\']) {
        for url in ["http://h.example/p", "http://h.exam", "ht"] {
            let octet = char::from(octet);
            let rest = if url == "ht" { "tp://h.example/" } else { "ple/X: 1" };
            refused(
                &sender,
                &[&format!("{url}{octet}{rest}"), &format!("{octet}http://h.example/")],
                BAD_URL,
            );
        }
    }
    let long = |length: usize| format!("http://h.example/{}", "x".repeat(length - "http://h.example/".len()));
    assert_eq!(said(&sender, &long(2048)), "accepted");
    refused(&sender, &[&long(2049)], BAD_URL);
    refused(
        &sender,
        &[
            "ftp://h.example/",
            "file:///etc/passwd",
            "gopher://h.example/",
            "ws://h.example/",
            "javascript:alert(1)",
            "data:text/plain,x",
            "http:h.example/",
            "http:/h.example/",
            "//h.example/",
            "http://",
            "http:///",
            "http://?x",
            "https://#x",
            "http://h.example:0/",
            "http://h.example:99999/",
            "http://h.example/#x",
            "http://*/",
            "http://a b/",
            "http://%00/",
            "http://[::1/",
            "http://[::1%25eth0]/",
            "http://[fe80::1%eth0]/",
            "httpx://h.example/",
        ],
        BAD_URL,
    );
    // Userinfo is no host, whatever it looks like.
    refused(
        &sender,
        &[
            "http://good.example@127.0.0.1/",
            "http://good.example:80@127.0.0.1/",
            "http://good.example%23@127.0.0.1/",
            "http://good.example%5C@127.0.0.1/",
            "http://93.184.216.34@10.0.0.1/",
            "http://a:b@c@127.0.0.1/",
        ],
        DENIED,
    );
    refused(&sender, &["http://good.example#@127.0.0.1/", "http://good.example\\@127.0.0.1/"], BAD_URL);
    assert_eq!(said(&sender, "http://127.0.0.1@good.example/"), "accepted");
}

#[test]
fn u4_u5_u6_an_address_is_what_it_is_however_it_is_written() {
    let sender = Sender::start(PUBLIC_ONLY);
    let of = |hosts: &[&str]| -> Vec<String> { hosts.iter().map(|host| format!("http://{host}/")).collect() };
    let all = |hosts: &[&str], begin: &str| {
        of(hosts).iter().for_each(|url| refused(&sender, &[url], begin));
    };
    all(
        &[
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "127\u{3002}0\u{3002}0\u{3002}1",
            "\u{2460}\u{2461}\u{2466}.\u{24ea}.\u{24ea}.\u{2460}",
            "0X7F.0.0.1",
            "127.255.255.254",
        ],
        &format!("{DENIED}127."),
    );
    all(&["0", "0x", "0.0.0.0", "00"], &format!("{DENIED}0.0.0.0 "));
    all(
        &["2852039166", "0xA9FEA9FE", "169.254.43518", "169.254.169.254"],
        &format!("{DENIED}169.254.169.254 "),
    );
    all(
        &[
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[::7f00:1]",
            "[::ffff:0:7f00:1]",
            "[::5efe:7f00:1]",
            "[2001:0:1::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
        ],
        DENIED,
    );
    for (first, last, before, after) in [
        ("0.0.0.0", "0.255.255.255", "", "1.0.0.0"),
        ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
        ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
        ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
        ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
        ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
        ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
        ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
        ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
        ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
        ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
        ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
        ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
        ("224.0.0.0", "255.255.255.255", "223.255.255.255", ""),
    ] {
        all(&[first, last], DENIED);
        for outside in [before, after].into_iter().filter(|text| !text.is_empty()) {
            assert_eq!(said(&sender, &format!("http://{outside}/")), "accepted", "{outside}");
        }
    }
    assert_eq!(said(&sender, "http://[2606:4700::1111]/"), "accepted");
}

#[test]
fn u11_proxies_of_the_environment_are_nobodys() {
    let proxy = Hostile::start(honest(9));
    let receiver = Hostile::start(honest(9));
    let config = PUBLIC_ONLY
        .replace("[limits]", "[egress]\nallow = [\"127.0.0.0/8\"]\n[limits]")
        .replace("[delivery]", "[delivery]\nconnect_timeout = \"1s\"");
    let sender = Sender::with(&config, |command| {
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, format!("http://{}", proxy.address));
        }
    });
    assert!(sender.verdict(&sender.post(&receiver.recipient()), 1).starts_with("delivered "));
    assert_eq!(receiver.requests().len(), 1);
    sender.verdict(&sender.post(&receiver.recipient_over_tls()), 1);
    assert!(proxy.heard().is_empty());
}

#[test]
fn u12_ports_of_other_protocols_are_refused() {
    let sender = Sender::start(PUBLIC_ONLY);
    for port in [
        1, 7, 22, 23, 25, 53, 110, 143, 465, 587, 993, 995, 2525, 3306, 5432, 6000, 6379, 6667, 9042, 11211,
        27017,
    ] {
        refused(&sender, &[&format!("https://h.example:{port}/")], &format!("{DENIED}port {port} "));
        refused(&sender, &[&format!("https://93.184.216.34:{port}/")], &format!("{DENIED}port {port} "));
    }
    for port in [80, 443, 1024, 3000, 8000, 8080, 8443, 65535] {
        assert_eq!(said(&sender, &format!("https://h.example:{port}/")), "accepted");
    }
}

#[test]
fn u14_the_form_that_is_asked_for_decides() {
    for (written, host) in [
        ("http://ex%61mple.com/", Some("example.com")),
        ("http://EXAMPLE.com/", Some("example.com")),
        ("http://exa\u{ad}mple.com/", Some("example.com")),
        ("http://\u{fb00}.com/", Some("ff.com")),
        ("http://b\u{fc}cher.example/", Some("xn--bcher-kva.example")),
        // Cyrillic: another name, and shown as one.
        ("http://\u{440}\u{430}ypal.com/", Some("xn--ypal-43d9g.com")),
        (
            "http://\u{24db}\u{24de}\u{24d2}\u{24d0}\u{24db}\u{24d7}\u{24de}\u{24e2}\u{24e3}/",
            Some("localhost"),
        ),
        ("http://xn--a/", None),
        ("http://a..b/", Some("a..b")),
        ("http://a\u{202e}b.example/", None),
        ("http://a%2fb.example/", None),
        ("http://a%00b.example/", None),
    ] {
        let read = written.parse::<Endpoint>();
        assert_eq!(read.ok().map(|endpoint| endpoint.host).as_deref(), host, "{written:?}");
    }
    let sender = Sender::start(PUBLIC_ONLY);
    let circled = "http://\u{24db}\u{24de}\u{24d2}\u{24d0}\u{24db}\u{24d7}\u{24de}\u{24e2}\u{24e3}/";
    let verdict = sender.verdict(&sender.post(&recipient(circled)), 1);
    assert!(verdict.starts_with("failed: egress-denied: 127.0.0.1 is loopback"), "{verdict}");
    // In the log as it is asked for.
    assert!(sender.log().contains("no connection to http://localhost\n"), "{}", sender.log());
}

#[test]
fn u15_the_gateway_posts_never_to_itself() {
    let config = PUBLIC_ONLY.replace(
        "[limits]",
        "[egress]\nallow = [\"127.0.0.0/8\", \"0.0.0.0/8\", \"::/0\", \"::ffff:0:0/96\"]\n[limits]",
    );
    let sender = Sender::start(&config);
    let port = sender.gateway.smtp.port();
    for host in ["127.0.0.1", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]"] {
        let reply = said(&sender, &format!("http://{host}:{port}/"));
        assert!(reply.starts_with(DENIED) && reply.contains("is this gateway itself"), "{host}: {reply}");
    }
    // By name, and by the operator's own route.
    let post = sender.post(&format!("post@http://localhost:{port}/"));
    let verdict = sender.verdict(&post, 1);
    assert!(verdict.contains("is this gateway itself"), "{verdict}");
    assert!(!sender.log().contains("GET /") && !sender.log().contains("< POST "), "{}", sender.log());
}

#[test]
fn u15_a_listener_on_all_addresses_is_known_by_each() {
    in_a_world_of_its_own("egress::u15_a_listener_on_all_addresses_is_known_by_each", || {
        let _names = NameServer::start(&[("self.example", &[addresses(&[&PUBLIC.to_string()])])]);
        let config = PUBLIC_ONLY.replace("127.0.0.1:0", "0.0.0.0:0");
        let sender = Sender::start(&config);
        let port = sender.gateway.smtp.port();
        for host in [PUBLIC.to_string(), "self.example".to_owned()] {
            let recipient = format!("post@http://{host}:{port}/");
            let reply = sender.send(&recipient, "X-XsHttp-Content-Type: text/plain\r\n\r\nhello\r\n");
            if reply.is_accepted() {
                let verdict = sender.verdict(reply.id(), 1);
                assert!(verdict.contains("is this gateway itself"), "{verdict}");
            }
        }
        assert!(!sender.log().contains("< POST "), "{}", sender.log());
    });
}

/// A receiver each at a public and at a private address, of the same port.
fn on_both_sides() -> (Hostile, Hostile) {
    let public = TcpListener::bind((PUBLIC, 0)).unwrap();
    let private = TcpListener::bind((Ipv4Addr::LOCALHOST, public.local_addr().unwrap().port())).unwrap();
    (Hostile::on(public, vec![honest(99)]), Hostile::on(private, vec![honest(99)]))
}

#[test]
fn u7_one_forbidden_address_forbids_all() {
    in_a_world_of_its_own("egress::u7_one_forbidden_address_forbids_all", || {
        let public = PUBLIC.to_string();
        let rows: &[(&'static str, &[Answer], Option<&str>)] = &[
            ("good.example", &[addresses(&[&public])], None),
            ("alias.example", &[Answer::Alias("good.example", vec![PUBLIC.into()])], None),
            ("mixed.example", &[addresses(&[&public, "127.0.0.1"])], Some("127.0.0.1 is loopback")),
            ("mixed-late.example", &[addresses(&["127.0.0.1", &public])], Some("127.0.0.1 is loopback")),
            ("mixed-six.example", &[addresses(&[&public, "::1"])], Some("::1 is loopback")),
            (
                "mapped.example",
                &[addresses(&["::ffff:127.0.0.1"])],
                Some("::ffff:127.0.0.1 is an IPv4-mapped address"),
            ),
            ("private.example", &[addresses(&["10.1.2.3"])], Some("10.1.2.3 is private")),
            ("metadata.example", &[addresses(&["169.254.169.254"])], Some("169.254.169.254 is link-local")),
            (
                "alias-inside.example",
                &[Answer::Alias("localhost", vec![Ipv4Addr::LOCALHOST.into()])],
                Some("127.0.0.1 is loopback"),
            ),
        ];
        let zone: Vec<_> = rows.iter().map(|(name, answers, _)| (*name, *answers)).collect();
        let names = NameServer::start(&zone);
        let (outside, inside) = on_both_sides();
        let port = outside.address.port();
        let sender = Sender::start(PUBLIC_ONLY);
        for (name, _, denied) in rows {
            let verdict = sender.verdict(&sender.post(&format!("post@http://{name}:{port}/")), 1);
            match denied {
                None => assert!(verdict.starts_with("delivered "), "{name}: {verdict}"),
                Some(rule) => assert!(
                    verdict.starts_with(&format!("failed: egress-denied: {rule}")),
                    "{name}: {verdict}"
                ),
            }
        }
        assert!(inside.heard().is_empty());
        let hosts: Vec<_> =
            outside.requests().iter().map(|(_, request)| request.only("Host").to_owned()).collect();
        assert_eq!(hosts, [format!("good.example:{port}"), format!("alias.example:{port}")]);
        assert!(
            names.asked().iter().all(|(name, _)| !name.ends_with("search.example")),
            "{:?}",
            names.asked()
        );
    });
}

#[test]
fn u8_a_name_that_changes_its_mind_gains_nothing() {
    in_a_world_of_its_own("egress::u8_a_name_that_changes_its_mind_gains_nothing", || {
        let (public, private) = (addresses(&[&PUBLIC.to_string()]), addresses(&["127.0.0.1"]));
        let names = NameServer::start(&[
            // Good for no time at all: who asks a second time is told something else.
            ("rebind.example", &[public.clone(), private.clone()]),
            ("flip.example", &[private.clone(), public.clone()]),
        ]);
        let (outside, inside) = on_both_sides();
        let port = outside.address.port();
        let config = PUBLIC_ONLY.replace("[delivery]", "[delivery]\nmax_posts_per_connection = 1");
        let sender = Sender::start(&config);
        let verdict = |name: &str| sender.verdict(&sender.post(&format!("post@http://{name}:{port}/")), 1);
        assert!(verdict("rebind.example").starts_with("delivered "));
        assert_eq!(names.count("rebind.example"), 1, "asked once for a connection: {:?}", names.asked());
        for _ in 0..3 {
            let second = verdict("rebind.example");
            assert!(second.starts_with("failed: egress-denied: 127.0.0.1 is loopback"), "{second}");
        }
        assert!(verdict("flip.example").starts_with("failed: egress-denied: "));
        assert!(verdict("flip.example").starts_with("delivered "));
        assert_eq!(outside.requests().len(), 2);
        assert!(inside.heard().is_empty(), "{:?}", inside.heard());
    });
}

#[test]
fn u13_names_of_the_inside_are_no_names() {
    in_a_world_of_its_own("egress::u13_names_of_the_inside_are_no_names", || {
        let public: &[Answer] = &[addresses(&[&PUBLIC.to_string()])];
        let inner = [
            "localhost",
            "a.localhost",
            "metadata.google.internal",
            "intranet",
            "printer.local",
            "box.localdomain",
            "intranet.search.example",
            "x.internal",
        ];
        let zone: Vec<_> = inner.iter().map(|name| (*name, public)).collect();
        let names = NameServer::start(&zone);
        let (outside, inside) = on_both_sides();
        let port = outside.address.port();
        let sender = Sender::start(PUBLIC_ONLY);
        for host in [
            "localhost",
            "localhost.",
            "LOCALHOST",
            "a.localhost",
            "metadata.google.internal",
            "metadata.google.internal.",
            "intranet",
            "printer.local",
            "box.localdomain",
            "x.internal",
            "a..b",
        ] {
            let reply = sender
                .send(&format!("post@http://{host}:{port}/"), "X-XsHttp-Content-Type: a/b\r\n\r\nhello\r\n");
            if let Reply::Said(line) = &reply
                && line.starts_with('5')
            {
                continue;
            }
            let verdict = sender.verdict(reply.id(), 1);
            let is_denied = verdict.starts_with("failed: egress-denied: ");
            // What no name server can know is not there.
            assert!(is_denied || host == "a..b" && verdict.starts_with("deferred for "), "{host}: {verdict}");
        }
        assert!(outside.heard().is_empty() && inside.heard().is_empty());
        let asked = names.asked();
        assert!(
            asked.iter().all(|(name, _)| !name.ends_with("localhost") && !name.ends_with("search.example")),
            "{asked:?}"
        );
    });
}

#[test]
fn u16_whatever_name_servers_do_an_attempt_ends_in_time() {
    in_a_world_of_its_own("egress::u16_whatever_name_servers_do_an_attempt_ends_in_time", || {
        // As many as fit into the largest answer there can be.
        let mut many: Vec<_> = (0..4000_u32)
            .map(|number| Ipv4Addr::from(u32::from(Ipv4Addr::new(93, 200, 0, 0)) + number).into())
            .collect();
        many.insert(0, PUBLIC.into());
        let mut poisoned = many.clone();
        poisoned.push(Ipv4Addr::LOCALHOST.into());
        let rows: &[(&'static str, &[Answer], &str)] = &[
            ("good.example", &[addresses(&[&PUBLIC.to_string()])], "delivered "),
            ("servfail.example", &[Answer::Failure], "deferred for "),
            ("refused.example", &[Answer::Refusal], "deferred for "),
            ("silent.example", &[Answer::Silence], "deferred for "),
            ("garbage.example", &[Answer::Garbage], "deferred for "),
            ("empty.example", &[addresses(&[])], "deferred for "),
            ("loop.example", &[Answer::AliasOnly("loop-back.example")], "deferred for "),
            ("loop-back.example", &[Answer::AliasOnly("loop.example")], "deferred for "),
            ("self.example", &[Answer::AliasOnly("self.example")], "deferred for "),
            ("many.example", &[Answer::Addresses(many)], "delivered "),
            (
                "poisoned.example",
                &[Answer::Addresses(poisoned)],
                "failed: egress-denied: 127.0.0.1 is loopback",
            ),
            ("late.example", &[Answer::Failure, Answer::Silence, addresses(&[&PUBLIC.to_string()])], "de"),
        ];
        let zone: Vec<_> = rows.iter().map(|(name, answers, _)| (*name, *answers)).collect();
        let _names = NameServer::start(&zone);
        let (outside, inside) = on_both_sides();
        let port = outside.address.port();
        let sender = Sender::start(PUBLIC_ONLY);
        let hosts = rows
            .iter()
            .map(|(name, _, expected)| (*name, *expected))
            .chain([("gone.example", "deferred for ")]);
        let (posts, begun): (Vec<_>, _) = timed(|| {
            hosts
                .map(|(name, expected)| (name, sender.post(&format!("post@http://{name}:{port}/")), expected))
                .collect()
        });
        let ((), spent) = timed(|| {
            for (name, post, expected) in &posts {
                let verdict = sender.verdict(post, 1);
                assert!(verdict.starts_with(expected), "{name}: {verdict}");
            }
        });
        // Five seconds for a look-up, and what a busy machine takes.
        assert!(begun + spent < DEADLINE.min(Duration::from_secs(12)), "{begun:?} {spent:?}");
        assert!(inside.heard().is_empty());
        // A name that is not there is tried again, and given up when its time is over.
        let config = PUBLIC_ONLY.replace(r#"retry = ["1h"]"#, "retry = [\"1ms\"]\nmax_attempts = 3");
        let sender = Sender::start(&config);
        let post = sender.post(&format!("post@http://gone.example:{port}/"));
        assert!(
            sender.verdict(&post, 1).ends_with("gone.example does not exist (NXDOMAIN)"),
            "{:?}",
            sender.verdicts(&post)
        );
        let last = sender.verdict(&post, 3);
        assert!(last.starts_with("failed: given up after 3 attempts: gone.example does not exist"), "{last}");
    });
}

#[test]
fn u9_no_kept_connection_outlives_its_permission() {
    let allowed = "[egress]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\n[limits]";
    let config = PUBLIC_ONLY.replace("[limits]", allowed).replace("\"1h\"", "\"1ms\"");
    let sender = Sender::start(&config);
    let receiver = Hostile::scripts(vec![honest(2), vec![Act::Close]]);
    let (kept, waiting) = (receiver.address.port(), Hostile::start(vec![Act::Request]));
    let url = format!("post@http://localhost:{kept}/");
    for _ in 0..2 {
        assert!(sender.verdict(&sender.post(&url), 1).starts_with("delivered "));
    }
    assert_eq!(receiver.heard().len(), 1, "the connection is kept");
    let deferred = sender.post(&waiting.recipient());
    assert!(sender.verdict(&deferred, 1).starts_with("deferred for "));
    std::fs::write(sender.directory.path().join("postgate.toml"), PUBLIC_ONLY.replace("\"1h\"", "\"1ms\""))
        .unwrap();
    sender.gateway.signal("-HUP");
    // What waits is judged anew.
    let denied = "failed: egress-denied: 127.0.0.1 is loopback";
    let last = || sender.verdicts(&deferred).pop().filter(|verdict| !verdict.starts_with("deferred "));
    let verdict = eventually("the last verdict", DEADLINE, last);
    assert!(verdict.starts_with(denied), "{verdict}");
    let verdict = sender.verdict(&sender.post(&url), 1);
    assert!(verdict.starts_with(denied), "{verdict}");
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn a_reroute_takes_no_rights_of_the_operator_along() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Said::Status(500));
    let origin = format!("http://{}", receiver.address);
    let route =
        format!("[[route]]\nrecipient = \"own@hooks.example\"\nurl = \"{origin}/own\"\npayload = \"raw\"");
    let config = format!("{PUBLIC_ONLY}\n[api]\naddress = \"127.0.0.1:0\"\n\n{route}\n");
    let gateway = Gateway::start(directory.path(), &config);
    let line = gateway.line("API at ");
    let api = line.trim_end_matches('/').rsplit('/').next().unwrap().parse().unwrap();
    let scene = Scene { directory, gateway, api, receiver };
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let reply = client.send(&["own@hooks.example".to_owned()], b"Subject: x\r\n\r\nhello\r\n");
    let path = format!("/api/v1/posts/{}", reply.id());
    scene.stands(reply.id(), "deferred");
    assert_eq!(scene.receiver.arrivals().len(), 1, "the operator's own URL leads anywhere");
    let answer = scene.post_to(&format!("{path}/reroute"), &format!("{{\"url\":\"{origin}/elsewhere\"}}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    scene.stands(reply.id(), "failed");
    let post = scene.get(&path).json().to_string();
    assert!(post.contains("egress-denied: 127.0.0.1 is loopback"), "{post}");
    assert_eq!(scene.receiver.arrivals().len(), 1);
}

#[test]
fn u10_redirects_are_not_followed() {
    let config = PUBLIC_ONLY.replace("[limits]", "[egress]\nallow = [\"127.0.0.0/8\"]\n[limits]");
    let sender = Sender::start(&config);
    let elsewhere = Hostile::start(honest(9));
    for status in [300, 301, 302, 303, 304, 307, 308] {
        for location in [
            "http://169.254.169.254/latest/",
            "file:///etc/passwd",
            "/hook",
            &format!("http://{}/", elsewhere.address),
        ] {
            let receiver = Hostile::start(vec![
                Act::Request,
                response(&format!("{status} x"), &format!("Location: {location}\r\n")),
            ]);
            let verdict = sender.verdict(&sender.post(&receiver.recipient()), 1);
            assert!(verdict.starts_with(&format!("failed: {status} ")), "{location}: {verdict}");
            assert_eq!(receiver.requests().len(), 1);
        }
    }
    assert!(elsewhere.heard().is_empty());
}
