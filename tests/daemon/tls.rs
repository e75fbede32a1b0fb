//! TLS certificates of providers. An invalid certificate counts as a failed connection: it changes
//! no job, and the key is never sent.

use std::net::SocketAddr;

use crate::certificate_authority::TestCertificateAuthority;
use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{self, db};

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";

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
        let expected = if case == "no TLS at all" {
            "cannot connect to localhost"
        } else {
            "invalid peer certificate"
        };
        assert!(error.contains(expected), "{case}: {error}");
    }
    assert_eq!(dune.credentials_seen(), [""; 0], "the key was sent despite an invalid certificate");
}
