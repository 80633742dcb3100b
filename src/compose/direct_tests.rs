//! Posts handed in as such: what they become, and all that is wrong with them.

use super::*;
use crate::post::{MessageId, Timestamp};

const RECEIPT: Receipt = Receipt { message: MessageId(7), received_at: Timestamp(1_769_860_800_000) };

fn asked(url: &str, octets: &'static str) -> Direct {
    let body = DirectBody { octets: Bytes::from_static(octets.as_bytes()), usual_type: "text/plain" };
    Direct { url: url.to_owned(), body: Some(body), ..Direct::default() }
}

fn composed(asked: Vec<Direct>, key: Option<&str>) -> Result<Admission, Vec<Fault>> {
    direct(&Options::default(), (&Tenant::new("shop"), key.map(str::to_owned)), RECEIPT, asked)
}

#[test]
fn equal_bodies_are_kept_once_and_there_is_no_mail() {
    let list = ["a", "b", "a", "", "b"].map(|body| asked("https://shop.example/in?x", body));
    let admission = composed(list.to_vec(), Some("k")).unwrap();
    let blobs: Vec<_> = admission.blobs.iter().map(|blob| std::str::from_utf8(blob).unwrap()).collect();
    assert_eq!(blobs, ["", "a", "b"]);
    let numbers: Vec<_> = admission.posts.iter().map(|post| (post.id.number, post.body.number)).collect();
    assert_eq!(numbers, [(1, 1), (2, 2), (3, 1), (4, 0), (5, 2)]);
    assert!(admission.posts.iter().all(|post| post.path == "/in?x" && post.trust == Trust::Wire));
    assert_eq!((admission.tenant.as_str(), admission.idempotency_key.as_deref()), ("shop", Some("k")));
    let first = &admission.posts[0].destination;
    assert!(admission.posts.iter().all(|post| Arc::ptr_eq(first, &post.destination)));
    let one = composed(vec![asked("http://h/", "x")], None).unwrap();
    assert_eq!((one.posts[0].id.to_string(), one.posts[0].priority), ("0000000000000007".to_owned(), 5));
}

#[test]
fn headers_come_in_order_behind_type_and_credentials() {
    let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut post = asked("https://u:p@h/", "x");
    post.headers = vec![named("X-B", " 1 "), named("x-a", "2"), named("X-B", "3")];
    let admission = composed(vec![post.clone()], None).unwrap();
    let shown: Vec<_> = admission.posts[0]
        .headers
        .iter()
        .map(|field| format!("{}: {}", field.name, String::from_utf8_lossy(&field.value)))
        .collect();
    assert_eq!(
        shown,
        ["Content-Type: text/plain", "Authorization: Basic dTpw", "X-B: 1", "x-a: 2", "X-B: 3"]
    );
    post.headers = vec![named("Idempotency-Key", "r"), named("Content-Type", "a/b")];
    let admission = composed(vec![post.clone()], None).unwrap();
    assert_eq!(admission.posts[0].idempotency_key.as_deref(), Some("r"));
    assert_eq!((admission.idempotency_key, &admission.posts[0].headers[0].value[..]), (None, &b"a/b"[..]));
    post.headers = (0..101).map(|number| named(&format!("X-{number}"), "1")).collect();
    assert_eq!(composed(vec![post], None).unwrap_err()[0].field, "headers.X-100");
}

#[test]
fn all_faults_are_told_by_post_and_field() {
    let bad = Direct { method: Some("TRACE".to_owned()), priority: Some(10), ..asked("nonsense", "x") };
    let late = |not_before: &str, expires: &str| Direct {
        not_before: Some(not_before.to_owned()),
        expires: Some(expires.to_owned()),
        ..asked("http://h/", "x")
    };
    let list = vec![asked("http://h/", "x"), bad, late("2h", "1h"), late("1h", "2h")];
    let faults = composed(list, Some("\u{7}")).unwrap_err();
    let told: Vec<_> = faults.iter().map(|fault| (fault.at, fault.field.as_str())).collect();
    let many = vec![Direct { tags: vec![String::new(); 100], ..asked("", "x") }; 1000];
    assert!(composed(many, None).unwrap_err().len() <= MOST_FAULTS + 101);
    assert_eq!(told, [(1, "url"), (1, "method"), (1, "priority"), (2, "expires"), (0, "idempotency_key")]);
}
