//! The operator's templates: the files of one directory, read with the
//! configuration that names it.
//!
//! They are part of the configuration: a file that has changed is a configuration
//! that has changed, and one that is no template configures nothing. The directory
//! stands beside the configuration file, so that both move together.

use super::settings::{Config, TEMPLATES};
use super::walk::Section;
use crate::compose::{Payload, Templates};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads them, and complains about those that are none and about routes that name
/// one that is not there or leave out what it wants; `file` is the configuration.
pub(super) fn read(file: &str, config: &mut Config, root: &mut Section<'_>) {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let directory = folder.join(&config.server.templates);
    let mut templates = Templates::default();
    let (mut complaints, mut broken) = (Vec::new(), Vec::new());
    match files(&directory) {
        Ok(files) => {
            for path in files {
                if let Err(text) = add(&mut templates, &path) {
                    complaints.push(format!("{}: {text}; mend it", directory.display()));
                    broken.extend(path.file_name().map(|file| file.to_string_lossy().into_owned()));
                }
            }
        }
        // Nobody asked for the usual one.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && config.server.templates == Path::new(TEMPLATES) => {
        }
        Err(error) => complaints
            .push(format!("{} cannot be read: {error}; name a directory of templates", directory.display())),
    }
    complain(root, complaints);
    let is_known = |name: &str| {
        let is_it = |file: &String| file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        templates.has(name) || broken.iter().any(is_it)
    };
    for (name, vars, section) in named(config, root) {
        if is_known(name) {
            if let Some(place) = templates.lacks(name, &vars) {
                section.complain("payload", format!("{place}; add it to the vars of this route"));
            }
            continue;
        }
        let known: Vec<_> = templates.list().map(|(name, ..)| name).collect();
        section.complain(
            "payload",
            format!(
                "no template is called {name}; write {name}.json.j2 in {}, or name one of {}",
                directory.display(),
                known.join(", ")
            ),
        );
    }
    config.templates = Arc::new(templates);
}

/// Its files, by name.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let files = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = files.collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn add(templates: &mut Templates, path: &Path) -> Result<(), String> {
    let file = path.file_name().map(OsString::from).unwrap_or_default();
    let file = file.to_string_lossy();
    // Others may stand there: notes, what an editor left.
    if !file.ends_with(".j2") || file.starts_with('.') {
        return Ok(());
    }
    let source = fs::read_to_string(path).map_err(|error| format!("{file} cannot be read: {error}"))?;
    templates.add(&file, &source).map_err(|mistake| mistake.to_string())
}

fn complain(root: &mut Section<'_>, complaints: Vec<String>) {
    let server = if root.has("server") { root.table("server") } else { None };
    for complaint in complaints {
        match &server {
            Some(server) => server.complain("templates", complaint),
            None => root.complain("server.templates", complaint),
        }
    }
}

/// A template that a route names, the route's own words for it, and where.
type Named<'c, 'r> = (&'c str, Vec<(String, String)>, Section<'r>);

/// The templates that routes name.
fn named<'c, 'r>(config: &'c Config, root: &mut Section<'r>) -> Vec<Named<'c, 'r>> {
    let sections = root.tables("route").unwrap_or_default();
    if sections.len() != config.routes.len() {
        return Vec::new();
    }
    let routes = config.routes.iter().zip(sections);
    let named = routes.filter_map(|(route, section)| match &route.payload {
        Payload::Template(name) => Some((&**name, route.words(), section)),
        _ => None,
    });
    named.collect()
}
