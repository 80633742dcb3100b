//! The sockets of a gateway, opened before anything else is touched.

use super::StartError;
use crate::config::{API_ADDRESS, ApiAddress, Config, Listener};
use crate::smtp::{Activation, Address, Socket};
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

/// The one of the API, if it is to have one. An address that nobody asked for may
/// be another program's: mail is taken without the API as well.
pub(super) async fn bind_api(config: &Config) -> Result<Option<TcpListener>, StartError> {
    match config.api.address {
        Some(ApiAddress::Off) => Ok(None),
        Some(ApiAddress::At(address)) => {
            let bound = TcpListener::bind(address).await;
            bound.map(Some).map_err(|error| StartError::Api(address, error))
        }
        None => {
            let bound = TcpListener::bind(API_ADDRESS).await;
            let untold = |error| {
                tracing::warn!("there is no API: cannot listen on {API_ADDRESS}: {error}; set [api] address");
            };
            Ok(bound.map_err(untold).ok())
        }
    }
}
