//! Signed, compressed and authorized requests as receivers see them, from the
//! engine over a real socket. Signatures are verified by a public package.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use postgate::deliver::control::Control;
use postgate::deliver::profile::{Place, Profile, Proof};
use postgate::deliver::retry::Schedule;
use postgate::deliver::ruling::{On, Ruling, Verdicts};
use postgate::deliver::sign::{KeySettings, Scheme, SigningKey};
use postgate::deliver::target::Egress;
use postgate::deliver::terms::{Book, Compress, Terms};
use postgate::deliver::{self, Options};
use postgate::post::{Field, Post};
use postgate::protocol_log::ProtocolLog;
use postgate::spool::{Attempt, Settlement, Spool};
use regex::Regex;
use ring::hmac;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use support::memory::MemorySpool;
use support::receiver::{Act, Receiver, Request, answer, raw};
use support::{admission, destination, post, within_deadline};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A running engine whose retries come at once.
struct Engine {
    spool: Arc<MemorySpool>,
    options: watch::Sender<Arc<Options>>,
    control: Control,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Engine {
    fn start(terms: Terms, options: Options) -> Engine {
        let schedule = Schedule { retry: vec![Duration::from_millis(20)], ..Schedule::default() };
        let egress = Egress { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Egress::default() };
        let book = Book::new(Terms { schedule, ..terms }, Vec::new());
        let spool = MemorySpool::new();
        let (stop, stopped) = watch::channel(false);
        let (log, lines) = ProtocolLog::channel();
        let (control, requests) = Control::new();
        let (options, changing) = watch::channel(Arc::new(Options { book, egress, ..options }));
        let shared = Arc::clone(&spool) as Arc<dyn Spool>;
        let task = tokio::spawn(deliver::run(shared, changing, requests, log, stopped));
        Engine { spool, options, control, stop, task, lines }
    }

    async fn send(&self, post: Post, body: &[u8]) -> Vec<Settlement> {
        let id = post.id;
        self.spool.commit(admission(post, body)).await.unwrap();
        self.spool.settled(id, 1).await
    }

    /// Ends the engine and returns the protocol log.
    async fn stop(self) -> String {
        self.stop.send(true).unwrap();
        within_deadline("the engine's end", self.task).await.unwrap();
        drop((self.options, self.control));
        self.lines.try_iter().collect()
    }
}

fn settings(scheme: Scheme, secrets: &[&str]) -> KeySettings {
    KeySettings {
        name: "main".to_owned(),
        scheme,
        secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>().into(),
        header: None,
        prefix: None,
        key_id: None,
        certificate_url: None,
        signature_version: None,
        parameter: None,
        origins: Vec::new(),
    }
}

fn webhook(secrets: &[&str]) -> Arc<SigningKey> {
    Arc::new(SigningKey::new(settings(Scheme::StandardWebhooks, secrets)).unwrap())
}

/// Whether the public package takes a request for one that was signed with `secret`.
fn verifies(secret: &str, request: &Request, body: &[u8]) -> bool {
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, request.header(name).unwrap().parse().unwrap());
    }
    standardwebhooks::Webhook::new(secret).unwrap().verify(body, &headers).is_ok()
}

/// The signature of a body that is no text: the public package takes texts alone.
fn signed(secret: &str, request: &Request) -> String {
    let secret = data_encoding::BASE64.decode(&secret.as_bytes()[6..]).unwrap();
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secret));
    for name in ["webhook-id", "webhook-timestamp"] {
        context.update(request.header(name).unwrap().as_bytes());
        context.update(b".");
    }
    context.update(&request.body);
    format!("v1,{}", data_encoding::BASE64.encode(context.sign().as_ref()))
}

fn last(settlement: &Settlement) -> &Attempt {
    match settlement {
        Settlement::Again { last, .. } | Settlement::Held { last } | Settlement::Failed { last } => last,
        other => panic!("nothing is known of it: {other:?}"),
    }
}

#[tokio::test]
async fn every_attempt_is_signed_anew_under_the_same_id() {
    let receiver = Receiver::start(|request| answer(if request.index == 0 { 500 } else { 200 })).await;
    let terms = Terms { sign_with: Some(webhook(&[NEW, OLD])), ..Terms::default() };
    let engine = Engine::start(terms, Options::default());
    let body = br#"{"test": 2432232314}"#;
    let post = post(0x52a0_0000_0000_0002, &destination(receiver.address));
    let id = post.id;
    engine.send(post, body).await;
    assert_eq!(engine.spool.settled(id, 2).await[1], Settlement::Delivered);
    for request in receiver.requests() {
        assert_eq!(request.header("webhook-id"), Some("52a0000000000002"));
        assert_eq!(request.header("postgate-id"), Some("52a0000000000002"));
        for secret in [NEW, OLD] {
            assert!(verifies(secret, &request, &request.body));
        }
        assert!(!verifies("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &request, body), "the wrong secret");
        assert!(!verifies(OLD, &request, b"another body"));
    }
    let log = engine.stop().await;
    assert!(log.contains("> Webhook-Signature: ***\n"), "{log}");
}

#[tokio::test]
async fn what_is_signed_is_what_is_sent() {
    let receiver = Receiver::start(|_| answer(200)).await;
    for compress in [Compress::Gzip, Compress::Zstd] {
        let terms = Terms { sign_with: Some(webhook(&[OLD])), compress, ..Terms::default() };
        let engine = Engine::start(terms, Options::default());
        // One that is shaped on the runtime's threads, one that is not.
        for (number, length) in [(1, 1000), (2, 300_000)] {
            let body = b"order=17&".repeat(length / 9);
            let sent = engine.send(post(number, &destination(receiver.address)), &body).await;
            assert_eq!(sent, [Settlement::Delivered]);
            let request = receiver.requests().pop().unwrap();
            assert_eq!(request.header("webhook-signature"), Some(signed(OLD, &request).as_str()));
            let mut unpacked = Vec::new();
            match request.header("content-encoding") {
                Some("gzip") => {
                    flate2::read::GzDecoder::new(&*request.body).read_to_end(&mut unpacked).unwrap();
                }
                Some("zstd") => unpacked = zstd::decode_all(&*request.body).unwrap(),
                other => panic!("{other:?}"),
            }
            assert!(unpacked == body && request.body.len() < body.len());
        }
    }
}

#[tokio::test]
async fn a_route_names_its_key_and_a_name_that_is_gone_sends_nothing_unsigned() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let hex = SigningKey::new(settings(Scheme::HmacHex, &["Jefe"])).unwrap();
    let terms = Terms { sign_with: Some(webhook(&[OLD])), ..Terms::default() };
    let signing_keys = [("hex".to_owned(), Arc::new(hex))].into();
    let engine = Engine::start(terms, Options { signing_keys, ..Options::default() });
    let to = destination(receiver.address);
    let named = |name: &str, number| Post { sign_with: Some(name.to_owned()), ..post(number, &to) };
    assert_eq!(engine.send(named("hex", 1), b"what do ya want for nothing?").await, [Settlement::Delivered]);
    let request = receiver.requests().pop().unwrap();
    // RFC 4231, test case 2.
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(request.header("x-postgate-signature"), Some(expected));
    assert_eq!(request.header("webhook-signature"), None);
    let gone = engine.send(named("gone", 2), b"").await;
    assert!(matches!(gone[0], Settlement::Again { .. }), "{gone:?}");
    assert_eq!(last(&gone[0]).reason, "no signing key \"gone\"");
    let stranger = Post { auth: Some("nobody".to_owned()), ..post(3, &to) };
    let stranger = engine.send(stranger, b"").await;
    assert_eq!(last(&stranger[0]).reason, "no auth profile \"nobody\"");
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_secret_parameter_is_never_put_where_it_is_not_read() {
    let receiver = Receiver::start(|_| answer(200)).await;
    let key = SigningKey::new(settings(Scheme::SecretParameter, &["canary"])).unwrap();
    let terms = Terms { sign_with: Some(Arc::new(key)), ..Terms::default() };
    let engine = Engine::start(terms, Options::default());
    let to = destination(receiver.address);
    let form =
        Field { name: "Content-Type".to_owned(), value: b"application/x-www-form-urlencoded".to_vec() };
    engine.send(Post { headers: vec![form], ..post(1, &to) }, b"a=1").await;
    assert_eq!(receiver.requests()[0].body, b"a=1&SecretKey=canary");
    let refused = engine.send(post(2, &to), b"text").await;
    let expected = "cannot be sent: signing key \"main\" adds a parameter to forms, and this post is text/plain; \
                    sign it with another scheme";
    assert_eq!(last(&refused[0]).reason, expected);
    assert!(matches!(refused[0], Settlement::Failed { .. }));
    assert!(!engine.stop().await.contains("canary"));
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_key_signs_posts_to_its_origins_only_whoever_names_it() {
    let (receiver, other) = (Receiver::start(|_| answer(200)).await, Receiver::start(|_| answer(200)).await);
    let origins = vec![format!("http://{}", receiver.address).parse().unwrap()];
    let key = KeySettings { origins, ..settings(Scheme::SecretParameter, &["canary"]) };
    let key = Arc::new(SigningKey::new(key).unwrap());
    for terms in [Terms::default(), Terms { sign_with: Some(Arc::clone(&key)), ..Terms::default() }] {
        let named = terms.sign_with.is_none().then(|| "main".to_owned());
        let signing_keys = [("main".to_owned(), Arc::clone(&key))].into();
        let engine = Engine::start(terms, Options { signing_keys, ..Options::default() });
        let form =
            Field { name: "Content-Type".to_owned(), value: b"application/x-www-form-urlencoded".to_vec() };
        let to = |receiver: &Receiver, number| Post {
            sign_with: named.clone(),
            headers: vec![form.clone()],
            ..post(number, &destination(receiver.address))
        };
        let refused = engine.send(to(&other, 1), b"a=1").await;
        assert!(matches!(refused[0], Settlement::Failed { .. }), "{refused:?}");
        let reason = format!("signing key \"main\" is not for http://{} (origins)", other.address);
        assert_eq!(last(&refused[0]).reason, reason);
        assert_eq!(engine.send(to(&receiver, 2), b"a=1").await, [Settlement::Delivered]);
        assert_eq!(receiver.requests().pop().unwrap().body, b"a=1&SecretKey=canary");
    }
    assert_eq!(other.requests().len(), 0);
}

fn profile(proof: Proof) -> Option<Arc<Profile>> {
    Some(Arc::new(Profile { name: "crm".to_owned(), proof, origins: Vec::new() }))
}

fn oauth(server: &Receiver, place: Place) -> Option<Arc<Profile>> {
    profile(Proof::OAuth2 {
        token_url: format!("http://{}/token?x=1", server.address),
        client_id: "client:1".to_owned(),
        client_secret: "canary secret".to_owned(),
        scope: Some("post all".to_owned()),
        audience: None,
        place,
    })
}

/// A server whose tokens are numbered from 0 and good for `seconds`.
async fn token_server(seconds: u64) -> Receiver {
    Receiver::start(move |request| {
        let body = format!(
            "{{\"access_token\":\"canary{}\",\"token_type\":\"bearer\",\"expires_in\":{seconds}}}",
            request.index
        );
        vec![raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))]
    })
    .await
}

fn authorization(request: &Request) -> &str {
    request.header("authorization").unwrap()
}

#[tokio::test]
async fn profiles_replace_what_a_message_says_of_itself() {
    let receiver = Receiver::start(|_| answer(500)).await;
    for (proof, name, value) in [
        (
            Proof::Basic { user: "erp".to_owned(), password: "canary:ü".to_owned() },
            "authorization",
            "Basic ZXJwOmNhbmFyeTrDvA==",
        ),
        (Proof::Bearer { token: "canary".to_owned() }, "authorization", "Bearer canary"),
        (Proof::Header { name: "X-Shop".to_owned(), value: "canary".to_owned() }, "x-shop", "canary"),
    ] {
        let engine = Engine::start(Terms { auth: profile(proof), ..Terms::default() }, Options::default());
        let mut post = post(1, &destination(receiver.address));
        for name in ["Authorization", "X-Shop", "X-Shop"] {
            post.headers.push(Field { name: name.to_owned(), value: b"Basic b3du".to_vec() });
        }
        engine.send(post, b"").await;
        let request = receiver.requests().pop().unwrap();
        assert_eq!(request.header(name), Some(value));
        let lines = request.head.lines().filter(|line| line.to_lowercase().starts_with(&format!("{name}:")));
        assert_eq!(lines.count(), 1, "{}", request.head);
        let log = engine.stop().await;
        assert!(!log.contains("canary") && log.contains(": ***"), "{log}");
    }
}

#[tokio::test]
async fn a_profile_goes_to_its_origins_only_whoever_names_it() {
    let (receiver, other) = (Receiver::start(|_| answer(200)).await, Receiver::start(|_| answer(200)).await);
    let tokens = token_server(3600).await;
    let origins = vec![format!("http://{}", receiver.address).parse().unwrap()];
    let bearer = profile(Proof::Bearer { token: "canary".to_owned() });
    for (bare, asked) in [(bearer, 0), (oauth(&tokens, Place::Header), 1)] {
        let bare = Profile::clone(&bare.unwrap());
        let profile = Arc::new(Profile { origins: origins.clone(), ..bare });
        let profiles = [("crm".to_owned(), Arc::clone(&profile))].into();
        for terms in [Terms::default(), Terms { auth: Some(profile), ..Terms::default() }] {
            let options = Options { profiles: HashMap::clone(&profiles), ..Options::default() };
            let named = terms.auth.is_none().then(|| "crm".to_owned());
            let engine = Engine::start(terms, options);
            let to = |receiver: &Receiver, number| Post {
                auth: named.clone(),
                ..post(number, &destination(receiver.address))
            };
            let refused = engine.send(to(&other, 1), b"").await;
            assert!(matches!(refused[0], Settlement::Failed { .. }), "{refused:?}");
            let reason = format!("auth profile \"crm\" is not for http://{} (origins)", other.address);
            assert_eq!(last(&refused[0]).reason, reason);
            assert_eq!(engine.send(to(&receiver, 2), b"").await, [Settlement::Delivered]);
            assert!(authorization(&receiver.requests().pop().unwrap()).starts_with("Bearer canary"));
            assert!(!engine.stop().await.contains("canary"));
        }
        assert_eq!(tokens.requests().len(), 2 * asked);
    }
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_used_by_all() {
    for place in [Place::Header, Place::Body] {
        let receiver = Receiver::start(|_| answer(200)).await;
        let server = token_server(3600).await;
        let engine =
            Engine::start(Terms { auth: oauth(&server, place), ..Terms::default() }, Options::default());
        for number in 0..50 {
            let post = post(number, &destination(receiver.address));
            engine.spool.commit(admission(post, b"")).await.unwrap();
        }
        engine.spool.delivered(50).await;
        assert!(receiver.requests().iter().all(|request| authorization(request) == "Bearer canary0"));
        let asked = server.requests();
        assert_eq!(asked.len(), 1, "one request for all who waited");
        let form = String::from_utf8(asked[0].body.clone()).unwrap();
        let grant = "grant_type=client_credentials&scope=post+all";
        assert!(asked[0].head.starts_with("POST /token?x=1 HTTP/1.1\r\n"), "{}", asked[0].head);
        match place {
            Place::Header => {
                // client%3A1:canary+secret
                assert_eq!(authorization(&asked[0]), "Basic Y2xpZW50JTNBMTpjYW5hcnkrc2VjcmV0");
                assert_eq!(form, grant);
            }
            Place::Body => {
                assert_eq!(asked[0].header("authorization"), None);
                assert_eq!(form, format!("{grant}&client_id=client%3A1&client_secret=canary+secret"));
            }
        }
        assert!(!engine.stop().await.contains("canary"));
    }
}

#[tokio::test]
async fn a_token_that_is_not_taken_gets_one_more_try_with_a_new_one() {
    for status in [400, 401] {
        let receiver = Receiver::start(move |request| {
            answer(if authorization(request) == "Bearer canary1" { 200 } else { status })
        })
        .await;
        let server = token_server(3600).await;
        let terms = Terms { auth: oauth(&server, Place::Header), ..Terms::default() };
        let engine = Engine::start(terms, Options::default());
        let to = destination(receiver.address);
        assert_eq!(engine.send(post(1, &to), b"").await, [Settlement::Delivered]);
        let requests = receiver.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|request| request.header("postgate-attempt") == Some("1")));
        assert_eq!(engine.send(post(2, &to), b"").await, [Settlement::Delivered]);
        assert_eq!((receiver.requests().len(), server.requests().len()), (3, 2));
        let log = engine.stop().await;
        assert!(log.contains("once more with a new token"), "{log}");
    }
}

#[tokio::test]
async fn a_receiver_that_takes_no_token_is_judged_and_the_server_is_not_flooded() {
    let receiver = Receiver::start(|_| answer(400)).await;
    let server = token_server(3600).await;
    let terms = Terms { auth: oauth(&server, Place::Header), ..Terms::default() };
    let engine = Engine::start(terms, Options::default());
    for number in 0..20 {
        let settled = engine.send(post(number, &destination(receiver.address)), b"").await;
        assert!(matches!(&settled[0], Settlement::Failed { last } if last.reason == "400 Bad Request"));
    }
    assert_eq!(server.requests().len(), 2, "one token, and one in its place");
    assert_eq!(receiver.requests().len(), 21);
}

#[tokio::test]
async fn trouble_with_tokens_defers_and_is_no_fault_of_the_destination() {
    let receiver = Receiver::start(|_| answer(200)).await;
    for (status, body, expected) in [
        (
            401,
            r#"{"error":"invalid_client","error_description":"canary secret"}"#,
            "401 Unauthorized (invalid_client)",
        ),
        (400, r#"{"error":"canary secret"}"#, "400 Bad Request"),
        (503, "canary", "503 Service Unavailable"),
        (200, "canary", "the answer holds no access_token"),
        (200, r#"{"access_token":"canary","token_type":"mac"}"#, "the token is of another kind than Bearer"),
        (200, r#"{"access_token":"canary\n"}"#, "the token holds characters that no header can"),
    ] {
        let answered = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let server = Receiver::start(move |_| vec![raw(&answered), Act::Close]).await;
        let terms = Terms { auth: oauth(&server, Place::Header), ..Terms::default() };
        let engine = Engine::start(terms, Options::default());
        // More than open a breaker, so that a blamed destination would show.
        for number in 0..30 {
            let settled = engine.send(post(number, &destination(receiver.address)), b"").await;
            assert!(matches!(settled[0], Settlement::Again { .. }), "{settled:?}");
            assert_eq!(last(&settled[0]).reason, format!("no token for \"crm\": {expected}"));
        }
        assert_eq!(server.requests().len(), 1, "asked once for all of them");
        assert!(!engine.stop().await.contains("canary"));
    }
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn those_who_wait_for_a_token_hear_of_its_failure_together() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let server = Receiver::start(move |_| vec![Act::Wait(Arc::clone(&held)), Act::Close]).await;
    let terms = Terms { auth: oauth(&server, Place::Header), ..Terms::default() };
    let engine = Engine::start(terms, Options::default());
    let receiver = Receiver::start(|_| answer(200)).await;
    for number in 0..5 {
        engine.spool.commit(admission(post(number, &destination(receiver.address)), b"")).await.unwrap();
    }
    server.received(1).await;
    gate.add_permits(10);
    engine.spool.attempted(5).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_attempt_is_recorded_with_all_that_is_known_of_it() {
    let receiver = Receiver::start(|_| answer(401)).await;
    let engine = Engine::start(Terms::default(), Options::default());
    let before = postgate::clock::wall();
    let settled = engine.send(post(1, &destination(receiver.address)), b"").await;
    let attempt = last(&settled[0]);
    assert_eq!((attempt.number, attempt.status), (1, Some(401)));
    assert_eq!(attempt.reason, "401 Unauthorized");
    assert!(attempt.started_at >= before && attempt.started_at <= postgate::clock::wall());
    assert!(attempt.duration > Duration::ZERO);
}

/// A response with this text.
fn says(status: u16, text: &str) -> Vec<Act> {
    vec![raw(&format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{text}", text.len()))]
}

#[tokio::test]
async fn what_the_response_says_can_hold_fail_or_end_a_post() {
    let matches = |pattern: &str, ruling| (Regex::new(pattern).unwrap(), ruling);
    let verdicts = Verdicts {
        on: vec![(On::Status(404), Ruling::Pause)],
        body_matches: vec![
            matches("over quota", Ruling::Hold),
            matches("^\\{\"error\"", Ruling::Fail),
            matches("duplicate$", Ruling::Done),
        ],
    };
    let far = format!("{}over quota", "x".repeat(60_000));
    for (status, text, state, reason) in [
        (200, "Sorry, over quota\r\ntoday", "held", "200 OK (body_matches: hold)"),
        (503, far.as_str(), "held", "503 Service Unavailable (body_matches: hold)"),
        (200, "{\"error\":1}", "failed", "200 OK (body_matches: fail)"),
        (404, "a duplicate", "delivered", ""),
        (404, "", "deferred", "404 Not Found (on: pause)"),
        (500, "fine", "deferred", "500 Internal Server Error"),
    ] {
        let answer = says(status, text);
        let receiver = Receiver::start(move |_| answer.clone()).await;
        let terms = Terms { verdicts: Arc::new(verdicts.clone()), ..Terms::default() };
        let engine = Engine::start(terms, Options::default());
        let settled = engine.send(post(1, &destination(receiver.address)), b"").await;
        let found = match &settled[0] {
            Settlement::Delivered | Settlement::Listed { .. } => ("delivered", ""),
            Settlement::Held { last } => ("held", last.reason.as_str()),
            Settlement::Failed { last } => ("failed", last.reason.as_str()),
            Settlement::Again { last, .. } => ("deferred", last.reason.as_str()),
            Settlement::Back => ("back", ""),
            Settlement::Leaner { .. } => ("leaner", ""),
            Settlement::Dropped => ("dropped", ""),
        };
        assert_eq!(found, (state, reason), "{status} {text:.20}");
        if status == 200 && state == "held" {
            assert_eq!(last(&settled[0]).excerpt, "Sorry, over quota  today", "on one line");
        }
        let log = engine.stop().await;
        assert!(state != "held" || log.contains(&format!("0000000000000001 held: {reason}\n")), "{log}");
    }
}
