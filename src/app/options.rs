//! The configuration in the words of each part.
//!
//! One function a part; nothing is decided here.

use crate::compose::{self, Endpoint, HeaderControl, Pattern, Payload};
use crate::config::{self, Config, Listener, Method, ProtocolLevel, Route, Size};
use crate::deliver::{self, lane, retry::Schedule, target::Egress};
use crate::intake;
use crate::post::Field;
use crate::protocol_log;
use crate::smtp;
use crate::spool::disk::Reserve;
use crate::spool::embedded;
use crate::spool::spill::SpillDirectory;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Octets as the machine counts them.
fn octets(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// A count as the machine counts.
fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What connections have in common, whatever listener they came to.
#[derive(Clone)]
pub(super) struct Common {
    /// Counts them.
    pub crowd: smtp::Crowd,
    /// Where their large messages go.
    pub spills: Arc<SpillDirectory>,
    /// Memory for composing.
    pub turns: intake::Turns,
}

/// The part of `data_memory` for what is still being received; the rest is for
/// composing, which holds whole messages.
fn receiving_memory(config: &Config) -> usize {
    octets(config.limits.data_memory) / 4
}

/// What all connections share; large messages go to temporary files in the spool.
pub(super) fn common(config: &Config) -> io::Result<Common> {
    let spool = spool(config);
    let spills = SpillDirectory::at(&spool.directory.join("tmp"), spool.reserve)?;
    let composing = octets(config.limits.data_memory) - receiving_memory(config);
    let turns = intake::Turns::of(composing);
    Ok(Common { crowd: smtp::Crowd::default(), spills: Arc::new(spills), turns })
}

/// For one listener.
pub(super) fn smtp(config: &Config, listener: &Listener, common: &Common) -> smtp::Options {
    let limits = &config.limits;
    smtp::Options {
        hostname: config.server.hostname.clone(),
        limits: smtp::Limits {
            message: octets(limits.message_size),
            header: octets(limits.header_size),
            header_fields: count(limits.header_fields),
            command_line: octets(limits.command_line),
            recipients: count(limits.recipients),
            messages: count(limits.messages),
            soft_errors: count(limits.slow_after_errors),
            hard_errors: count(limits.close_after_errors),
            junk_commands: count(limits.junk_commands),
            connections: count(limits.connections),
            connections_per_address: count(limits.connections_per_address),
            new_per_minute: count(limits.connection_rate.count),
            data_memory: receiving_memory(config),
            ..smtp::Limits::default()
        },
        timeouts: smtp::Timeouts {
            idle: limits.idle_timeout,
            idle_under_pressure: limits.busy_idle_timeout,
            data_rate: u64::from(limits.data_rate),
            unread_reply: limits.reply_timeout,
            ..smtp::Timeouts::default()
        },
        bare_newline: match listener.bare_newline {
            config::BareNewline::Refuse => smtp::BareNewline::Refuse,
            // LF ends lines for the named networks only.
            config::BareNewline::Normalize | config::BareNewline::Lf => smtp::BareNewline::Normalize,
        },
        lf_networks: listener.lf_networks.clone(),
        crowd: common.crowd.clone(),
        spills: Some(Arc::clone(&common.spills)),
        ..smtp::Options::default()
    }
}

/// For the door; `own` are the gateway's listeners.
pub(super) fn intake(config: &Config, own: &[SocketAddr], common: &Common) -> intake::Options {
    intake::Options {
        turns: common.turns.clone(),
        trusted_networks: config.server.trusted_networks.clone(),
        egress: egress(config, own),
        ..intake::Options::default()
    }
}

fn header_control(is_on: bool) -> HeaderControl {
    if is_on { HeaderControl::On } else { HeaderControl::Off }
}

/// For composing what one listener takes; the error names a route that is not one.
pub(super) fn compose(config: &Config, listener: &Listener) -> Result<compose::Options, String> {
    let limits = compose::Limits {
        header_octets: octets(config.limits.header_size),
        header_fields: count(config.limits.header_fields),
        mime_depth: count(config.limits.mime_depth),
        mime_parts: count(config.limits.mime_parts),
        ..compose::Limits::default()
    };
    let routes = config.routes.iter().map(route).collect::<Result<_, _>>()?;
    let gateway_domains = config.server.gateway_domains.clone();
    let header_control = header_control(listener.header_control);
    Ok(compose::Options { gateway_domains, routes, header_control, limits })
}

fn route(route: &Route) -> Result<compose::Route, String> {
    let field =
        |(name, value): &(String, String)| Field { name: name.clone(), value: value.clone().into_bytes() };
    Ok(compose::Route {
        recipient: route.recipient.parse::<Pattern>()?,
        method: method(route.method).to_owned(),
        url: route.url.parse::<Endpoint>().map_err(|error| format!("{}: {error}", route.url))?,
        payload: match route.payload {
            config::Payload::Body => Payload::Body,
            config::Payload::Raw => Payload::Raw,
            config::Payload::Json => Payload::Json,
            config::Payload::Auto => Payload::Auto,
        },
        header_control: header_control(route.header_control),
        headers: route.headers.iter().map(field).collect(),
    })
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Get => "GET",
        Method::Delete => "DELETE",
    }
}

/// For delivery; `own` are the gateway's listeners.
pub(super) fn delivery(config: &Config, own: &[SocketAddr]) -> deliver::Options {
    let delivery = &config.delivery;
    deliver::Options {
        delivery: deliver::Delivery {
            limits: lane::Limits {
                max_connections: count(delivery.max_connections),
                breaker: delivery.breaker,
            },
            max_posts_per_connection: delivery.max_posts_per_connection,
            keep_alive: delivery.keep_alive,
            connect_timeout: delivery.connect_timeout,
            response_timeout: delivery.response_timeout,
            total_timeout: delivery.total_timeout,
            schedule: Schedule {
                retry: delivery.retry.clone(),
                max_age: delivery.max_age,
                max_attempts: (delivery.max_attempts > 0).then_some(delivery.max_attempts),
            },
        },
        egress: egress(config, own),
    }
}

fn egress(config: &Config, own: &[SocketAddr]) -> Egress {
    let ports = &config.egress.allow_ports;
    Egress {
        allow: config.egress.allow.clone(),
        deny: config.egress.deny.clone(),
        allow_ports: (!ports.is_empty()).then(|| ports.clone()),
        own: own.to_vec(),
    }
}

/// For the spool.
pub(super) fn spool(config: &Config) -> embedded::Options {
    // Room for one and a half messages keeps a full disk from being met in the
    // middle of one.
    let least_room = config.limits.message_size.0.saturating_mul(3) / 2;
    let defaults = embedded::Options::at(config.server.data_dir.join("spool"));
    let reserve = Reserve { octets: least_room.max(defaults.reserve.octets), ..defaults.reserve };
    embedded::Options {
        flush_interval: config.spool.flush_interval,
        reserve,
        retain_failed: config.retention.failed,
        ..defaults
    }
}

/// For the protocol log.
pub(super) fn protocol_log(config: &Config) -> protocol_log::Options {
    protocol_log::Options {
        directory: config.server.data_dir.join("log"),
        level: match config.log.protocol_log {
            ProtocolLevel::Off => protocol_log::Level::Off,
            ProtocolLevel::Errors => protocol_log::Level::Errors,
            ProtocolLevel::Full => protocol_log::Level::Full,
        },
        keep_days: config.log.keep_days,
    }
}
