//! Whom a client of our own believes: whoever shows a certificate of ours and has its key.
//!
//! A certificate that we made for tests, or one for another name than that of the
//! machine, is good for this. Any other is not, whoever vouches for it: what is said to
//! ourselves must reach nobody else.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// A configuration that believes these certificates alone.
pub(super) fn believing(
    own: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>, Error> {
    let ours = Arc::new(Ours { own, provider: Arc::clone(provider) });
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(ours).with_no_client_auth();
    // A resumed session shows no certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Ours {
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Ours {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.own.iter().any(|own| own == shown) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::self_signed;
    use super::*;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    /// What a handshake between one who believes `own` and one who shows `shown` comes to.
    fn shaken(own: &str, shown: &str) -> Result<(), Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (ours, pair) = (self_signed(own).unwrap(), self_signed(shown).unwrap());
        let pair = if own == shown { ours.clone() } else { pair };
        let resolver = Arc::new(super::super::names::ByName(vec![pair]));
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().unwrap();
        let server = Arc::new(server.with_no_client_auth().with_cert_resolver(resolver));
        let client = believing(vec![ours.certificate().unwrap()], &provider).unwrap();
        let mut client = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        while client.is_handshaking() {
            let mut octets = Vec::new();
            client.write_tls(&mut octets).unwrap();
            server.read_tls(&mut octets.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            let mut octets = Vec::new();
            server.write_tls(&mut octets).unwrap();
            client.read_tls(&mut octets.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn only_a_certificate_of_ours_is_believed() {
        shaken("gateway.example", "gateway.example").unwrap();
        // The names of the other are ours as well: `localhost` is in both.
        let refused = shaken("gateway.example", "other.example").unwrap_err();
        assert!(matches!(refused, Error::InvalidCertificate(_)), "{refused:?}");
    }
}
