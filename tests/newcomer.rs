//! The first ten minutes of somebody who has read nothing: every mistake that is easily
//! made then is answered with its cause and with what to do about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use support::api::{Scene, said};
use support::nobody;
use support::program::{CONFIG, Client, Gateway, Reply, postgate};
use support::tools::leave_out;
use tempfile::TempDir;

/// Fails unless a command ended with this code and said all of this on standard error.
fn told(output: &Output, code: i32, words: &[&str]) {
    let (ended, _, error) = said(output);
    assert_eq!(ended, code, "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error}");
    }
    assert!(!error.contains("panicked") && error.lines().count() <= 3, "{error}");
}

/// Runs a command in a directory with this configuration.
fn run(directory: &Path, config: &str, arguments: &[&str]) -> Output {
    fs::write(directory.join("postgate.toml"), config).unwrap();
    postgate(directory).args(arguments).output().unwrap()
}

/// The same as a user who may do nothing but read it; `None` where the test is not root and
/// could become nobody.
fn run_as_nobody(directory: &Path, config: &str, arguments: &[&str]) -> Option<Output> {
    if !rustix::process::geteuid().is_root() {
        leave_out("only root may become somebody else");
        return None;
    }
    fs::write(directory.join("postgate.toml"), config).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.join("postgate");
    // Where the program is, others may not look.
    let _ = fs::copy(env!("CARGO_BIN_EXE_postgate"), &program);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]).arg(program);
    Some(command.args(arguments).current_dir(directory).env_remove("POSTGATE_CONFIG").output().unwrap())
}

#[test]
fn an_address_that_cannot_be_listened_on_is_told_of_with_a_way_out() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = |config: String| run(directory.path(), &config, &[]);
    let listener = |address: &str| CONFIG.replace("127.0.0.1:0", address);
    let in_use = [&address, "Address already in use", "ss -ltnp", "another port"];
    told(&serve(listener(&address)), 69, &in_use);
    told(
        &serve(CONFIG.replace("\"off\"", &format!("\"{address}\""))),
        69,
        &[&in_use[..], &["[api]"]].concat(),
    );
    // A network for documentation (RFC 5737): nobody has it.
    told(
        &serve(listener("192.0.2.1:2525")),
        69,
        &["192.0.2.1:2525", "no interface of this machine", "0.0.0.0"],
    );
    let sink = postgate(directory.path()).args(["sink", "--listen", &address]).output().unwrap();
    told(&sink, 69, &[&address, "Address already in use", "--listen"]);
}

#[test]
fn who_may_not_open_a_port_or_write_is_told_of_what_is_needed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let unprivileged = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let port = CONFIG.replace("127.0.0.1:0", "127.0.0.1:25");
    let Some(refused) = run_as_nobody(path, &port, &[]) else { return };
    if unprivileged.trim().parse::<u16>().unwrap() > 25 {
        told(&refused, 69, &["127.0.0.1:25", "Permission denied", "below 1024", "CAP_NET_BIND_SERVICE"]);
    }
    let written = run_as_nobody(path, CONFIG, &[]).unwrap();
    told(&written, 74, &["postgate-data", "Permission denied", "data_dir", "the user that runs"]);
    fs::set_permissions(path.join("postgate.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let read = run_as_nobody(path, CONFIG, &["check"]).unwrap();
    told(&read, 78, &["postgate.toml", "Permission denied", "the user that runs"]);
}

#[test]
fn a_configuration_that_is_not_where_it_should_be_is_told_of() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let away = run(path, CONFIG, &["--config", "nowhere.toml"]);
    let places = "then ./postgate.toml or /etc/postgate/postgate.toml is read";
    told(&away, 78, &["nowhere.toml", "No such file", places, "built-in configuration"]);
    let none = postgate(TempDir::new().unwrap().path()).arg("check").output().unwrap();
    let places = "no ./postgate.toml or /etc/postgate/postgate.toml: the built-in configuration";
    assert!(said(&none).1.starts_with(places), "{none:?}");
    let named = run(path, CONFIG, &["check", "--config", "."]);
    told(&named, 78, &["Is a directory", "name the file in it"]);
    fs::write(path.join("latin-1.toml"), b"[server]\nhostname = \"caf\xe9\"\n").unwrap();
    told(&run(path, CONFIG, &["check", "--config", "latin-1.toml"]), 78, &["latin-1.toml", "UTF-8"]);
    fs::write(path.join("file"), "").unwrap();
    let in_the_way = format!("{CONFIG}\n[server]\ndata_dir = \"file\"\n");
    told(&run(path, &in_the_way, &[]), 74, &["file", "in the way", "data_dir"]);
    let (code, _, error) = said(&run(path, CONFIG, &["server"]));
    assert!(code == 64 && error.contains("'serve'"), "{error}");
}

#[test]
fn who_asks_a_gateway_that_does_not_run_hears_how_to_start_it() {
    let directory = TempDir::new().unwrap();
    let (_bound, address) = nobody();
    let (server, api) = (address.to_string(), format!("http://{address}"));
    let asked = |arguments: &[&str]| run(directory.path(), CONFIG, arguments);
    told(
        &asked(&["send", "--to", "a@b.example", "--server", &server]),
        69,
        &[&server, "refused", "`postgate`", "--server"],
    );
    told(&asked(&["status", "--api", &api]), 69, &[&api, "refused", "`postgate`", "--api"]);
    told(&asked(&["sendmail", "--server", &server, "a@b.example"]), 75, &[&server, "refused", "--server"]);
    told(&asked(&["log"]), 66, &["postgate-data/log", "--config"]);
}

/// What the gateway answers to a recipient.
fn answer(gateway: &Gateway, recipient: &str) -> String {
    let mut client = Client::connect(gateway.smtp).unwrap();
    match client.send(&[recipient.to_owned()], b"x\r\n") {
        Reply::Said(line) => line,
        other => panic!("{recipient}: {other:?}"),
    }
}

#[test]
fn an_address_that_a_mail_library_mangled_is_refused_with_the_form_to_use() {
    let directory = TempDir::new().unwrap();
    let gateway = Gateway::start(directory.path(), CONFIG);
    for (recipient, words) in [
        ("post@http", &["550 5.1.3 ", "mail library cut the URL", "postgate address URL"][..]),
        ("post@https:", &["550 5.1.1 ", "postgate address URL"]),
        ("post@http://", &["553 5.1.3 ", "no host"]),
        ("http://shop.example/hook", &["550 5.1.1 ", "postgate address URL"]),
        ("ann@shop.example", &["550 5.1.1 ", "the recipient of a route"]),
        ("post@ftp://shop.example/", &["550 5.1.1 ", "postgate address URL"]),
    ] {
        let said = answer(&gateway, recipient);
        assert!(words.iter().all(|word| said.contains(word)), "{recipient}: {said}");
    }
}

#[test]
fn a_url_that_may_not_be_reached_is_refused_with_the_key_to_change() {
    let directory = TempDir::new().unwrap();
    let closed = CONFIG.replace("allow = [\"127.0.0.0/8\"]", "");
    let gateway = Gateway::start(directory.path(), &closed);
    let said = answer(&gateway, "post@http://127.0.0.1:8080/hello");
    assert!(said.starts_with("550 ") && said.contains("[egress] allow"), "{said}");
}

#[test]
fn a_receiver_that_is_not_there_is_named_where_one_looks() {
    let scene = Scene::start("");
    let (_bound, address) = nobody();
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let id = client.send(&[format!("post@http://{address}/hello")], b"x\r\n").id().to_owned();
    scene.stands(&id, "deferred");
    let listed = scene.run(&["queue", "list"]).1;
    assert!(listed.contains(&id) && listed.contains("refused"), "{listed}");
    let status = scene.run(&["status"]).1;
    assert!(status.contains("WAITING  SENDING  HELD  FAILED  DESTINATIONS\n1 "), "{status}");
    let dialogue = scene.run(&["log", "--post", &id]).1;
    assert!(dialogue.contains(&address.to_string()) && dialogue.contains("refused"), "{dialogue}");
}
