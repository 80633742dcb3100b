//! Who may post where, and how much: what the door says to MAIL, RCPT and the
//! end of the data, for strangers, users and tenants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use postgate::clock::Ids;
use postgate::compose::{self, HeaderControl, Payload, Route};
use postgate::envelope::{Client, Envelope, Recipient, Refusal, Taken};
use postgate::intake::{Intake, Logins, Options, TenantTerms, Tenants, User, UserSecret};
use postgate::post::{MessageId, Post, Trust};
use postgate::smtp::Policy as _;
use postgate::smtp::session::Opening;
use postgate::spool::{Health, Query, Spool, SpoolError};
use postgate::tenant::Tenant;
use postgate::url_pattern::UrlPattern;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use support::memory::MemorySpool;

const MAIL: &str = "Subject: hello\r\n\r\nhello\r\n";
const STRANGER: &str =
    "550 5.7.1 only clients that have logged in or are in a trusted network may name a URL; use a route";

fn patterns(list: &[&str]) -> Vec<UrlPattern> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn user(name: &str, tenant: &str, may_post_to: &[&str]) -> User {
    User {
        name: name.to_owned(),
        secret: UserSecret::Certificate,
        tenant: Tenant::new(tenant),
        may_post_to: patterns(may_post_to),
        networks: Vec::new(),
    }
}

fn terms(tenant: &str) -> TenantTerms {
    TenantTerms {
        tenant: Tenant::new(tenant),
        daily_limit: None,
        rate: None,
        may_post_to: Vec::new(),
        header_control: HeaderControl::On,
    }
}

fn door(tenants: Vec<TenantTerms>, header_control: HeaderControl, spool: &Arc<MemorySpool>) -> Intake {
    let users = vec![
        user("erp", "shop", &["https://*.shop.example", "https://x.other.example"]),
        user("any", "shop", &[]),
        user("free", "default", &[]),
        user("quiet", "quiet", &[]),
    ];
    let options = Options {
        trusted_networks: vec!["127.0.0.0/8".parse().unwrap()],
        logins: Arc::new(Logins::new(users).unwrap()),
        tenants: Arc::new(Tenants::new(tenants)),
        ..Options::default()
    };
    let route = Route {
        payload: Payload::Body,
        ..Route::new("*@h.example".parse().unwrap(), "https://elsewhere.example/in".parse().unwrap())
    };
    let compose = compose::Options {
        gateway_domains: vec!["postgate.local".to_owned()],
        routes: vec![route],
        header_control,
        ..compose::Options::default()
    };
    let spool: Arc<dyn Spool> = Arc::clone(spool) as Arc<dyn Spool>;
    Intake::new(options, Arc::new(compose), spool, Arc::new(Ids::above(MessageId(0))))
}

/// The tenants that the tables below speak of.
fn tenants() -> Vec<TenantTerms> {
    vec![
        TenantTerms {
            may_post_to: patterns(&["https://*.shop.example", "http://192.0.2.7:8080"]),
            ..terms("shop")
        },
        TenantTerms { header_control: HeaderControl::Off, ..terms("quiet") },
    ]
}

/// A client: where it comes from, and what it has logged in as.
fn client(address: &str, login: Option<(&str, &str)>) -> Client {
    Client {
        address: address.parse().ok(),
        helo: String::new(),
        tls: None,
        login: login.map(|(name, _)| name.to_owned()),
        tenant: login.map_or_else(Tenant::default, |(_, tenant)| Tenant::new(tenant)),
        session: "S0001".to_owned(),
    }
}

const AWAY: &str = "198.51.100.1";
const ERP: Option<(&str, &str)> = Some(("erp", "shop"));

fn said<T>(result: Result<T, Refusal>) -> String {
    result.map_or_else(|refusal| refusal.to_string(), |_| "OK".to_owned())
}

/// RCPT and, when that is accepted, the message.
async fn hand_in(door: &Intake, client: &Client, paths: &[&str], message: &str) -> Result<Taken, Refusal> {
    let recipient = |path: &&str| {
        let judged = door.recipient(client, Opening::default(), path)?;
        Ok(Recipient::new(*path, judged.target))
    };
    let recipients = paths.iter().map(recipient).collect::<Result<_, _>>()?;
    let envelope = Envelope::new(client.clone(), "", recipients);
    door.admit(envelope, Bytes::copy_from_slice(message.as_bytes()).into()).await
}

#[test]
fn who_may_name_which_url() {
    let (any, free, gone) = (Some(("any", "shop")), Some(("free", "default")), Some(("gone", "default")));
    let to =
        |origin: &str| format!("550 5.7.1 you may not post to {origin}; ask the operator of this gateway");
    let ok = || "OK".to_owned();
    let spool = MemorySpool::new();
    let door = door(tenants(), HeaderControl::On, &spool);
    for (address, login, path, expected) in [
        // Strangers use routes.
        (AWAY, None, "post@https://a.shop.example/x", STRANGER.to_owned()),
        (AWAY, None, "post=https=3A=2F=2Fa.shop.example@postgate.local", STRANGER.to_owned()),
        (AWAY, None, "post@[https://a.shop.example/x]", STRANGER.to_owned()),
        (AWAY, None, "post@postgate.local", STRANGER.to_owned()),
        (AWAY, None, "any@h.example", ok()),
        // A trusted network is as good as a login, and so is a socket file.
        ("127.0.0.1", None, "post@https://a.shop.example/x", ok()),
        ("::ffff:127.0.0.1", None, "post@https://anything.example/x", ok()),
        ("", None, "post@postgate.local", ok()),
        (AWAY, free, "post@https://anything.example/x", ok()),
        (AWAY, free, "post@postgate.local", ok()),
        // User and tenant must both allow it.
        (AWAY, ERP, "post@https://a.shop.example/x", ok()),
        (AWAY, ERP, "post=https=3A=2F=2Fa.shop.example@postgate.local", ok()),
        (AWAY, ERP, "post@https://x.other.example/x", to("https://x.other.example")),
        (AWAY, ERP, "post@http://192.0.2.7:8080/x", to("http://192.0.2.7:8080")),
        (AWAY, ERP, "post@https://shop.example/x", to("https://shop.example")),
        (AWAY, ERP, "post@https://A.Shop.Example:8443/x", to("https://a.shop.example:8443")),
        (AWAY, ERP, "post@https://a.shop.example@evil.example/x", to("https://evil.example")),
        (
            AWAY,
            ERP,
            "post@https://u:p@a.shop.example.evil.example/",
            to("https://a.shop.example.evil.example"),
        ),
        ("127.0.0.1", ERP, "post@https://shop.example/x", to("https://shop.example")),
        (AWAY, any, "post@https://a.shop.example/x", ok()),
        (AWAY, any, "post@https://x.other.example/x", to("https://x.other.example")),
        // Not even what the tenant may name leads where no post may go.
        (AWAY, any, "post@http://192.0.2.7:8080/x", "550 5.7.1 ".to_owned()),
        // Routes are the operator's.
        (AWAY, ERP, "any@h.example", ok()),
        // Who was removed since it logged in.
        (AWAY, gone, "post@https://a.shop.example/x", to("https://a.shop.example")),
    ] {
        let answer = said(door.recipient(&client(address, login), Opening::default(), path));
        assert!(answer.starts_with(&expected), "{address} {login:?} {path}: {answer}");
    }
}

/// The same where the URL is known at the end of the data only.
#[tokio::test]
async fn a_url_within_the_message_is_judged_like_one_in_the_address() {
    let spool = MemorySpool::new();
    let door = door(tenants(), HeaderControl::On, &spool);
    let erp = client(AWAY, ERP);
    for (paths, url, expected) in [
        (&["post@postgate.local"][..], "https://a.shop.example/x", "OK"),
        (&["any@h.example", "post@postgate.local"], "https://a.shop.example/x", "OK"),
        (
            &["post@postgate.local"],
            "https://evil.example/x?secret",
            "550 5.7.1 you may not post to https://evil.example; ask the operator of this gateway",
        ),
        (&["any@h.example", "post@postgate.local"], "https://evil.example/", "550 5.7.1 you may not"),
        (&["post@postgate.local", "any@h.example"], "https://evil.example/", "550 5.7.1 you may not"),
        (&["post@https://a.shop.example/x"], "https://evil.example/", "550 5.6.0 X-Postgate-Url"),
    ] {
        let before = spool.lanes().await.unwrap().len();
        let message = format!("X-Postgate-Url: {url}\r\n{MAIL}");
        let answer = said(hand_in(&door, &erp, paths, &message).await);
        assert!(answer.starts_with(expected), "{paths:?} {url}: {answer}");
        if expected != "OK" {
            assert_eq!(spool.lanes().await.unwrap().len(), before, "something of it was kept");
        }
    }
    let free = client(AWAY, Some(("free", "default")));
    let message = format!("X-Postgate-Url: http://127.0.0.1/\r\n{MAIL}");
    let answer = hand_in(&door, &free, &["post@postgate.local"], &message).await;
    assert!(said(answer).starts_with("550 5.7.1 "));
}

/// What was allowed at RCPT, and is not any more when the message is there.
#[tokio::test]
async fn a_url_is_judged_again_by_the_door_that_takes_the_message() {
    let narrow =
        |tenant: &str| TenantTerms { may_post_to: patterns(&["https://b.example"]), ..terms(tenant) };
    let narrowed = vec![narrow("shop"), narrow("default")];
    let removed = Some(("left", "shop"));
    for (client, path, now, expected) in [
        (client(AWAY, ERP), "post@https://a.shop.example/x", tenants(), "OK"),
        (
            client(AWAY, ERP),
            "post@https://a.shop.example/x",
            narrowed.clone(),
            "550 5.7.1 you may not post to",
        ),
        (client(AWAY, ERP), "any@h.example", narrowed.clone(), "OK"),
        (client("127.0.0.1", None), "post@https://a.example/x", narrowed, "550 5.7.1 you may not post to"),
        (client(AWAY, removed), "post@https://a.shop.example/x", tenants(), "550 5.7.1 you may not post to"),
        (client(AWAY, None), "post@https://a.example/x", tenants(), "550 5.7.1 only clients that"),
    ] {
        let spool = MemorySpool::new();
        let before = door(Vec::new(), HeaderControl::On, &spool);
        let judging = Client { address: "127.0.0.1".parse().ok(), login: None, ..client.clone() };
        let target = before.recipient(&judging, Opening::default(), path).unwrap().target;
        let envelope = Envelope::new(client.clone(), "", vec![Recipient::new(path, target)]);
        let answer = said(
            door(now, HeaderControl::On, &spool)
                .admit(envelope, Bytes::from_static(MAIL.as_bytes()).into())
                .await,
        );
        assert!(answer.starts_with(expected), "{client:?} {path}: {answer}");
        assert_eq!(spool.lanes().await.unwrap().is_empty(), expected != "OK", "{path}");
    }
}

#[tokio::test]
async fn posts_are_their_tenants() {
    let spool = MemorySpool::new();
    let door = door(tenants(), HeaderControl::On, &spool);
    let paths = ["post@https://a.shop.example/x", "any@h.example", "post@postgate.local"];
    let message = format!("X-Postgate-Url: https://b.shop.example/\r\n{MAIL}");
    hand_in(&door, &client(AWAY, ERP), &paths, &message).await.unwrap();
    let posts = spool.page(Query::default(), None, 9).await.unwrap().into_iter().map(|listed| listed.post);
    let seen = |post: Arc<Post>| {
        let lane = &post.destination;
        (lane.tenant.to_string(), lane.host.clone(), post.trust)
    };
    let seen: BTreeSet<_> = posts.map(seen).collect();
    let seen: Vec<_> =
        seen.iter().map(|(tenant, host, trust)| (tenant.as_str(), host.as_str(), *trust)).collect();
    assert_eq!(
        seen,
        [
            ("shop", "a.shop.example", Trust::Wire),
            ("shop", "b.shop.example", Trust::Wire),
            ("shop", "elsewhere.example", Trust::Operator),
        ]
    );
}

/// A tenant or a listener can have its headers steer nothing.
#[tokio::test]
async fn headers_steer_what_listener_and_tenant_let_them() {
    use HeaderControl::{Off, On};
    let refused = "550 5.7.1 headers steer nothing here; use another recipient form";
    for (listener, login, steers) in
        [(On, ("free", "default"), true), (On, ("quiet", "quiet"), false), (Off, ("free", "default"), false)]
    {
        let spool = MemorySpool::new();
        let door = door(tenants(), listener, &spool);
        let client = client(AWAY, Some(login));
        let answer = said(door.recipient(&client, Opening::default(), "post@postgate.local"));
        assert_eq!(answer, if steers { "OK" } else { refused }, "{login:?}");
        let message = format!("X-XsHttp-X-Api-Key: 17\r\n{MAIL}");
        hand_in(&door, &client, &["post@https://a.example/x"], &message).await.unwrap();
        let (lane, _) = spool.lanes().await.unwrap().remove(0);
        let post = &spool.claim(&lane, 1).await.unwrap().claims[0].post;
        assert_eq!(post.headers.iter().any(|field| field.name == "X-Api-Key"), steers, "{login:?}");
    }
}

#[tokio::test]
async fn a_daily_limit_is_counted_in_posts() {
    let spool = MemorySpool::new();
    let limited = TenantTerms { daily_limit: Some(3), ..terms("shop") };
    let door = door(vec![limited], HeaderControl::On, &spool);
    let (erp, free) = (client(AWAY, ERP), client(AWAY, Some(("free", "default"))));
    let limit = "452 4.5.3 tenant shop has reached its daily limit of 3 posts; try again tomorrow (UTC)";
    let two = ["a@h.example", "b@h.example"];
    assert_eq!(said(hand_in(&door, &erp, &two, MAIL).await), "OK");
    // A message is kept whole or not at all.
    assert_eq!(said(door.sender(&erp, "")), "OK");
    assert_eq!(said(hand_in(&door, &erp, &two, MAIL).await), limit);
    assert_eq!(said(hand_in(&door, &erp, &two[..1], MAIL).await), "OK");
    assert_eq!(said(door.sender(&erp, "")), limit);
    assert_eq!(said(hand_in(&door, &erp, &two[..1], MAIL).await), limit);
    // Another tenant has nothing to do with it.
    assert_eq!(said(door.sender(&free, "")), "OK");
    assert_eq!(said(hand_in(&door, &free, &two, MAIL).await), "OK");
}

#[tokio::test]
async fn a_rate_is_counted_in_posts() {
    let spool = MemorySpool::new();
    let limited = TenantTerms { rate: Some((2, Duration::from_secs(3600))), ..terms("shop") };
    let door = door(vec![limited], HeaderControl::On, &spool);
    let erp = client(AWAY, ERP);
    let limit = "451 4.7.1 tenant shop has reached its rate of 2 posts in 3600s; try again later";
    assert_eq!(said(hand_in(&door, &erp, &["a@h.example", "b@h.example"], MAIL).await), "OK");
    assert_eq!(said(door.sender(&erp, "")), limit);
    assert_eq!(said(hand_in(&door, &erp, &["a@h.example"], MAIL).await), limit);
}

#[tokio::test]
async fn what_was_not_kept_is_not_charged() {
    let spool = MemorySpool::new();
    let limited = TenantTerms { daily_limit: Some(2), ..terms("shop") };
    let door = door(vec![limited], HeaderControl::On, &spool);
    let erp = client(AWAY, ERP);
    let paths = ["post@https://a.shop.example/x"];
    let keyed = format!("X-Postgate-Idempotency-Key: 17\r\n{MAIL}");
    let bad = format!("X-Postgate-Priority: high\r\n{MAIL}");
    for _ in 0..5 {
        assert!(said(hand_in(&door, &erp, &paths, &bad).await).starts_with("550 5.6.0"));
        spool.break_with(Some(SpoolError::Full));
        assert!(said(hand_in(&door, &erp, &paths, MAIL).await).starts_with("452 4.3.1"));
        spool.break_with(None);
    }
    let first = hand_in(&door, &erp, &paths, &keyed).await.unwrap();
    let again = Taken { is_repeated: true, ..first };
    for _ in 0..5 {
        assert_eq!(hand_in(&door, &erp, &paths, &keyed).await, Ok(again.clone()));
    }
    assert_eq!(said(hand_in(&door, &erp, &paths, MAIL).await), "OK");
    assert!(said(door.sender(&erp, "")).starts_with("452 4.5.3"));
    // What is wrong with the spool is said first.
    spool.set_health(Health::Full);
    assert!(said(door.sender(&erp, "")).starts_with("452 4.3.1"));
}
