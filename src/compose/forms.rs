//! Every way to write a URL as a recipient, for people who have to pick one.
//!
//! The inverse of `address`; a test sends each form through it. The classic
//! form comes first although only a third of all mail libraries pass it on,
//! because it is the one people look for; `clients.md` ranks the others.

use super::endpoint::Endpoint;
use super::{Options, target};
use crate::envelope::{Refusal, Target};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use std::fmt::Write as _;

/// Most octets of a domain name (RFC 1035 section 3.1), without the root.
const MAX_DOMAIN: usize = 253;
/// Most octets of a label (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// The name and text of every form in which a post to `url` can be addressed
/// through a gateway that answers to `gateway_domain`. Forms that cannot hold
/// this URL are left out. Refuses a URL that could not be posted to,
/// `553 5.1.3` with the reason.
pub fn forms(url: &str, gateway_domain: &str) -> Result<Vec<(&'static str, String)>, Refusal> {
    if let Err(reason) = url.parse::<Endpoint>() {
        return Err(Refusal::new(553, (1, 3), reason.to_string()));
    }
    let labels = labels(url, gateway_domain);
    let mut forms = vec![("direct", format!("post@{url}"))];
    if labels.len() <= MAX_DOMAIN {
        forms.push(("labels", format!("post@{labels}")));
    }
    forms.push(("encoded", format!("post+{}@{gateway_domain}", BASE64URL_NOPAD.encode(url.as_bytes()))));
    forms.push(("escaped", format!("post={}@{gateway_domain}", escape(url))));
    forms.push(("header", format!("post@{gateway_domain} and X-Postgate-Url: {url}")));
    forms.push(("quoted", format!("\"post:{}\"@{gateway_domain}", url.replace('"', "\\\""))));
    forms.push(("literal", format!("post@[{url}]")));
    // A URL can look like another form, or as if a mail library had cut it: with a
    // lone `]`, with `@http` or the gateway's own domain at its end.
    let options = Options { gateway_domains: vec![gateway_domain.to_owned()], ..Options::default() };
    let aim = Ok(Target::Direct { method: "POST".to_owned(), url: url.to_owned() });
    forms.retain(|(name, text)| *name == "header" || target(&options, text) == aim);
    Ok(forms)
}

fn labels(url: &str, gateway_domain: &str) -> String {
    let encoded = BASE32_NOPAD.encode(url.as_bytes()).to_ascii_lowercase();
    let mut domain = String::with_capacity(encoded.len() + gateway_domain.len() + 16);
    for (at, char) in encoded.chars().enumerate() {
        if at > 0 && at % MAX_LABEL == 0 {
            domain.push('.');
        }
        domain.push(char);
    }
    format!("{domain}.u.{gateway_domain}")
}

fn escape(url: &str) -> String {
    let mut escaped = String::with_capacity(url.len() * 2);
    for byte in url.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "={byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_leads_back_to_the_url() {
        let options = Options { gateway_domains: vec!["gw.example".to_owned()], ..Options::default() };
        let long = format!("https://h.example/{}", "x".repeat(2000));
        for (url, count) in [
            ("https://shop.example/hook", 7),
            ("https://user:p%40ss@shop.example:8443/a/b?x=1&y=a%20b@c=?", 7),
            ("http://[2001:db8::1]:8080/[x]", 7),
            ("https://h/a]", 5),
            ("https://h/a@https", 6),
            ("http://.u.gw.example", 6),
            ("https://h/\"q\"?[\"]", 7),
            ("http://bücher.example/ü", 7),
            (long.as_str(), 6),
        ] {
            let forms = forms(url, "gw.example").unwrap();
            assert_eq!(forms.len(), count, "{url}");
            for (name, address) in forms {
                let expected = match name {
                    "header" => Target::Header { method: "POST".to_owned() },
                    _ => Target::Direct { method: "POST".to_owned(), url: url.to_owned() },
                };
                let address = address.split(" and X-Postgate-Url").next().unwrap();
                assert_eq!(target(&options, address), Ok(expected), "{name} {address}");
            }
        }
    }

    #[test]
    fn a_bad_url_has_no_forms() {
        assert_eq!(forms("ftp://h/", "gw").unwrap_err().code, 553);
    }
}
