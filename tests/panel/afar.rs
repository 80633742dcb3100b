//! Sending a test message from another address than the session's own.

use super::block;
use super::support::DEADLINE;
use super::support::api::{Response, Scene};
use super::support::program::Client;
use data_encoding::BASE64;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

const PASSWORD: &str = "correct-horse-kAnArY";

/// Another address of this machine, as good as one of another.
const AFAR: &str = "127.0.0.2:0";

/// A gateway with this at the end of its configuration.
fn with(more: &str) -> Scene {
    let mut scene = Scene::start("");
    let file = scene.directory.path().join("postgate.toml");
    let config = fs::read_to_string(&file).unwrap();
    let receiver = scene.receiver.recipient("/local");
    let more = more.replace("RECEIVER", receiver.split_once('@').unwrap().1);
    fs::write(&file, format!("{config}{more}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    scene.gateway.end("-TERM");
    scene.again();
    scene
}

/// What a caller at that address is answered, with the key of this name.
fn ask(scene: &Scene, key: &str, path: &str, document: &Value) -> Response {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&AFAR.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&scene.api.into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let (body, host, key) = (document.to_string(), scene.api, super::key(key));
    let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n");
    let length = body.len();
    let fields =
        format!("Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let mut socket = &socket;
    socket.write_all(format!("{head}{fields}{body}").as_bytes()).unwrap();
    let mut all = String::new();
    socket.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Response { status, head: head.to_owned(), body: body.as_bytes().to_vec() }
}

#[test]
fn a_test_locks_nobody_out_who_logs_in_from_this_machine() {
    let users = format!(
        "[[user]]\nname = \"afar\"\npassword = \"{PASSWORD}\"\nnetworks = [\"127.0.0.2/32\"]\n\n\
         [[user]]\nname = \"erp\"\npassword = \"{PASSWORD}\"\n\n"
    );
    let scene = with(&format!("{users}{}", block("default-inject")));
    let to = scene.receiver.recipient("/own");
    let test = json!({"to": to, "message": "\r\nx", "user": "afar", "password": PASSWORD});
    for _ in 0..12 {
        let refused = ask(&scene, "default-inject", "/api/v1/send-test", &test);
        assert_eq!(refused.status, 422, "{refused:?}");
        let detail = refused.json()["detail"].to_string();
        assert!(detail.contains("127.0.0.2/32 only, not from this machine (127.0.0.1)"), "{detail}");
    }
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let login = BASE64.encode(format!("\0erp\0{PASSWORD}").as_bytes());
    let reply = client.say(&format!("AUTH PLAIN {login}")).unwrap();
    assert!(reply.starts_with("235 "), "{reply}");
    let test = json!({"to": to, "message": "\r\nx", "user": "erp", "password": PASSWORD});
    let sent = ask(&scene, "default-inject", "/api/v1/send-test", &test);
    assert_eq!(sent.json()["outcome"], "accepted", "{sent:?}");
}

#[test]
fn a_route_for_this_machine_takes_no_test_of_another() {
    let route = "[[route]]\nrecipient = \"local@route.example\"\nurl = \"http://RECEIVER\"\n\
                 allow_from = [\"127.0.0.1/32\"]\n\n";
    let scene = with(&format!("{route}{}", block("default-inject")));
    let mail = json!({"return_path": "a@app.example", "recipients": [{"address": "local@route.example"}],
                      "content": {"email_rfc822": "\r\nx"}});
    let handed_in = ask(&scene, "default-inject", "/api/v1/messages", &mail);
    let test = |to: &str| json!({"from": "a@app.example", "to": to, "message": "\r\nx"});
    let tested = ask(&scene, "default-inject", "/api/v1/send-test", &test("local@route.example"));
    for refused in [handed_in, tested] {
        assert_eq!(refused.status, 422, "{refused:?}");
        let detail = refused.json()["errors"][0]["detail"].clone();
        assert_eq!(detail, "550 5.7.1 this recipient does not take mail from this client");
    }
    // Nothing hides behind an address.
    let hidden =
        ask(&scene, "default-inject", "/api/v1/send-test", &test("local@route.example> NOTIFY=NEVER X=<"));
    assert_eq!(hidden.json()["outcome"], "refused", "{hidden:?}");
    // What nobody may the listener says.
    let unknown = ask(&scene, "default-inject", "/api/v1/send-test", &test("nobody@route.example"));
    assert_eq!(unknown.json()["outcome"], "refused", "{unknown:?}");
    assert_eq!(scene.receiver.count(), 0);
}

#[test]
fn a_socket_in_the_file_system_takes_tests_of_operators() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("smtp.sock");
    let listener = format!("[[listener]]\naddress = \"unix:{}\"\n\n", path.display());
    let scene = with(&format!("{listener}{}{}", block("default-inject"), block("default-operator")));
    let to = scene.receiver.recipient("/own");
    let test = json!({"to": to, "message": "\r\nx", "listener": format!("unix:{}", path.display())});
    let refused = ask(&scene, "default-inject", "/api/v1/send-test", &test);
    assert_eq!(refused.status, 403, "{refused:?}");
    let sent = ask(&scene, "default-operator", "/api/v1/send-test", &test);
    assert_eq!(sent.json()["outcome"], "accepted", "{sent:?}");
}
