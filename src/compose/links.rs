//! Addresses under which attachments can be fetched from this gateway.
//!
//! `{base}/attachments/{post}/{number}?expires={seconds}&signature={hexadecimal}`:
//! the signature (HMAC-SHA256, RFC 2104) over all that stands before it is the
//! permission, so no key of the API is needed, and nobody can make an address of
//! another post, of another attachment or with a later end. An attachment has no
//! copy: it is read from the raw message when somebody asks for it. Whether its post
//! is still there is the spool's to say.

use crate::post::{Destination, PostId, Timestamp};
use crate::url_pattern::UrlPattern;
use data_encoding::HEXLOWER_PERMISSIVE;
use ring::hmac;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// What signs addresses, and proves that they were signed.
#[derive(Clone)]
pub struct LinkKey(hmac::Key);

impl LinkKey {
    /// Octets of a key.
    pub const LENGTH: usize = 32;

    /// The key that these octets are.
    pub fn new(octets: &[u8; LinkKey::LENGTH]) -> LinkKey {
        LinkKey(hmac::Key::new(hmac::HMAC_SHA256, octets))
    }

    /// Whether an address was made here, and is good for the time being. In constant
    /// time for all signatures.
    pub fn check(&self, link: &Link, signature: &str, now: Timestamp) -> Result<(), BadLink> {
        let signature = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()).map_err(|_| BadLink::Forged)?;
        hmac::verify(&self.0, link.to_string().as_bytes(), &signature).map_err(|_| BadLink::Forged)?;
        if link.expires <= now.0 / 1000 { Err(BadLink::Expired) } else { Ok(()) }
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey")
    }
}

/// What an address says, but for where the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whose attachment.
    pub id: PostId,
    /// Which one, from 1: the order of the `json` payload.
    pub number: usize,
    /// When it ends, in seconds since the Unix epoch.
    pub expires: u64,
}

impl fmt::Display for Link {
    /// Path and query, as far as they are signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/attachments/{}/{}?expires={}", self.id, self.number, self.expires)
    }
}

/// Why nothing is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLink {
    /// It was not made here, or was changed.
    Forged,
    /// Its time is over.
    Expired,
}

/// What composing needs to name addresses.
#[derive(Clone, Debug)]
pub struct Links {
    /// What signs them.
    pub key: LinkKey,
    /// Where receivers reach this gateway: a URL without a slash at its end.
    pub base: String,
    /// How long a post can live, from when its age begins; so long an address is good.
    pub life: Duration,
    /// For which origins a post has a second body, with addresses in place of
    /// attachments; the most specific pattern counts.
    pub fallback: HashMap<UrlPattern, bool>,
}

impl Links {
    /// The address of the `number`th attachment (from 1) of a post whose age begins
    /// at `ages_from`.
    pub fn url(&self, id: PostId, number: usize, ages_from: Timestamp) -> String {
        let link = Link { id, number, expires: ages_from.after(self.life).0.div_ceil(1000) };
        let signed = link.to_string();
        let signature = hmac::sign(&self.key.0, signed.as_bytes());
        format!("{}{signed}&signature={}", self.base, HEXLOWER_PERMISSIVE.encode(signature.as_ref()))
    }

    /// Whether a post for `destination` has a second body.
    pub fn is_fallback(&self, destination: &Destination) -> bool {
        let is_any = self.fallback.values().any(|is_wanted| *is_wanted);
        let patterns = || UrlPattern::fitting(destination).into_iter().rev();
        is_any && patterns().find_map(|pattern| self.fallback.get(&pattern)) == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::{MessageId, Scheme};
    use crate::tenant::Tenant;

    const NOW: Timestamp = Timestamp(1_769_860_800_123);
    const ID: PostId = PostId { message: MessageId(0x52a0_0000_0000_0002), number: 1 };

    fn links(fallback: &[(&str, bool)]) -> Links {
        Links {
            key: LinkKey::new(&[7; LinkKey::LENGTH]),
            base: "https://gateway.example".to_owned(),
            life: Duration::from_secs(60),
            fallback: fallback.iter().map(|(pattern, is_on)| (pattern.parse().unwrap(), *is_on)).collect(),
        }
    }

    #[test]
    fn an_address_is_good_until_its_end_and_only_as_it_was_made() {
        let links = links(&[]);
        let url = links.url(ID, 2, NOW);
        let (signed, signature) = url.split_once("&signature=").unwrap();
        let link = Link { id: ID, number: 2, expires: 1_769_860_861 };
        assert_eq!(signed, format!("https://gateway.example{link}"));
        assert_eq!(
            signed.split_once("example").unwrap().1,
            "/attachments/52a0000000000002-1/2?expires=1769860861"
        );
        let check = |link: Link, signature: &str, seconds| {
            links.key.check(&link, signature, NOW.after(Duration::from_secs(seconds)))
        };
        assert_eq!(check(link, signature, 0), Ok(()));
        assert_eq!(check(link, &signature.to_uppercase(), 60), Ok(()));
        assert_eq!(check(link, signature, 61), Err(BadLink::Expired));
        let other = LinkKey::new(&[8; LinkKey::LENGTH]);
        assert_eq!(other.check(&link, signature, NOW), Err(BadLink::Forged));
        let whole = PostId { number: 0, ..ID };
        for (link, signature) in [
            (Link { id: whole, ..link }, signature),
            (Link { number: 1, ..link }, signature),
            (Link { number: 22, ..link }, signature),
            (Link { expires: link.expires + 1, ..link }, signature),
            (link, ""),
            (link, "xx"),
            (link, signature.get(..62).unwrap()),
        ] {
            assert_eq!(check(link, signature, 0), Err(BadLink::Forged), "{link} {signature}");
            assert_eq!(check(link, signature, 3600), Err(BadLink::Forged), "its end is nobody's business");
        }
        assert!(!format!("{links:?}").contains('7'));
    }

    #[test]
    fn the_most_specific_pattern_says_whether_there_is_a_second_body() {
        let destination = Destination {
            tenant: Tenant::default(),
            scheme: Scheme::Https,
            host: "a.shop.example".to_owned(),
            port: 443,
            webhook: None,
        };
        for (fallback, expected) in [
            (&[][..], false),
            (&[("*", false)], false),
            (&[("*", true)], true),
            (&[("*", true), ("https://*.shop.example", false)], false),
            (&[("*", false), ("https://*.shop.example", true)], true),
            (&[("https://*.shop.example", true), ("https://a.shop.example", false)], false),
            (&[("https://b.shop.example", true)], false),
            (&[("http://*.shop.example", true)], false),
        ] {
            assert_eq!(links(fallback).is_fallback(&destination), expected, "{fallback:?}");
        }
    }
}
