//! HTTP/1.1: what counts of a response, and how long one is waited for.

use crate::support::receiver::{Act, Receiver, raw};
use crate::support::{destination, post};
use crate::{Engine, attempt, deferred, origin, quick};
use postgate::deliver::lane::Limits;
use postgate::deliver::ruling::{Ruling, Verdicts};
use postgate::deliver::terms::{Http2, Terms};
use postgate::post::Scheme;
use postgate::spool::Settlement;
use regex::Regex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

fn single(terms: Terms) -> Terms {
    Terms { limits: Limits { max_connections: 1, ..terms.limits }, ..terms }
}

#[tokio::test]
async fn the_first_final_response_counts_and_what_follows_ends_the_connection() {
    const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const REFUSAL: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    for (response, is_kept) in [
        (FINE.to_owned(), true),
        (format!("HTTP/1.1 100 Continue\r\n\r\n{FINE}"), true),
        (format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{FINE}"), true),
        (format!("{FINE}{REFUSAL}"), false),
        (format!("{FINE}garbage"), false),
        (format!("{}text{REFUSAL}", FINE.replace(": 0", ": 4")), false),
    ] {
        let script = response.clone();
        let receiver = Receiver::start(move |_| vec![raw(&script)]).await;
        let engine = Engine::start(single(quick()));
        let to = destination(receiver.address);
        for number in 0..2 {
            assert_eq!(engine.first(number, &to).await, Settlement::Delivered, "{response:?}");
        }
        assert_eq!(receiver.connections(), if is_kept { 1 } else { 2 }, "{response:?}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    for response in
        ["<html>fine</html>\r\n", "200 OK\r\n\r\n", "HTTP/0.9 200 OK\r\n\r\n", "\0\0\0\0\0\0\r\n\r\n"]
    {
        let receiver = Receiver::start(move |_| vec![raw(response), Act::Close]).await;
        let settlement = attempt(quick(), &destination(receiver.address)).await;
        assert!(deferred(&settlement).starts_with("the response is not HTTP"), "{response:?} {settlement:?}");
    }
}

/// A receiver that reads little at a time, with a break before each piece, and
/// then answers.
async fn slow_reader(piece: usize, pause: Duration, http2: Http2) -> std::net::SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        match http2 {
            Http2::PriorKnowledge => read_slowly_2(socket, piece, pause).await,
            _ => read_slowly(socket, piece, pause).await,
        }
    });
    address
}

async fn read_slowly(mut socket: TcpStream, piece: usize, pause: Duration) {
    let mut buffer = vec![0; piece];
    let mut end = Vec::new();
    while !end.ends_with(b"the end") {
        sleep(pause).await;
        let read = socket.read(&mut buffer).await.unwrap();
        end.extend_from_slice(&buffer[..read]);
        end.drain(..end.len().saturating_sub(7));
    }
    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let _ = socket.read(&mut buffer).await;
}

async fn read_slowly_2(socket: TcpStream, piece: usize, pause: Duration) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut read = 0;
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                read += data.len();
                if read >= piece {
                    read = 0;
                    sleep(pause).await;
                }
            }
            respond.send_response(http::Response::new(()), true).unwrap();
        });
    }
}

#[tokio::test]
async fn an_upload_that_goes_on_takes_its_time() {
    let (response_timeout, pause) = (Duration::from_millis(400), Duration::from_millis(20));
    let mut body = vec![b'x'; 8 * 1024 * 1024];
    body.extend_from_slice(b"the end");
    for http2 in [Http2::Auto, Http2::PriorKnowledge] {
        let address = slow_reader(128 * 1024, pause, http2).await;
        let engine = Engine::start(Terms { response_timeout, http2, ..quick() });
        let began = Instant::now();
        let id = engine.send(post(1, &origin(Scheme::Http, "127.0.0.1", address)), &body).await;
        assert_eq!(engine.spool.settled(id, 1).await, [Settlement::Delivered], "{http2:?}");
        assert!(began.elapsed() > 2 * response_timeout, "{http2:?}: too fast to prove anything");
    }
}

/// A receiver may answer in part, or in full, before it has read the request.
#[tokio::test]
async fn an_upload_goes_on_beside_its_response_and_behind_it() {
    for (length, early, late) in [(4, "te", "xt"), (0, "", "")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{early}");
            socket.write_all(response.as_bytes()).await.unwrap();
            let (mut buffer, mut end) = (vec![0; 64 * 1024], Vec::new());
            while !end.ends_with(b"the end") {
                let read = socket.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the request is cut off");
                end.extend_from_slice(&buffer[..read]);
                end.drain(..end.len().saturating_sub(7));
            }
            socket.write_all(late.as_bytes()).await.unwrap();
        });
        let mut body = vec![b'x'; 8 * 1024 * 1024];
        body.extend_from_slice(b"the end");
        let engine = Engine::start(quick());
        let id = engine.send(post(1, &origin(Scheme::Http, "127.0.0.1", address)), &body).await;
        assert_eq!(engine.spool.settled(id, 1).await, [Settlement::Delivered], "{length}");
        receiver.await.unwrap();
    }
}

/// One that had the time to look at what it got may have acted on it.
#[tokio::test]
async fn an_upload_that_breaks_off_late_is_for_the_schedule() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        assert!(socket.read(&mut buffer).await.unwrap() > 0);
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        assert!(socket.read(&mut buffer).await.unwrap() > 0);
        sleep(Duration::from_millis(300)).await;
        socket.set_zero_linger().unwrap();
        drop(socket);
        read_slowly(listener.accept().await.unwrap().0, 64 * 1024, Duration::ZERO).await;
    });
    let engine = Engine::start(single(quick()));
    let to = origin(Scheme::Http, "127.0.0.1", address);
    assert_eq!(engine.first(1, &to).await, Settlement::Delivered);
    let body = [&vec![b'x'; 8 * 1024 * 1024][..], b"the end"].concat();
    let id = engine.send(post(2, &to), &body).await;
    let settlements = engine.spool.settled(id, 2).await;
    assert_eq!(deferred(&settlements[0]), "connection reset before the response");
    assert_eq!(settlements[1], Settlement::Delivered);
    drop(engine);
    receiver.await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_stops_reading_is_cut_at_the_end_of_the_attempt() {
    let address = slow_reader(1, Duration::from_secs(3600), Http2::Off).await;
    let (response_timeout, total_timeout) = (Duration::from_millis(50), Duration::from_millis(400));
    let engine = Engine::start(Terms { response_timeout, total_timeout, ..quick() });
    let to = origin(Scheme::Http, "127.0.0.1", address);
    let id = engine.send(post(1, &to), &vec![b'x'; 16 * 1024 * 1024]).await;
    let settlements = engine.spool.settled(id, 1).await;
    assert_eq!(deferred(&settlements[0]), "timed out sending the request after 400 ms");
}

#[tokio::test]
async fn the_time_for_the_response_begins_when_the_request_is_written() {
    let receiver = Receiver::start(|_| vec![Act::Hang]).await;
    let response_timeout = Duration::from_millis(200);
    let began = Instant::now();
    let settlement = attempt(Terms { response_timeout, ..quick() }, &destination(receiver.address)).await;
    assert_eq!(deferred(&settlement), "timed out waiting for the response head after 200 ms");
    assert!(began.elapsed() < 5 * response_timeout, "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_text_of_a_response_is_there_for_those_who_read_it() {
    let long = format!("{}the pattern", "x".repeat(60_000));
    let answer = move |status: u16, text: &str| {
        raw(&format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{text}", text.len()))
    };
    let text = long.clone();
    let receiver = Receiver::start(move |_| vec![answer(200, &text)]).await;
    let matching = vec![(Regex::new("the pattern").unwrap(), Ruling::Fail)];
    let verdicts = Arc::new(Verdicts { body_matches: matching, ..Verdicts::default() });
    let settlement = attempt(Terms { verdicts, ..quick() }, &destination(receiver.address)).await;
    assert!(matches!(settlement, Settlement::Failed { .. }), "{settlement:?}");

    let receiver = Receiver::start(move |_| vec![answer(422, "no such\r\nfield\u{1b}")]).await;
    let settlement = attempt(quick(), &destination(receiver.address)).await;
    let Settlement::Failed { last } = settlement else { panic!("{settlement:?}") };
    assert_eq!(last.excerpt.trim_end(), "no such  field");
}
