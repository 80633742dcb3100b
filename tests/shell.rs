//! What shells and `man` make of the completions and the manual that the program writes.
//!
//! Where a shell or a reader of manuals is missing, what needs it is left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::tools;
use tempfile::TempDir;

/// Runs a command to its end; what it printed.
fn postgate(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_postgate")).args(arguments).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs another program, if it is there.
fn other(program: &str, arguments: &[&str]) -> Option<Output> {
    tools::output(Command::new(program).args(arguments).stdin(Stdio::null()))
}

/// A file with what a shell needs.
fn script(shell: &str) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("_postgate");
    fs::write(&path, postgate(&["completions", shell])).unwrap();
    (directory, path)
}

/// Lines begun, each with words that a shell must offer and one that it must not.
const BEGUN: &[(&str, &[&str], &str)] = &[
    ("que", &["queue"], "serve"),
    ("", &["serve", "queue", "webhook", "completions", "man"], "list"),
    ("queue l", &["list"], "retry"),
    ("queue list --stat", &["--state"], "--json"),
    ("serve --con", &["--config"], "--help"),
];

/// Has a shell complete each line, and looks at what it offers.
fn offers(complete: impl Fn(&str) -> Option<Output>) {
    for (line, wanted, unwanted) in BEGUN {
        let Some(output) = complete(line) else { return };
        assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        // Some say behind a word what it does.
        let offered: BTreeSet<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert!(wanted.iter().all(|word| offered.contains(word)), "{line}: {offered:?}");
        assert!(!offered.contains(unwanted), "{line}: {offered:?}");
    }
}

#[test]
fn bash_completes() {
    let (_directory, path) = script("bash");
    // As bash calls it when somebody presses the key.
    let press = r#". "$0"; COMP_WORDS=(postgate $1); [ "${1% }" = "$1" ] && [ -n "$1" ] || COMP_WORDS+=("");
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); set -- $(complete -p postgate);
        while [ "$1" != -F ]; do shift; done
        "$2" postgate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    offers(|line| other("bash", &["--norc", "-c", press, path.to_str().unwrap(), line]));
}

#[test]
fn fish_completes() {
    let (_directory, path) = script("fish");
    let press = format!("source {}; complete -C \"postgate $argv[1]\"", path.display());
    offers(|line| other("fish", &["--no-config", "-c", &press, line]));
}

#[test]
fn without_a_tool_its_test_is_left_out_but_where_everything_has_to_be_tested() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "fish_completes", "--nocapture"]).env("PATH", "/nowhere").env_remove("CI");
    let left_out = again.output().unwrap();
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(left_out.status.success(), "{left_out:?}");
    assert!(said(&left_out).contains("left out: fish is missing\n"), "{left_out:?}");
    let failed = again.env("CI", "1").output().unwrap();
    assert!(!failed.status.success() && said(&failed).contains("fish is missing"), "{failed:?}");
}

#[test]
fn zsh_reads_its_script_as_a_completion_of_this_program() {
    let (directory, path) = script("zsh");
    // The first line says for which program zsh loads it.
    assert!(fs::read_to_string(&path).unwrap().starts_with("#compdef postgate\n"));
    let load = "fpath=($0 $fpath); autoload -U compinit; compinit -u -D; [[ $_comps[postgate] = _postgate ]] && \
                autoload +X _postgate && functions _postgate";
    let Some(output) = other("zsh", &["-f", "-c", load, directory.path().to_str().unwrap()]) else { return };
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("reroute"));
}

/// Every command, by the names of the commands above it.
fn commands(above: &[&str]) -> Vec<String> {
    let help = postgate(&[above, &["--help"]].concat());
    let listed = help.split_once("Commands:\n").map_or("", |(_, list)| list);
    let names = listed
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split(' ').next());
    let mut all = vec![above.join("-")];
    for name in names.filter(|name| *name != "help") {
        all.extend(commands(&[above, &[name]].concat()));
    }
    all
}

fn pages(directory: &Path) -> Vec<PathBuf> {
    let mut pages: Vec<_> = fs::read_dir(directory).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    pages
}

#[test]
fn every_command_has_a_page_that_manuals_are_read_with() {
    let directory = TempDir::new().unwrap();
    let man = directory.path().join("new/man1");
    postgate(&["man", man.to_str().unwrap()]);
    let pages = pages(&man);
    let name = |page: &PathBuf| page.file_stem().unwrap().to_str().unwrap().to_owned();
    let named: BTreeSet<_> = pages.iter().map(name).collect();
    let wanted = commands(&[]).into_iter().map(|command| format!("postgate-{command}"));
    let wanted: BTreeSet<_> = wanted.map(|name| name.trim_end_matches('-').to_owned()).collect();
    assert!(wanted.len() > 50 && wanted.contains("postgate-queue-reroute"), "{wanted:?}");
    assert_eq!(named, wanted);
    // But for the day.
    let undated = |page: String| page.replacen(|char: char| char.is_ascii_digit(), "", 9);
    let first = fs::read_to_string(man.join("postgate.1")).unwrap();
    assert_eq!(undated(first), undated(postgate(&["man"])));
    let bad = directory.path().join("bad.1");
    fs::write(&bad, ".TH bad 1\n.SH NAME\n.nonsense\n").unwrap();
    let lint = |page: &Path| other("mandoc", &["-Tlint", "-Wwarning", page.to_str().unwrap()]);
    let Some(linted) = lint(&bad) else { return };
    assert!(!linted.status.success(), "the checker is blind");
    for page in &pages {
        let linted = lint(page).unwrap();
        assert!(linted.status.success(), "{}", String::from_utf8_lossy(&linted.stdout));
    }
    let read = other("mandoc", &["-Tascii", man.join("postgate-queue-list.1").to_str().unwrap()]).unwrap();
    // Bold letters are typed twice.
    let typed = String::from_utf8(read.stdout).unwrap();
    let text = regex::Regex::new(".\u{8}").unwrap().replace_all(&typed, "");
    assert!(text.contains("--xs-message-id"), "{text}");
}

#[test]
fn a_manual_that_cannot_be_written_is_told_of() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_postgate")).arg("man").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(74));
    assert!(said.contains("cannot write the manual in ") && said.contains("file"), "{said}");
}
