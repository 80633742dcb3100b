//! lettre, as its documentation sends mail.
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::{Message, SmtpTransport, Transport};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, sender, recipient, body, headers @ ..] = arguments.as_slice() else {
        return Err("usage: HOST PORT SENDER RECIPIENT BODY HEADER ...".into());
    };
    let mut message = Message::builder().from(sender.parse()?).to(recipient.parse()?).subject("post");
    for header in headers {
        let (name, value) = header.split_once(": ").ok_or("a header without a value")?;
        let name = HeaderName::new_from_ascii(name.to_owned())?;
        message = message.raw_header(HeaderValue::new(name, value.to_owned()));
    }
    let message = message.body(std::fs::read_to_string(body)?)?;
    SmtpTransport::builder_dangerous(host).port(port.parse()?).build().send(&message)?;
    Ok(())
}
