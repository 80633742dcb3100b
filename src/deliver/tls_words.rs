//! Why TLS with a destination failed, in words that say what to mend.

use rustls::{AlertDescription, CertificateError, Error};
use std::io;

/// Names of a certificate that are shown: it may have hundreds.
const NAMES: usize = 5;

/// The reason when something else was spoken.
const NO_TLS: &str = "what came back is not TLS";

/// The reason of a failed handshake; `plain` is the scheme without TLS.
pub(super) fn explain(error: &io::Error, plain: &str) -> String {
    match (fault(error), error.kind()) {
        (Some(fault), _) if fault == NO_TLS => format!("{fault}; is it {plain} there?"),
        (Some(fault), _) => fault,
        (None, io::ErrorKind::UnexpectedEof) => "the connection was closed in the handshake".to_owned(),
        (None, io::ErrorKind::ConnectionReset) => "the connection was reset in the handshake".to_owned(),
        (None, _) => error.to_string(),
    }
}

/// The reason of a failed session, when TLS itself is what failed.
pub(super) fn fault(error: &io::Error) -> Option<String> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())?;
    Some(match inner {
        Error::InvalidCertificate(certificate) => of_certificate(certificate),
        Error::AlertReceived(alert) => format!("the receiver refused the handshake: {}", of_alert(*alert)),
        Error::PeerIncompatible(reason) => format!("no common version or cipher: {reason:?}"),
        Error::InvalidMessage(_) => NO_TLS.to_owned(),
        Error::NoApplicationProtocol => "the receiver speaks none of the HTTP versions offered".to_owned(),
        other => other.to_string(),
    })
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "the certificate is not trusted: unknown issuer".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the certificate has expired{}", date(" on ", error))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate is not valid yet{}", date(", only from ", error))
        }
        CertificateError::Revoked => "the certificate was revoked".to_owned(),
        CertificateError::NotValidForName => "the certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("the certificate is for another name: {}", names(presented))
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not for servers".to_owned()
        }
        other => format!("the certificate is not trusted: {other}"),
    }
}

/// The day a certificate begins or ends to be valid, as `2026-01-31`.
fn date(before: &str, error: &CertificateError) -> String {
    let at = match error {
        CertificateError::ExpiredContext { not_after, .. } => not_after,
        CertificateError::NotValidYetContext { not_before, .. } => not_before,
        _ => return String::new(),
    };
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let day = jiff::Timestamp::from_second(seconds);
    day.map_or_else(|_| String::new(), |day| format!("{before}{}", day.strftime("%Y-%m-%d")))
}

/// The names in a certificate, as rustls shows them: `DnsName("a.example")`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    let mut shown: Vec<_> = presented.iter().take(NAMES).map(bare).collect();
    if presented.is_empty() {
        shown.push("it has none".to_owned());
    } else if presented.len() > NAMES {
        shown.push(format!("and {} more", presented.len() - NAMES));
    }
    shown.join(", ")
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it wants a client certificate; set client_cert and client_key".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => {
            format!(
                "it does not accept our client certificate, or there is none: see client_cert ({alert:?})"
            )
        }
        AlertDescription::ProtocolVersion => "it speaks another version of TLS".to_owned(),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            format!("nothing in common, or no client_cert and client_key where it wants them ({alert:?})")
        }
        AlertDescription::UnrecognisedName => "it does not know the name".to_owned(),
        AlertDescription::NoApplicationProtocol => "it speaks none of the HTTP versions offered".to_owned(),
        other => format!("{other:?}"),
    }
}
