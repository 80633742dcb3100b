//! Values that are one of a few words.
//!
//! The words are the file's and the spec's; reading answers with the list of
//! them, and tells a word of the full product that this version lacks from one
//! that nobody knows.

use super::settings::{
    ApiTls, Attachments, Backend, BareNewline, LogFormat, LogLevel, Method, Mode, ProtocolLevel,
};
use super::value::{Value, text};
use crate::compose::{CheckFallback, CheckFormat, Fallback, Order};
use crate::deliver::profile::Place;
use crate::deliver::ruling::Ruling;
use crate::deliver::sign::Scheme;
use crate::deliver::terms::{Compress, Http2, TlsVersion};
use crate::intake::Role;
use crate::smtp::{Protocol, TlsUse};
use crate::spool::postgres::Risk;
use toml::de::DeValue;

/// A closed set of words for a value.
pub(super) trait Word: Sized + Copy + PartialEq + 'static {
    /// Every word with its meaning.
    const WORDS: &'static [(&'static str, Self)];
    /// Words of the full product that this version does not know.
    const LATER: &'static [&'static str] = &[];

    /// The word for it.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, meaning)| *meaning == self).map_or("", |(word, _)| word)
    }
}

impl<T: Word> Value for T {
    fn read(value: &DeValue<'_>) -> Result<T, String> {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
        let wanted = match words.as_slice() {
            [only] => only.clone(),
            [words @ .., last] => format!("{} or {last}", words.join(", ")),
            [] => String::new(),
        };
        let text = text(value, &wanted)?;
        if let Some((_, meaning)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*meaning);
        }
        let later =
            T::LATER.iter().any(|word| text == *word || word.ends_with(':') && text.starts_with(word));
        let cause = if later { "is not supported by this version" } else { "is not known here" };
        Err(format!("{text:?} {cause}; write {wanted}"))
    }
}

impl Word for Backend {
    const WORDS: &'static [(&'static str, Backend)] =
        &[("embedded", Backend::Embedded), ("postgres", Backend::Postgres)];
}

impl Word for Risk {
    const WORDS: &'static [(&'static str, Risk)] = &[
        (Risk::Fsync.name(), Risk::Fsync),
        (Risk::FullPageWrites.name(), Risk::FullPageWrites),
        (Risk::AsynchronousStandbys.name(), Risk::AsynchronousStandbys),
    ];
}

impl Word for Protocol {
    const WORDS: &'static [(&'static str, Protocol)] = &[("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)];
}

impl Word for TlsUse {
    const WORDS: &'static [(&'static str, TlsUse)] =
        &[("none", TlsUse::None), ("starttls", TlsUse::StartTls), ("implicit", TlsUse::Implicit)];
}

impl Word for ApiTls {
    const WORDS: &'static [(&'static str, ApiTls)] =
        &[("none", ApiTls::None), ("implicit", ApiTls::Implicit)];
}

impl Word for Role {
    const WORDS: &'static [(&'static str, Role)] = &[
        ("read", Role::Read),
        ("inject", Role::Inject),
        ("operator", Role::Operator),
        ("admin", Role::Admin),
    ];
}

impl Word for BareNewline {
    const WORDS: &'static [(&'static str, BareNewline)] =
        &[("normalize", BareNewline::Normalize), ("refuse", BareNewline::Refuse), ("lf", BareNewline::Lf)];
}

impl Word for Method {
    const WORDS: &'static [(&'static str, Method)] = &[
        ("post", Method::Post),
        ("put", Method::Put),
        ("patch", Method::Patch),
        ("get", Method::Get),
        ("delete", Method::Delete),
    ];
}

impl Word for LogLevel {
    const WORDS: &'static [(&'static str, LogLevel)] = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, LogFormat)] =
        &[("text", LogFormat::Text), ("json", LogFormat::Json)];
}

impl Word for ProtocolLevel {
    const WORDS: &'static [(&'static str, ProtocolLevel)] =
        &[("off", ProtocolLevel::Off), ("errors", ProtocolLevel::Errors), ("full", ProtocolLevel::Full)];
}

impl Word for Attachments {
    const WORDS: &'static [(&'static str, Attachments)] =
        &[("inline", Attachments::Inline), ("url", Attachments::Url), ("omit", Attachments::Omit)];
}

impl Word for Mode {
    const WORDS: &'static [(&'static str, Mode)] = &[("async", Mode::Async), ("sync", Mode::Sync)];
}

impl Word for Fallback {
    const WORDS: &'static [(&'static str, Fallback)] =
        &[("queue", Fallback::Queue), ("refuse", Fallback::Refuse)];
}

impl Word for CheckFormat {
    const WORDS: &'static [(&'static str, CheckFormat)] =
        &[("json", CheckFormat::Json), ("form", CheckFormat::Form)];
}

impl Word for CheckFallback {
    const WORDS: &'static [(&'static str, CheckFallback)] =
        &[("defer", CheckFallback::Defer), ("accept", CheckFallback::Accept)];
}

impl Word for Order {
    const WORDS: &'static [(&'static str, Order)] = &[("any", Order::Any), ("fifo", Order::Fifo)];
}

impl Word for Http2 {
    const WORDS: &'static [(&'static str, Http2)] =
        &[("auto", Http2::Auto), ("off", Http2::Off), ("prior-knowledge", Http2::PriorKnowledge)];
}

impl Word for TlsVersion {
    const WORDS: &'static [(&'static str, TlsVersion)] =
        &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
}

impl Word for Compress {
    const WORDS: &'static [(&'static str, Compress)] =
        &[("none", Compress::No), ("gzip", Compress::Gzip), ("zstd", Compress::Zstd)];
}

impl Word for Ruling {
    const WORDS: &'static [(&'static str, Ruling)] = &[
        ("retry", Ruling::Retry),
        ("fail", Ruling::Fail),
        ("hold", Ruling::Hold),
        ("pause", Ruling::Pause),
        ("done", Ruling::Done),
        ("retry-with-urls", Ruling::RetryWithUrls),
    ];
}

impl Word for Scheme {
    const WORDS: &'static [(&'static str, Scheme)] = &[
        ("standard-webhooks", Scheme::StandardWebhooks),
        ("hmac-hex", Scheme::HmacHex),
        ("http-signature", Scheme::HttpSignature),
        ("postal", Scheme::Postal),
        ("secret-parameter", Scheme::SecretParameter),
        ("mailgun", Scheme::Mailgun),
        ("sendgrid", Scheme::SendGrid),
        ("sns", Scheme::Sns),
    ];
}

/// `type` of an auth profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofKind {
    Basic,
    Bearer,
    Header,
    OAuth2,
}

impl Word for ProofKind {
    const WORDS: &'static [(&'static str, ProofKind)] = &[
        ("basic", ProofKind::Basic),
        ("bearer", ProofKind::Bearer),
        ("header", ProofKind::Header),
        ("oauth2", ProofKind::OAuth2),
    ];
}

impl Word for Place {
    const WORDS: &'static [(&'static str, Place)] = &[("header", Place::Header), ("body", Place::Body)];
}
