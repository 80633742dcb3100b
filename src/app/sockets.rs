//! The sockets of a gateway, opened before anything else is touched.

use super::StartError;
use crate::config::{API_ADDRESS, ApiAddress, Config, Listener};
use crate::smtp::{Activation, Address, Socket};
use std::io;
use tokio::net::TcpListener;

/// One for each `[[listener]]`, in the order of the configuration.
pub(super) fn bind(config: &Config) -> Result<Vec<Socket>, StartError> {
    let mut sockets = Vec::new();
    let asks_systemd = |listener: &Listener| matches!(listener.address, Address::Systemd(_));
    let mut activation = match config.listeners.0.iter().any(asks_systemd) {
        true => Activation::from_env(),
        false => Activation::none(),
    };
    for listener in &config.listeners.0 {
        let refused = |error| StartError::Listen(listener.address.clone(), error);
        sockets.push(Socket::bind(&listener.address, &mut activation).map_err(refused)?);
    }
    Ok(sockets)
}

/// The one of the API, if it is to have one; nothing but an error of it when its
/// address is one that nobody asked for.
pub(super) async fn bind_api(config: &Config) -> Result<Option<io::Result<TcpListener>>, StartError> {
    match config.api.address {
        Some(ApiAddress::Off) => Ok(None),
        Some(ApiAddress::At(address)) => {
            let bound = TcpListener::bind(address).await;
            bound.map(|socket| Some(Ok(socket))).map_err(|error| StartError::Api(address, error))
        }
        None => Ok(Some(TcpListener::bind(API_ADDRESS).await)),
    }
}

/// Goes on without an API where another program, or another gateway, has the usual
/// address: mail is taken without it as well.
pub(super) fn or_warn(bound: io::Result<TcpListener>) -> Option<TcpListener> {
    let untold = |error: &io::Error| {
        tracing::warn!("there is no API: cannot listen on {API_ADDRESS}: {error}; set [api] address");
    };
    bound.inspect_err(untold).ok()
}
