//! What a search leaves in the lines that it wants, so that it leaps over all others.
//!
//! Taking lines apart takes twenty times as long as looking for a text in them. Whoever is
//! looked for is named where something is wanted, letter by letter: where one of the names
//! is missing nothing is wanted, and nothing is taken apart. That a name is there says
//! nothing yet.

use super::parts::Wanted;
use memchr::memmem;

/// See the module.
pub(super) struct Traces(Vec<Trace>);

struct Trace {
    first: memmem::Finder<'static>,
    last: memmem::FinderRev<'static>,
}

impl Traces {
    /// Those of what is looked for; none where everything is wanted.
    pub fn of(wanted: &Wanted) -> Traces {
        let Wanted { session, post, destination, peer } = wanted;
        let texts = [
            session.clone(),
            post.map(|id| id.message.to_string()),
            destination.as_ref().map(|(host, _)| host.clone()),
            peer.as_deref().map(|peer| address(peer).to_owned()),
        ];
        let trace = |text: String| Trace {
            first: memmem::Finder::new(&text).into_owned(),
            last: memmem::FinderRev::new(&text).into_owned(),
        };
        Traces(texts.into_iter().flatten().map(trace).collect())
    }

    /// Behind which octet nothing begins that is wanted; nothing where nothing is wanted at all.
    pub fn last(&self, octets: &[u8]) -> Option<usize> {
        // The way forward is the faster one.
        if self.0.iter().any(|trace| trace.first.find(octets).is_none()) {
            return None;
        }
        let last = self.0.iter().filter_map(|trace| trace.last.rfind(octets)).min();
        Some(last.unwrap_or(octets.len()))
    }
}

/// As much of an address as stands in lines however it was written: without brackets, and
/// without what follows the last colon, which may be a port.
fn address(peer: &str) -> &str {
    let bare = peer.split(['[', ']']).max_by_key(|piece| piece.len()).unwrap_or_default();
    bare.rsplit_once(':').map_or(bare, |(address, _)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_however_it_was_written() {
        for (peer, text) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:25", "192.0.2.7"),
            ("2001:db8::7", "2001:db8:"),
            ("2001:db8::7:3", "2001:db8::7"),
            ("[2001:db8::7]:3", "2001:db8:"),
            ("::1", ":"),
            ("/run/x.sock", "/run/x.sock"),
        ] {
            assert_eq!(address(peer), text);
        }
    }

    #[test]
    fn all_traces_have_to_be_there() {
        let peer = |text: &str| Wanted { peer: Some(text.to_owned()), ..Wanted::default() };
        let both = Wanted { session: Some("S1".to_owned()), ..peer("192.0.2.7") };
        assert_eq!(Traces::of(&Wanted::default()).last(b"x"), Some(1));
        assert_eq!(Traces::of(&peer("192.0.2.7")).last(b"- 192.0.2.7 192.0.2.7 -"), Some(12));
        assert_eq!(Traces::of(&both).last(b"S1 192.0.2.8"), None);
        assert_eq!(Traces::of(&both).last(b"S1 192.0.2.7 S1 S1"), Some(3));
    }
}
