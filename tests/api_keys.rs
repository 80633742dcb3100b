//! Keys of the API, from outside: who may call what, whose posts there are for whom, and
//! what a key looks like on its way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/authority.rs"]
mod authority;
mod support;

use authority::Authority;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use support::DEADLINE;
use support::api::{Response, Scene, said};
use support::program::{Client, Gateway, eventually, postgate};

/// Two tenants, each with a client and with keys of every role, and an admin. The
/// password is one that is there without being written.
const TENANTS: &str = r#"
[[tenant]]
name = "shop"
daily_limit = 1000
rate = "100/s"

[[tenant]]
name = "club"

[[user]]
name = "shop"
password = { env = "PATH" }
tenant = "shop"

[[user]]
name = "club"
password = { env = "PATH" }
tenant = "club"
"#;

const ROLES: [&str; 4] = ["read", "inject", "operator", "admin"];

/// A key that nobody would draw, to look for it afterwards.
fn secret(name: &str) -> String {
    format!("pgk_{name}_kAnArY")
}

fn bearer(name: &str) -> String {
    format!("Authorization: Bearer {}\r\n", secret(name))
}

/// The block of the configuration for a key that is called `TENANT-ROLE`, or `admin`.
fn block(name: &str) -> String {
    let digest = HEXLOWER.encode(&Sha256::digest(secret(name)));
    let head = format!("[[api_key]]\nname = \"{name}\"\ndigest = \"sha256:{digest}\"\n");
    match name.split_once('-') {
        Some((tenant, role)) => format!("{head}role = \"{role}\"\ntenant = \"{tenant}\"\n"),
        None => format!("{head}role = \"{name}\"\n"),
    }
}

fn keys() -> String {
    let of = |tenant| ROLES[..3].iter().map(move |role| block(&format!("{tenant}-{role}")));
    of("shop").chain(of("club")).chain([block("admin")]).collect()
}

fn start() -> Scene {
    Scene::start(&format!("{TENANTS}{}", keys()))
}

/// A post of a tenant, whose receiver refuses it for now.
fn post_of(scene: &Scene, tenant: &str) -> String {
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let credentials = BASE64.encode(format!("\0{tenant}\0{}", std::env::var("PATH").unwrap()).as_bytes());
    let reply = client.say(&format!("AUTH PLAIN {credentials}")).unwrap();
    assert!(reply.starts_with("235 "), "{reply}");
    let message = format!("X-Postgate-Tag: {tenant}-tag\r\n\r\nx\r\n");
    let id = client.send(&[scene.receiver.recipient("/busy")], message.as_bytes()).id().to_owned();
    let path = format!("/api/v1/posts/{id}");
    let is_deferred =
        || (ask(scene, "GET", &path, &bearer("admin")).json()["state"] == "deferred").then_some(());
    eventually("the first attempt", DEADLINE, is_deferred);
    id
}

/// A request with these header lines.
fn ask(scene: &Scene, method: &str, path: &str, lines: &str) -> Response {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n", scene.api);
    scene.raw(&format!("{head}{lines}Connection: close\r\n\r\n"))
}

/// The calls that need a key, as the gateway describes them: role, method, path.
fn table(scene: &Scene) -> Vec<(String, String, String)> {
    let document = ask(scene, "GET", "/api/v1/openapi.json", &bearer("admin")).json();
    let mut calls = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            if let Some(role) = call["security"][0]["key"][0].as_str() {
                calls.push((role.to_owned(), method.to_uppercase(), path.clone()));
            }
        }
    }
    calls
}

#[test]
fn every_call_asks_who_calls_and_shows_nobody_what_is_anothers() {
    let scene = start();
    let id = post_of(&scene, "shop");
    let calls = table(&scene);
    assert!(calls.len() > 40, "{calls:?}");
    for (role, method, path) in &calls {
        let path = path.replace("{id}", &id).replace("{origin}", &scene.origin_piece());
        let refused = ask(&scene, method, &path, "");
        assert_eq!(refused.status, 401, "{method} {path}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{method} {path}");
        assert_eq!(refused.header("content-type"), Some("application/problem+json"), "{method} {path}");
        let enough = ROLES.iter().position(|known| known == role).unwrap();
        for lower in &ROLES[..enough] {
            let refused = ask(&scene, method, &path, &bearer(&format!("shop-{lower}")));
            assert_eq!(refused.status, 403, "{method} {path} {lower}");
            assert!(refused.json()["detail"].as_str().unwrap().contains(role.as_str()), "{method} {path}");
        }
        // Never ends.
        if path.ends_with("/stream") || role == "admin" {
            continue;
        }
        let other = ask(&scene, method, &path, &bearer("club-operator"));
        if path == "/api/v1/history" || path.starts_with("/api/v1/protocol-log") {
            // What passed, and what was said, is that of both tenants together.
            assert_eq!(other.status, 403, "{other:?}");
            assert!(other.json()["detail"].as_str().unwrap().contains("asked for club alone"), "{other:?}");
            continue;
        }
        assert!(![401, 403].contains(&other.status), "{method} {path}: {other:?}");
        let text = String::from_utf8_lossy(&other.body);
        assert!(!text.contains("shop-tag") && !text.contains("app@app.example"), "{method} {path}: {text}");
        // What an order says may be looked at before what it is about.
        let statuses = if method == "GET" || method == "DELETE" { &[404][..] } else { &[400, 404, 422] };
        if path.contains(&id) || method == "GET" && path.contains(&scene.origin_piece()) {
            assert!(statuses.contains(&other.status), "{method} {path}: {other:?}");
        }
    }
    assert_eq!(
        ask(&scene, "GET", &format!("/api/v1/posts/{id}"), &bearer("shop-read")).json()["state"],
        "deferred"
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(&scene, "GET", path, "").status, 200, "{path}");
    }
    assert_eq!(ask(&scene, "GET", "/metrics", "").status, 401);
    for (name, sees) in [("shop-read", true), ("club-read", false), ("admin", true)] {
        let text = String::from_utf8(ask(&scene, "GET", "/metrics", &bearer(name)).body).unwrap();
        assert_eq!(text.contains(&scene.origin()), sees, "{name}: {text}");
    }
}

/// All paths stand in the table of calls, and few of them are for everybody.
#[test]
fn no_call_has_its_path_elsewhere() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api")];
    let mut routers = Vec::new();
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let ways = [".route(", ".nest(", ".route_service(", ".nest_service(", ".fallback_service("];
            let count: usize = ways.iter().map(|way| text.matches(way).count()).sum();
            routers.extend(std::iter::repeat_n(path.file_name().unwrap().to_owned(), count));
        }
    }
    assert_eq!(routers, ["calls.rs"]);
    let scene = start();
    let document = ask(&scene, "GET", "/api/v1/openapi.json", &bearer("admin")).json();
    let is_open = |methods: &Value| methods.as_object().unwrap().values().any(|it| it["security"].is_null());
    let paths = document["paths"].as_object().unwrap().iter();
    let open: Vec<_> = paths.filter(|(_, methods)| is_open(methods)).map(|(path, _)| path).collect();
    assert_eq!(open, ["/healthz", "/readyz", "/attachments/{id}/{number}"]);
}

#[test]
fn a_key_is_shown_in_one_way_and_opens_its_tenant() {
    let scene = start();
    let ids = [post_of(&scene, "shop"), post_of(&scene, "club")];
    let shop = secret("shop-read");
    let posts = "/api/v1/posts";
    let unauthorized = ask(&scene, "GET", posts, "");
    for (path, lines) in [
        (posts, format!("Authorization: Bearer {shop}x\r\n")),
        (posts, format!("Authorization: Bearer {}\r\n", &shop[..shop.len() - 1])),
        (posts, format!("Authorization: Bearer {}\r\n", shop.to_lowercase())),
        (posts, format!("Authorization: Basic {}\r\n", BASE64.encode(shop.as_bytes()))),
        (posts, format!("Authorization: {shop}\r\n")),
        (posts, "Authorization: Bearer\r\n".to_owned()),
        (posts, "Authorization: Bearer \r\n".to_owned()),
        (posts, format!("{0}{0}", bearer("shop-read"))),
        (posts, format!("Cookie: key={shop}\r\n")),
        (&format!("{posts}?access_token={shop}"), String::new()),
        (&format!("{posts}?key={shop}"), String::new()),
    ] {
        let response = ask(&scene, "GET", path, &lines);
        assert_eq!((response.status, &response.body), (401, &unauthorized.body), "{path} {lines}");
    }
    let tenant = |name: &str| format!("X-Tenant-ID: {name}\r\n");
    let both: &[&String] = &[&ids[1], &ids[0]];
    for (lines, status, sees) in [
        (bearer("shop-read"), 200, &both[1..]),
        (bearer("shop-read").replace("Bearer ", "BEARER   "), 200, &both[1..]),
        (bearer("club-operator"), 200, &both[..1]),
        (bearer("shop-read") + &tenant("shop"), 200, &both[1..]),
        (bearer("shop-operator") + &tenant("club"), 403, &[]),
        (bearer("shop-operator") + &tenant("nobody"), 403, &[]),
        (bearer("shop-operator") + &tenant(""), 400, &[]),
        (bearer("admin"), 200, both),
        (bearer("admin") + &tenant("shop"), 200, &both[1..]),
        (bearer("admin") + &tenant("nobody"), 200, &[]),
        (bearer("admin") + &tenant("shop") + &tenant("shop"), 400, &[]),
    ] {
        let response = ask(&scene, "GET", posts, &lines);
        assert_eq!(response.status, status, "{lines}: {response:?}");
        let list = response.json();
        let seen: Vec<_> = list["posts"].as_array().into_iter().flatten().map(|post| &post["id"]).collect();
        assert_eq!(seen, sees, "{lines}");
    }
    // What is another's is not touched either, alone or among many.
    let all = r#"{"action":"delete","all":true}"#;
    let head = format!("POST {posts}/actions HTTP/1.1\r\nHost: localhost\r\n{}", bearer("club-operator"));
    let kind = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", all.len());
    let deleted = scene.raw(&format!("{head}{kind}Connection: close\r\n\r\n{all}"));
    assert_eq!(deleted.json(), json!({ "count": 1 }));
    assert_eq!(ask(&scene, "GET", &format!("{posts}/{}", ids[0]), &bearer("shop-read")).status, 200);
}

#[test]
fn posts_are_sent_elsewhere_only_where_their_tenant_may_post() {
    let scene = start();
    let id = post_of(&scene, "shop");
    let recipient = scene.receiver.recipient("");
    let origin = recipient.strip_prefix("post@").unwrap().trim_end_matches('/');
    let path = scene.directory.path().join("postgate.toml");
    let config = fs::read_to_string(&path).unwrap();
    let bound = format!("name = \"shop\"\nmay_post_to = [\"{origin}\"]\n");
    fs::write(&path, config.replacen("name = \"shop\"\n", &bound, 1)).unwrap();
    assert_eq!(ask(&scene, "POST", "/api/v1/reload", &bearer("admin")).status, 200);
    let one = (format!("/api/v1/posts/{id}/reroute"), json!({ "url": "http://other.example/" }));
    let bulk =
        json!({ "action": "reroute", "filter": { "tag": "shop-tag" }, "url": "http://other.example/" });
    let many = ("/api/v1/posts/actions".to_owned(), bulk);
    for (name, status) in [("shop-operator", 422), ("admin", 200)] {
        for (path, body) in [&one, &many] {
            let body = body.to_string();
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{}", bearer(name));
            let kind = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
            let response = scene.raw(&format!("{head}{kind}Connection: close\r\n\r\n{body}"));
            assert_eq!(response.status, status, "{name} {path}: {response:?}");
        }
    }
}

#[test]
fn tenants_are_shown_as_configured() {
    let scene = start();
    let shown = |name: &str| ask(&scene, "GET", "/api/v1/tenants", &bearer(name)).json()["tenants"].clone();
    let tenant = |name: &str, limit: Value, rate: Value| json!({ "name": name, "daily_limit": limit, "rate": rate, "may_post_to": [], "header_control": true });
    let (shop, club) =
        (tenant("shop", json!(1000), json!("100/s")), tenant("club", Value::Null, Value::Null));
    assert_eq!(shown("shop-read"), json!([shop]));
    assert_eq!(shown("club-operator"), json!([club]));
    assert_eq!(shown("admin"), json!([tenant("default", Value::Null, Value::Null), club, shop]));
}

#[test]
fn routes_are_shown_as_configured_without_their_secrets() {
    let route = "[[route]]\nrecipient = \"a@hooks.example\"\nurl = \"http://h.example/?token=kAnArY\"\n\
                 headers = { X-Api-Key = \"kAnArY\", X-Kind = \"order\" }\nmode = \"sync\"\n";
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::start(&format!("{TENANTS}{}{}", keys(), block("default-read")));
    let shown = |name: &str| ask(&scene, "GET", "/api/v1/routes", &bearer(name)).json()["routes"].clone();
    assert_eq!(shown("admin"), json!([]));
    let path = scene.directory.path().join("postgate.toml");
    let secret = directory.path().join("route.toml");
    fs::write(&secret, format!("{}{route}", fs::read_to_string(&path).unwrap())).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&secret, &path).unwrap();
    reload_as_it_is(&scene);
    let all = shown("admin");
    for (key, value) in [
        ("recipient", json!("a@hooks.example")),
        ("url", json!("http://h.example/?token=***")),
        ("headers", json!({ "X-Api-Key": "***", "X-Kind": "order" })),
        ("mode", json!("sync")),
    ] {
        assert_eq!(all[0][key], value, "{all}");
    }
    assert_eq!((shown("default-read"), shown("shop-operator")), (all, json!([])));
}

#[test]
fn who_guesses_waits_and_keeps_nobody_out_who_has_a_key() {
    let scene = start();
    let get = |lines: &str| ask(&scene, "GET", "/api/v1/posts", lines);
    assert_eq!(get(&bearer("admin")).status, 200);
    for number in 0..10 {
        assert_eq!(get(&bearer(&format!("guess{number}"))).status, 401, "{number}");
    }
    for name in ["guess", "shop-read"] {
        let refused = get(&bearer(name));
        assert_eq!(refused.status, 429, "{name}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(get("").status, 401, "who shows none guesses none");
    assert_eq!(get(&bearer("admin")).status, 200, "it was there before");
    let run = |key: &str| scene.run(&["queue", "list", "--key", key]).0;
    assert_eq!([run(&secret("guess")), run(&secret("admin"))], [75, 0]);
}

/// Writes another configuration, and waits until it is in force.
fn reload(scene: &Scene, config: &str) {
    fs::write(scene.directory.path().join("postgate.toml"), config).unwrap();
    reload_as_it_is(scene);
}

fn reload_as_it_is(scene: &Scene) {
    let stderr = scene.directory.path().join("stderr");
    let said = || fs::read_to_string(&stderr).unwrap().matches("the new configuration is in force").count();
    let before = said();
    scene.gateway.signal("-HUP");
    eventually("the new configuration", DEADLINE, || (said() > before).then_some(()));
}

#[test]
fn keys_come_and_go_with_the_configuration_and_the_host_rule_with_them() {
    let scene = Scene::start("");
    let before = fs::read_to_string(scene.directory.path().join("postgate.toml")).unwrap();
    let status = |lines: &str| ask(&scene, "GET", "/api/v1/posts", lines).status;
    let hosted = |more: &str| {
        let request = format!("POST /api/v1/destinations/%2A/flush HTTP/1.1\r\nHost: api.example\r\n{more}");
        scene
            .raw(&format!("{request}{}Content-Length: 0\r\nConnection: close\r\n\r\n", bearer("admin")))
            .status
    };
    assert_eq!((status(""), status(&bearer("nobody")), hosted("")), (200, 200, 421));
    reload(&scene, &(before.clone() + &block("admin")));
    assert_eq!((status(""), status(&bearer("admin")), hosted("")), (401, 200, 200));
    assert_eq!(hosted("Origin: https://evil.example\r\n"), 403);
    assert_eq!(hosted("Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(hosted("Origin: https://api.example\r\n"), 200);
    reload(&scene, &(before.clone() + TENANTS + &block("shop-read")));
    assert_eq!((status(&bearer("admin")), status(&bearer("shop-read"))), (401, 200));
    reload(&scene, &before);
    assert_eq!((status(""), hosted("")), (200, 421));
    let stderr = fs::read_to_string(scene.directory.path().join("stderr")).unwrap();
    assert!(
        stderr.contains("key=\"admin\"") && stderr.contains("asked for POST /api/v1/destinations/%2A/flush"),
        "{stderr}"
    );
}

/// Row K1, as far as keys go.
#[test]
fn a_key_is_written_nowhere() {
    let mut scene = Scene::start(&format!("{TENANTS}{}\n[log]\nlevel = \"trace\"\n", keys()));
    for path in ["/api/v1/posts?token=kAnArY", "/metrics", "/api/v1/nothing?kAnArY", "/api/v1/posts/kAnArY"] {
        for lines in
            [bearer("admin"), bearer("guess"), format!("Authorization: Basic {}\r\n", secret("admin"))]
        {
            let text = String::from_utf8(ask(&scene, "GET", path, &lines).body).unwrap();
            assert!(!text.contains("kAnArY"), "{path}: {text}");
        }
    }
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let found =
        Command::new("grep").args(["-rl", "kAnArY", "."]).current_dir(scene.directory.path()).output();
    assert_eq!(String::from_utf8(found.unwrap().stdout).unwrap(), "");
}

/// Runs `postgate key` with these arguments.
fn made(arguments: &[&str]) -> (i32, String, String) {
    said(&postgate(Path::new(".")).arg("key").args(arguments).output().unwrap())
}

#[test]
fn a_key_that_is_made_opens_what_it_says() {
    let (code, first, _) = made(&[]);
    let (_, second, _) = made(&["--name", "shop \"ci\"", "--role", "inject", "--tenant", "shop"]);
    assert_eq!(code, 0);
    let keys: Vec<_> = [&first, &second].iter().map(|text| text.lines().next().unwrap().to_owned()).collect();
    for key in &keys {
        let parts: Vec<_> = key.split('_').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [3, 8, 32], "{key}");
        assert_eq!(parts[0], "pgk");
    }
    assert_ne!(keys[0], keys[1]);
    let blocks: String = [&first, &second].iter().map(|text| text.split_once('\n').unwrap().1).collect();
    assert!(!blocks.contains(&keys[0]) && !blocks.contains(&keys[1]), "{blocks}");
    let scene = Scene::start(&format!("[[tenant]]\nname = \"shop\"\n{blocks}"));
    let status =
        |key: &str, path: &str| ask(&scene, "GET", path, &format!("Authorization: Bearer {key}\r\n")).status;
    assert_eq!(status(&keys[0], "/api/v1/posts"), 200);
    assert_eq!(
        ask(&scene, "GET", "/api/v1/tenants", &format!("Authorization: Bearer {}\r\n", keys[1])).json()["tenants"]
            [0]["name"],
        "shop"
    );
    let run = |arguments: &[&str]| scene.run(&[&["queue", "hold", "--all"], arguments].concat());
    assert_eq!(run(&["--key", &keys[0]]).0, 0);
    let (code, _, told) = run(&["--key", &keys[1]]);
    assert!(code == 77 && told.contains("a key of the role operator"), "{code} {told}");
    assert_eq!(run(&["--key", &keys[0], "--tenant", "shop"]).0, 0);
    let (code, _, told) = run(&[]);
    assert!(code == 77 && told.contains("needs a key"), "{code} {told}");
    for (arguments, expected) in [(&["--role", "root"][..], 64), (&["--tenant", "shop"], 64), (&["x"], 64)] {
        assert_eq!(made(arguments).0, expected, "{arguments:?}");
    }
}

#[test]
fn tls_keeps_keys_from_being_read_on_their_way() {
    let authority = Authority::new();
    let files = authority.write("api", &authority.issue("api", &["localhost", "127.0.0.1"]));
    let config = format!(
        "[tls]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n{}",
        files.0,
        files.1,
        authority.own_file(),
        block("admin")
    );
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[api]\naddress = \"0.0.0.0:0\"\ntls = \"implicit\"\n{config}"
    );
    let gateway = Gateway::start(directory.path(), &text);
    let line = gateway.line("API at https://0.0.0.0:");
    let url = line.split("API at ").nth(1).unwrap().trim_end_matches('/').replace("0.0.0.0", "127.0.0.1");
    let run = |trusted: &Path, api: &str| {
        let mut command = postgate(directory.path());
        command.args(["queue", "list", "--api", api]);
        said(&command.env("SSL_CERT_FILE", trusted).env("POSTGATE_KEY", secret("admin")).output().unwrap())
    };
    let trusted = authority.own_file();
    assert_eq!(run(&trusted, &url).0, 0);
    assert_eq!(run(&trusted, &url.replace("127.0.0.1", "localhost")).0, 0);
    let (code, _, told) = run(&trusted, &url.replace("https", "http"));
    assert_eq!(code, 69, "{told}");
    let other = Authority::new();
    let (code, _, told) = run(&other.own_file(), &url);
    assert!(code == 69 && told.contains("$SSL_CERT_FILE"), "{told}");

    // Another certificate is shown as soon as it is there; the way in stays as it is.
    authority_writes(&other, &files);
    fs::write(
        directory.path().join("postgate.toml"),
        text.replace("0.0.0.0", "127.0.0.1").replace("\"implicit\"", "\"none\""),
    )
    .unwrap();
    gateway.signal("-HUP");
    let stderr = || fs::read_to_string(directory.path().join("stderr")).unwrap();
    eventually("the reload", DEADLINE, || {
        stderr().contains("restart is as before: api.address, api.tls").then_some(())
    });
    assert_eq!((run(&trusted, &url).0, run(&other.own_file(), &url).0), (69, 0));
    assert!(!stderr().contains("kAnArY"));
}

/// Writes a certificate of another authority where one was.
fn authority_writes(authority: &Authority, files: &(std::path::PathBuf, std::path::PathBuf)) {
    let issued = authority.issue("api", &["localhost", "127.0.0.1"]);
    let (certificate, key) = issued.pems();
    fs::write(&files.0, certificate).unwrap();
    authority::write_key(&files.1, &key);
}
