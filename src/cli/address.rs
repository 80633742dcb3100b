//! `postgate address`: every way to write a URL as a recipient.

use super::{ConfigFile, DATA, Failure, say};
use crate::compose;

/// Print every recipient form for a URL
///
/// The first works where a mail library leaves addresses alone; labels, encoded
/// and escaped survive everything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  postgate address 'https://shop.example/hook?a=1'")]
pub(super) struct Arguments {
    /// The URL, http or https
    url: String,
    /// Gateway domain [default: the first of server.gateway_domains]
    #[arg(long)]
    domain: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let domain = match arguments.domain {
        Some(domain) => domain,
        None => arguments.file.load()?.server.gateway_domains.into_iter().next().unwrap_or_default(),
    };
    let forms =
        compose::forms(&arguments.url, &domain).map_err(|refusal| Failure::new(DATA, refusal.text))?;
    let width = forms.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, form) in forms {
        say(format_args!("{name:width$}  {form}"))?;
    }
    Ok(())
}
