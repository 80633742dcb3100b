//! Section 2.9: open relays, circles and floods.

use crate::support::hostile::{Act, Hostile, Sender, honest, response, write};
use crate::support::name_server::{PUBLIC, in_a_world_of_its_own};
use crate::support::program::{CONFIG, Client, Gateway, Reply, postgate};
use std::fs;
use std::net::SocketAddr;
use tempfile::TempDir;

/// All addresses at which anything listens in this world: `/proc/net/tcp`, whose
/// addresses are hexadecimal in the machine's order.
fn listening() -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    // State 0A is LISTEN.
    fields.filter(|fields| fields[3] == "0A").map(|fields| fields[1].to_owned()).collect()
}

#[test]
fn l1_a_default_install_is_for_the_machine_alone() {
    in_a_world_of_its_own("loops::l1_a_default_install_is_for_the_machine_alone", || {
        let directory = TempDir::new().unwrap();
        assert!(listening().is_empty());
        // No configuration at all: in a world of its own no port is taken.
        let gateway = Gateway::listening(Gateway::spawn(&mut postgate(directory.path()), directory.path()));
        let addresses = listening();
        assert!(!addresses.is_empty());
        assert!(addresses.iter().all(|address| address.starts_with("0100007F:")), "{addresses:?}");
        assert_eq!(gateway.smtp, "127.0.0.1:2525".parse().unwrap());
    });
}

#[test]
fn l1_strangers_may_use_routes_and_nothing_else() {
    in_a_world_of_its_own("loops::l1_strangers_may_use_routes_and_nothing_else", || {
        let receiver = Hostile::start(honest(9));
        let route =
            format!("[[route]]\nrecipient = \"*@h.example\"\nurl = \"http://{}/\"\n", receiver.address);
        let sender = Sender::start(&format!("{}\n{route}", CONFIG.replace("127.0.0.1:0", "0.0.0.0:0")));
        let port = sender.gateway.smtp.port();
        // Who talks to a public address of the machine comes from it, too.
        let outside = SocketAddr::from((PUBLIC, port));
        let url = format!("http://{}/", receiver.address);
        for recipient in [
            format!("post@{url}"),
            format!("\"post:{url}\"@postgate.local"),
            format!("post@[{url}]"),
            "post@postgate.local".to_owned(),
            "post+aHR0cDovL2guZXhhbXBsZS8@postgate.local".to_owned(),
            "post=http=3A=2F=2Fh.example=2F@postgate.local".to_owned(),
        ] {
            let refused = Client::connect(outside).unwrap().envelope(std::slice::from_ref(&recipient));
            let is_right =
                matches!(&refused, Err(Reply::Said(line)) if line.starts_with("550 5.7.1 only clients that"));
            assert!(is_right, "{recipient}: {refused:?}");
        }
        for recipient in ["someone@elsewhere.example", "postmaster", "a%b@c", "a!b", "@x:a@b"] {
            let refused = Client::connect(outside).unwrap().envelope(&[recipient.to_owned()]);
            assert!(
                matches!(&refused, Err(Reply::Said(line)) if line.starts_with("550 5.1.")),
                "{recipient}: {refused:?}"
            );
        }
        let message = b"Subject: x\r\n\r\nhello\r\n";
        let reply = Client::connect(outside).unwrap().send(&["any@h.example".to_owned()], message);
        assert!(sender.verdict(reply.id(), 1).starts_with("delivered "));
        // The machine itself may.
        let reply = sender.send(&receiver.recipient(), "X-XsHttp-Content-Type: a/b\r\n\r\nhello\r\n");
        assert!(sender.verdict(reply.id(), 1).starts_with("delivered "));
    });
}

#[test]
fn l2_every_request_says_through_whom_it_came() {
    let receiver = Hostile::start(honest(9));
    let sender = Sender::start(CONFIG);
    assert!(sender.verdict(&sender.post(&receiver.recipient()), 1).starts_with("delivered "));
    let (_, request) = receiver.requests().pop().unwrap();
    assert!(request.only("CDN-Loop").starts_with("postgate"), "{}", request.head);
}

#[test]
fn l2_mail_that_went_through_fifty_hands_goes_through_no_more() {
    let receiver = Hostile::start(honest(9));
    let sender = Sender::start(CONFIG);
    let mail =
        |hops: usize| format!("{}Subject: x\r\n\r\nhello\r\n", "Received: from a by b; x\r\n".repeat(hops));
    let reply = sender.send(&receiver.recipient(), &mail(50));
    assert!(sender.verdict(reply.id(), 1).starts_with("delivered "));
    let reply = sender.send(&receiver.recipient(), &mail(51));
    assert!(matches!(&reply, Reply::Said(line) if line.starts_with("554 5.4.6 ")), "{reply:?}");
    assert_eq!(receiver.requests().len(), 1);
}

/// Hands in a message from this sender that will not be taken.
fn fail(sender: &Sender, receiver: &Hostile, reverse_path: &str, headers: &str) {
    let mut client = Client::connect(sender.gateway.smtp).unwrap();
    for (line, code) in [
        (format!("MAIL FROM:<{reverse_path}>"), "250 "),
        (format!("RCPT TO:<{}>", receiver.recipient()), "250 "),
        ("DATA".to_owned(), "354 "),
    ] {
        assert!(client.say(&line).unwrap().starts_with(code), "{line}");
    }
    let reply = client.say(&format!("X-XsHttp-Content-Type: text/plain\r\n{headers}\r\nhello\r\n."));
    let verdict = sender.verdict(Reply::Said(reply.unwrap()).id(), 1);
    assert!(verdict.starts_with("failed: 404 "), "{verdict}");
}

#[test]
fn l3_nobody_is_told_about_reports() {
    let receiver = Hostile::start(vec![Act::Request, response("404 Not Found", "")]);
    let relay = Hostile::start(vec![write("220 relay.example ESMTP\r\n"), Act::Hang]);
    let sender = Sender::start(&format!("{CONFIG}\n[bounce]\nrelay = \"smtp://{}\"\n", relay.address));
    fail(&sender, &receiver, "", "");
    fail(&sender, &receiver, "daemon@app.example", "Auto-Submitted: auto-replied\r\n");
    fail(&sender, &receiver, "", "Auto-Submitted: no\r\n");
    assert!(relay.heard().is_empty(), "{:?}", relay.heard());
    // Somebody is told.
    fail(&sender, &receiver, "app@app.example", "");
    relay.until("a report", |heard| heard.len() == 1);
}

#[test]
fn l4_l5_a_flood_of_one_tenant_is_put_off() {
    let receiver = Hostile::start(vec![]);
    let route = format!("[[route]]\nrecipient = \"*@h.example\"\nurl = \"http://{}/\"\n", receiver.address);
    let config =
        format!("{CONFIG}\n{route}\n[[tenant]]\nname = \"default\"\nrate = \"20/h\"\ndaily_limit = 25\n");
    let sender = Sender::start(&config);
    let mut client = Client::connect(sender.gateway.smtp).unwrap();
    let mut replies =
        (0..30).map(|_| client.send(&["bomb@h.example".to_owned()], b"Subject: x\r\n\r\nhello\r\n"));
    let accepted = replies.by_ref().take_while(Reply::is_accepted).count();
    assert_eq!(accepted, 20);
    for reply in replies {
        assert!(matches!(&reply, Reply::Said(line) if line.starts_with("451 4.7.1 ")), "{reply:?}");
    }
}
