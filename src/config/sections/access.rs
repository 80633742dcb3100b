//! Listeners, TLS, tenants, users and keys of the API, key by key.

use super::super::secret::Secret;
use super::super::settings::{ApiKey, Listener, Tenant, Tls, User, UserSecret};
use super::super::walk::Section;
use super::take_name;
use crate::intake::PasswordHash;

pub(super) fn listener(mut section: Section<'_>) -> Option<Listener> {
    let mut listener = Listener::default();
    let address = section.take_required("address", "\"127.0.0.1:2525\"");
    section.take("protocol", &mut listener.protocol);
    section.take("tls", &mut listener.tls);
    section.take("require_tls", &mut listener.require_tls);
    section.take("require_auth", &mut listener.require_auth);
    section.take("proxy_protocol", &mut listener.proxy_protocol);
    section.take("cram_md5", &mut listener.cram_md5);
    section.take("allow_plaintext_auth", &mut listener.allow_plaintext_auth);
    section.take("legacy_auth_keyword", &mut listener.legacy_auth_keyword);
    section.take("bare_newline", &mut listener.bare_newline);
    section.take_list("lf_networks", &mut listener.lf_networks);
    section.take("header_control", &mut listener.header_control);
    section.finish(&[]);
    Some(Listener { address: address?, ..listener })
}

pub(super) fn tls(mut section: Section<'_>) -> Tls {
    let mut tls = Tls::default();
    section.take_one_or_more("certificate", &mut tls.certificate);
    section.take_one_or_more("key", &mut tls.key);
    section.take("self_signed", &mut tls.self_signed);
    tls.client_ca = section.take_optional("client_ca");
    section.finish(&[]);
    tls
}

pub(super) fn tenant(mut section: Section<'_>) -> Option<Tenant> {
    let name = take_name(&mut section, "\"shop\"");
    let mut daily_limit = 0;
    section.take("daily_limit", &mut daily_limit);
    let rate = section.take_optional("rate");
    let mut may_post_to = Vec::new();
    section.take_list("may_post_to", &mut may_post_to);
    let mut header_control = true;
    section.take("header_control", &mut header_control);
    section.finish(&[]);
    Some(Tenant { name: name?, daily_limit, rate, may_post_to, header_control })
}

pub(super) fn user(mut section: Section<'_>) -> Option<User> {
    let name = take_name(&mut section, "\"erp\"");
    let secret = user_secret(&mut section);
    let mut tenant = crate::tenant::Tenant::default().as_str().to_owned();
    section.take("tenant", &mut tenant);
    let mut may_post_to = Vec::new();
    section.take_list("may_post_to", &mut may_post_to);
    let mut networks = Vec::new();
    section.take_list("networks", &mut networks);
    section.finish(&[]);
    Some(User { name: name?, secret: secret?, tenant, may_post_to, networks })
}

pub(super) fn api_key(mut section: Section<'_>) -> Option<ApiKey> {
    let name = take_name(&mut section, "\"ci\"");
    let written = section.take_required::<Secret>("digest", "\"sha256:…\", which postgate key makes");
    let digest = written.as_ref().map(|written| written.value.reveal().parse());
    if let Some(Err(wrong)) = &digest {
        section.complain("digest", format!("what stands here {wrong}"));
    }
    let role = section.take_required("role", "\"read\"");
    let mut tenant = crate::tenant::Tenant::default().as_str().to_owned();
    section.take("tenant", &mut tenant);
    section.finish(&[]);
    Some(ApiKey { name: name?, digest: digest?.ok()?, written: written?, role: role?, tenant })
}

/// `None` when there is one that cannot be used.
fn user_secret(section: &mut Section<'_>) -> Option<UserSecret> {
    let (has_password, has_hash) = (section.has("password"), section.has("password_hash"));
    let password = section.take_optional::<Secret>("password");
    let hash = section.take_optional::<Secret>("password_hash");
    if has_password && has_hash {
        section.complain("password_hash", "the user has a password already; remove one of the two");
    }
    if let Some(Err(wrong)) = hash.as_ref().map(|hash| hash.value.reveal().parse::<PasswordHash>()) {
        section.complain("password_hash", format!("what stands here {wrong}"));
    }
    match (has_password, has_hash) {
        (true, _) => password.map(UserSecret::Password),
        (false, true) => hash.map(UserSecret::Hash),
        (false, false) => Some(UserSecret::Certificate),
    }
}
