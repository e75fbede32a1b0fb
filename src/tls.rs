//! The cryptography of TLS, which reqwest needs for every client, also for one that speaks no TLS.
//!
//! ring is used instead of reqwest's default, aws-lc, which alone would be an eighth of the program.

/// To be called before a client is built; a second call changes nothing.
pub fn install_cryptography() {
    // An error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
