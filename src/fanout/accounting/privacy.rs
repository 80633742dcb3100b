//! Who may know the addresses in a record.
//!
//! They stand in columns of their own, and anywhere in what others wrote: answers,
//! reasons, URLs. There they are found by how they look; rather too much is hidden than
//! too little.

use data_encoding::HEXLOWER;
use percent_encoding::percent_decode_str;
use ring::hmac;
use std::borrow::Cow;

/// Who may know the addresses in a record.
#[derive(Clone, Debug, Default)]
pub enum Privacy {
    /// Everybody: they stay.
    #[default]
    Retain,
    /// Nobody: their local part is `***`.
    Redact,
    /// Whoever knows them: their local part is the HMAC-SHA256 of the whole address in
    /// lower case.
    Hmac(hmac::Key),
}

impl Privacy {
    /// The third with a secret.
    pub fn hmac_sha256(secret: &str) -> Privacy {
        Privacy::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// An address as it may be shown. Of direct forms, whose address is a URL, what stands
    /// in that.
    pub(super) fn address<'a>(&self, address: Cow<'a, str>) -> Cow<'a, str> {
        if address.contains("://") {
            return self.prose(address);
        }
        let Some((local, domain)) = address.rsplit_once('@') else { return address };
        match self.hidden(local, domain) {
            Some(hidden) if !local.is_empty() => Cow::Owned(format!("{hidden}@{domain}")),
            _ => address,
        }
    }

    /// A text with the addresses in it as they may be shown.
    pub(super) fn prose<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        if matches!(self, Privacy::Retain) || next_at(&text).is_none() {
            return text;
        }
        let (mut shown, mut rest) = (String::new(), &*text);
        while let Some((before, at, behind)) = next_at(rest) {
            let (kept, local) = before.split_at(start_of_local(before));
            let (domain, left) = behind.split_at(end_of_domain(behind));
            let is_address = !local.is_empty() && domain.contains(['.', '[']);
            let local = percent_decode_str(local).decode_utf8_lossy();
            match is_address.then(|| self.hidden(&local, domain)).flatten() {
                Some(hidden) => {
                    shown.extend([kept, &hidden, at, domain]);
                    rest = left;
                }
                None => {
                    shown.extend([before, at]);
                    rest = behind;
                }
            }
        }
        Cow::Owned(shown + rest)
    }

    /// What stands for a local part.
    fn hidden(&self, local: &str, domain: &str) -> Option<String> {
        match self {
            Privacy::Retain => None,
            Privacy::Redact => Some("***".to_owned()),
            Privacy::Hmac(key) => {
                let address = format!("{local}@{domain}").to_lowercase();
                Some(HEXLOWER.encode(hmac::sign(key, address.as_bytes()).as_ref()))
            }
        }
    }
}

/// The next `@`, plain or coded as in URLs, with what stands before and behind it.
fn next_at(text: &str) -> Option<(&str, &str, &str)> {
    // Both in one pass, which ends here: to look for each to the end of the text would cost
    // the square of its length.
    let mut signs = text.match_indices(['@', '%']).map(|(at, _)| text.split_at(at));
    signs.find_map(|(before, rest)| {
        let sign = ["@", "%40"].into_iter().find(|sign| rest.starts_with(sign))?;
        let (sign, behind) = rest.split_at(sign.len());
        Some((before, sign, behind))
    })
}

/// Where a local part begins that ends with this text (RFC 5321 section 4.1.2). In a URL
/// what takes it apart belongs to no address.
fn start_of_local(text: &str) -> usize {
    if let Some(quoted) = text.strip_suffix('"')
        && let Some(start) = quoted.rfind('"')
    {
        return start;
    }
    let word = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    let is_url = word.contains("://");
    let belongs = |char: char| match char {
        '/' | '?' | '&' | '=' | '#' => !is_url,
        char => char.is_alphanumeric() || "!$%'*+-^_`{|}~.".contains(char),
    };
    text.trim_end_matches(belongs).len()
}

/// Where the domain ends that this text begins with; a full stop behind it is the
/// sentence's.
fn end_of_domain(text: &str) -> usize {
    if let Some(literal) = text.strip_prefix('[') {
        let end = literal.find(|char: char| char.is_whitespace() || matches!(char, '[' | ']' | '@'));
        let is_closed = |end: &usize| literal.get(*end..).is_some_and(|rest| rest.starts_with(']'));
        return end.filter(is_closed).map_or(0, |end| end + 2);
    }
    let end = text.find(|char: char| !char.is_alphanumeric() && !matches!(char, '.' | '-'));
    let domain = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    domain.trim_end_matches('.').len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use std::time::Duration;

    #[test]
    fn addresses_are_found_wherever_they_stand() {
        for (text, redacted) in [
            (
                "smtp; 550 5.1.1 <jane@shop.example>: no such user",
                "smtp; 550 5.1.1 <***@shop.example>: no such user",
            ),
            ("no jane@shop.example. Nor jim@a.example", "no ***@shop.example. Nor ***@a.example"),
            ("\"jane doe\"@shop.example is full", "***@shop.example is full"),
            ("bounce+jane=shop.example@list.example", "***@list.example"),
            ("rcpt=jane@[192.0.2.1] is unknown", "***@[192.0.2.1] is unknown"),
            ("j\u{e4}ne@b\u{fc}cher.example", "***@b\u{fc}cher.example"),
            ("https://a.example/x?to=jane@shop.example&b=1", "https://a.example/x?to=***@shop.example&b=1"),
            ("https://a.example/x?to=ja%2Bne%40shop.example", "https://a.example/x?to=***%40shop.example"),
            ("post@https://a.example/x", "post@https://a.example/x"),
            ("at 10 @ night, @home, a@b", "at 10 @ night, @home, a@b"),
            ("@@a.example", "@@a.example"),
            ("jane@[a jim@a.example", "jane@[a ***@a.example"),
            ("100%40 jane%40a.example%4", "100%40 ***%40a.example%4"),
        ] {
            assert_eq!(Privacy::Redact.prose(text.into()), redacted);
            assert_eq!(Privacy::Retain.prose(text.into()), text);
        }
        // The same in an address and in a text, however it is written.
        let key = Privacy::hmac_sha256("k");
        let address = key.address("jane+x@shop.example".into());
        for (text, shown) in [
            ("no Jane+X@Shop.example here", format!("no {}@Shop.example here", &address[..64])),
            (
                "https://a.example/?a=jane%2bx%40shop.example",
                format!("https://a.example/?a={}%40shop.example", &address[..64]),
            ),
        ] {
            assert_eq!(key.prose(text.into()), shown);
        }
    }
    #[test]
    fn a_text_costs_what_its_length_does() {
        for part in ["@", "%40", "%", "a@", "@[", "[%40", "\"@", "\"", "://@", "a@b.c "] {
            let text = part.repeat((128 << 10) / part.len());
            let before = clock::worked();
            assert!(!Privacy::Redact.prose(text.into()).is_empty());
            assert!(clock::worked() - before < Duration::from_secs(2), "{part}");
        }
    }
}
