//! TLS of a listener: 1.2 and 1.3, HTTP/1.1 by ALPN, one certificate.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs},
};

use super::Error;

/// A certificate chain and its private key, as PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The chain, leaf first.
    pub cert_pem: String,
    /// The leaf's private key: PKCS#8, PKCS#1 or SEC1.
    pub key_pem: SecretString,
}

impl Tls {
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let chain = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::Certificate)?;
        if chain.is_empty() {
            return Err(Error::Certificate(rustls_pki_types::pem::Error::NoItemsFound));
        }
        let key =
            PrivateKeyDer::from_pem_slice(self.key_pem.expose_secret().as_bytes()).map_err(Error::Key)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(Error::Tls)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
