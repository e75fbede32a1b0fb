//! TLS certificates of providers. An invalid certificate counts as a failed connection: it changes
//! no job, and the key is never sent.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{self, db};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";

struct TestCertificateAuthority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl TestCertificateAuthority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { params, key, pem }
    }

    /// Starts a TLS server with a certificate for `name` that forwards all connections to `dune`.
    async fn start_tls_proxy(
        &self,
        name: &str,
        valid_until_year: i32,
        dune: SocketAddr,
    ) -> SocketAddr {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(valid_until_year, 1, 1);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a server config");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Ok(mut upstream) = TcpStream::connect(dune).await else { return };
                    let _ = copy_bidirectional(&mut stream, &mut upstream).await;
                });
            }
        });
        address
    }
}

/// Starts a daemon that trusts only `authority` and polls the server at this address as
/// `localhost`.
fn start_trusting_daemon(
    authority: &TestCertificateAuthority,
    server_address: SocketAddr,
) -> (DaemonHome, support::daemon::Daemon) {
    let home = DaemonHome::new(
        &format!("https://localhost:{}", server_address.port()),
        "requests_per_minute = 1200\npolicy = \"backoff\"\nmin_interval = \"100ms\"\nmax_interval = \"200ms\"",
    );
    std::fs::write(home.path("ca.pem"), &authority.pem).expect("the authority's file");
    let mut command = home.daemon_command();
    command.env("SSL_CERT_FILE", home.path("ca.pem"));
    let daemon = home.spawn(command);
    daemon.wait_for_notification("READY=1", &home);
    (home, daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_36_a_valid_certificate_is_accepted() {
    let dune = FakeServer::start().await;
    dune.add_job(EXECUTION_ID, JobScript::new().ending_with(JobEnd::Completed));
    let authority = TestCertificateAuthority::new();
    let address = authority.start_tls_proxy("localhost", 2099, dune.addr()).await;
    let (home, _daemon) = start_trusting_daemon(&authority, address);
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success(), "{}", home.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_36_an_invalid_certificate_changes_nothing() {
    let dune = FakeServer::start().await;
    dune.add_job(EXECUTION_ID, JobScript::new().ending_with(JobEnd::Completed));
    let (authority, other_authority) =
        (TestCertificateAuthority::new(), TestCertificateAuthority::new());
    let cases = [
        ("expired", authority.start_tls_proxy("localhost", 2021, dune.addr()).await),
        ("for another host", authority.start_tls_proxy("example.org", 2099, dune.addr()).await),
        (
            "from an unknown authority",
            other_authority.start_tls_proxy("localhost", 2099, dune.addr()).await,
        ),
        ("no TLS at all", dune.addr()),
    ];
    for (case, address) in cases {
        let (home, daemon) = start_trusting_daemon(&authority, address);
        home.run_client_ok(&["add", "dune", EXECUTION_ID]);
        daemon
            .wait_for_status(&home, |status| {
                status["providers"][0]["consecutive_failures"].as_u64() >= Some(3)
            })
            .await;
        let polled = home.poll_job_1();
        assert!(polled.contains("\"state\":\"registered\""), "{case}: {polled}");
        let error = db::query_value(&home.database(), "SELECT last_poll_error FROM jobs");
        let expected = if case == "no TLS at all" { "Connect" } else { "invalid peer certificate" };
        assert!(error.contains(expected), "{case}: {error}");
    }
    assert_eq!(dune.credentials_seen(), [""; 0], "the key was sent despite an invalid certificate");
}
