//! TLS with the properties that librdkafka has for it.
use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{connection::Stream, error::CallError, security::refused};
use crate::connector::{
    ConnectorError,
    kafka::{client::Client, error::Failure},
};

/// Properties of TLS that are understood.
const KNOWN: [&str; 7] = [
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.endpoint.identification.algorithm",
];

/// Where systems keep the certificates they trust.
const SYSTEM_CERTIFICATES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// What the properties say. Fails with C0406 for what is not understood, C0403 for certificates that cannot be read.
pub fn config(client: &Client) -> Result<Arc<ClientConfig>, ConnectorError> {
    let properties = &client.properties;
    let other = properties.iter().map(|(name, _)| name).find(|name| name.starts_with("ssl.") && !KNOWN.contains(name));
    if let Some(name) = other {
        let what = format!(
            "`{name}` does not go with transactions; certificates and keys are PEM without a password: {}",
            KNOWN.join(", ")
        );
        return Err(refused(client, what));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |error: Error| Failure::Credentials.at(client.brokers.to_string(), error.to_string());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(client, provider)?);
    let config = match own(client)? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unusable)?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Makes a connection secure.
pub async fn connect(stream: TcpStream, address: &str, tls: &Arc<ClientConfig>) -> Result<Box<dyn Stream>, CallError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let refused = |what: String| CallError::Credentials { address: address.to_owned(), what };
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|e| refused(e.to_string()))?;
    match TlsConnector::from(tls.clone()).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        // What TLS itself has against it comes as an error of this kind.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(refused(format!("no TLS connection: {error}; check `ssl.ca.location` and `security.protocol`")))
        }
        Err(error) => Err(CallError::Connection { address: address.to_owned(), error }),
    }
}

fn verifier(client: &Client, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, ConnectorError> {
    let properties = &client.properties;
    let verify = match properties.get("enable.ssl.certificate.verification") {
        None | Some("true" | "t" | "1") => true,
        Some("false" | "f" | "0") => false,
        Some(_) => return Err(refused(client, "`enable.ssl.certificate.verification` is true or false")),
    };
    let names = match properties.get("ssl.endpoint.identification.algorithm") {
        None | Some("https") => true,
        Some("none") => false,
        Some(_) => return Err(refused(client, "`ssl.endpoint.identification.algorithm` is https or none")),
    };
    if !verify {
        return Ok(Arc::new(Lenient { verifier: None, provider }));
    }
    let roots = Arc::new(roots(client)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
    let verifier = verifier.map_err(|error| Failure::Credentials.at(client.brokers.to_string(), error.to_string()))?;
    Ok(if names { verifier } else { Arc::new(Lenient { verifier: Some(verifier), provider }) })
}

/// Whom to trust.
fn roots(client: &Client) -> Result<RootCertStore, ConnectorError> {
    let properties = &client.properties;
    let mut found = Vec::new();
    match (properties.get("ssl.ca.pem"), properties.get("ssl.ca.location")) {
        (Some(pem), _) => found = certificates(client, "ssl.ca.pem", pem.as_bytes())?,
        (None, Some(path)) if path != "probe" => {
            let folder = fs::read_dir(path).ok();
            let files = match folder {
                Some(entries) => entries.flatten().map(|entry| entry.path()).collect(),
                None => vec![path.into()],
            };
            for file in files.iter().filter(|file| files.len() == 1 || file.is_file()) {
                found.extend(certificates(client, &file.display().to_string(), &read(client, file)?)?);
            }
        }
        _ => {
            if let Some(path) = SYSTEM_CERTIFICATES.iter().map(Path::new).find(|path| path.exists()) {
                found = certificates(client, &path.display().to_string(), &read(client, path)?)?;
            }
        }
    }
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(found).0 == 0 {
        let what =
            "there are no certificates to trust: set `ssl.ca.location` to a file with that of the brokers' authority";
        return Err(Failure::Credentials.at(client.brokers.to_string(), what));
    }
    Ok(roots)
}

/// Our own certificate and its key, if brokers are to see one.
fn own(client: &Client) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, ConnectorError> {
    let pem = |text: &str, location: &str| -> Result<Option<(String, Vec<u8>)>, ConnectorError> {
        match (client.properties.get(text), client.properties.get(location)) {
            (Some(pem), _) => Ok(Some((text.to_owned(), pem.as_bytes().to_vec()))),
            (None, Some(path)) => Ok(Some((path.to_owned(), read(client, Path::new(path))?))),
            (None, None) => Ok(None),
        }
    };
    let chain = pem("ssl.certificate.pem", "ssl.certificate.location")?;
    let key = pem("ssl.key.pem", "ssl.key.location")?;
    match (chain, key) {
        (None, None) => Ok(None),
        (Some((place, chain)), Some((of_key, key))) => {
            let chain = certificates(client, &place, &chain)?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| {
                let what =
                    format!("{of_key} has no private key that can be read, in PEM and without a password: {error}");
                Failure::Credentials.at(client.brokers.to_string(), what)
            })?;
            Ok(Some((chain, key)))
        }
        _ => Err(refused(client, "a certificate needs its key: set `ssl.certificate.location` and `ssl.key.location`")),
    }
}

fn read(client: &Client, path: &Path) -> Result<Vec<u8>, ConnectorError> {
    fs::read(path).map_err(|error| {
        Failure::Credentials.at(client.brokers.to_string(), format!("{} cannot be read: {error}", path.display()))
    })
}

fn certificates(client: &Client, place: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConnectorError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| {
        let what = format!("{place} has no certificates in PEM that can be read: {error}");
        Failure::Credentials.at(client.brokers.to_string(), what)
    })
}

/// Does not look at names, nor without a verifier at certificates: because the properties say so.
#[derive(Debug)]
struct Lenient {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use rustls::CertificateError as E;
        let Some(verifier) = &self.verifier else { return Ok(ServerCertVerified::assertion()) };
        match verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last.
            Err(Error::InvalidCertificate(E::NotValidForName | E::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
