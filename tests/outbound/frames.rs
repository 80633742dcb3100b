//! HTTP/2 by hand: frames as octets, for receivers that misuse them.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// One connection.
pub struct Wire(TcpStream);

impl Wire {
    /// Reads the client's preface and says our settings (RFC 9113 section 3.4).
    pub async fn begin(&mut self, settings: &[u8]) {
        let mut preface = [0; 24];
        self.0.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        self.write(SETTINGS, 0, 0, settings).await;
    }

    /// Writes a frame; says whether the other side still takes it.
    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.0.write_all(&frame(kind, flags, stream, payload)).await.is_ok()
    }

    /// The next frame, or none at the end.
    pub async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(id), payload })
    }

    /// The id of the next request that is complete; settings and pings are
    /// acknowledged on the way.
    pub async fn request(&mut self) -> Option<u32> {
        loop {
            let frame = self.read().await?;
            match frame.kind {
                SETTINGS | PING if frame.flags & ACK == 0 => {
                    let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                    self.write(frame.kind, ACK, 0, payload).await;
                }
                HEADERS | DATA if frame.flags & END_STREAM != 0 => return Some(frame.stream),
                _ => {}
            }
        }
    }

    /// `200` without a body.
    pub async fn answer(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]).await;
    }

    /// Answers all requests that come.
    pub async fn answer_all(&mut self) {
        while let Some(stream) = self.request().await {
            self.answer(stream).await;
        }
    }

    /// Writes the same octets until the other side takes no more; says how many
    /// it took, up to `most`.
    pub async fn flood(&mut self, octets: &[u8], most: usize) -> usize {
        let (mut read, mut write) = self.0.split();
        let flood = async {
            let mut taken = 0;
            while taken < most && write.write_all(octets).await.is_ok() {
                taken += octets.len();
            }
            taken
        };
        // Who reads nothing would be stopped by the window of TCP alone.
        let drain = async {
            let mut buffer = vec![0; 64 * 1024];
            while !matches!(read.read(&mut buffer).await, Ok(0) | Err(_)) {}
        };
        tokio::pin!(flood);
        tokio::select! {
            taken = &mut flood => taken,
            () = drain => flood.await,
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A receiver of which each connection, numbered from 0, is handled by `script`.
pub struct Frames {
    pub address: SocketAddr,
    connections: watch::Receiver<usize>,
    ended: watch::Receiver<usize>,
}

impl Frames {
    pub async fn start<F>(script: impl Fn(usize, Wire) -> F + Send + Sync + 'static) -> Frames
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, connections) = watch::channel(0);
        let (ends, ended) = watch::channel(0);
        let ends = Arc::new(ends);
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                accepted.send_replace(connection + 1);
                let work = script(connection, Wire(socket));
                let ends = Arc::clone(&ends);
                tokio::spawn(async move {
                    work.await;
                    ends.send_modify(|ended| *ended += 1);
                });
            }
        });
        Frames { address, connections, ended }
    }

    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Waits until the script of so many connections has ended.
    pub async fn ended(&self, count: usize) {
        let mut ended = self.ended.clone();
        let enough = ended.wait_for(|ended| *ended >= count);
        crate::within_deadline(&format!("{count} ended connections"), enough).await.unwrap();
    }
}
