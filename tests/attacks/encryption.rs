//! Section 2.3, what concerns TLS and is not in `wire.rs`.

use crate::authority::Authority;
use crate::front::{Front, within};
use crate::support::tools::is_there;
use postgate::smtp::{Options, TlsUse};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

/// rustls does not renegotiate, neither as a client; `openssl` does when it is told `R`.
#[tokio::test]
async fn a_renegotiation_is_refused_and_stores_nothing() {
    if !is_there("openssl") {
        return;
    }
    let mut options = Options {
        tls: TlsUse::Implicit,
        certificates: Some(Authority::new().certificates()),
        ..Options::default()
    };
    // The client waits for what it is not given.
    options.timeouts.idle = Duration::from_secs(2);
    let front = Front::start(options).await;
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_2", "-crlf", "-connect", &front.address.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().unwrap();
    let output = tokio::task::spawn_blocking(move || {
        let (mut input, mut said) = (client.stdin.take().unwrap(), Vec::new());
        let mut output = BufReader::new(client.stdout.take().unwrap());
        // A greeting on its way would meet the renegotiation.
        while !said.windows(4).any(|text| text == b"220 ") {
            assert!(output.read_until(b'\n', &mut said).unwrap() > 0, "no greeting");
        }
        input.write_all(b"R\n").unwrap();
        // The input stays open until the connection has ended.
        let rest = client.wait_with_output().unwrap();
        drop(input);
        output.read_to_end(&mut said).unwrap();
        [said, rest.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    });
    let text = within(output).await.unwrap();
    assert!(text.contains("RENEGOTIATING") && text.contains("no renegotiation"), "{text}");
    assert_eq!(front.count(), 0);
    front.stop().await;
}
