//! What a spool is kept from: the secrets of posts.

use super::*;
use postgate::seal::SealKey;
use postgate::spool::sealing::Sealing;
use postgate::spool::{Content, Order, Query};
use std::fs;
use std::path::PathBuf;

/// Stands in everything that is secret here.
const CANARY: &str = "kAnArY";
const PATH: &str = "/in?token=kAnArY-1&n=7";

/// A spool behind one that seals with the key of these octets.
pub fn sealing(directory: &Path, key: Option<u8>) -> (Sealing, Arc<Embedded>) {
    let embedded = Arc::new(Embedded::open(options(directory)).unwrap());
    (in_front_of(Arc::clone(&embedded) as Arc<dyn Spool>, key), embedded)
}

/// One that seals with the key of these octets before this one gets it.
pub fn in_front_of(spool: Arc<dyn Spool>, key: Option<u8>) -> Sealing {
    Sealing::new(spool, key.map(|octet| Arc::new(SealKey::new(&[octet; SealKey::LENGTH]))))
}

pub async fn closed((sealing, embedded): (Sealing, Arc<Embedded>)) {
    drop(sealing);
    tokio::task::spawn_blocking(move || embedded.close()).await.unwrap().unwrap();
}

/// A message of two posts, of which the first hides something in its header and in its
/// path, and whose body says the same again.
pub fn secretive(id: u64) -> Admission {
    let mut admission = message(id, &["a", "b"], b"hello, I am kAnArY-2");
    let field = |name: &str, value: &str| Field { name: name.to_owned(), value: value.into() };
    let post = &mut admission.posts[0];
    post.headers.push(field("authorization", "Bearer kAnArY-3"));
    post.headers.push(field("X-Kind", "order"));
    post.headers.push(field("Cookie", "a=kAnArY-4"));
    post.path = PATH.to_owned();
    post.recipient = "post=3A=2F=2Fa=2Fin=3Ftoken=3DkAnArY-1@postgate.local".to_owned();
    admission
}

/// Files below a directory that hold a canary.
fn holding(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let holds = |path: PathBuf| match path.is_dir() {
        true => holding(&path),
        false => {
            let octets = fs::read(&path).unwrap();
            let is_there = memchr::memmem::find(&octets, CANARY.as_bytes()).is_some();
            is_there.then_some(path).into_iter().collect()
        }
    };
    entries.flat_map(holds).collect()
}

fn shows(post: &Post) -> bool {
    format!("{post:?} {:?}", post.headers.iter().map(|field| &field.value).collect::<Vec<_>>())
        .contains(&format!("{:?}", CANARY.as_bytes()).trim_matches(['[', ']']).to_owned())
        || format!("{post:?}").contains(CANARY)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_and_nobody_who_looks_sees_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let opened = sealing(directory.path(), Some(1));
    let spool = &opened.0;
    spool.commit(secretive(1)).await.unwrap();
    spool.commit(message(2, &["c"], b"open")).await.unwrap();
    for listed in spool.page(Query::default(), None, 10).await.unwrap() {
        assert!(!shows(&listed.post), "{listed:?}");
    }
    let claim = claim_all(spool, "a").await.remove(0);
    assert!(!shows(&claim.post) && claim.post.path == "/in?token=***&n=7", "{claim:?}");
    assert_eq!(claim.post.recipient, "post@http://a/in?token=***&n=7");
    let sent = spool.unsealed(&claim.post).unwrap();
    let values: Vec<_> = sent.headers.iter().map(|field| &*field.value).collect();
    assert_eq!(values, [&b"text/plain"[..], b"Bearer kAnArY-3", b"order", b"a=kAnArY-4"]);
    assert_eq!(sent.path, PATH);
    assert!(!format!("{:?}", sent.headers).contains(CANARY), "{:?}", sent.headers);
    assert_eq!(spool.body(&claim).await.unwrap(), "hello, I am kAnArY-2");
    let other = claim_all(spool, "b").await.remove(0);
    assert_eq!(spool.body(&other).await.unwrap(), "hello, I am kAnArY-2");
    assert_eq!(spool.unsealed(&other.post).unwrap().path, "/1");
    let Content { body, message, .. } = spool.content(claim.post.id).await.unwrap();
    assert_eq!(
        (&*body, &*message),
        (&b"hello, I am kAnArY-2"[..], &b"Subject: x\r\n\r\nhello, I am kAnArY-2"[..])
    );
    settle_all(spool, vec![other], &Settlement::Listed { last: Attempt::because("200") }).await;
    settle_all(spool, vec![claim], &again(Duration::ZERO)).await;
    closed(opened).await;
    assert_eq!(holding(directory.path()), Vec::<PathBuf>::new());

    // A process that was killed leaves the same.
    let opened = sealing(directory.path(), Some(1));
    opened.1.recovered().await;
    let claim = claim_all(&opened.0, "a").await.remove(0);
    assert_eq!((claim.attempt, &opened.0.unsealed(&claim.post).unwrap().path[..]), (2, PATH));
    settle_all(&opened.0, vec![claim], &Settlement::Failed { last: Attempt::because("404") }).await;
    closed(opened).await;
    assert_eq!(holding(directory.path()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_elsewhere_stays_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let opened = sealing(directory.path(), Some(1));
    opened.0.commit(secretive(1)).await.unwrap();
    opened.0.commit(message(2, &["c"], b"open")).await.unwrap();
    let to = |host: &str, path: &str| Order::Reroute {
        destination: lane(host),
        trust: Trust::Wire,
        path: path.to_owned(),
        sealed: None,
    };
    for (host, order) in [
        ("a", to("a", "/there?key=kAnArY-5")),
        ("b", to("d", "/d?key=kAnArY-6")),
        ("c", to("d", "/services/T0/B0/kAnArY-7")),
    ] {
        let which =
            Query { destination: Some(format!("http://{host}").parse().unwrap()), ..Query::default() };
        assert_eq!(opened.0.order(which, order).await, Ok(1));
    }
    closed(opened).await;
    assert_eq!(holding(directory.path()), Vec::<PathBuf>::new());
    let opened = sealing(directory.path(), Some(1));
    opened.1.recovered().await;
    let sent = |claim: Claim| {
        let sent = opened.0.unsealed(&claim.post).unwrap();
        let proof = sent.headers.iter().find(|field| field.name == "authorization");
        (claim.post.path.clone(), sent.path.clone(), proof.map(|field| field.value.clone()))
    };
    let proof = Some(b"Bearer kAnArY-3".to_vec());
    let here: Vec<_> = claim_all(&opened.0, "a").await.into_iter().map(sent).collect();
    assert_eq!(here, [("/there?key=***".to_owned(), "/there?key=kAnArY-5".to_owned(), proof)]);
    let there: Vec<_> = claim_all(&opened.0, "d").await.into_iter().map(sent).collect();
    let expected = [("/d?key=***", "/d?key=kAnArY-6"), ("/services/T0/B0/***", "/services/T0/B0/kAnArY-7")];
    assert_eq!(there, expected.map(|(shown, path)| (shown.to_owned(), path.to_owned(), None)));
    // And back, to where nothing is hidden.
    let orders = opened.0.order(Query::default(), to("e", "/open")).await;
    assert_eq!(orders, Ok(3));
    let claims = [claim_all(&opened.0, "a").await, claim_all(&opened.0, "d").await];
    assert!(claims.iter().all(Vec::is_empty));
    closed(opened).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_a_secret_is_neither_taken_nor_sent() {
    let directory = tempfile::tempdir().unwrap();
    let opened = sealing(directory.path(), Some(1));
    opened.0.commit(secretive(1)).await.unwrap();
    opened.0.commit(message(2, &["c"], b"open")).await.unwrap();
    closed(opened).await;
    for (key, at) in [(None, 10), (Some(2), 20)] {
        let opened = sealing(directory.path(), key);
        opened.1.recovered().await;
        let spool = &opened.0;
        for host in ["a", "b"] {
            let claim = claim_all(spool, host).await.remove(0);
            assert_eq!(spool.unsealed(&claim.post), Err(SpoolError::Sealed));
            assert_eq!(spool.body(&claim).await, Err(SpoolError::Sealed));
            assert_eq!(spool.content(claim.post.id).await, Err(SpoolError::Sealed));
        }
        let claim = claim_all(spool, "c").await.remove(0);
        assert_eq!(spool.body(&claim).await.unwrap(), "open");
        if key.is_none() {
            assert_eq!(spool.commit(secretive(at)).await, Err(SpoolError::Sealed));
            let said = Admission { has_secrets: true, ..message(at, &["c"], b"x") };
            assert_eq!(spool.commit(said).await, Err(SpoolError::Sealed));
        }
        assert_eq!(spool.commit(message(at + 1, &["f"], b"open")).await, Ok(Committed::Kept));
        closed(opened).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_are_sealed_off_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let opened = sealing(directory.path(), Some(1));
    let large = format!("kAnArY{}", "x".repeat(1 << 20)).into_bytes();
    let admission = Admission { has_secrets: true, ..message(1, &["a"], &large) };
    opened.0.commit(admission).await.unwrap();
    let claim = claim_all(&opened.0, "a").await.remove(0);
    assert_eq!(opened.0.body(&claim).await.unwrap(), large);
    assert_eq!(opened.0.content(claim.post.id).await.unwrap().message.len(), large.len() + 14);
    closed(opened).await;
    assert_eq!(holding(directory.path()), Vec::<PathBuf>::new());
}
