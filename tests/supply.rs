//! What the program is made of: packages of crates.io alone, under licences that
//! `config/deny.toml` allows, none in two versions but those that it names, all locked.
//! `cargo metadata` tells it without a network; advisories are `cargo deny`'s.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use support::tools;

/// What is built in, of which nothing is there for tests alone.
struct Supply {
    packages: Vec<Value>,
    rules: toml::Table,
}

impl Supply {
    fn read() -> Supply {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let told = metadata().output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let built_in = built_in(&told["resolve"]);
        let mut packages = told["packages"].as_array().unwrap().clone();
        packages.retain(|package| built_in.contains(text(&package["id"])));
        let rules = std::fs::read_to_string(root.join("config/deny.toml")).unwrap();
        Supply { packages, rules: rules.parse().unwrap() }
    }

    /// Every breach of the rules.
    fn breaches(&self) -> Vec<String> {
        let rule = |table: &str, key: &str| self.rules[table][key].as_array().unwrap();
        let allowed: BTreeSet<_> =
            rule("licenses", "allow").iter().map(|name| name.as_str().unwrap()).collect();
        let skipped: BTreeSet<_> =
            rule("bans", "skip").iter().map(|one| one["crate"].as_str().unwrap()).collect();
        let (mut breaches, mut versions) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for package in &self.packages {
            let (name, version) = (text(&package["name"]), text(&package["version"]));
            if !package["source"].is_null() {
                let is_ours =
                    package["source"].as_str().unwrap().ends_with("github.com/rust-lang/crates.io-index");
                breaches.extend((!is_ours).then(|| format!("{name} is not of crates.io")));
                let license = package["license"].as_str().unwrap_or_default();
                breaches.extend((!is_allowed(license, &allowed)).then(|| format!("{name}: {license:?}")));
            }
            versions.entry(name).or_default().push(format!("{name}@{version}"));
        }
        let named = |one: &String| skipped.contains(one.as_str());
        let twice = versions.values().filter(|all| all.iter().filter(|one| !named(one)).count() > 1);
        breaches.extend(twice.map(|all| format!("in several versions: {}", all.join(", "))));
        let there: BTreeSet<_> = versions.values().filter(|all| all.len() > 1).flatten().collect();
        let stale = skipped.iter().filter(|one| !there.iter().any(|there| there == *one));
        breaches.extend(stale.map(|one| format!("{one} is skipped and is not there twice")));
        breaches
    }
}

/// Asks what is built in. Offline and locked: it fails where Cargo.lock is not whole, or a
/// package was not fetched.
fn metadata() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).arg("metadata");
    cargo.args(["--offline", "--locked", "--format-version", "1", "--filter-platform"]);
    cargo.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    cargo
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The ids of all packages that the program needs to be built or to run.
fn built_in(resolve: &Value) -> BTreeSet<String> {
    let nodes: BTreeMap<_, _> =
        resolve["nodes"].as_array().unwrap().iter().map(|node| (text(&node["id"]), node)).collect();
    let (mut found, mut open) = (BTreeSet::new(), vec![text(&resolve["root"])]);
    while let Some(id) = open.pop() {
        if !found.insert(id.to_owned()) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let mut kinds = dependency["dep_kinds"].as_array().unwrap().iter();
            if kinds.any(|kind| kind["kind"] != "dev") {
                open.push(text(&dependency["pkg"]));
            }
        }
    }
    found
}

/// Whether a licence expression (SPDX, `/` as older packages write `OR`) leaves a way that is
/// allowed in all its parts.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let (answer, rest) = either(&words, allowed);
    answer && rest.is_empty() && !words.is_empty()
}

fn either<'a, 'w>(words: &'a [&'w str], allowed: &BTreeSet<&str>) -> (bool, &'a [&'w str]) {
    let (mut answer, mut rest) = both(words, allowed);
    while let ["OR", more @ ..] = rest {
        let (other, behind) = both(more, allowed);
        (answer, rest) = (answer | other, behind);
    }
    (answer, rest)
}

fn both<'a, 'w>(words: &'a [&'w str], allowed: &BTreeSet<&str>) -> (bool, &'a [&'w str]) {
    let (mut answer, mut rest) = one(words, allowed);
    while let ["AND", more @ ..] = rest {
        let (other, behind) = one(more, allowed);
        (answer, rest) = (answer & other, behind);
    }
    (answer, rest)
}

fn one<'a, 'w>(words: &'a [&'w str], allowed: &BTreeSet<&str>) -> (bool, &'a [&'w str]) {
    match words {
        ["(", inner @ ..] => match either(inner, allowed) {
            (answer, [")", rest @ ..]) => (answer, rest),
            (_, rest) => (false, rest),
        },
        // An exception allows more than the licence does.
        [name, "WITH", _, rest @ ..] | [name, rest @ ..] => (allowed.contains(name), rest),
        [] => (false, words),
    }
}

#[test]
fn everything_built_in_is_of_crates_io_under_a_licence_that_is_allowed_and_there_once() {
    let supply = Supply::read();
    assert!(supply.packages.len() > 100, "only {} packages", supply.packages.len());
    assert_eq!(supply.breaches(), [""; 0]);
}

#[test]
fn what_breaks_a_rule_is_found() {
    let mut supply = Supply::read();
    let about =
        |name: &str, supply: &Supply| supply.breaches().iter().filter(|one| one.contains(name)).count();
    let index = supply.packages.iter().position(|package| package["name"] == "bytes").unwrap();
    let good = supply.packages[index].clone();
    for (field, value) in
        [("license", "GPL-3.0-only"), ("license", ""), ("source", "git+https://x.example/bytes")]
    {
        supply.packages[index][field] = value.into();
        assert_eq!(about("bytes", &supply), 1, "{field} = {value:?}");
        supply.packages[index] = good.clone();
    }
    supply.packages.push(good);
    assert_eq!(about("bytes@", &supply), 1);
    let skip = toml::Value::Table("crate = \"nonsense@1.0.0\"".parse().unwrap());
    supply.rules["bans"]["skip"].as_array_mut().unwrap().push(skip);
    assert_eq!(about("nonsense", &supply), 1);
}

#[test]
fn licences_are_read_as_they_are_written() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0"]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("", false),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only/MIT", true),
        ("MIT AND GPL-3.0-only", false),
        ("ISC AND (GPL-3.0-only OR MIT)", true),
        ("MIT OR ISC AND GPL-3.0-only", true),
        ("(MIT OR ISC) AND GPL-3.0-only", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("(MIT", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn the_bill_of_materials_names_everything_that_is_built_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("python3");
    let Some(printed) = tools::output(python.arg(root.join("config/sbom"))) else { return };
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let bill: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let named = |name: &Value, version: &Value| format!("pkg:cargo/{}@{}", text(name), text(version));
    let components = bill["components"].as_array().unwrap().iter().chain([&bill["metadata"]["component"]]);
    let listed: BTreeSet<_> = components.clone().map(|one| text(&one["purl"]).to_owned()).collect();
    let packages = Supply::read().packages;
    let built_in: BTreeSet<_> = packages.iter().map(|one| named(&one["name"], &one["version"])).collect();
    assert_eq!(listed, built_in);
    for one in components.filter(|one| one["type"] == "library") {
        assert_eq!(text(&one["hashes"][0]["content"]).len(), 64, "{one}");
        assert!(!text(&one["licenses"][0]["expression"]).contains('/'), "{one}");
    }
    let needed = bill["dependencies"].as_array().unwrap().iter();
    let needed: BTreeSet<_> = needed.flat_map(|one| one["dependsOn"].as_array().unwrap()).map(text).collect();
    assert!(needed.iter().all(|one| listed.contains(*one)) && needed.len() + 1 == listed.len());
}

#[test]
fn what_was_not_fetched_is_missed() {
    let nothing = tempfile::TempDir::new().unwrap();
    let missed = metadata().env("CARGO_HOME", nothing.path()).output().unwrap();
    assert!(!missed.status.success(), "it looks elsewhere");
}

#[test]
fn a_bill_that_cannot_be_made_says_why_and_what_to_do() {
    // Itself, for a name may stand for a script that searches.
    let mut asked = Command::new("python3");
    let Some(python) = tools::output(asked.args(["-c", "import sys; print(sys.executable)"])) else { return };
    let python = String::from_utf8(python.stdout).unwrap();
    let (sbom, nothing) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/config/sbom"), tempfile::TempDir::new().unwrap());
    for (variable, argument, said) in [
        ("CARGO_HOME", None, "run cargo fetch --locked, which needs a network, and then this again"),
        ("PATH", None, "cargo is not there: install Rust, or put its directory into $PATH"),
        ("HOME", Some("--copright"), "unrecognized arguments: --copright"),
    ] {
        let mut bill = Command::new(python.trim());
        let ended = bill.arg(sbom).args(argument).env(variable, nothing.path()).output().unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert!(error.contains(said) && !error.contains("Traceback"), "{error}");
        assert!(!ended.status.success() && ended.stdout.is_empty());
    }
}

/// `tests/run` has `tests/offline` build the program.
#[test]
fn who_builds_it_has_no_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let call = format!("exec 3<>/dev/tcp/127.0.0.1/{}", listener.local_addr().unwrap().port());
    let Some(reached) = tools::output(Command::new("bash").args(["-c", &call])) else { return };
    assert!(reached.status.success(), "{reached:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let offline = |line: &str| {
        let mut offline = Command::new(root.join("tests/offline"));
        // In CI it fails where no network can be taken away.
        offline.env("CI", "1").args(["bash", "-c", line]).output().unwrap()
    };
    let cut_off = offline("true");
    if !cut_off.status.success() {
        return tools::leave_out(String::from_utf8_lossy(&cut_off.stderr));
    }
    assert!(!offline(&call).status.success(), "there is a network");
    // Root does it also where no namespace of users may be made.
    let as_root = |line: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "sh", "-c", line]).arg(root.join("tests/offline"));
        unshare.env("CI", "1").output().unwrap()
    };
    if as_root("true").status.success() {
        let within = as_root("echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" true");
        assert!(within.status.success(), "{within:?}");
    }
    let run = std::fs::read_to_string(root.join("tests/run")).unwrap();
    assert!(run.contains("\ntests/offline cargo build --offline --locked --all-targets\n"));
}
