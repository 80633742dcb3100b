//! The pages of `src/guide`, followed word for word by the real program.
//!
//! A page is a transcript. ```` ```toml ```` is a whole configuration: the gateway is
//! stopped, and started with it. ```` ```console ```` has commands behind `$`, with `>` where
//! one goes on, and what they print; behind `console wait` they are repeated until they
//! print it. ```` ```http ```` is what `postgate sink` gets next. In all that is shown `…`
//! stands for any text, and alone on a line for any lines; JSON may be broken into lines.
//! ```` ```text ```` is not ours, and not run. The addresses of a page become free ones.
//! The first steps of README.md are such a page, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use regex::Regex;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::program::{Gateway, postgate, within};
use support::tools::is_there;
use support::{DEADLINE, nobody};
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// What a page calls the gateway, its API, the receiver, and one that is not there.
const PLACES: [&str; 4] = ["127.0.0.1:2525", "127.0.0.1:8025", "127.0.0.1:8080", "127.0.0.1:8081"];

/// The fenced blocks of a page: what stands behind the fence, the line of it, the text.
fn blocks(page: &str) -> Vec<(&str, usize, String)> {
    let mut blocks = Vec::new();
    let mut open = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some((kind, number + 1, String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, _, text))) => text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// The commands of a block, each with what it prints.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), line.strip_prefix("> "), commands.last_mut()) {
            (Some(begin), _, _) => commands.push((begin.to_owned(), String::new())),
            (_, Some(more), Some((command, shown))) if shown.is_empty() => command.extend(["\n", more]),
            (_, _, Some((_, shown))) => shown.extend([line, "\n"]),
            (_, _, None) => panic!("no command prints {line:?}"),
        }
    }
    commands
}

/// What is shown, as a pattern.
fn pattern(shown: &str) -> String {
    let line = |line: &str| match line.trim() {
        "…" => "(?:.*\n)*?".to_owned(),
        _ => regex::escape(line).replace('…', ".*?") + "\n",
    };
    shown.lines().map(line).collect()
}

/// Whether a command printed what is shown.
fn is_as_shown(shown: &str, printed: &str) -> bool {
    let is_json = |text: &str| text.starts_with(['{', '[']);
    if is_json(shown) && is_json(printed) {
        let dense = |text: &str| text.split_whitespace().collect::<String>();
        let pattern = regex::escape(&dense(shown)).replace('…', ".*?");
        return Regex::new(&format!(r"\A{pattern}\z")).unwrap().is_match(&dense(printed));
    }
    let printed = printed.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>();
    Regex::new(&format!(r"\A{}\z", pattern(shown))).unwrap().is_match(&printed)
}

/// A reader with a terminal: a shell that keeps its variables, a receiver, a gateway.
struct Reader {
    directory: TempDir,
    shell: Child,
    receiver: Child,
    gateway: Option<Gateway>,
    /// Where [`PLACES`] are.
    places: [String; 4],
    /// Keeps the last of them for nobody.
    _nobody: TcpSocket,
    /// How much of what was received has been shown.
    seen: usize,
}

impl Reader {
    fn sit_down() -> Reader {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let program = Path::new(env!("CARGO_BIN_EXE_postgate")).parent().unwrap();
        let search = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(["--norc", "-s"]).current_dir(path).env("PATH", search).env("COLUMNS", "200");
        shell.env_remove("POSTGATE_CONFIG").stdin(Stdio::piped()).stdout(Stdio::piped());
        let received = fs::File::create(path.join("received")).unwrap();
        let mut sink = postgate(path);
        let receiver = sink.args(["sink", "--listen", "127.0.0.1:0"]).stdout(received).spawn().unwrap();
        let shell = shell.spawn().unwrap();
        let (bound, nobody) = nobody();
        let mut places = PLACES.map(str::to_owned);
        places[3] = nobody.to_string();
        let mut reader =
            Reader { directory, shell, receiver, gateway: None, places, _nobody: bound, seen: 0 };
        let listening = Regex::new("receiving at http://(.*)/\n").unwrap();
        let place = within(DEADLINE, || Some(listening.captures(&reader.received())?[1].to_owned()));
        reader.places[2] = place.expect("a receiver");
        reader
    }

    /// All that came in so far.
    fn received(&self) -> String {
        fs::read_to_string(self.directory.path().join("received")).unwrap()
    }

    /// Text of a page as it is here.
    fn here(&self, text: &str) -> String {
        PLACES.iter().zip(&self.places).fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    /// The reverse.
    fn there(&self, text: &str) -> String {
        PLACES.iter().zip(&self.places).fold(text.to_owned(), |text, (there, here)| text.replace(here, there))
    }

    fn serve(&mut self, config: &str) {
        if let Some(mut gateway) = self.gateway.take() {
            assert_eq!(gateway.end("-TERM"), 0);
        }
        fs::write(self.directory.path().join("postgate.toml"), config).unwrap();
        let checked = postgate(self.directory.path()).arg("check").output().unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
        let free =
            PLACES[..2].iter().fold(config.to_owned(), |text, place| text.replace(place, "127.0.0.1:0"));
        let gateway = Gateway::start(self.directory.path(), &free.replace(PLACES[2], &self.places[2]));
        self.places[0] = gateway.smtp.to_string();
        let api = gateway.line("API at ");
        self.places[1] = api.trim_end_matches('/').rsplit('/').next().unwrap().to_owned();
        // Commands that look at the usual places have to look here.
        let places = "export POSTGATE_API=http://127.0.0.1:8025; postgate() { [ \"$1\" = send ] && \
                      set -- send --server 127.0.0.1:2525 \"${@:2}\"; command postgate \"$@\"; }";
        let (said, code) = self.run(&format!("GATEWAY={}; {places}", gateway.child.id()));
        assert_eq!((said.as_str(), code.as_str()), ("", "0"));
        self.gateway = Some(gateway);
    }

    /// Has the shell run a command; what it printed, and how it ended.
    fn run(&mut self, command: &str) -> (String, String) {
        let command = self.here(command);
        let input = self.shell.stdin.as_mut().unwrap();
        writeln!(input, "{{ {command}\n}} </dev/null 2>&1; printf '\\n\\001%s\\n' $?").unwrap();
        let mut lines = BufReader::new(self.shell.stdout.as_mut().unwrap()).lines();
        let mut printed = String::new();
        loop {
            let line = lines.next().expect("a shell that lives").unwrap();
            if let Some(code) = line.strip_prefix('\u{1}') {
                // The line end before the code is ours, unless the command's own was missing.
                let printed = printed.strip_suffix("\n\n").map(|text| format!("{text}\n")).unwrap_or(printed);
                return (self.there(printed.trim_start_matches('\n')), code.to_owned());
            }
            printed.extend([line.as_str(), "\n"]);
        }
    }

    /// Runs a command, again and again if `patience` is left; an error is what is wrong.
    fn follow(&mut self, command: &str, shown: &str, is_patient: Patience) -> Result<(), String> {
        let mut last = (String::new(), String::new());
        let mut once = || {
            last = self.run(command);
            (last.1 == "0" && is_as_shown(shown, &last.0)).then_some(())
        };
        let done = match is_patient {
            Patience::None => once(),
            Patience::Some => within(DEADLINE, once),
        };
        done.ok_or_else(|| format!("$ {command}\nended with {} and printed\n{}", last.1, last.0))
    }

    /// Waits until the receiver got what is shown.
    fn receive(&mut self, shown: &str) -> Result<(), String> {
        let pattern = Regex::new(&format!("(?m)^{}", pattern(shown))).unwrap();
        let found = within(DEADLINE, || {
            let text = self.there(&self.received()[self.seen..]);
            pattern.is_match(&text).then_some(self.received().len())
        });
        let missing = || format!("not received:\n{shown}\nbut\n{}", &self.received()[self.seen..]);
        self.seen = found.ok_or_else(missing)?;
        Ok(())
    }

    /// Follows a page; an error names its line.
    fn read(&mut self, page: &str) -> Result<(), String> {
        for (kind, line, text) in blocks(page) {
            let patience = if kind.ends_with(" wait") { Patience::Some } else { Patience::None };
            let followed = match kind {
                "toml" => {
                    self.serve(&text);
                    Ok(())
                }
                "console" | "console wait" => commands(&text)
                    .into_iter()
                    .try_for_each(|(command, shown)| self.follow(&command, &shown, patience)),
                "http" => self.receive(&text),
                "text" => Ok(()),
                other => Err(format!("a block of an unknown kind: {other:?}")),
            };
            followed.map_err(|wrong| format!("line {line}: {wrong}"))?;
        }
        Ok(())
    }
}

/// Whether a command may print what is shown later.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Some,
}

impl Drop for Reader {
    fn drop(&mut self) {
        for child in [&mut self.shell, &mut self.receiver] {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether there is what the pages call.
fn has_tools() -> bool {
    is_there("bash") && is_there("curl")
}

/// A file of the project.
fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn follow(page: &str) {
    if has_tools() {
        let followed = Reader::sit_down().read(&file(&format!("src/guide/{page}")));
        followed.unwrap_or_else(|wrong| panic!("{page}, {wrong}"));
    }
}

#[test]
fn the_guide_to_the_api_is_true() {
    follow("api.md");
}

#[test]
fn the_guide_to_moving_here_is_true() {
    follow("moving.md");
}

#[test]
fn the_guide_to_running_it_is_true() {
    follow("operations.md");
}

#[test]
fn the_first_steps_of_the_readme_are_true() {
    if has_tools() {
        let readme = file("README.md");
        let (_, steps) = readme.split_once("\n## First steps\n").unwrap();
        let (steps, _) = steps.split_once("\n## ").unwrap();
        assert!(blocks(steps).len() > 6, "{steps}");
        Reader::sit_down().read(steps).unwrap_or_else(|wrong| panic!("First steps, {wrong}"));
    }
}

/// The cells of each row of all tables.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let inner = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    inner.map(|cells| cells.split(" | ").map(str::trim).collect()).collect()
}

/// A number, and its unit without what is said of it.
fn figure(cell: &str) -> (f64, &str) {
    let end = cell.find(|c: char| !c.is_ascii_digit() && c != ',' && c != '.').unwrap_or(cell.len());
    let unit = cell[end..].split('(').next().unwrap_or_default();
    (cell[..end].replace(',', "").parse().unwrap(), unit.trim())
}

#[test]
fn the_figures_to_plan_with_are_those_that_were_measured() {
    let (page, results) = (file("src/guide/operations.md"), file("benches/RESULTS.md"));
    let readme = file("README.md");
    let readme = readme.split("\n## ").find(|section| section.starts_with("How fast")).unwrap();
    let mut seen = 0;
    let told = [rows(&page), rows(readme)].concat();
    for row in told.iter().filter(|row| row[1].starts_with(|c: char| c.is_ascii_digit())) {
        // What is done in a second stands in a table of its own, behind the name.
        let (name, column) = row[0].strip_suffix(" (a second)").map_or((row[0], 2), |name| (name, 1));
        let measured = rows(&results).into_iter().find(|other| other[0] == name).expect(name)[column];
        let ((planned, unit), (measured, same)) = (figure(row[1]), figure(measured));
        assert!((0.5..2.0).contains(&(measured / planned)) && unit == same, "{row:?}: {measured}");
        seen += 1;
    }
    assert_eq!(seen, 8 + 12, "rows of the tables");
}

#[test]
fn every_page_is_followed() {
    let pages = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide")).unwrap();
    for page in pages {
        let name = page.unwrap().file_name().into_string().unwrap();
        assert!(include_str!("guide.rs").contains(&format!("follow(\"{name}\")")), "{name}");
    }
}

#[test]
fn a_page_that_lies_is_found_out() {
    if !has_tools() {
        return;
    }
    let mut reader = Reader::sit_down();
    let fenced = |kind: &str, text: &str| format!("```{kind}\n{text}\n```\n");
    for (lie, found) in [
        (fenced("console", "$ echo one\ntwo"), "line 1: $ echo one\nended with 0 and printed\none\n"),
        (fenced("console", "$ echo one\n"), ""),
        (fenced("console", "$ echo one\none\ntwo"), "printed\none\n"),
        (fenced("console", "$ false"), "ended with 1"),
        (fenced("console", "$ echo '{\"a\": 1}'\n{\n \"a\": 2\n}"), "{\"a\": 1}"),
        (fenced("nonsense", "x"), "unknown kind"),
    ] {
        let wrong = reader.read(&lie).expect_err(&lie);
        assert!(wrong.contains(found), "{wrong}");
    }
    let truth =
        fenced("console", "$ a='one\n> two'\n$ echo \"$a\"\no…\n…\n$ echo '{\"a\": 1}'\n{\n \"a\": …\n}");
    reader.read(&truth).unwrap();
    assert!(!is_as_shown("one\n", "one two\n"));
}
