//! Whose certificates a probe believes: the system's roots, or anybody's.
//!
//! The cryptography is named explicitly everywhere. A process-wide default is set by whoever comes
//! first, and missing if nobody does.

use std::sync::{Arc, OnceLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::policy::Verify;

/// Two ways to meet a certificate. The error is why verified probes cannot be made from here.
pub(super) struct Trust {
    verified: Result<TlsConnector, String>,
    blind: Result<TlsConnector, String>,
}

impl Trust {
    /// The system's roots, read once. A probe a second must not read them each time.
    pub(super) fn of_this_machine() -> &'static Self {
        static TRUST: OnceLock<Trust> = OnceLock::new();
        TRUST.get_or_init(|| Self::in_roots(system_roots()))
    }

    pub(super) fn in_roots(roots: Result<RootCertStore, String>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self {
            verified: roots.and_then(|roots| verified(&provider, roots)),
            blind: blind(&provider),
        }
    }

    pub(super) fn connector(&self, verify: Verify) -> Result<&TlsConnector, String> {
        match verify {
            Verify::Certificate => self.verified.as_ref().map_err(Clone::clone),
            Verify::Nothing => self.blind.as_ref().map_err(Clone::clone),
        }
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return Ok(roots);
    }
    let first = found.errors.first();
    let why = first.map_or_else(|| "none are installed".to_owned(), ToString::to_string);
    Err(format!("no root certificates on this machine: {why}"))
}

fn verified(provider: &Arc<CryptoProvider>, roots: RootCertStore) -> Result<TlsConnector, String> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn blind(provider: &Arc<CryptoProvider>) -> Result<TlsConnector, String> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(Arc::clone(provider))))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Takes any certificate, as Route 53's own checkers do, but insists that the other side holds its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
