//! TLS of outgoing connections: rustls on ring, the web's roots and those of `network.caFile`.

use std::path::Path;
use std::sync::{Arc, Once};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// Sessions remembered for a quicker second handshake. The default of 256 is made for browsers.
const SESSIONS: usize = 16;

/// Names ring as what does the cryptography of this process: without, the first TLS connection panics. May be called
/// more than once.
pub fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that somebody has installed one before: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// One for all agents: parsed roots take 70 KiB. Early data stays off: it could be played twice.
pub(super) fn config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        add_roots(&mut roots, path).map_err(|why| format!("network.caFile {}: {why}", path.display()))?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let pem = std::fs::read(path).map_err(|e| e.to_string())?;
    let mut found = 0;
    for cert in CertificateDer::pem_slice_iter(&pem) {
        let cert = cert.map_err(|e| format!("is not PEM: {e}"))?;
        roots.add(cert).map_err(|e| format!("certificate {} cannot be used: {e}", found + 1))?;
        found += 1;
    }
    match found {
        0 => Err("holds no certificate (PEM, BEGIN CERTIFICATE)".into()),
        _ => Ok(()),
    }
}
