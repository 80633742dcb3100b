//! The configuration from outside: the reference is the defaults, and every
//! broken file of `config/bad` is answered with exactly its `.expected` text.
//! `UPDATE=1` rewrites those texts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use data_encoding::BASE64;
use postgate::config::{self, Config, Egress, Size, UserSecret, effective};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The reference with its commented-out keys in force.
fn reference_with_all_keys() -> String {
    let text = fs::read_to_string(repository("config/postgate.toml")).unwrap();
    let uncommented = |line: &str| match line.strip_prefix("# ") {
        Some(key) if key.starts_with("[[") || key.split(' ').nth(1) == Some("=") => key.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

/// The keys of a TOML text, each with its table's name.
fn keys(text: &str) -> Vec<String> {
    let mut table = String::new();
    let mut keys = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            table = line.split(']').next().unwrap().trim_start_matches('[').to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.starts_with(['#', ' '])
        {
            keys.push(format!("{table}.{key}"));
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn the_reference_equals_the_defaults() {
    let text = fs::read_to_string(repository("config/postgate.toml")).unwrap();
    assert_eq!(config::parse("postgate.toml", &text), Ok(Config::default()));
    assert_eq!(config::parse("empty.toml", ""), Ok(Config::default()));
}

#[test]
fn the_reference_shows_every_key() {
    let text = reference_with_all_keys();
    let config = config::parse("postgate.toml", &text).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(keys(&text), keys(&effective(&config)));
    assert_eq!(config.routes.len(), 2);
}

#[test]
fn without_a_file_loopback_destinations_are_allowed_and_nothing_else_differs() {
    let config = config::without_file();
    assert!(config.egress.allow.iter().any(|network| network.contains([127, 0, 0, 1].into())));
    assert_eq!(Config { egress: Egress::default(), ..config }, Config::default());
}

#[test]
fn what_is_in_force_reads_back_as_itself() {
    let text = r#"
        [server]
        hostname = "gateway.example"
        gateway_domains = ["Gate.example"]
        data_dir = "/var/lib/a \"b\""
        templates = "config/templates"
        trusted_proxies = ["10.1.2.3"]
        [[listener]]
        address = "[::]:25"
        bare_newline = "lf"
        lf_networks = ["10.1.2.3"]
        header_control = false
        [[listener]]
        address = "127.0.0.1:0"
        protocol = "lmtp"
        allow_plaintext_auth = true
        legacy_auth_keyword = false
        [[listener]]
        address = "unix:/run/postgate/a \"b\".sock"
        tls = "starttls"
        require_tls = true
        require_auth = true
        [[listener]]
        address = "systemd:smtp"
        tls = "implicit"
        proxy_protocol = true
        [tls]
        certificate = ["a.pem", "b.pem"]
        key = ["a.key", "b.key"]
        client_ca = "clients.pem"
        [[tenant]]
        name = "shop"
        daily_limit = 1000000
        rate = "200/s"
        may_post_to = ["https://*.shop.example", "http://10.1.2.3:8080"]
        header_control = false
        [[user]]
        name = "erp"
        password = { env = "PATH" }
        tenant = "shop"
        [[user]]
        name = "crm.example"
        may_post_to = ["https://shop.example"]
        networks = ["10.1.0.0/16"]
        [limits]
        message_size = "1000B"
        header_size = "1000B"
        connection_rate = "7/m"
        [[route]]
        recipient = "orders+*@hooks.example"
        url = "https://shop.example/in?a=%20"
        method = "put"
        payload = "template:slack"
        attachments = "url"
        inline_limit = "1000B"
        vars = { room = "a \\ b", "c d" = "" }
        reports = "besides"
        headers = { X-Source = "mail \\ post", "X-B" = "" }
        [[route]]
        recipient = "b@hooks.example"
        url = "https://shop.example/"
        sign_with = "main"
        auth = ""
        reports = true
        ordering = "fifo"
        attachments = "omit"
        mode = "sync"
        sync_timeout = "3s"
        sync_fallback = "refuse"
        [[route]]
        regex = '^order-(\\d+)@hooks\\.example$'
        priority = -3
        url = ["https://shop.example/1", "https://shop.example/2"]
        message_size = "500B"
        allow_from = ["*@example.com", "<>", "10.1.0.0/16"]
        check_url = "https://shop.example/check"
        check_format = "form"
        check_timeout = "700ms"
        check_fallback = "accept"
        check_cache = "0s"
        [delivery]
        total_connections = 100
        max_connections = 7
        rate = "50/s"
        retry = ["90s", "1500ms"]
        keep_alive = "0s"
        proxy = "socks5://[::1]:1080"
        auth = "crm"
        on = { "404" = "retry", "5xx" = "hold", "413" = "retry-with-urls", dns = "fail" }
        [[destination]]
        match = "https://*.shop.example:8443"
        max_connections = 3
        rate = ["50/s", "6000/15m", "1000000/d"]
        http2 = "prior-knowledge"
        total_timeout = "5m"
        adaptive_concurrency = false
        breaker = 0
        follow_redirects = 10
        proxy = "http://proxy.example:3128"
        ca = "config/bad/ca.pem"
        tls_min = "1.3"
        auth = ""
        headers = { X-Source = "mail" }
        sign_with = "main"
        compress = "zstd"
        on = {}
        body_matches = [{ pattern = "\"busy\"|\\d+", outcome = "pause" }, { pattern = "x", outcome = "done" }]
        [[destination]]
        match = "*"
        [[signing_key]]
        name = "main"
        scheme = "hmac-hex"
        secrets = [{ env = "PATH" }]
        header = "X-Signature"
        prefix = "sha256="
        origins = ["https://shop.example", "http://10.1.2.3:8080"]
        [[auth]]
        name = "crm"
        type = "oauth2"
        token_url = "https://id.example/token"
        client_id = "x"
        client_secret = { env = "PATH" }
        scope = "post"
        origins = ["https://*.crm.example", "*"]
        [bounce]
        relay = "smtp+starttls://relay.example:2587"
        from = "postmaster@gateway.example"
        [retention]
        held = "1d"
        [log]
        otlp = "http://127.0.0.1:4318"
        [api]
        address = "[::1]:0"
        public_url = "https://gateway.example/mail/"
        [egress]
        allow_ports = [443, 8443]
    "#;
    let config = config::parse("x.toml", text).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(config.server.gateway_domains, ["gate.example"]);
    assert_eq!(config.limits.message_size, Size(1000));
    let retry = vec![Duration::from_secs(90), Duration::from_millis(1500)];
    assert_eq!(config.delivery.terms.retry, Some(retry));
    assert_eq!(config.listeners.0.len(), 4);
    assert_eq!(config::parse("effective.toml", &effective(&config)), Ok(config));
}

#[test]
fn defaults_follow_the_limits_that_are_set() {
    let text = "[limits]\nmessage_size = \"100KiB\"\nconnections = 10\nclose_after_errors = 5\nidle_timeout = \"5s\"\n\
                [delivery]\ntotal_timeout = \"2s\"";
    let config = config::parse("x.toml", text).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(config.limits.header_size, config.limits.message_size);
    assert_eq!(config.limits.connections_per_address, 10);
    assert_eq!(config.limits.slow_after_errors, 5);
    assert_eq!(config.limits.busy_idle_timeout, Duration::from_secs(5));
    assert_eq!(config.delivery.terms.response_timeout, Some(Duration::from_secs(2)));
}

#[test]
fn secrets_are_masked() {
    let text = r#"
        [[route]]
        recipient = "orders@hooks.example"
        url = ["https://user:canary@shop.example/in?token=canary&a=b", "https://hooks.slack.com/services/T0/B0/canary"]
        check_url = "https://shop.example/check?api_key=canary"
        headers = { Authorization = "Bearer canary", X-Api-Key = "canary", X-Source = "mail" }
        payload = "template:pagerduty"
        vars = { routing_key = "canary", severity = "error", path = { env = "PATH" } }
        [[user]]
        name = "erp"
        password = "canary"
        [delivery]
        proxy = "http://user:canary@proxy.example:3128"
        headers = { X-Api-Token = "canary" }
        [[destination]]
        match = "https://shop.example"
        proxy = "socks5://user:canary@[::1]"
        headers = { Cookie = "canary" }
        [[signing_key]]
        name = "hex"
        scheme = "hmac-hex"
        secrets = ["canary", "canary-2"]
        [[auth]]
        name = "basic"
        type = "basic"
        username = "gateway"
        password = "canary"
        [[auth]]
        name = "bearer"
        type = "bearer"
        token = "canary"
        [[auth]]
        name = "header"
        type = "header"
        header = "X-Source"
        value = "canary"
        [[auth]]
        name = "oauth2"
        type = "oauth2"
        token_url = "https://user:canary@id.example/token"
        client_id = "x"
        client_secret = "canary"
        [bounce]
        relay = "smtps://user:canary@relay.example"
        [log]
        otlp = "https://user:canary@otlp.example"
        [[webhook]]
        url = "https://shop.example/events?key=canary"
        events = "*"
        secret = "canary-canary"
        headers = { X-Api-Key = "canary", X-Source = "mail" }
    "#;
    let config = config::parse("x.toml", text).unwrap_or_else(|wrong| panic!("{wrong}"));
    let written = effective(&config);
    assert!(!written.contains("canary") && written.contains("mail"), "{written}");
    assert!(!format!("{config:?}").contains("canary"), "{config:?}");
    assert!(written.contains("\"path\" = { env = \"PATH\" }"), "{written}");
    config::parse("effective.toml", &written).unwrap();
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

#[test]
fn client_certificates_must_fit_and_their_keys_be_closed_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for name in ["one", "two"] {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example")]).unwrap();
        fs::write(path(&format!("{name}.pem")), pem("CERTIFICATE", made.cert.der())).unwrap();
        let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
        fs::write(path(&format!("{name}.key")), key).unwrap();
        fs::set_permissions(path(&format!("{name}.key")), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let load = |certificate: &str, key: &str| {
        let text = format!(
            "[[destination]]\nmatch = \"https://a.example\"\nclient_cert = \"{}\"\nclient_key = \"{}\"",
            path(certificate),
            path(key)
        );
        config::parse("x.toml", &text).map_err(|complaints| complaints.to_string())
    };
    let config = load("one.pem", "one.key").unwrap();
    assert!(config.destinations[0].terms.tls().client.is_some());
    for (certificate, key, at, why) in [
        ("one.pem", "two.key", "x.toml:4:14: destination.client_key: ", "is not the key of client_cert"),
        ("one.pem", "one.pem", "x.toml:4:14: destination.client_key: ", "no private key"),
        ("one.key", "one.key", "x.toml:3:15: destination.client_cert: ", "no certificate"),
    ] {
        let complaint = load(certificate, key).unwrap_err();
        assert!(complaint.contains(at) && complaint.contains(why), "{complaint}");
    }
    fs::set_permissions(path("one.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let complaint = load("one.pem", "one.key").unwrap_err();
    assert!(complaint.contains("open to others (mode 644)"), "{complaint}");
    // What the files hold is part of the configuration: a reload sees it.
    fs::copy(path("two.pem"), path("one.pem")).unwrap();
    fs::copy(path("two.key"), path("one.key")).unwrap();
    fs::set_permissions(path("one.key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_ne!(load("one.pem", "one.key").unwrap(), config);
}

#[test]
fn broken_files_are_answered_with_exactly_their_complaints() {
    let mut files: Vec<_> =
        fs::read_dir(repository("config/bad")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 30, "only {} broken files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let said = match config::parse(name, &fs::read_to_string(&path).unwrap()) {
            Ok(_) => "accepted\n".to_owned(),
            Err(complaints) => format!("{complaints}\n"),
        };
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &said).unwrap();
        }
        if said == "accepted\n" || fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(said);
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.concat());
}

#[test]
fn a_named_file_must_be_there() {
    let complaints = config::load(Some(Path::new("/nowhere/postgate.toml"))).unwrap_err();
    assert!(complaints.to_string().starts_with("/nowhere/postgate.toml: cannot be read: "), "{complaints}");
}

#[test]
fn a_file_with_secrets_must_not_be_open_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postgate.toml");
    let load = |mode, line: &str| {
        fs::write(&path, format!("[[route]]\nrecipient = \"a@b\"\n{line}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        config::load(Some(&path)).map_err(|complaints| complaints.to_string())
    };
    let in_user = "url = \"https://h/\"\n[[user]]\nname = \"erp\"\npassword = \"canary\"";
    let in_url = "url = \"https://user:canary@h/\"";
    let in_check = "url = \"https://h/\"\ncheck_url = \"https://user:canary@h/\"";
    let in_header = "url = \"https://h/\"\nheaders = { X-Api-Key = \"canary\" }";
    let with = |more: &str| format!("url = \"https://h/\"\n{more}");
    let in_vars = "url = \"https://h/\"\nvars = { routing_key = \"canary\" }";
    let in_proxy = with("[delivery]\nproxy = \"http://user:canary@h:3128\"");
    let in_relay = with("[bounce]\nrelay = \"smtps://user:canary@h\"");
    let in_token = with("[[auth]]\nname = \"a\"\ntype = \"bearer\"\ntoken = \"canary\"");
    let in_key = with("[[signing_key]]\nname = \"a\"\nscheme = \"hmac-hex\"\nsecrets = [\"canary\"]");
    let in_spool = with("[spool]\nurl = \"postgres://user:canary@h/db\"");
    let in_others = [&in_proxy, &in_relay, &in_token, &in_key, &in_spool].map(String::as_str);
    for secret in [in_url, in_check, in_header, in_vars, in_user].into_iter().chain(in_others) {
        assert!(load(0o600, secret).is_ok());
        for mode in [0o660, 0o604] {
            let complaint = load(mode, secret).unwrap_err();
            assert!(complaint.contains("chmod 600") && !complaint.contains("canary"), "{complaint}");
        }
    }
    assert!(load(0o644, "url = \"https://h/\"").is_ok());
    assert!(load(0o644, &with("[delivery]\nproxy = \"http://h:3128\"")).is_ok());
    assert!(load(0o644, &with("[spool]\nurl = \"host=/run/postgresql user=postgate\"")).is_ok());
    // A secret that stands elsewhere makes nothing of the file itself.
    let elsewhere = "url = \"https://h/\"\n[[user]]\nname = \"erp\"\npassword = { env = \"PATH\" }";
    assert!(load(0o644, elsewhere).is_ok());
}

#[test]
fn secrets_are_read_from_the_environment_and_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("erp.password");
    let load = |mode, content: &str| {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let text = format!("[[user]]\nname = \"erp\"\npassword = {{ file = \"{}\" }}", path.display());
        config::parse("x.toml", &text).map_err(|complaints| complaints.to_string())
    };
    for (content, password) in [("canary", "canary"), ("canary\n", "canary"), ("ca nary\r\n", "ca nary")] {
        let config = load(0o600, content).unwrap();
        let UserSecret::Password(secret) = &config.users[0].secret else { panic!("not a password") };
        assert_eq!(secret.value.reveal(), password);
        assert!(!format!("{config:?}").contains("nary") && !effective(&config).contains("nary"));
    }
    for (mode, content, why) in [(0o644, "canary", "open to others (mode 644)"), (0o600, "\n", "is empty")] {
        let complaint = load(mode, content).unwrap_err();
        assert!(complaint.starts_with("x.toml:3:12: user.password: "), "{complaint}");
        assert!(complaint.contains(why) && !complaint.contains("canary"), "{complaint}");
    }
    let text = "[[user]]\nname = \"erp\"\npassword = { env = \"PATH\" }";
    let UserSecret::Password(secret) = &config::parse("x.toml", text).unwrap().users[0].secret else {
        panic!("not a password")
    };
    assert_eq!(Ok(secret.value.reveal()), std::env::var("PATH").as_deref());
}

#[test]
fn the_configurations_of_the_readme_are_good() {
    let text = fs::read_to_string(repository("README.md")).unwrap();
    let blocks: Vec<_> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 3, "{blocks:?}");
    for block in blocks {
        config::parse("README.md", block).unwrap_or_else(|wrong| panic!("{wrong}\n{block}"));
    }
}
