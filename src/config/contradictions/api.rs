//! What would let strangers steer the gateway over HTTP, or read a key on its way.
//!
//! An API off loopback has keys and TLS, or the gateway does not start: there is no
//! setting that says otherwise. Behind a proxy that does TLS it stays on loopback.

use super::super::settings::{ApiAddress, ApiTls, Config};
use super::super::walk::Section;
use super::is_whole;
use crate::intake::Role;
use crate::tenant::Tenant;
use std::collections::HashSet;

pub(super) fn find(config: &Config, root: &mut Section<'_>) {
    listener(config, root);
    keys(config, root);
}

fn listener(config: &Config, root: &mut Section<'_>) {
    let has_keys = !config.api_keys.is_empty() || !is_whole(root, "api_key", 0);
    let Some(section) = root.table("api") else { return };
    if let Some(ApiAddress::At(address)) = config.api.address
        && !address.ip().is_loopback()
    {
        if !has_keys {
            let text = "can be reached by others, who could do everything without a key; add an [[api_key]], \
                        which postgate key makes, or write an address on loopback";
            section.complain("address", format!("{address} {text}"));
        }
        if config.api.tls == ApiTls::None {
            let text = "can be reached by others, and keys would be sent in the clear; add tls = \"implicit\", \
                        or write an address on loopback, with a proxy before it that does TLS";
            section.complain("address", format!("{address} {text}"));
        }
    }
    let has_certificate = !config.tls.certificate.is_empty() || config.tls.self_signed;
    if config.api.tls == ApiTls::Implicit && !has_certificate {
        let text = "there is no certificate; add [tls] certificate and key, or self_signed = true for tests";
        section.complain("tls", text);
    }
}

fn keys(config: &Config, root: &mut Section<'_>) {
    let sections = root.tables("api_key").unwrap_or_default();
    if sections.len() != config.api_keys.len() {
        return;
    }
    let (mut names, mut digests) = (HashSet::new(), HashSet::new());
    for (key, section) in config.api_keys.iter().zip(sections) {
        if !names.insert(&key.name) {
            section.complain("name", format!("{} is a key already; remove one", key.name));
        }
        if !digests.insert(&key.digest) {
            section.complain("digest", "this is the digest of another key as well; remove one");
        }
        let is_known = config.tenants.iter().any(|tenant| tenant.name == key.tenant);
        if key.role == Role::Admin && section.has("tenant") {
            let text = "a key of the role admin is of all tenants; remove it, or write role = \"operator\"";
            section.complain("tenant", text);
        } else if key.tenant != Tenant::default().as_str() && !is_known {
            let text = "is not a tenant; add a [[tenant]] of this name or remove the key";
            section.complain("tenant", format!("{:?} {text}", key.tenant));
        }
    }
}
