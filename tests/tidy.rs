//! The house rules of the crate documentation, checked on the source text.
//!
//! Every checker runs on text that breaks its rule as well: a rule that
//! accepts everything fails here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

/// Most lines a file under `src` may have.
const FILE_LINES: usize = 400;
/// Most lines a function may have, its signature included.
const FUNCTION_LINES: usize = 60;

/// The floors in tenths, lowest first: a module imports from lower floors only,
/// or from its own island (its folder). A module is named by its path under
/// `src`. The stores share the clock, and know no rules.
const FLOORS: &[(u8, &[&str])] = &[
    (
        0,
        &[
            "envelope",
            "post",
            "event",
            "tenant",
            "network",
            "url_pattern",
            "units",
            "masked",
            "seal",
            "browser",
        ],
    ),
    (10, &["smtp/session", "smtp/command", "smtp/reply", "smtp/receive", "smtp/auth", "smtp/words"]),
    (10, &["compose"]),
    (
        10,
        &[
            "deliver/lane",
            "deliver/window",
            "deliver/breaker",
            "deliver/charge",
            "deliver/turns",
            "deliver/pauses",
            "deliver/retry",
            "deliver/ruling",
            "deliver/pace",
            "deliver/profile",
            "deliver/sign",
            "deliver/terms",
            "deliver/target",
            "deliver/network",
        ],
    ),
    (15, &["clock"]),
    (20, &["spool"]),
    (20, &["first_attempts"]),
    (20, &["journal"]),
    (20, &["metrics"]),
    (20, &["trace"]),
    (20, &["protocol_log"]),
    (30, &["intake"]),
    (30, &["subscribers"]),
    (40, &["smtp"]),
    (40, &["deliver"]),
    (40, &["fanout"]),
    (50, &["api"]),
    (50, &["panel"]),
    (60, &["config", "app", "cli", "guide", "lib", "main"]),
];

/// What rules must not touch: time, dice, files, sockets and the runtime are
/// their callers'.
const NOT_IN_RULES: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "fastrand",
    "crate::clock",
    "std::env",
];

/// Name parts that say nothing.
const EMPTY_WORDS: &[&str] = &["Manager", "Handler", "Helper", "Util", "Processor", "Info"];

struct Source {
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 5, "found only {files:?}");
    let source = |path: PathBuf| {
        let module = path.strip_prefix(&root).unwrap().with_extension("");
        let module = module.to_str().unwrap().trim_end_matches("/mod").to_owned();
        Source { module, text: fs::read_to_string(path).unwrap() }
    };
    files.into_iter().map(source).collect()
}

/// Floor and island of a module: the longest entry that is it or a folder above it.
fn place(module: &str) -> Option<(u8, usize)> {
    let holds = |name: &str| module == name || module.starts_with(&format!("{name}/"));
    let entries = FLOORS.iter().enumerate();
    let named =
        entries.flat_map(|(island, (floor, names))| names.iter().map(move |name| (*floor, island, *name)));
    named
        .filter(|(_, _, name)| holds(name))
        .max_by_key(|(_, _, name)| name.len())
        .map(|(floor, island, _)| (floor, island))
}

/// The modules that a source imports: the paths after `crate::`, as far as they
/// are written in lower case.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for path in line.split("crate::").skip(1) {
            let groups = path.split_once("::{").map_or(vec![path.to_owned()], |(prefix, names)| {
                names.split(',').map(|name| format!("{prefix}::{}", name.trim())).collect()
            });
            for group in groups {
                let is_module = |part: &&str| part.starts_with(|char: char| char.is_ascii_lowercase());
                let part = |part: &str| {
                    part.trim_end_matches(|char: char| !char.is_alphanumeric() && char != '_').to_owned()
                };
                let parts: Vec<_> = group.split("::").take_while(is_module).map(part).collect();
                found.push(parts.join("/"));
            }
        }
    }
    found
}

fn wrong_arrows(source: &Source) -> Vec<String> {
    let Some((floor, island)) = place(&source.module) else {
        return vec![format!("{} stands on no floor", source.module)];
    };
    let allowed = |import: &str| match place(import) {
        None => true,
        Some((other_floor, other_island)) => {
            other_floor < floor && !(floor == 20 && other_floor == 10) || other_island == island
        }
    };
    let wrong = imports(&source.text).into_iter().filter(|import| !allowed(import));
    wrong.map(|import| format!("{} imports {import}", source.module)).collect()
}

/// Code without its test module, which may use what it likes.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap()
}

fn forbidden_in_rules(source: &Source) -> Vec<String> {
    if place(&source.module).is_none_or(|(floor, _)| floor > 10) {
        return Vec::new();
    }
    let code: String =
        without_tests(&source.text).lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let found = NOT_IN_RULES.iter().filter(|word| code.contains(*word));
    found.map(|word| format!("{} is a rule and uses {word}", source.module)).collect()
}

/// Functions longer than allowed; relies on rustfmt's indentation.
fn long_functions(source: &Source) -> Vec<String> {
    let mut long = Vec::new();
    let lines: Vec<_> = source.text.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let is_function = code.starts_with("fn ")
            || code.split_once(" fn ").is_some_and(|(before, _)| {
                before.split(' ').all(|word| {
                    matches!(word, "pub" | "async" | "const" | "unsafe") || word.starts_with("pub(")
                })
            });
        if !is_function {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[start..]
            .iter()
            .position(|line| {
                *line == end
                    || line.ends_with(';')
                        && line.starts_with(&end[..indent])
                        && line.trim_start().starts_with("fn ")
            })
            .map_or(0, |length| length + 1);
        if length > FUNCTION_LINES {
            long.push(format!("{}: {length} lines: {code}", source.module));
        }
    }
    long
}

fn empty_words(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for line in source.text.lines() {
        let code = line.trim_start();
        let name = ["struct ", "enum ", "trait ", "type "]
            .iter()
            .find_map(|kind| code.trim_start_matches("pub ").strip_prefix(kind))
            .map(|rest| rest.split(|char: char| !char.is_alphanumeric()).next().unwrap());
        if let Some(name) = name
            && EMPTY_WORDS.iter().any(|word| name.ends_with(word))
        {
            found.push(format!("{}: {name}", source.module));
        }
        if code.contains("fn get_") {
            found.push(format!("{}: {code}", source.module));
        }
    }
    found
}

fn check(rule: impl Fn(&Source) -> Vec<String>, breaks_it: &str, module: &str) {
    let broken = Source { module: module.to_owned(), text: breaks_it.to_owned() };
    assert!(!rule(&broken).is_empty(), "the checker accepts what it must refuse: {breaks_it}");
    let complaints: Vec<_> = sources().iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn modules_import_only_from_lower_floors() {
    check(wrong_arrows, "use crate::spool::{self, Spool};", "post");
    check(wrong_arrows, "use crate::deliver::lane::Lane;", "smtp/session");
    check(wrong_arrows, "use crate::smtp::session::Policy;", "spool/log");
    check(wrong_arrows, "let x = crate::config::settings::load();", "intake");
    check(wrong_arrows, "", "somewhere_else");
}

#[test]
fn rules_know_no_time_dice_files_or_sockets() {
    check(forbidden_in_rules, "let now = Instant::now();", "deliver/lane");
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let is_long = |source: &Source| {
        let lines = source.text.lines().count();
        if lines > FILE_LINES { vec![format!("{}: {lines} lines", source.module)] } else { Vec::new() }
    };
    check(is_long, &"\n".repeat(FILE_LINES + 1), "post");
    let is_silent = |source: &Source| {
        if source.text.starts_with("//! ") {
            Vec::new()
        } else {
            vec![format!("{} has no //! head", source.module)]
        }
    };
    check(is_silent, "use std::fmt;", "post");
}

#[test]
fn functions_are_short() {
    let body = "    x();\n".repeat(FUNCTION_LINES);
    check(long_functions, &format!("pub async fn f() {{\n{body}}}\n"), "post");
    check(long_functions, &format!("impl X {{\n    fn f() {{\n{body}    }}\n}}\n"), "post");
}

#[test]
fn names_say_something() {
    check(empty_words, "pub struct PostManager;", "post");
    check(empty_words, "    pub fn get_post() {", "post");
}
