//! TLS towards a source: which certificates are trusted, how much is verified, and errors that say what is wrong.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError, RootCertStore, SignatureScheme,
};

use super::{Error, Result, Settings, TlsMode};

/// A source's TLS, ready for connections.
pub(super) struct Client {
    connector: TlsConnector,
    server: ServerName<'static>,
}

impl Client {
    /// Reads the CA file or the system's roots; None where TLS is off.
    ///
    /// # Errors
    /// [`Error::Refused`] when a file is missing, is not PEM or holds no certificate, or the host can be in no certificate.
    pub(super) fn new(settings: &Settings) -> Result<Option<Self>> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match settings.tls.mode {
            TlsMode::Off => return Ok(None),
            TlsMode::Required => Arc::new(Unverified(Arc::clone(&provider))),
            TlsMode::VerifyCa | TlsMode::VerifyIdentity => {
                let roots = Arc::new(roots(settings)?);
                let strict =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().map_err(|error| {
                        refused(settings, format!("TLS cannot be set up: {error}"), "set tls.ca to a PEM file of the CA")
                    })?;
                if settings.tls.mode == TlsMode::VerifyCa { Arc::new(AnyName(strict)) } else { strict }
            }
        };
        let server = match (ServerName::try_from(settings.host.clone()), &settings.tls.mode) {
            (Ok(server), _) => server,
            // The name is not compared, only sent along.
            (Err(_), TlsMode::Required | TlsMode::VerifyCa) => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
            (Err(_), _) => {
                let reason = format!("{:?} is no host name that a certificate could hold", settings.host);
                return Err(refused(settings, reason, "correct the host in the source's url"));
            }
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(settings, format!("TLS cannot be set up: {error}"), "report it: no TLS version is usable"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Some(Self { connector: TlsConnector::from(Arc::new(config)), server }))
    }

    /// The TLS handshake.
    pub(super) async fn connect(&self, stream: TcpStream, settings: &Settings) -> Result<TlsStream<TcpStream>> {
        self.connector.connect(self.server.clone(), stream).await.map_err(|error| {
            refusal(&error, settings).unwrap_or_else(|| Error::Connection {
                name: settings.name.clone(),
                address: address(settings),
                reason: format!("the TLS handshake failed: {error}"),
            })
        })
    }
}

fn address(settings: &Settings) -> String {
    format!("{}:{}", settings.host, settings.port)
}

fn refused(settings: &Settings, reason: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Refused { name: settings.name.clone(), address: address(settings), reason: reason.into(), remedy: remedy.into() }
}

fn roots(settings: &Settings) -> Result<RootCertStore> {
    match &settings.tls.ca {
        Some(path) => own_roots(settings, path),
        None => system_roots(settings),
    }
}

fn own_roots(settings: &Settings, path: &Path) -> Result<RootCertStore> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| {
        refused(settings, format!("the CA file {shown} cannot be read: {error}"), "correct tls.ca or the file's rights")
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| {
            refused(settings, format!("the CA file {shown} is not PEM: {error}"), "give the CA's certificate as PEM")
        })?;
        roots.add(certificate).map_err(|error| {
            refused(
                settings,
                format!("the CA file {shown} holds a certificate that cannot be used: {error}"),
                "replace the certificate",
            )
        })?;
    }
    if roots.is_empty() {
        let remedy = "tls.ca must hold -----BEGIN CERTIFICATE----- blocks";
        return Err(refused(settings, format!("the CA file {shown} holds no PEM certificate"), remedy));
    }
    Ok(roots)
}

fn system_roots(settings: &Settings) -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates are always too odd to be used; none at all is an error.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let causes: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let reason = format!("the system has no trusted CA certificates ({})", causes.join("; "));
        return Err(refused(settings, reason, "install ca-certificates, or set tls.ca to a PEM file of the server's CA"));
    }
    Ok(roots)
}

/// The operator's view of a TLS failure inside an I/O error; None where it is another failure.
pub(super) fn refusal(error: &io::Error, settings: &Settings) -> Option<Error> {
    let error = error.get_ref()?.downcast_ref::<TlsError>()?;
    let name = &settings.name;
    let (reason, remedy) = match error {
        TlsError::InvalidCertificate(problem) => certificate_problem(problem, settings),
        TlsError::AlertReceived(alert) => (
            format!("the server refused the TLS handshake: {alert:?}"),
            format!("check the server's TLS settings for source {name}"),
        ),
        TlsError::PeerIncompatible(problem) => (
            format!("the server speaks no TLS that is still safe: {problem:?}"),
            "allow TLSv1.2 or TLSv1.3 in the server's tls_version".to_owned(),
        ),
        _ => return None,
    };
    Some(refused(settings, reason, remedy))
}

fn certificate_problem(problem: &CertificateError, settings: &Settings) -> (String, String) {
    let ca = match &settings.tls.ca {
        Some(path) => format!("the CAs in {}", path.display()),
        None => "the system's CAs".to_owned(),
    };
    let host = &settings.host;
    match problem {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            format!("the server's certificate is not trusted: it was not issued by {ca}"),
            "set tls.ca to a PEM file of the CA that issued it".to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = match problem {
                CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                    "it has no subject alternative name".to_owned()
                }
                CertificateError::NotValidForNameContext { presented, .. } => format!("it names {}", presented.join(", ")),
                _ => "it names others".to_owned(),
            };
            (
                format!("the server's certificate is not for {host}: {names}"),
                "use a host name that it holds, issue one for this host, or set tls.mode to verify_ca".to_owned(),
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("the server's certificate has expired".to_owned(), "renew the server's certificate".to_owned())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("the server's certificate is not valid yet".to_owned(), "check the clocks of both machines".to_owned())
        }
        CertificateError::Other(OtherError(cause)) => (
            format!("the server's certificate cannot be verified: {cause}"),
            "replace the server's certificate by an X.509 v3 one of its own, signed by the CA".to_owned(),
        ),
        other => (format!("the server's certificate cannot be verified: {other}"), "replace the server's certificate".to_owned()),
    }
}

/// `required`: encrypted, whoever it is.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify_ca`: everything but the name. The name is compared last, so a wrong one means that all else was right.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        match self.0.verify_server_cert(certificate, intermediates, server, ocsp, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
