//! The service manager that started the gateway, if there is one that wants to be told
//! how it does: systemd, or another that speaks its protocol (sd_notify(3)).
//!
//! A state is one datagram to the socket that `NOTIFY_SOCKET` names. It is told what
//! is so: that mail is taken when it is, and that all is well (`WATCHDOG=1`) only when
//! the dispatcher has answered, asked by a task of the runtime. A gateway in which
//! either hangs falls silent and is started anew.

use crate::clock;
use crate::deliver::control::Control;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    /// Nothing when nobody wants to be told.
    socket: Option<UnixDatagram>,
    /// The longest that it may be silent; nothing means for ever.
    patience: Option<Duration>,
}

impl Supervisor {
    /// What the environment names.
    pub(super) fn from_env() -> Supervisor {
        let Ok(name) = std::env::var("NOTIFY_SOCKET") else { return Supervisor::default() };
        let variable = |name| std::env::var(name).ok();
        let patience = patience(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        match connect(&name) {
            Ok(socket) => Supervisor { socket: Some(socket), patience },
            Err(error) => {
                tracing::warn!("cannot tell the service manager anything: NOTIFY_SOCKET {name:?}: {error}");
                Supervisor::default()
            }
        }
    }

    /// Something is done that may take a while.
    pub(super) fn busy(&self, status: &str) {
        self.tell("", status);
    }

    /// Mail is taken, by the configuration that is in force.
    pub(super) fn ready(&self, status: &str) {
        self.tell("READY=1\n", status);
    }

    /// The configuration is read again; [`Supervisor::ready`] tells of the end.
    pub(super) fn reloading(&self) {
        // Told apart from what was under way when the reload was asked for.
        let now = clock::monotonic().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}\n"), "reads its configuration again");
    }

    /// No more mail is taken.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\n", "finishes what is under way");
    }

    /// Says that all is well as long as it is, twice in the time that silence may take.
    /// Returns where nobody wants to know, or when the dispatcher has ended.
    pub(super) async fn reassure(&self, control: Control) {
        let Some(patience) = self.patience else { return };
        while control.pulse().await.is_ok() {
            self.send("WATCHDOG=1");
            tokio::time::sleep(patience / 2).await;
        }
    }

    fn tell(&self, state: &str, status: &str) {
        // A line end, as the path of a socket may have one, would begin another variable.
        let status = status.replace('\n', " ");
        self.send(&format!("{state}STATUS={status}"));
    }

    /// Of one who does not read, nobody waits for that.
    fn send(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(state.as_bytes()) {
            tracing::warn!("cannot tell the service manager {state:?}: {error}");
        }
    }
}

/// A path, or behind an `@` a name of Linux alone, which stands in no directory.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The longest silence, in `WATCHDOG_USEC`, unless it is meant for another process.
fn patience(micros: Option<String>, whose: Option<String>, own: u32) -> Option<Duration> {
    let is_ours = whose.is_none_or(|whose| whose.parse() == Ok(own));
    let micros = micros?.parse().ok()?;
    (is_ours && micros > 0).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dispatcher_that_does_not_answer_is_not_well() {
        let (socket, told) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        told.set_nonblocking(true).unwrap();
        let patience = Duration::from_secs(2);
        let supervisor = Supervisor { socket: Some(socket), patience: Some(patience) };
        let (control, requests) = Control::new();
        let silent = tokio::time::timeout(100 * patience, supervisor.reassure(control.clone())).await;
        assert!(silent.is_err());
        drop(requests);
        supervisor.reassure(control).await;
        let mut octets = [0; 100];
        assert_eq!(told.recv(&mut octets).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        // Nor is the test deaf. Of what is more than the other end takes the rest is lost.
        (0..1000).for_each(|_| supervisor.busy("a\nREADY=1"));
        let length = told.recv(&mut octets).unwrap();
        assert_eq!(&octets[..length], b"STATUS=a READY=1");
    }

    #[test]
    fn patience_is_asked_of_the_process_that_is_named() {
        let is = |micros: &str, whose: Option<&str>| {
            patience(Some(micros.to_owned()), whose.map(str::to_owned), 7)
        };
        assert_eq!(is("1500000", None), Some(Duration::from_millis(1500)));
        assert_eq!(is("1500000", Some("7")), Some(Duration::from_millis(1500)));
        for (micros, whose) in [("1500000", Some("8")), ("0", None), ("soon", None), ("1", Some("x"))] {
            assert_eq!(is(micros, whose), None, "{micros} {whose:?}");
        }
        assert_eq!(patience(None, None, 7), None);
    }
}
