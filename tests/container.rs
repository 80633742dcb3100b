//! `config/Containerfile`, as far as it can be looked at without building it: what it copies
//! is there, what it runs of ours works, and the service is not root's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The instructions of the Containerfile, each on one line.
fn instructions() -> Vec<(String, String)> {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/Containerfile")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let parted = joined.lines().filter_map(|line| line.split_once(' '));
    parted
        .map(|(word, rest)| (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[test]
fn the_containerfile_names_what_there_is_and_runs_as_nobody_in_particular() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let instructions = instructions();
    let all = |word: &str| {
        let named = instructions.iter().filter(move |(other, _)| other == word);
        named.map(|(_, rest)| rest.clone()).collect::<Vec<_>>()
    };
    let last = |word: &str| all(word).pop().unwrap_or_else(|| panic!("there is no {word}"));
    for copied in all("COPY").iter().filter(|copied| !copied.starts_with("--from")) {
        let source = copied.split(' ').find(|word| !word.starts_with("--")).unwrap();
        assert!(root.join(source).exists(), "{source}");
    }
    // Nothing that needs root comes behind it.
    let user = instructions.iter().position(|(word, _)| word == "USER").unwrap();
    assert!(instructions[user..].iter().all(|(word, _)| word != "RUN" && word != "COPY"));
    assert!(all("RUN").iter().any(|line| line.contains("useradd --system") && line.contains(&last("USER"))));
    assert_eq!((last("STOPSIGNAL").as_str(), last("VOLUME").as_str()), ("SIGTERM", "/var/lib/postgate"));
    // The configuration that it makes is good, and listens where others reach it.
    let edit = all("RUN").into_iter().find(|line| line.starts_with("sed ")).unwrap();
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("postgate.toml");
    fs::copy(root.join("config/debian/postgate.toml"), &config).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_postgate")).parent().unwrap();
    let search = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let edit = edit.replace("/etc/postgate/postgate.toml", config.to_str().unwrap());
    let edited = Command::new("sh").args(["-c", &edit]).env("PATH", search).output().unwrap();
    assert!(
        edited.status.success() && String::from_utf8_lossy(&edited.stdout).ends_with("postgate.toml: good\n"),
        "{edited:?}"
    );
    assert!(fs::read_to_string(&config).unwrap().contains("\naddress = \"0.0.0.0:2525\"\n"));
    // In the format that keeps the health check, as its head has it built.
    let text = fs::read_to_string(root.join("config/Containerfile")).unwrap();
    assert!(text.contains("\n#   podman build --format docker "), "{text}");
    // Its commands are the program's.
    let words = |list: &str| serde_json::from_str::<Vec<String>>(list).unwrap();
    let health = last("HEALTHCHECK");
    let health = words(health.split_once("CMD ").unwrap().1);
    for command in [[words(&last("ENTRYPOINT")), words(&last("CMD"))].concat(), health] {
        assert_eq!(command[0], "postgate");
        let helped =
            Command::new(env!("CARGO_BIN_EXE_postgate")).args(&command[1..]).arg("--help").output().unwrap();
        assert!(helped.status.success(), "{command:?}");
    }
}
