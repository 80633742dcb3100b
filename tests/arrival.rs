//! Where connections come from: unix sockets, sockets that systemd opened, proxies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/authority.rs"]
mod authority;
#[path = "support/front.rs"]
mod front;

use authority::{Authority, connect};
use front::{Front, LONG, Peer, SHORT, socket, until, within};
use postgate::network::Network;
use postgate::protocol_log::ProtocolLog;
use postgate::smtp::{Activation, Address, Options, Socket, TlsUse};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

fn bind_unix(path: &Path) -> std::io::Result<Socket> {
    Socket::bind(&Address::Unix(path.to_owned()), &mut Activation::none())
}

async fn unix_guest(path: &Path) -> Peer<UnixStream> {
    let mut client = Peer::new(UnixStream::connect(path).await.unwrap());
    client.expect("220").await;
    client
}

#[tokio::test]
async fn a_unix_socket_serves_clients_without_an_address() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("smtp.sock");
    let socket = bind_unix(&path).unwrap();
    assert_eq!(socket.address().to_string(), format!("unix:{}", path.display()));
    assert!(socket.network_address().is_none());
    let mut options = Options::default();
    options.limits.connections_per_address = 1;
    options.limits.new_per_minute = 1;
    options.limits.connections = 3;
    let (log, lines) = ProtocolLog::channel();
    let front = Front::start_on(socket, options, log);
    let mut guests = Vec::new();
    for _ in 0..3 {
        guests.push(unix_guest(&path).await);
    }
    // Only the limit on all of them holds.
    let mut surplus = Peer::new(UnixStream::connect(&path).await.unwrap());
    surplus.expect("421 4.3.2 ").await;
    assert!(guests[0].ask("EHLO a", "250-").await.starts_with("250-localhost Hello\r\n"));
    guests[0].post("x").await;
    assert_eq!(front.kept.client().address, None);
    let user = fs::metadata(directory.path()).unwrap().uid();
    let process = std::process::id();
    let note = format!("* connected from unix:{}, user {user}, process {process}\n", path.display());
    until(&lines, &note).await;
    guests.clear();
    front.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_unix_socket_may_be_begun_with_tls_and_with_too_much_talk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("smtp.sock");
    let authority = Authority::new();
    let options =
        Options { tls: TlsUse::Implicit, certificates: Some(authority.certificates()), ..Options::default() };
    let front = Front::start_on(bind_unix(&path).unwrap(), options, ProtocolLog::off());
    let config = Arc::new(authority.client_of(&[&rustls::version::TLS13], None));
    let stream = UnixStream::connect(&path).await.unwrap();
    let mut client = Peer::new(connect(&config, "gateway.example", stream).await.unwrap());
    client.expect("220").await;
    client.post("x").await;
    front.stop().await;
    let socket = bind_unix(&path).unwrap();
    let mut early = Peer::new(UnixStream::connect(&path).await.unwrap());
    early.send("EHLO early\r\n").await;
    let front = Front::start_on(socket, Options::default(), ProtocolLog::off());
    early.expect("554 5.5.0 ").await;
    front.stop().await;
}

#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("smtp.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "nobody has removed it");
    let socket = bind_unix(&path).unwrap();
    let error = bind_unix(&path).map(drop).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let front = Front::start_on(socket, Options::default(), ProtocolLog::off());
    drop(unix_guest(&path).await);
    // Somebody put another in its place: that is not ours to remove.
    fs::remove_file(&path).unwrap();
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    front.stop().await;
    assert!(path.metadata().unwrap().file_type().is_socket());
    drop(other);
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(bind_unix(&file).map(drop).unwrap_err().to_string().contains("no socket"));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(bind_unix(&directory.path().join("missing/smtp.sock")).is_err());
}

#[tokio::test]
async fn a_unix_socket_has_the_mode_that_the_umask_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("smtp.sock");
    let _socket = bind_unix(&path).unwrap();
    fs::create_dir(directory.path().join("other")).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(mode(&path), mode(&directory.path().join("other")));
}

/// Runs one of the tests below as a process of its own, which gets a socket as
/// systemd passes them.
fn activated(socket: OwnedFd, names: &str, test: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    let script =
        "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" --ignored --exact --nocapture \"$1\" 3<&0 4<&0 0</dev/null";
    Command::new("sh")
        .args(["-c", script])
        .arg(program)
        .arg(test)
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn rest(child: &mut Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    text
}

#[test]
fn a_restart_under_systemd_refuses_no_connection() {
    let systemd = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = systemd.local_addr().unwrap();
    for round in 0..3 {
        // Nobody serves it at this moment.
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(front::DEADLINE)).unwrap();
        let socket = systemd.try_clone().unwrap().into();
        let mut child = activated(socket, "smtp:other", "until_a_client_has_quit");
        let mut reader = BufReader::new(client.try_clone().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("220 "), "{round}: {line:?}");
        std::io::Write::write_all(&mut client, b"QUIT\r\n").unwrap();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("\r\n221 "), "{line:?}");
        rest(&mut child);
    }
}

#[tokio::test]
#[ignore = "run by a_restart_under_systemd_refuses_no_connection"]
async fn until_a_client_has_quit() {
    let mut activation = Activation::from_env();
    assert!(std::env::var_os("LISTEN_FDS").is_none(), "a child would take them for its own");
    let smtp = Address::Systemd("smtp".to_owned());
    let socket = Socket::bind(&smtp, &mut activation).unwrap();
    assert_eq!(socket.address(), &smtp);
    assert!(socket.network_address().is_some());
    let mut refused = |name: &str| {
        let error = Socket::bind(&Address::Systemd(name.to_owned()), &mut activation).map(drop);
        error.unwrap_err().to_string()
    };
    assert!(refused("smtp").contains("has taken this socket already"));
    assert!(refused("lmtp").contains("no socket of this name, only smtp, other"), "{}", refused("lmtp"));
    let (log, lines) = ProtocolLog::channel();
    let front = Front::start_on(socket, Options::default(), log);
    until(&lines, "< QUIT").await;
    front.stop().await;
}

#[test]
fn what_systemd_passes_wrongly_is_refused_with_the_cause() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rest(&mut activated(socket.into(), "twice:twice", "with_one_name_twice"));
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    rest(&mut activated(socket.into(), "connection", "with_a_connection"));
}

fn bind_error(name: &str) -> String {
    let bound = Socket::bind(&Address::Systemd(name.to_owned()), &mut Activation::from_env());
    bound.map(drop).unwrap_err().to_string()
}

#[tokio::test]
#[ignore = "run by what_systemd_passes_wrongly_is_refused_with_the_cause"]
async fn with_one_name_twice() {
    assert!(bind_error("twice").contains("several sockets of this name"));
    assert!(bind_error("twice").contains("no socket of this name, none at all"));
}

#[tokio::test]
#[ignore = "run by what_systemd_passes_wrongly_is_refused_with_the_cause"]
async fn with_a_connection() {
    assert!(bind_error("connection").contains("Accept=no"));
}

fn behind_proxies() -> Options {
    let mut options =
        Options { trusted_proxies: vec![Network::v4([127, 0, 0, 1], 32)], ..Options::default() };
    options.limits.connections_per_address = 2;
    options
}

fn version_2(source: [u8; 4], port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&head[..], &source, &[198, 51, 100, 1, high, low, 0, 25]].concat()
}

/// A client whose proxy sends this header.
async fn proxied(front: &Front, header: &[u8]) -> Peer {
    let mut client = front.client().await;
    client.0.write_all(header).await.unwrap();
    client
}

#[tokio::test]
async fn the_client_of_a_proxy_is_who_the_header_says() {
    let (front, lines) = Front::logged(behind_proxies());
    for header in
        [b"PROXY TCP4 192.0.2.7 198.51.100.1 40112 25\r\n".to_vec(), version_2([192, 0, 2, 7], 40112)]
    {
        let mut client = proxied(&front, &header).await;
        let port = client.0.get_ref().local_addr().unwrap().port();
        client.expect("220").await;
        let hello = client.ask("EHLO a", "250-").await;
        assert!(hello.starts_with("250-localhost Hello [192.0.2.7]\r\n"), "{hello}");
        client.post("x").await;
        assert_eq!(front.kept.client().address, Some([192, 0, 2, 7].into()));
        until(&lines, &format!("* connected from 192.0.2.7:40112 via 127.0.0.1:{port}\n")).await;
    }
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = proxied(&front, header).await;
        client.expect("220").await;
        client.post("x").await;
        assert_eq!(front.kept.client().address, Some([127, 0, 0, 1].into()));
        until(&lines, ", a proxy for itself\n").await;
    }
    front.stop().await;
}

#[tokio::test]
async fn a_header_in_single_octets_is_read_to_its_end_and_no_further() {
    let front = Front::start(behind_proxies()).await;
    for header in
        [b"PROXY TCP4 192.0.2.7 198.51.100.1 40112 25\r\n".to_vec(), version_2([192, 0, 2, 7], 40112)]
    {
        let mut client = front.client().await;
        client.0.get_ref().set_nodelay(true).unwrap();
        for octet in &header {
            client.0.write_all(&[*octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.expect("220").await;
        client.ask("NOOP", "250").await;
        // What comes along with the header comes too early.
        let mut early = proxied(&front, &[&header[..], b"EHLO a\r\n"].concat()).await;
        early.expect("554 5.5.0 ").await;
        early.expect_end().await;
    }
    front.stop().await;
}

#[tokio::test]
async fn clients_behind_a_proxy_are_counted_by_their_own_addresses() {
    let (front, lines) = Front::logged(behind_proxies());
    let mut guests = Vec::new();
    for address in [1, 1, 2, 2, 3] {
        let mut client = proxied(&front, &version_2([192, 0, 2, address], 1)).await;
        client.expect("220").await;
        guests.push(client);
    }
    let mut surplus = proxied(&front, &version_2([192, 0, 2, 1], 1)).await;
    surplus.expect("421 4.7.0 ").await;
    surplus.expect_end().await;
    until(&lines, " > 421 4.7.0 localhost too many connections from your address\n").await;
    guests.clear();
    front.stop().await;
}

#[tokio::test]
async fn proxies_count_among_all_before_their_header() {
    let mut options = behind_proxies();
    options.limits.connections = 1;
    options.timeouts.proxy_header = SHORT;
    let (front, lines) = Front::logged(options);
    let mut silent = front.client().await;
    let mut surplus = front.client().await;
    surplus.expect("421 4.3.2 ").await;
    silent.expect_end().await;
    until(&lines, "* no PROXY header: it takes too long\n").await;
    let mut client = proxied(&front, b"PROXY UNKNOWN\r\n").await;
    client.expect("220").await;
    drop(client);
    front.stop().await;
}

#[tokio::test]
async fn a_proxy_that_sends_something_else_is_cut_off() {
    let (front, lines) = Front::logged(behind_proxies());
    let mut client = proxied(&front, b"EHLO a\r\n").await;
    client.expect_end().await;
    until(&lines, "* no PROXY header: something else came\n").await;
    let mut client = proxied(&front, b"PROXY TCP4 nonsense\r\n").await;
    client.expect_end().await;
    until(&lines, "* no PROXY header: the line is not understood\n").await;
    front.stop().await;
}

#[tokio::test]
async fn a_proxy_over_a_unix_socket_is_not_trusted_like_a_program_of_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("smtp.sock");
    let (log, lines) = ProtocolLog::channel();
    let front = Front::start_on(bind_unix(&path).unwrap(), behind_proxies(), log);
    let mut client = Peer::new(UnixStream::connect(&path).await.unwrap());
    client.expect_end().await;
    until(&lines, "* a proxy over a unix socket has no address by which it could be trusted\n").await;
    front.stop().await;
}

#[tokio::test]
async fn peers_that_are_no_proxies_are_ordinary_clients() {
    let front = Front::start(behind_proxies()).await;
    let mut stranger = front.stranger().await;
    stranger.expect("220").await;
    stranger.ask("EHLO a", "250-localhost Hello [127.0.0.2]\r\n").await;
    // A header from them is talk before the greeting, or an unknown command.
    let listener = socket();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut liar = Peer::new(socket.connect(listener.network_address().unwrap()).await.unwrap());
    liar.send("PROXY TCP4 192.0.2.7 198.51.100.1 40112 25\r\n").await;
    let other = Front::start_on(listener, behind_proxies(), ProtocolLog::off());
    liar.expect("554 5.5.0 ").await;
    stranger.ask("PROXY TCP4 192.0.2.7 198.51.100.1 40112 25", "554 5.5.1 ").await;
    stranger.expect_end().await;
    other.stop().await;
    front.stop().await;
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let authority = Authority::new();
    let options =
        Options { tls: TlsUse::Implicit, certificates: Some(authority.certificates()), ..behind_proxies() };
    let (front, lines) = Front::logged(options);
    let config = Arc::new(authority.client_of(&[&rustls::version::TLS13], None));
    let greet = async |address: u8| {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(&version_2([192, 0, 2, address], 7)).await.unwrap();
        let mut client = Peer::new(connect(&config, "gateway.example", stream).await?);
        client.expect("220").await;
        std::io::Result::Ok(client)
    };
    let mut client = greet(1).await.unwrap();
    client.post("x").await;
    assert_eq!(front.kept.client().address, Some([192, 0, 2, 1].into()));
    let second = greet(1).await.unwrap();
    // One too many gets no handshake.
    assert!(greet(1).await.is_err());
    until(&lines, "* too many connections from your address\n").await;
    drop((client, second));
    // The header of somebody else, under TLS.
    let stream = TcpStream::connect(front.address).await.unwrap();
    assert!(connect(&config, "gateway.example", stream).await.is_err());
    until(&lines, "* no PROXY header: something else came\n").await;
    front.stop().await;
}

#[tokio::test]
async fn a_crowd_shortens_patience_with_proxies() {
    let mut options = behind_proxies();
    options.timeouts.proxy_header = LONG;
    options.timeouts.idle_under_pressure = SHORT;
    options.limits.connections = 1;
    let front = Front::start(options).await;
    let mut silent = TcpStream::connect(front.address).await.unwrap();
    assert_eq!(within(silent.read(&mut [0])).await.unwrap(), 0);
    front.stop().await;
}
