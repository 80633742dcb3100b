//! Reading of secrets. No error shows what it is about. What they are read from leaves the
//! memory with its owner; keys that are ready to sign are ring's, which keeps them to itself.

use data_encoding::{BASE64, BASE64_NOPAD};
use ring::signature::{Ed25519KeyPair, RsaKeyPair};
use ring::{digest, hmac};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use zeroize::Zeroizing;

/// One secret of Standard Webhooks.
pub(super) enum Webhook {
    Symmetric(hmac::Key),
    Asymmetric(Ed25519KeyPair),
}

/// What the specification allows: 192 to 512 bits.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// Secrets of Standard Webhooks: `whsec_` and `whsk_`, then base64.
pub(super) fn webhook(secrets: &[String]) -> Result<Vec<Webhook>, String> {
    let read = |secret: &String| {
        let secret = secret.trim();
        if let Some(text) = secret.strip_prefix("whsec_") {
            let octets = base64("whsec_", text)?;
            if !LENGTHS.contains(&octets.len()) {
                return Err(format!(
                    "a whsec_ secret holds {} octets; it must hold 24 to 64, such as whsec_$(openssl rand \
                     -base64 32)",
                    octets.len()
                ));
            }
            return Ok(Webhook::Symmetric(hmac::Key::new(hmac::HMAC_SHA256, &octets)));
        }
        match secret.strip_prefix("whsk_") {
            Some(text) => ed25519(&base64("whsk_", text)?).map(Webhook::Asymmetric),
            None => {
                Err("a secret of standard-webhooks begins with whsec_ (HMAC-SHA256) or whsk_ (Ed25519), \
                         then base64"
                    .to_owned())
            }
        }
    };
    secrets.iter().map(read).collect()
}

fn base64(prefix: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let octets = BASE64_NOPAD.decode(text.trim_end_matches('=').as_bytes());
    octets.map(Zeroizing::new).map_err(|_| format!("what follows {prefix} is not base64"))
}

/// A seed of 32 octets, or seed and public key.
fn ed25519(octets: &[u8]) -> Result<Ed25519KeyPair, String> {
    let pair = match octets.split_at_checked(32) {
        Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
        Some((seed, public)) if public.len() == 32 => Ed25519KeyPair::from_seed_and_public_key(seed, public),
        _ => {
            let length = octets.len();
            return Err(format!("a whsk_ secret holds {length} octets; it must hold 32 (a seed) or 64"));
        }
    };
    pair.map_err(|_| "the two halves of a whsk_ secret do not belong together".to_owned())
}

impl Webhook {
    /// `v1,…` or `v1a,…` over the head and the body.
    pub(super) fn sign(&self, head: &[u8], body: &[u8]) -> String {
        match self {
            Webhook::Symmetric(key) => {
                let mut context = hmac::Context::with_key(key);
                context.update(head);
                context.update(body);
                format!("v1,{}", BASE64.encode(context.sign().as_ref()))
            }
            Webhook::Asymmetric(pair) => {
                format!("v1a,{}", BASE64.encode(pair.sign(&[head, body].concat()).as_ref()))
            }
        }
    }
}

/// Private keys with their ids: one of RSA, or several of Ed25519.
pub(super) enum Private {
    Rsa(String, Box<RsaKeyPair>),
    Ed25519(Vec<(String, Ed25519KeyPair)>),
}

/// Private keys in PEM, with an id each.
pub(super) fn private(secrets: &[String], ids: Vec<String>) -> Result<Private, String> {
    let mut rsa = Vec::new();
    let mut ed25519 = Vec::new();
    for (secret, id) in secrets.iter().zip(ids) {
        match pem(secret)? {
            Either::Rsa(pair) => rsa.push((id, pair)),
            Either::Ed25519(pair) => ed25519.push((id, pair)),
        }
    }
    match (rsa.pop(), rsa.is_empty(), ed25519.is_empty()) {
        (None, ..) => Ok(Private::Ed25519(ed25519)),
        (Some((id, pair)), true, true) => Ok(Private::Rsa(id, pair)),
        _ => Err("a request has room for one signature of an RSA key; publish the next key under another \
                  key_id, then change to it"
            .to_owned()),
    }
}

enum Either {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

fn pem(secret: &str) -> Result<Either, String> {
    let expected = "expected a private key in PEM, RSA of 2048 to 4096 bits or Ed25519";
    let key = PrivateKeyDer::from_pem_slice(secret.as_bytes());
    match key.map_err(|_| format!("a secret is no private key; {expected}"))? {
        PrivateKeyDer::Pkcs1(key) => {
            RsaKeyPair::from_der(key.secret_pkcs1_der()).map(|pair| Either::Rsa(Box::new(pair)))
        }
        PrivateKeyDer::Pkcs8(key) => {
            // OpenSSL writes Ed25519 keys without the public half.
            let octets = key.secret_pkcs8_der();
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(octets)
                .map(Either::Ed25519)
                .or_else(|_| RsaKeyPair::from_pkcs8(octets).map(|pair| Either::Rsa(Box::new(pair))))
        }
        _ => return Err(format!("a private key is of a kind that cannot sign here; {expected}")),
    }
    .map_err(|why| format!("a private key cannot be used ({why}); {expected}"))
}

impl Private {
    /// RSASSA-PKCS1-v1_5 with SHA-256, in base64.
    pub(super) fn rsa(pair: &RsaKeyPair, text: &[u8]) -> Option<String> {
        let mut signature = vec![0; pair.public().modulus_len()];
        // The result is no matter of chance: randomness only hides how long it takes.
        let random = ring::rand::SystemRandom::new();
        pair.sign(&ring::signature::RSA_PKCS1_SHA256, &random, text, &mut signature).ok()?;
        Some(BASE64.encode(&signature))
    }

    /// Pure Ed25519 (RFC 8032), in base64.
    pub(super) fn ed25519(pair: &Ed25519KeyPair, text: &[u8]) -> String {
        BASE64.encode(pair.sign(text).as_ref())
    }
}

/// A private key of the curve P-256.
pub(super) struct Ecdsa(Arc<dyn rustls::sign::SigningKey>);

/// Read from PEM. By way of rustls, which reads what `openssl ecparam` writes, too.
pub(super) fn ecdsa(secret: &str) -> Result<Ecdsa, String> {
    let expected = "expected a private key in PEM, ECDSA P-256";
    let key = PrivateKeyDer::from_pem_slice(secret.as_bytes())
        .map_err(|_| format!("a secret is no private key; {expected}"))?;
    let key = any_ecdsa_type(&key).ok().map(Ecdsa).filter(|key| key.sign(b"").is_some());
    key.ok_or_else(|| format!("a private key is of a kind that cannot sign here; {expected}"))
}

impl Ecdsa {
    /// ECDSA with SHA-256, ASN.1 in base64.
    pub(super) fn sign(&self, text: &[u8]) -> Option<String> {
        let signer = self.0.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])?;
        Some(BASE64.encode(&signer.sign(text).ok()?))
    }
}

/// The SHA-256 of a body in base64.
pub(super) fn sha256(body: &[u8]) -> String {
    BASE64.encode(digest::digest(&digest::SHA256, body).as_ref())
}
