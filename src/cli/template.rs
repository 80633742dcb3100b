//! `postgate template`: what templates there are, and what they make of a mail.
//!
//! A mail is composed here as the gateway would, with the same templates, limits
//! and checks; nothing is sent or kept.

use super::{CONFIG, ConfigFile, DATA, Failure, NO_INPUT, SOFTWARE, USAGE, say};
use crate::app;
use crate::clock;
use crate::compose::{self, HeaderControl, Options, Origin, Payload, Receipt, Route};
use crate::envelope::{Client, Envelope, Recipient, Target};
use crate::post::{MessageId, Post};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// List the templates, or try one with a mail
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate template list
  postgate template try slack mail.eml
  postgate template try ntfy mail.eml --var topic=printers
  postgate template try printer - --to printer@hooks.example < mail.eml")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Name, type and origin of every template
    List {
        #[command(flatten)]
        file: ConfigFile,
    },
    Try(Try),
}

/// Print what a template makes of a mail
///
/// The body goes to standard output, its Content-Type to standard error. When the
/// template fails, as it would for the gateway, the reason is printed instead and
/// the exit code is 65.
#[derive(Debug, clap::Args)]
struct Try {
    /// The template, without its file's endings
    name: String,
    /// The mail; - for standard input
    file: PathBuf,
    /// A word for the template, before those of the route; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = var)]
    vars: Vec<(String, String)>,
    /// Recipient of the mail; a route that takes it gives its vars
    #[arg(long, value_name = "ADDRESS", default_value = "someone@postgate.example")]
    to: String,
    #[command(flatten)]
    config: ConfigFile,
}

fn var(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List { file } => list(&file),
        Command::Try(arguments) => try_out(arguments),
    }
}

fn list(file: &ConfigFile) -> Result<(), Failure> {
    let templates = file.load()?.templates;
    let width = templates.list().map(|(name, ..)| name.len()).max().unwrap_or_default();
    for (name, content_type, origin) in templates.list() {
        let origin = match origin {
            Origin::Preset => "preset",
            Origin::Own => "own",
        };
        say(format_args!("{name:width$}  {origin:6}  {content_type}"))?;
    }
    Ok(())
}

fn try_out(arguments: Try) -> Result<(), Failure> {
    let config = arguments.config.load()?;
    let mut options = app::composing(&config).map_err(|error| Failure::new(CONFIG, error))?;
    if !options.templates.has(&arguments.name) {
        let known: Vec<_> = options.templates.list().map(|(name, ..)| name).collect();
        let text = format!("no template is called {}; there are {}", arguments.name, known.join(", "));
        return Err(Failure::new(USAGE, text));
    }
    let mail = read(&arguments.file)?;
    options.routes = vec![route(&options, &arguments)?];
    let refused = |refusal: crate::envelope::Refusal| Failure::new(DATA, refusal.text);
    let target = compose::target(&options, &arguments.to).map_err(refused)?;
    let envelope = envelope(Recipient::new(arguments.to, target));
    let receipt = Receipt { message: MessageId(0), received_at: clock::wall() };
    let composition = compose::compose(&options, &envelope, receipt, mail).map_err(refused)?;
    let post = composition.admission.posts.first();
    let post = post.ok_or_else(|| Failure::new(SOFTWARE, "nothing was made"))?;
    if field(post, "Postgate-Template").is_some() || field(post, "Postgate-Parse").is_some() {
        let mut said = composition.remarks.join("\n");
        if said.contains("undefined value: vars.") {
            said.push_str(MISSING);
        }
        return Err(Failure::new(DATA, said));
    }
    let content_type = field(post, "Content-Type").unwrap_or_default();
    writeln!(io::stderr(), "Content-Type: {content_type}")?;
    let (start, length) = (post.body.start as usize, post.body.length as usize);
    let blob = composition.admission.blobs.get(usize::from(post.body.number));
    let body = blob.and_then(|blob| blob.get(start..)?.get(..length)).unwrap_or_default();
    io::stdout().write_all(body)?;
    Ok(io::stdout().write_all(b"\n")?)
}

/// What to do where a template misses a word.
const MISSING: &str =
    "\ngive words with --var NAME=VALUE, or name the recipient of a route that has them with --to";

fn field(post: &Post, name: &str) -> Option<String> {
    let field = post.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    Some(String::from_utf8_lossy(&field.value).into_owned())
}

fn read(file: &Path) -> Result<Bytes, Failure> {
    if file == Path::new("-") {
        let mut mail = Vec::new();
        io::stdin().read_to_end(&mut mail)?;
        return Ok(mail.into());
    }
    let mail = fs::read(file);
    let mail = mail.map_err(|error| Failure::new(NO_INPUT, format_args!("{}: {error}", file.display())))?;
    Ok(mail.into())
}

/// The route that takes the recipient, or one of its own, made to use the template.
fn route(options: &Options, arguments: &Try) -> Result<Route, Failure> {
    let named = match compose::target(options, &arguments.to) {
        Ok(Target::Route { route: name, .. }) => {
            let routes = compose::routes(options, &name);
            let is_for_it = |route: &&&Route| matches!(&route.payload, Payload::Template(name) if **name == *arguments.name);
            routes.iter().find(is_for_it).or(routes.first()).map(|route| (*route).clone())
        }
        _ => None,
    };
    let mut route = match named {
        Some(route) => route,
        None => {
            let recipient = arguments.to.parse().map_err(|reason| Failure::new(USAGE, reason))?;
            let url = "http://postgate.example/".parse().map_err(|error| Failure::new(SOFTWARE, error))?;
            Route::new(recipient, url)
        }
    };
    route.payload = Payload::Template(arguments.name.as_str().into());
    route.header_control = HeaderControl::Off;
    route.vars.retain(|(name, _)| arguments.vars.iter().all(|(other, _)| other != name));
    route.vars.extend_from_slice(&arguments.vars);
    Ok(route)
}

fn envelope(recipient: Recipient) -> Envelope {
    let client = Client {
        address: None,
        helo: "localhost".to_owned(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: String::new(),
    };
    Envelope::new(client, "", vec![recipient])
}
