//! Providers behind a proxy, and certificates of a private authority: requests take the configured way, and
//! `jobtrack check` says which part of the way fails.

use std::net::{SocketAddr, TcpListener};

use crate::certificate_authority::TestCertificateAuthority;
use crate::connect_proxy::{ConnectProxy, ProxyAnswer};
use crate::support::FAST_POLLING_TOML;
use crate::support::daemon::{Daemon, DaemonHome, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const PASSWORD: &str = "Canary-proxy-password";
/// Only the proxy knows an address for this name.
const SERVICE: &str = "dune.internal.test";

/// A service that is reached through TLS under the name [`SERVICE`].
struct TlsService {
    dune: FakeServer,
    authority: TestCertificateAuthority,
    address: SocketAddr,
}

impl TlsService {
    async fn start() -> Self {
        Self::with_certificate(SERVICE, 2099).await
    }

    async fn with_certificate(name: &str, valid_until_year: i32) -> Self {
        let dune = FakeServer::start().await;
        dune.add_job(EXECUTION_ID, JobScript::new().ending_with(JobEnd::Completed));
        let authority = TestCertificateAuthority::new();
        let address = authority.start_tls_proxy(name, valid_until_year, dune.addr()).await;
        Self { dune, authority, address }
    }

    /// A config for the service, with `ca_file` and these settings of the provider.
    fn home(&self, settings: &str) -> DaemonHome {
        let home = DaemonHome::without_config();
        self.configure(&home, settings);
        home
    }

    fn configure(&self, home: &DaemonHome, settings: &str) {
        std::fs::write(home.path("ca.pem"), &self.authority.pem).expect("a file");
        let ca_file = home.path("ca.pem").display().to_string();
        home.configure(
            &format!("https://{SERVICE}"),
            &format!("ca_file = \"{ca_file}\"\n{FAST_POLLING_TOML}\n{settings}"),
        );
    }
}

fn start_with_env(home: &DaemonHome, env: &[(&str, String)]) -> Daemon {
    let mut command = home.daemon_command();
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let daemon = home.spawn(command);
    daemon.wait_for_notification("READY=1", home);
    daemon
}

/// What `jobtrack check dune` prints.
fn check(home: &DaemonHome) -> String {
    let output = home.run_client(&["check", "dune"]);
    format!("{}{}", utf8(&output.stdout), utf8(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_go_through_the_proxy_of_the_setting_or_of_a_variable() {
    let service = TlsService::start().await;
    for case in ["setting", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "file"] {
        let proxy = ConnectProxy::start(ProxyAnswer::Tunnel, service.address).await;
        let (address, secret_url) =
            (proxy.address, format!("http://someone:{PASSWORD}@{}", proxy.address));
        let home = match case {
            "setting" => service.home(&format!("proxy = \"http://{address}\"")),
            "file" => {
                let home = service.home("");
                home.write_secret("proxy", &secret_url);
                let text = std::fs::read_to_string(home.path("config.toml")).expect("a config");
                let file = home.path("proxy").display().to_string();
                home.write_config(&format!("{text}proxy = {{ file = \"{file}\" }}\n"));
                home
            }
            _ => service.home(""),
        };
        let env = if case.ends_with("PROXY") || case.ends_with("proxy") {
            vec![(case, secret_url)]
        } else {
            Vec::new()
        };
        let _daemon = start_with_env(&home, &env);
        home.run_client_ok(&["add", "dune", EXECUTION_ID]);
        let waited = home.run_client(&["wait", "1", "--timeout", "25s"]);
        assert!(waited.status.success(), "{case}: {}", home.log());
        let requests = proxy.requests();
        let first = requests.first().expect(case);
        assert!(first.starts_with(&format!("CONNECT {SERVICE}:443 HTTP/1.1\r\n")), "{first}");
        let has_credentials = first.to_lowercase().contains("proxy-authorization: basic ");
        assert_eq!(has_credentials, case != "setting", "{case}: {first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_56_a_proxys_password_is_in_no_output_and_not_in_the_database() {
    let service = TlsService::start().await;
    let answer = ProxyAnswer::Reject("407 Proxy Authentication Required");
    let proxy = ConnectProxy::start(answer, service.address).await;
    let home = service.home("");
    let url = format!("http://someone:{PASSWORD}@{}", proxy.address);
    let mut command = home.daemon_command();
    command.env("HTTPS_PROXY", &url).arg("--check");
    let checked = command.output().expect("jobtrackd runs");
    let shown = format!("{}{}", utf8(&checked.stdout), utf8(&checked.stderr));
    assert!(shown.contains("providers.dune.proxy.env = \"HTTPS_PROXY\""), "{shown}");
    let daemon = start_with_env(&home, &[("HTTPS_PROXY", url), ("RUST_LOG", "trace".to_owned())]);
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    let polled = home.poll_job_1();
    let checked = check(&home);
    assert!(daemon.stop().success());
    let database = std::fs::read(home.database()).expect("a database");
    let database = String::from_utf8_lossy(&database).into_owned();
    for text in [shown, polled, checked, home.log(), database] {
        assert!(!text.contains(PASSWORD) && !text.contains("Basic "), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_36_the_part_of_the_way_that_fails_is_named_with_what_to_change() {
    let service = TlsService::start().await;
    let unused = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port");
    let start = async |answer| ConnectProxy::start(answer, service.address).await.address;
    let rejected = start(ProxyAnswer::Reject("407 Proxy Authentication Required")).await;
    let refused = start(ProxyAnswer::Reject("403 Forbidden")).await;
    let silent = start(ProxyAnswer::Silence).await;
    let proxied = |address: &dyn std::fmt::Display| format!("proxy = \"http://{address}\"");
    let cases = [
        (proxied(&rejected), ["proxy failed: ", "requires a user and a password (HTTP 407)"]),
        (proxied(&refused), ["proxy failed: ", "refuses to connect to dune.internal.test"]),
        (proxied(&unused), ["proxy failed: ", "it cannot be reached: Connection refused"]),
        (proxied(&silent), ["proxy failed: ", "no connection to dune.internal.test in time"]),
        (proxied(&"proxy.invalid:1"), ["proxy failed: ", "host name cannot be resolved"]),
        ("proxy = \"none\"".to_owned(), ["host name not resolved: ", "dune.internal.test"]),
        (
            format!("{}\nno_proxy = \".internal.test\"", proxied(&silent)),
            ["host name not resolved: ", "dune.internal.test"],
        ),
    ];
    for (settings, expected) in cases {
        let home = service.home(&settings);
        let _daemon = home.start();
        let printed = check(&home);
        for text in expected {
            assert!(printed.contains(text), "{settings}: {printed}\n{}", home.log());
        }
        assert!(printed.contains("proxy"), "the setting to change: {printed}");
    }
    assert_eq!(service.dune.credentials_seen(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_36_a_certificate_that_is_not_trusted_is_named_with_the_setting_ca_file() {
    let cases = [
        (SERVICE, 2021, "expired"),
        ("other.example", 2099, "not valid for name"),
        (SERVICE, 2099, "UnknownIssuer"),
    ];
    for (name, valid_until_year, reason) in cases {
        let service = TlsService::with_certificate(name, valid_until_year).await;
        let proxy = ConnectProxy::start(ProxyAnswer::Tunnel, service.address).await;
        let home = service.home(&format!("proxy = \"http://{}\"", proxy.address));
        if reason == "UnknownIssuer" {
            std::fs::write(home.path("ca.pem"), TestCertificateAuthority::new().pem)
                .expect("a file");
        }
        let _daemon = home.start();
        let printed = check(&home);
        for text in ["certificate not trusted: ", SERVICE, reason, "ca_file"] {
            assert!(printed.contains(text), "{reason}: {printed}");
        }
        assert_eq!(service.dune.credentials_seen(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_applies_another_proxy() {
    let service = TlsService::start().await;
    let wrong = ConnectProxy::start(ProxyAnswer::Reject("403 Forbidden"), service.address).await;
    let right = ConnectProxy::start(ProxyAnswer::Tunnel, service.address).await;
    let home = service.home(&format!("proxy = \"http://{}\"", wrong.address));
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.wait_for_log("refuses to connect to", 1);
    // The scheme may be left out.
    service.configure(&home, &format!("proxy = \"{}\"", right.address));
    let reloaded = home.run_client_ok(&["reload"]);
    assert!(reloaded.contains("provider dune changed"), "{reloaded}");
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success(), "{}", home.log());
    assert!(!right.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_address_is_reached_without_the_proxy() {
    let dune = FakeServer::start().await;
    dune.add_job(EXECUTION_ID, JobScript::new().ending_with(JobEnd::Completed));
    let proxy = ConnectProxy::start(ProxyAnswer::Reject("403 Forbidden"), dune.addr()).await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let url = format!("http://{}", proxy.address);
    let _daemon = start_with_env(&home, &[("HTTPS_PROXY", url.clone()), ("HTTP_PROXY", url)]);
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success(), "{}", home.log());
    assert_eq!(proxy.requests(), [""; 0]);
}

#[test]
fn a_file_that_is_no_certificate_and_a_text_that_is_no_proxy_are_refused_at_the_start() {
    let home = DaemonHome::without_config();
    std::fs::write(home.path("no-pem"), "gopher://proxy\n").expect("a file");
    let file = home.path("no-pem").display().to_string();
    let missing = home.path("missing").display().to_string();
    let cases = [
        (format!("ca_file = \"{file}\""), "contains no certificate in PEM"),
        (format!("ca_file = \"{missing}\""), "No such file"),
        (format!("proxy = {{ file = \"{file}\" }}"), "is not the URL of a proxy"),
        ("proxy = \"ftp://proxy\"".to_owned(), "is not the URL of a proxy"),
        (format!("proxy = \"http://u:{PASSWORD}@proxy\""), "without user and password"),
    ];
    for (settings, expected) in cases {
        home.configure("https://localhost", &settings);
        let output = home.run_daemon_to_exit(&["--check"]);
        let error = utf8(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{error}");
        assert!(error.contains(expected) && !error.contains(PASSWORD), "{settings}: {error}");
    }
}

#[test]
fn a_machine_without_ca_certificates_is_told_what_to_set() {
    let home = DaemonHome::new("https://localhost", "");
    let missing = home.path("missing");
    let check = |home: &DaemonHome| {
        let mut command = home.daemon_command();
        command.env("SSL_CERT_FILE", &missing).env("SSL_CERT_DIR", &missing).arg("--check");
        command.output().expect("jobtrackd runs")
    };
    let output = check(&home);
    assert_eq!(output.status.code(), Some(78));
    let error = utf8(&output.stderr);
    assert!(error.contains("install ca-certificates, or set ca_file"), "{error}");
    std::fs::write(home.path("ca.pem"), TestCertificateAuthority::new().pem).expect("a file");
    let ca_file = home.path("ca.pem").display().to_string();
    home.configure("https://localhost", &format!("ca_file = \"{ca_file}\""));
    assert!(check(&home).status.success());
}
