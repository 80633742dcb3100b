//! Proxies: what they are asked for, and whom their faults are charged to.

use crate::authority::{Authority, Clients};
use crate::server::{Habits, Server};
use crate::support::{nobody, post};
use crate::{Engine, deferred, failed, loopback, origin, quick};
use postgate::deliver::lane::Limits;
use postgate::deliver::profile::{Proxy, ProxyKind};
use postgate::deliver::retry::Schedule;
use postgate::deliver::target::Egress;
use postgate::deliver::terms::{Book, Http2, Terms, TlsTerms};
use postgate::post::{Post, Scheme, Trust};
use postgate::spool::Settlement;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// How a proxy behaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Connects to the receiver, whatever it is asked for.
    Fine,
    /// Answers these octets and closes.
    Says(&'static [u8]),
    Hangs,
    Closes,
}

/// A proxy that notes what it was asked for.
struct Middleman {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Middleman {
    async fn start(kind: ProxyKind, manner: Manner, receiver: SocketAddr) -> Middleman {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let notes = Arc::clone(&notes);
                tokio::spawn(async move {
                    match manner {
                        Manner::Fine => {}
                        Manner::Hangs => std::future::pending().await,
                        Manner::Closes => return,
                        Manner::Says(octets) => {
                            let _ = socket.read(&mut [0; 4096]).await;
                            let _ = socket.write_all(octets).await;
                            let _ = socket.read(&mut [0; 4096]).await;
                            return;
                        }
                    }
                    let goal = match kind {
                        ProxyKind::Http => connect(&mut socket).await,
                        ProxyKind::Socks5 => socks(&mut socket).await,
                    };
                    notes.lock().unwrap().push(goal);
                    let mut onward = TcpStream::connect(receiver).await.unwrap();
                    let _ = copy_bidirectional(&mut socket, &mut onward).await;
                });
            }
        });
        Middleman { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The request line of CONNECT, and the credentials.
async fn connect(socket: &mut TcpStream) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(socket.read_u8().await.unwrap()));
    }
    socket.write_all(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").await.unwrap();
    let credentials = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    format!("{} {}", head.lines().next().unwrap(), credentials.unwrap_or("nobody"))
}

/// What SOCKS5 was asked for, and the credentials.
async fn socks(socket: &mut TcpStream) -> String {
    let mut head = [0; 2];
    socket.read_exact(&mut head).await.unwrap();
    let mut methods = vec![0; usize::from(head[1])];
    socket.read_exact(&mut methods).await.unwrap();
    let mut credentials = "nobody".to_owned();
    if methods.contains(&2) {
        socket.write_all(&[5, 2]).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), 1);
        let mut parts = Vec::new();
        for _ in 0..2 {
            let mut part = vec![0; usize::from(socket.read_u8().await.unwrap())];
            socket.read_exact(&mut part).await.unwrap();
            parts.push(String::from_utf8(part).unwrap());
        }
        credentials = parts.join(":");
        socket.write_all(&[1, 0]).await.unwrap();
    } else {
        socket.write_all(&[5, 0]).await.unwrap();
    }
    let mut request = [0; 4];
    socket.read_exact(&mut request).await.unwrap();
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => {
            let mut ip = [0; 4];
            socket.read_exact(&mut ip).await.unwrap();
            std::net::Ipv4Addr::from(ip).to_string()
        }
        3 => {
            let mut name = vec![0; usize::from(socket.read_u8().await.unwrap())];
            socket.read_exact(&mut name).await.unwrap();
            String::from_utf8(name).unwrap()
        }
        other => panic!("address type {other}"),
    };
    let port = socket.read_u16().await.unwrap();
    socket.write_all(&[5, 0, 0, 3, 1, b'x', 0, 0]).await.unwrap();
    format!("{host}:{port} {credentials}")
}

fn proxy(kind: ProxyKind, address: SocketAddr) -> Proxy {
    Proxy { kind, host: address.ip().to_string(), port: address.port(), credentials: None }
}

fn through(proxy: Proxy) -> Terms {
    Terms { proxy: Some(Arc::new(proxy)), ..quick() }
}

#[tokio::test]
async fn the_wire_gets_checked_addresses_and_the_operator_names() {
    let authority = Authority::new();
    let own = authority.issue("hook", &["hook.localhost", "inside.example"]);
    let habits = Habits {
        tls: Some(Arc::new(authority.server(&own, Clients::Anybody, &["h2", "http/1.1"]))),
        ..Habits::default()
    };
    let secure = Server::start(habits).await;
    let plain = Server::start(Habits::default()).await;
    let tls = Arc::new(TlsTerms { ca: Some(authority.own_pem().into()), ..TlsTerms::default() });
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        for (server, scheme, host, trust, goal) in [
            (&secure, Scheme::Https, "hook.localhost", Trust::Wire, "127.0.0.1"),
            // Known to nobody here.
            (&secure, Scheme::Https, "inside.example", Trust::Operator, "inside.example"),
            (&plain, Scheme::Http, "inside.example", Trust::Operator, "inside.example"),
            (&plain, Scheme::Http, "127.0.0.1", Trust::Wire, "127.0.0.1"),
        ] {
            let middleman = Middleman::start(kind, Manner::Fine, server.address).await;
            let credentials = Some(("user".to_owned(), "canary".to_owned().into()));
            let proxy = Proxy { credentials, ..proxy(kind, middleman.address) };
            let engine = Engine::start(Terms { tls: Arc::clone(&tls), ..through(proxy) });
            let to = origin(scheme, host, server.address);
            let post = Post { trust, ..post(1, &to) };
            assert_eq!(engine.first_of(post).await, Settlement::Delivered, "{kind:?} {to}");
            let goal = format!("{goal}:{}", server.address.port());
            let expected = match kind {
                ProxyKind::Http => format!("CONNECT {goal} HTTP/1.1 Basic dXNlcjpjYW5hcnk="),
                ProxyKind::Socks5 => format!("{goal} user:canary"),
            };
            assert_eq!(middleman.asked(), [expected]);
            let log = engine.stop().await;
            assert!(log.contains(&format!("connected to {host} {goal} through ")), "{log}");
            assert!(!log.contains("canary") && !log.contains("dXNlc"), "{log}");
        }
    }
    let versions: Vec<_> = secure.seen(4).await.iter().map(|seen| seen.version).collect();
    assert_eq!(versions, [http::Version::HTTP_2; 4]);
}

#[tokio::test]
async fn prior_knowledge_goes_through_a_proxy() {
    let server = Server::start(Habits { prior: true, ..Habits::default() }).await;
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let middleman = Middleman::start(kind, Manner::Fine, server.address).await;
        let terms = Terms { http2: Http2::PriorKnowledge, ..through(proxy(kind, middleman.address)) };
        let engine = Engine::start(terms);
        let to = origin(Scheme::Http, "127.0.0.1", server.address);
        assert_eq!(engine.first(1, &to).await, Settlement::Delivered, "{kind:?}");
    }
}

#[tokio::test]
async fn a_fault_of_the_proxy_is_told_as_one() {
    let (_bound, nobody) = nobody();
    use Manner::{Closes, Hangs, Says};
    for (kind, manner, reason) in [
        (
            ProxyKind::Http,
            Says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
            "wants other credentials (407)",
        ),
        (ProxyKind::Http, Says(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), "answered CONNECT with 502"),
        (ProxyKind::Http, Says(b"SSH-2.0-x\r\n\r\n"), "does not speak HTTP"),
        (ProxyKind::Http, Says(&[b'x'; 20_000]), "answered CONNECT without end"),
        (ProxyKind::Http, Closes, "closed the connection"),
        (ProxyKind::Http, Hangs, "does not answer; start it, or name another (proxy)"),
        (ProxyKind::Socks5, Says(&[5, 0xff]), "wants other credentials"),
        (ProxyKind::Socks5, Says(b"HTTP/1.1 400 x\r\n\r\n"), "does not speak SOCKS5"),
        (ProxyKind::Socks5, Says(&[5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0]), "answered: connection refused"),
        (
            ProxyKind::Socks5,
            Says(&[5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0]),
            "answered: not allowed by its rules",
        ),
        (ProxyKind::Socks5, Closes, "closed the connection"),
        (ProxyKind::Socks5, Hangs, "does not answer; start it, or name another (proxy)"),
    ] {
        let middleman = Middleman::start(kind, manner, nobody).await;
        let proxy = proxy(kind, middleman.address);
        let expected = format!("the proxy {proxy}: {reason}");
        let terms = Terms { connect_timeout: Duration::from_millis(500), ..through(proxy) };
        let settlement = Engine::start(terms).first(1, &origin(Scheme::Http, "127.0.0.1", nobody)).await;
        assert_eq!(deferred(&settlement), expected, "{manner:?}");
    }
    let engine = Engine::start(through(proxy(ProxyKind::Socks5, nobody)));
    let settlement = engine.first(1, &origin(Scheme::Https, "127.0.0.1", nobody)).await;
    assert_eq!(
        deferred(&settlement),
        format!("the proxy socks5://{nobody}: connection refused; start it, or name another (proxy)")
    );
}

#[tokio::test]
async fn the_egress_rules_hold_before_a_proxy_is_asked() {
    let (_bound, nobody) = nobody();
    let middleman = Middleman::start(ProxyKind::Http, Manner::Fine, nobody).await;
    let book = Book::new(through(proxy(ProxyKind::Http, middleman.address)), Vec::new());
    let engine = Engine::of(book, Egress { allow: Vec::new(), ..loopback() });
    for (number, host) in [(1, "127.0.0.1"), (2, "hook.localhost"), (3, "169.254.169.254")] {
        let settlement = engine.first(number, &origin(Scheme::Https, host, nobody)).await;
        assert!(failed(&settlement).starts_with("egress-denied: "), "{host} {settlement:?}");
    }
    let id = engine.send(post(4, &origin(Scheme::Https, "no-such-name.invalid", nobody)), b"").await;
    let settlements = engine.spool.settled(id, 1).await;
    assert!(matches!(settlements[0], Settlement::Again { .. }), "resolved here: {settlements:?}");
    assert_eq!(middleman.asked(), [""; 0]);
}

#[tokio::test]
async fn a_name_that_is_unknown_here_is_not_charged_to_the_destination() {
    let server = Server::start(Habits::default()).await;
    let middleman = Middleman::start(ProxyKind::Http, Manner::Fine, server.address).await;
    let schedule = Schedule { retry: vec![Duration::from_secs(3600)], ..Schedule::default() };
    let limits = Limits { breaker: 1, ..Terms::default().limits };
    let terms = through(proxy(ProxyKind::Http, middleman.address));
    let engine = Engine::start(Terms { schedule, limits, ..terms });
    let to = origin(Scheme::Http, "no-such-name.invalid", server.address);
    let settlement = engine.first(1, &to).await;
    assert!(matches!(settlement, Settlement::Again { .. }), "{settlement:?}");
    let own = Post { trust: Trust::Operator, ..post(2, &to) };
    assert_eq!(engine.first_of(own).await, Settlement::Delivered);
}
