//! Signing keys, auth profiles and the relay of reports, key by key.

use super::super::secret::Secret;
use super::super::settings::{Auth, Bounce, Proof, SigningKey};
use super::super::walk::Section;
use super::super::words::{ProofKind, Word as _};
use super::{check_url, take_name};
use crate::compose::is_reserved;
use crate::deliver::profile::Place;
use crate::deliver::sign::{self, KeySettings, Scheme};
use http::{HeaderName, HeaderValue};
use std::sync::Arc;

/// Keys that belong to some schemes only.
const OF_SCHEMES: &[(&str, &[Scheme])] = &[
    ("header", &[Scheme::HmacHex]),
    ("prefix", &[Scheme::HmacHex]),
    ("key_id", &[Scheme::HttpSignature, Scheme::Postal]),
    ("certificate_url", &[Scheme::Sns]),
    ("signature_version", &[Scheme::Sns]),
    ("parameter", &[Scheme::SecretParameter]),
];

/// Keys that belong to one type of auth profile only.
const OF_TYPES: &[(&str, ProofKind)] = &[
    ("username", ProofKind::Basic),
    ("password", ProofKind::Basic),
    ("token", ProofKind::Bearer),
    ("header", ProofKind::Header),
    ("value", ProofKind::Header),
    ("token_url", ProofKind::OAuth2),
    ("client_id", ProofKind::OAuth2),
    ("client_secret", ProofKind::OAuth2),
    ("scope", ProofKind::OAuth2),
    ("audience", ProofKind::OAuth2),
    ("credentials", ProofKind::OAuth2),
];

pub(super) fn signing_key(mut section: Section<'_>) -> Option<SigningKey> {
    let name = take_name(&mut section, "\"main\"");
    let scheme =
        if section.has("scheme") { section.take_optional("scheme") } else { Some(Scheme::default()) };
    let is_known = scheme.is_some();
    let scheme = scheme.unwrap_or_default();
    let mut secrets = Vec::<Secret>::new();
    section.take_one_or_more("secrets", &mut secrets);
    let mut origins = Vec::new();
    section.take_list("origins", &mut origins);
    let settings = KeySettings {
        name: name.clone().unwrap_or_default(),
        scheme,
        secrets: secrets.iter().map(|secret| secret.value.reveal().to_owned()).collect::<Vec<_>>().into(),
        header: section.take_optional("header"),
        prefix: section.take_optional("prefix"),
        key_id: section.take_optional("key_id"),
        certificate_url: section.take_optional("certificate_url"),
        signature_version: section.take_optional("signature_version"),
        parameter: section.take_optional("parameter"),
        origins,
    };
    if is_known {
        let others = OF_SCHEMES.iter().filter(|(_, of)| !of.contains(&scheme));
        let others: Vec<_> = others.map(|(key, _)| *key).collect();
        section.refuse(&others, &format!("means nothing to scheme = {:?}; remove it", scheme.word()));
    }
    let key = is_known.then(|| build(&section, &settings)).flatten();
    section.finish(&[]);
    let KeySettings {
        header, prefix, key_id, certificate_url, signature_version, parameter, origins, ..
    } = settings;
    Some(SigningKey {
        name: name?,
        scheme,
        secrets,
        header,
        prefix,
        key_id,
        certificate_url,
        signature_version,
        parameter,
        origins,
        key: key?,
    })
}

/// Makes the key; what is wrong with a secret is said at its place.
fn build(section: &Section<'_>, settings: &KeySettings) -> Option<Arc<sign::SigningKey>> {
    let count = section.count("secrets");
    if count == 0 {
        section.complain("secrets", "a key needs one; add secrets = [{ file = \"whsec.txt\" }]");
    }
    // One of them could not be read.
    if count == 0 || count != settings.secrets.len() {
        return None;
    }
    // Of one secret the ids of the others say nothing.
    let key_id = settings.key_id.as_ref().and_then(|ids| ids.split(',').next()).map(str::to_owned);
    let alone = KeySettings { key_id, ..settings.clone() };
    let mut are_good = true;
    for (index, secret) in settings.secrets.iter().enumerate() {
        let secrets = vec![secret.clone()].into();
        if let Err(text) = sign::SigningKey::new(KeySettings { secrets, ..alone.clone() }) {
            // What is wrong begins with the key that is, if it is no secret.
            match key_of(&text) {
                Some(key) => section.complain(key, text),
                None => section.complain_element("secrets", index, text),
            }
            are_good = false;
        }
    }
    let key = are_good.then(|| sign::SigningKey::new(settings.clone()))?;
    key.map(Arc::new).map_err(|text| section.complain(key_of(&text).unwrap_or("secrets"), text)).ok()
}

/// The key that a complaint about a signing key is about, if it is no secret.
fn key_of(complaint: &str) -> Option<&'static str> {
    let keys = OF_SCHEMES.iter().map(|(key, _)| *key);
    keys.into_iter().find(|key| complaint.starts_with(&format!("{key} ")))
}

pub(super) fn auth(mut section: Section<'_>) -> Option<Auth> {
    let name = take_name(&mut section, "\"crm\"");
    let kind = section.take_required::<ProofKind>("type", "\"bearer\"");
    let proof = kind.and_then(|kind| {
        let others: Vec<_> = OF_TYPES.iter().filter(|(_, of)| *of != kind).map(|(key, _)| *key).collect();
        section.refuse(&others, &format!("means nothing to type = {:?}; remove it", kind.word()));
        proof(&mut section, kind)
    });
    let mut origins = Vec::new();
    section.take_list("origins", &mut origins);
    match kind {
        // Without a type nothing can be said about the other keys.
        None => {}
        Some(_) => section.finish(&[]),
    }
    Some(Auth { name: name?, proof: proof?, origins })
}

fn proof(section: &mut Section<'_>, kind: ProofKind) -> Option<Proof> {
    match kind {
        ProofKind::Basic => {
            let username = section.take_required::<String>("username", "\"gateway\"");
            if username
                .as_deref()
                .is_some_and(|name| name.contains(':') || name.chars().any(char::is_control))
            {
                section.complain("username", "a colon or a control character cannot be sent; choose another");
            }
            let password = section.take_required("password", "{ env = \"PASSWORD\" }");
            Some(Proof::Basic { username: username?, password: password? })
        }
        ProofKind::Bearer => {
            let token = section.take_required("token", "{ env = \"TOKEN\" }");
            check_header_value(section, "token", token.as_ref());
            Some(Proof::Bearer { token: token? })
        }
        ProofKind::Header => {
            let header = section.take_required::<String>("header", "\"X-Api-Key\"");
            check_header_name(section, header.as_deref());
            let value = section.take_required("value", "{ env = \"API_KEY\" }");
            check_header_value(section, "value", value.as_ref());
            Some(Proof::Header { header: header?, value: value? })
        }
        ProofKind::OAuth2 => oauth2(section),
    }
}

fn oauth2(section: &mut Section<'_>) -> Option<Proof> {
    let token_url = section.take_required::<String>("token_url", "\"https://id.example/token\"");
    if let Some(Err(text)) = token_url.as_deref().map(|url| check_url(url, "https://id.example/token")) {
        section.complain("token_url", text);
    }
    let client_id = section.take_required("client_id", "\"gateway\"");
    let client_secret = section.take_required("client_secret", "{ env = \"CLIENT_SECRET\" }");
    let scope = section.take_optional("scope");
    let audience = section.take_optional("audience");
    let mut credentials = Place::default();
    section.take("credentials", &mut credentials);
    Some(Proof::OAuth2 {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope,
        audience,
        credentials,
    })
}

pub(super) fn bounce(mut section: Section<'_>) -> Bounce {
    let mut bounce = Bounce::default();
    section.take_some("relay", &mut bounce.relay);
    bounce.from = section.take_optional("from");
    let is_address = |text: &str| {
        let parts = text.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty());
        parts.is_some()
            && !text.contains(|char: char| char.is_whitespace() || char.is_control() || "<>".contains(char))
    };
    if let Some(from) = bounce.from.as_deref().filter(|from| !is_address(from)) {
        let text = format!("{from:?} is no address; write one such as \"postmaster@gateway.example\"");
        section.complain("from", text);
    }
    section.finish(&[]);
    bounce
}

/// What is wrong with the name of a header that a request is to have.
fn check_header_name(section: &Section<'_>, name: Option<&str>) {
    let Some(name) = name else { return };
    let lower = name.to_ascii_lowercase();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        let text = format!("{name:?} is not a header name; write letters, digits and hyphens");
        section.complain("header", text);
    } else if lower != "authorization" && (is_reserved(&lower) || lower == "idempotency-key") {
        section.complain("header", format!("{name} is the gateway's own to set; choose another"));
    }
}

/// What is wrong with a secret that stands in a header.
fn check_header_value(section: &Section<'_>, key: &str, secret: Option<&Secret>) {
    if secret.is_some_and(|secret| HeaderValue::from_str(secret.value.reveal()).is_err()) {
        section.complain(key, "the secret holds a control character; write one line of text");
    }
}
