//! Logging in, at the door itself: who is let in by what, and that nothing but
//! the right password tells a stranger anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use postgate::clock::Ids;
use postgate::compose;
use postgate::envelope::{Client, Login, Refusal, Tls};
use postgate::intake::{Allowance, Intake, Logins, Options, PasswordHash, User, UserSecret};
use postgate::network::Network;
use postgate::post::MessageId;
use postgate::smtp::Policy as _;
use postgate::smtp::auth::{Credentials, Mechanisms, Offer, Secret};
use postgate::tenant::Tenant;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::memory::MemorySpool;

/// Hashes of "right", as cheap as they come.
const ARGON2ID: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$K5m+XLU6ak0TjZnpnvxyUy9h2cjvw3LNL2iQfiiYqbE";
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC";

const DENIED: &str = "535 5.7.8 authentication failed";
const LOCKED: &str = "454 4.7.0 too many failed logins, try again later";
const NOT_SO: &str = "504 5.5.4 this client cannot log in this way";

fn plain(text: &str) -> UserSecret {
    UserSecret::Password(Secret::new(text))
}

fn hashed(text: &str) -> UserSecret {
    UserSecret::Hash(Secret::new(text))
}

fn user(name: &str, secret: UserSecret) -> User {
    let tenant = Tenant::new("shop");
    User { name: name.to_owned(), secret, tenant, may_post_to: Vec::new(), networks: Vec::new() }
}

fn from_network(network: &str, user: User) -> User {
    let network: Network = network.parse().unwrap();
    User { networks: vec![network], ..user }
}

fn door(users: Vec<User>, options: Options) -> Intake {
    let options = Options {
        hostname: "gateway.example".to_owned(),
        logins: Arc::new(Logins::new(users).unwrap()),
        ..options
    };
    let ids = Arc::new(Ids::above(MessageId(0)));
    Intake::new(options, Arc::new(compose::Options::default()), MemorySpool::new(), ids)
}

/// One user of every kind; loopback is trusted and CRAM-MD5 allowed.
fn everybody() -> Intake {
    let users = vec![
        user("plain", plain("right")),
        user("argon2id", hashed(ARGON2ID)),
        user("bcrypt", hashed(BCRYPT)),
        user("app.example", UserSecret::Certificate),
        from_network("192.0.2.0/24", user("fixed", plain("right"))),
        from_network("192.0.2.0/24", user("fixed hash", hashed(ARGON2ID))),
    ];
    let trusted_networks = vec!["127.0.0.0/8".parse().unwrap()];
    door(users, Options { trusted_networks, cram_md5: Allowance::Allowed, ..Options::default() })
}

/// A client that comes encrypted from `address`, with these names in its certificate.
fn client(address: &str, names: &[&str]) -> Client {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Client {
        address: Some(address.parse().unwrap()),
        helo: String::new(),
        tls: Some(Tls { version: "TLSv1.3", names }),
        login: None,
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    }
}

fn password(name: &str, password: &str) -> Credentials {
    Credentials::Password { name: name.to_owned(), password: Secret::new(password) }
}

fn digest(name: &str, challenge: &str, digest: &str) -> Credentials {
    let (name, challenge) = (name.to_owned(), challenge.to_owned());
    Credentials::Digest { name, challenge, digest: Secret::new(digest) }
}

fn external(name: Option<&str>) -> Credentials {
    Credentials::Certificate { name: name.map(str::to_owned) }
}

/// The name that was let in, or the refusal.
fn said(result: Result<Login, Refusal>) -> String {
    match result {
        Ok(login) => {
            assert_eq!(login.tenant, Tenant::new("shop"));
            login.name
        }
        Err(refusal) => refusal.to_string(),
    }
}

#[tokio::test]
async fn the_right_password_lets_in_and_nothing_else_does() {
    for (name, secret, expected) in [
        ("plain", "right", "plain"),
        ("argon2id", "right", "argon2id"),
        ("bcrypt", "right", "bcrypt"),
        ("fixed", "right", "fixed"),
        ("fixed hash", "right", "fixed hash"),
        ("plain", "wrong", DENIED),
        ("plain", "", DENIED),
        ("plain", "right ", DENIED),
        ("Plain", "right", DENIED),
        ("argon2id", "wrong", DENIED),
        ("argon2id", ARGON2ID, DENIED),
        ("bcrypt", "wrong", DENIED),
        ("bcrypt", BCRYPT, DENIED),
        ("app.example", "", DENIED),
        ("app.example", "right", DENIED),
        ("nobody", "right", DENIED),
        ("", "", DENIED),
    ] {
        let door = everybody();
        let client = client("192.0.2.1", &[]);
        // Twice: the second time a right one is recognised, and a wrong one is not.
        for round in 1..=2 {
            let login = door.verify(&client, password(name, secret)).await;
            assert_eq!(said(login), expected, "{name} {secret} {round}");
        }
        assert_eq!(said(door.verify(&client, password("argon2id", "wrong")).await), DENIED);
    }
}

#[tokio::test]
async fn a_user_with_networks_logs_in_from_there_only() {
    let door = everybody();
    for (name, address, expected) in [
        ("fixed", "198.51.100.1", DENIED),
        ("fixed", "127.0.0.1", DENIED),
        ("fixed", "::ffff:192.0.2.9", "fixed"),
        ("fixed hash", "198.51.100.1", DENIED),
        ("fixed hash", "192.0.2.1", "fixed hash"),
        // Also now that its password is known to be right.
        ("fixed hash", "198.51.100.1", DENIED),
        ("plain", "198.51.100.1", "plain"),
    ] {
        let login = door.verify(&client(address, &[]), password(name, "right")).await;
        assert_eq!(said(login), expected, "{name} {address}");
    }
    let nowhere = Client { address: None, ..client("192.0.2.1", &[]) };
    assert_eq!(said(door.verify(&nowhere, password("fixed", "right")).await), DENIED);
    assert_eq!(said(door.verify(&nowhere, password("plain", "right")).await), "plain");
}

#[tokio::test]
async fn a_digest_proves_a_password_that_is_known() {
    // The example of RFC 2195.
    let challenge = "<1896.697170952@postoffice.reston.mci.net>";
    let right = "b913a602c7eda7a495b4e6e7334d3890";
    let users = vec![user("tim", plain("tanstaaftanstaaf")), user("tom", hashed(ARGON2ID))];
    let door = door(users, Options { cram_md5: Allowance::Allowed, ..Options::default() });
    for (name, challenge, answer, expected) in [
        ("tim", challenge, right, "tim"),
        ("tim", "<1896.697170953@postoffice.reston.mci.net>", right, DENIED),
        ("tim", challenge, "b913a602c7eda7a495b4e6e7334d3891", DENIED),
        ("tim", challenge, "b913a602c7eda7a495b4e6e7334d38", DENIED),
        ("tim", challenge, "", DENIED),
        ("tom", challenge, right, DENIED),
        // HMAC-MD5 of the challenge under no password at all.
        ("tom", challenge, "a00b54b824afa19ec2de0f73cb2a04c2", DENIED),
        ("ann", challenge, "a00b54b824afa19ec2de0f73cb2a04c2", DENIED),
    ] {
        let login = door.verify(&client("192.0.2.1", &[]), digest(name, challenge, answer)).await;
        assert_eq!(said(login), expected, "{name} {challenge} {answer}");
    }
}

#[tokio::test]
async fn a_certificate_makes_its_holder_one_of_its_names() {
    let door = everybody();
    let app = &["other.example", "App.Example"][..];
    let two = &["plain", "app.example"][..];
    for (names, wanted, expected) in [
        (app, None, "app.example"),
        (app, Some(""), "app.example"),
        (app, Some("APP.example"), "app.example"),
        (app, Some("other.example"), DENIED),
        (app, Some("plain"), DENIED),
        (two, None, "plain"),
        (two, Some("app.example"), "app.example"),
        (&["fixed"], None, DENIED),
        (&["nobody.example"], None, DENIED),
        (&[], None, DENIED),
        (&[], Some("app.example"), DENIED),
    ] {
        let login = door.verify(&client("198.51.100.1", names), external(wanted)).await;
        assert_eq!(said(login), expected, "{names:?} {wanted:?}");
    }
    let clear = Client { tls: None, ..client("127.0.0.1", &[]) };
    assert_eq!(said(door.verify(&clear, external(Some("app.example"))).await), NOT_SO);
}

#[tokio::test]
async fn what_is_not_offered_is_not_taken() {
    use Offer::{AfterTls, No, Now};
    let all = || vec![user("erp", plain("right")), user("app.example", UserSecret::Certificate)];
    let only_hashes = || vec![user("erp", hashed(ARGON2ID))];
    let only_certificates = || vec![user("app.example", UserSecret::Certificate)];
    let cram = || Options { cram_md5: Allowance::Allowed, ..Options::default() };
    let clear = || Options { plaintext_auth: Allowance::Allowed, ..Options::default() };
    let trusting =
        || Options { trusted_networks: vec!["192.0.2.0/24".parse().unwrap()], ..Options::default() };
    let mechanisms = |password, cram_md5, external| Mechanisms { password, cram_md5, external };
    let secure = client("192.0.2.1", &["app.example"]);
    let bare = Client { tls: None, ..secure.clone() };
    let local = Client { address: None, ..bare.clone() };
    for (users, options, client, expected) in [
        (all(), Options::default(), &secure, mechanisms(Now, No, Now)),
        (all(), Options::default(), &bare, mechanisms(AfterTls, No, No)),
        (all(), Options::default(), &local, mechanisms(Now, No, No)),
        (all(), trusting(), &bare, mechanisms(Now, No, No)),
        (all(), clear(), &bare, mechanisms(Now, No, No)),
        (all(), cram(), &bare, mechanisms(AfterTls, Now, No)),
        (all(), cram(), &secure, mechanisms(Now, Now, Now)),
        (only_hashes(), cram(), &secure, mechanisms(Now, No, No)),
        (only_certificates(), cram(), &secure, mechanisms(No, No, Now)),
        (only_certificates(), clear(), &bare, mechanisms(No, No, No)),
        (Vec::new(), cram(), &secure, mechanisms(No, No, No)),
    ] {
        let door = door(users, options);
        assert_eq!(door.mechanisms(client), expected, "{client:?}");
        if expected.password != Now {
            assert_eq!(said(door.verify(client, password("erp", "right")).await), NOT_SO);
        }
        if expected.cram_md5 != Now {
            assert_eq!(said(door.verify(client, digest("erp", "<1@x>", "")).await), NOT_SO);
        }
    }
}

#[test]
fn challenges_are_never_the_same_and_say_who_asks() {
    let (one, other) = (everybody(), everybody());
    let made: HashSet<String> = (0..1000).flat_map(|_| [one.challenge(), other.challenge()]).collect();
    assert_eq!(made.len(), 2000);
    for challenge in made {
        let (random, rest) = challenge.strip_prefix('<').unwrap().split_once('.').unwrap();
        assert!(random.len() == 32 && rest.ends_with("@gateway.example>"), "{challenge}");
    }
}

#[tokio::test]
async fn ten_failures_lock_an_address_and_a_name() {
    let door = everybody();
    let from = |host: u8| client(&format!("192.0.2.{host}"), &[]);
    // From one address, about many names, known or not, by any mechanism.
    for number in 0..5 {
        assert_eq!(said(door.verify(&from(1), password(&format!("ghost{number}"), "x")).await), DENIED);
        assert_eq!(said(door.verify(&from(1), digest(&format!("ghast{number}"), "<1@x>", "")).await), DENIED);
    }
    assert_eq!(said(door.verify(&from(1), password("plain", "right")).await), LOCKED);
    assert_eq!(said(door.verify(&from(1), digest("plain", "<1@x>", "")).await), LOCKED);
    assert_eq!(said(door.verify(&from(2), password("plain", "right")).await), "plain");
    // About one name, known or not, from many addresses.
    for name in ["argon2id", "nobody"] {
        for host in 10..20 {
            assert_eq!(said(door.verify(&from(host), password(name, "x")).await), DENIED);
        }
        assert_eq!(said(door.verify(&from(20), password(name, "right")).await), LOCKED, "{name}");
    }
    assert_eq!(said(door.verify(&from(20), password("bcrypt", "right")).await), "bcrypt");
}

#[tokio::test]
async fn doors_share_what_they_know_of_failures() {
    let logins = Arc::new(Logins::new(vec![user("erp", plain("right"))]).unwrap());
    let door = || {
        let options = Options { logins: Arc::clone(&logins), ..Options::default() };
        let ids = Arc::new(Ids::above(MessageId(0)));
        Intake::new(options, Arc::default(), MemorySpool::new(), ids)
    };
    let (one, other) = (door(), door());
    for _ in 0..10 {
        assert_eq!(said(one.verify(&client("192.0.2.1", &[]), password("erp", "x")).await), DENIED);
    }
    assert_eq!(said(other.verify(&client("192.0.2.1", &[]), password("erp", "right")).await), LOCKED);
}

/// Guesses that are made at the same time are counted before they are answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_guesses_gets_no_more_answers_than_one_guesser() {
    let door = Arc::new(everybody());
    let guess = |number: usize| {
        let door = Arc::clone(&door);
        let guess = password("argon2id", &format!("guess {number}"));
        tokio::spawn(async move { said(door.verify(&client("192.0.2.1", &[]), guess).await) })
    };
    let guesses: Vec<_> = (0..100).map(guess).collect();
    let mut denied = 0;
    for guess in guesses {
        denied += usize::from(guess.await.unwrap() == DENIED);
    }
    // Two are hashed at a time.
    assert!((10..=11).contains(&denied), "{denied}");
}

/// A door, what its names begin with, and how long it took them to be refused.
struct Timed<'a>(&'a Intake, &'a str, Vec<Duration>);

/// How far apart the middles are of the times that refusing takes. The two take
/// turns, so that whatever else the machine does hits both.
async fn distance(network: u8, rounds: u32, one: (&Intake, &str), other: (&Intake, &str)) -> Duration {
    let mut both = [one, other].map(|(door, name)| Timed(door, name, Vec::new()));
    for number in 0..rounds {
        // No address and no name fails ten times.
        let client = client(&format!("10.{network}.{}.{}", number / 256, number % 256), &[]);
        both.reverse();
        for Timed(door, name, times) in &mut both {
            let credentials = password(&format!("{name}{number}"), "wrong");
            let begun = Instant::now();
            let login = door.verify(&client, credentials).await;
            times.push(begun.elapsed());
            assert_eq!(said(login), DENIED);
        }
    }
    let [one, other] = both.map(|Timed(.., mut times)| {
        times.sort();
        times[times.len() / 2]
    });
    one.abs_diff(other)
}

#[tokio::test]
async fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    // Two kinds of hashes; together they take some milliseconds.
    let argon2id =
        "$argon2id$v=19$m=2048,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$SlD4HxUjs+uAz6T7cJdYNezQtpXKWrkrteNuRHwwDxA";
    let users = |number| {
        let user = |kind: &str, secret| user(&format!("{kind}{number}"), secret);
        [user("argon2id", hashed(argon2id)), user("bcrypt", hashed(BCRYPT)), user("plain", plain("right"))]
    };
    let all = door((0..1000).flat_map(users).collect(), Options::default());
    let limit = Duration::from_millis(1);
    for (kind, rounds) in [("argon2id", 1000), ("bcrypt", 200), ("plain", 200)] {
        // A machine with much else to do gets another chance; a difference that is
        // there is there every time.
        let mut far = Vec::new();
        for chance in 0..5 {
            let far_apart = distance(chance, rounds, (&all, &format!("no {kind}")), (&all, kind)).await;
            far.push(far_apart);
            if far_apart < limit {
                break;
            }
        }
        assert!(far.last().is_some_and(|last| *last < limit), "{kind}: {far:?}");
    }
    // What the same measurement says where an unknown user costs no hash.
    let without_decoys = door(vec![user("erp", plain("right"))], Options::default());
    let far = distance(9, 50, (&without_decoys, "nobody"), (&all, "argon2id")).await;
    assert!(far > limit, "the measurement sees nothing: {far:?}");
}

/// An application that logs in for every mail costs one hash, not one a mail.
#[tokio::test]
async fn who_was_right_before_is_recognised_without_a_hash() {
    let hash = PasswordHash::argon2id("right").unwrap();
    let door = door(vec![user("erp", hashed(&hash))], Options::default());
    let client = client("192.0.2.1", &[]);
    let mut times = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(said(door.verify(&client, password("erp", "right")).await), "erp");
        times.push(begun.elapsed());
    }
    let first = times.remove(0);
    times.sort();
    assert!(times[times.len() / 2] * 4 < first, "{first:?} {times:?}");
}

#[test]
fn users_who_could_never_log_in_are_refused_by_name() {
    let refused = |users: Vec<User>| Logins::new(users).unwrap_err().to_string();
    let bad = |secret| vec![user("good", plain("x")), user("erp", secret)];
    for (users, text) in [
        (bad(hashed("secret")), r#"user "erp" is neither an argon2id nor a bcrypt hash"#),
        (bad(plain("")), r#"user "erp" has an empty password"#),
        (vec![user("erp", plain("x")), user("erp", plain("y"))], r#"user "erp" is there twice"#),
    ] {
        let error = refused(users);
        assert!(error.starts_with(text), "{error}");
    }
}

/// Runs `postgate password` with this on its standard input.
fn postgate_password(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postgate"));
    let piped = command.arg("password").args(arguments).stdin(Stdio::piped());
    let mut child = piped.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn the_program_makes_hashes_that_the_door_takes() {
    for (arguments, input, begins) in [
        (&[][..], &b"pass w\xc3\xb6rd\n"[..], "$argon2id$v=19$m=19456,t=2,p=1$"),
        (&[], b"pass w\xc3\xb6rd", "$argon2id$"),
        (&["--bcrypt"], b"pass w\xc3\xb6rd\r\nsecond line\n", "$2b$12$"),
    ] {
        let (code, hash, error) = postgate_password(arguments, input);
        assert_eq!((code, error.as_str()), (0, ""));
        let hash = hash.strip_suffix('\n').unwrap();
        assert!(hash.starts_with(begins) && !hash.contains('\n'), "{hash}");
        let door = door(vec![user("erp", hashed(hash))], Options::default());
        let client = client("192.0.2.1", &[]);
        assert_eq!(said(door.verify(&client, password("erp", "pass word")).await), DENIED);
        assert_eq!(said(door.verify(&client, password("erp", "pass wörd")).await), "erp");
    }
    for (arguments, input, reason) in [
        (&[][..], &b""[..], "the password is empty"),
        (&[], b"\n", "the password is empty"),
        (&[], b"\xff\n", "the password is not UTF-8"),
        (&["--bcrypt"], &[b'x'; 72], "no more than 71 octets"),
    ] {
        let (code, hash, error) = postgate_password(arguments, input);
        assert!(code == 65 && hash.is_empty() && error.contains(reason), "{code} {hash} {error}");
    }
}

/// What is typed into a terminal must not be seen on it, before or after.
#[test]
fn a_terminal_is_asked_twice_and_shows_nothing() {
    for (typed, code, result) in
        [(["secret", "secret"], 0, "$argon2id$"), (["secret", "sacred"], 65, "the two passwords differ")]
    {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let keys = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut screen = File::from(screen);
        let mut command = Command::new(env!("CARGO_BIN_EXE_postgate"));
        let piped = command.arg("password").stdin(keys.try_clone().unwrap()).stdout(Stdio::piped());
        let mut child = piped.stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let mut asked = String::new();
        for (question, answer) in ["Password: ", "The same again: "].iter().zip(typed) {
            let mut octet = [0];
            while !asked.ends_with(question) {
                assert_eq!(errors.read(&mut octet).unwrap(), 1, "{asked}");
                asked.push(char::from(octet[0]));
            }
            screen.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        errors.read_to_string(&mut asked).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{asked}");
        let all = format!("{asked}{}", String::from_utf8(output.stdout).unwrap());
        assert!(all.contains(result) && !all.contains("secret"), "{all}");
        // It shows what is typed again, and only that.
        screen.write_all(b"seen\n").unwrap();
        let mut shown = Vec::new();
        while !shown.ends_with(b"seen\r\n") {
            let mut octets = [0; 64];
            let count = screen.read(&mut octets).unwrap();
            shown.extend_from_slice(&octets[..count]);
        }
        assert_eq!(String::from_utf8(shown).unwrap(), "seen\r\n");
        drop(keys);
    }
}
