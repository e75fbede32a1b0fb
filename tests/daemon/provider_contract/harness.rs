//! The fixtures, one for each kind and way of authentication, and the harness that runs one against a fake
//! server.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jobtrack::job::{
    Answer, ConnectionCheck, Observation, ObservedState, ProviderError, ProviderErrorKind,
    ProviderName, RemoteId, UtcTime,
};
use jobtrack::provider::{BuildError, Provider, SharedCredentials, build, network};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::dataarts::{DATAARTS, PASSWORD_DATAARTS, SIGNED_DATAARTS};
use super::dli::{DLI, PASSWORD_DLI, SIGNED_DLI};
use super::dune::DUNE;
use crate::support::fake_server::{
    ACCESS_KEY_ID, API_KEY, DOMAIN_NAME, FIRST_TOKEN, FakeServer, Fault, FaultRepeat, FaultTarget,
    JobScript, PASSWORD, PROJECT_NAME, SECRET_ACCESS_KEY, SECURITY_TOKEN, USER_NAME,
};

pub(crate) const FIXTURES: [&ProviderFixture; 7] =
    [&DUNE, &DLI, &SIGNED_DLI, &PASSWORD_DLI, &DATAARTS, &SIGNED_DATAARTS, &PASSWORD_DATAARTS];

/// `request_timeout` of the provider under test.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// A kind of provider with one way of authentication.
pub(crate) struct ProviderFixture {
    pub(crate) kind: &'static str,
    /// The lines of `[providers.subject]` without `kind`.
    pub(crate) config: fn(base_url: &str, secrets: &Path) -> String,
    /// The credential that the service receives.
    pub(crate) expected_credential: &'static str,
    /// Whether the provider fetches a new token after a 401.
    pub(crate) renews_token: bool,
    /// The secrets. Each is the content of a file of the same name.
    pub(crate) secrets: &'static [&'static str],
    /// A job that the fake server may have.
    pub(crate) remote_id: &'static str,
    /// The request that cancels that job: the method and the end of the path.
    pub(crate) cancel_request: (&'static str, &'static str),
    /// The body of a 200 that rejects the cancellation, if the service has one.
    pub(crate) cancel_rejection_body: Option<&'static str>,
    /// Adds that job to the fake server.
    pub(crate) add_job: fn(&FakeServer, JobScript),
    /// The smallest valid body with this provider state.
    pub(crate) minimal_body: fn(word: &str) -> Map<String, Value>,
    /// The field with the job's id, if an answer has one.
    pub(crate) id_field: Option<&'static str>,
    pub(crate) state_field: &'static str,
    /// An optional field of which text and numbers are kept in the detail.
    pub(crate) detail_field: Option<&'static str>,
    /// The field that marks a terminal state, if an answer has one.
    pub(crate) finished_field: Option<&'static str>,
    /// Every known provider state.
    pub(crate) known_states: &'static [(&'static str, ObservedState)],
    /// A provider state of an unfinished job.
    pub(crate) running_state: &'static str,
    /// Complete bodies with the expected observations.
    pub(crate) examples: fn() -> Vec<BodyExample>,
    /// The body of a job that failed with this message.
    pub(crate) failed_body: fn(message: &str) -> Map<String, Value>,
    /// The kind's own unsuccessful answers.
    pub(crate) rejections: &'static [RejectionCase],
    /// The body of an unsuccessful answer with this message.
    pub(crate) error_body: fn(text: &str) -> String,
}

/// A body with the expected observation.
pub(crate) struct BodyExample {
    pub(crate) name: &'static str,
    pub(crate) body: String,
    pub(crate) expected: Observation,
}

/// The fields of a JSON object.
pub(crate) fn into_object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is an object"),
    }
}

/// A status and a body with the expected class.
pub(crate) struct RejectionCase {
    pub(crate) status: u16,
    pub(crate) body: &'static str,
    pub(crate) error_kind: ProviderErrorKind,
}

/// `auth = { … }`; `keys` are pairs of a key and the name of a file in `dir`.
pub(crate) fn huawei_auth_config(dir: &Path, keys: &[(&str, &str)]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|(key, file)| format!("{key} = {{ file = \"{}\" }}", dir.join(file).display()))
        .collect();
    format!("auth = {{ {} }}\n", keys.join(", "))
}

/// `auth = { … }` for a user and a password.
pub(crate) fn huawei_password_config(base_url: &str, dir: &Path) -> String {
    format!(
        "iam_url = \"{base_url}\"\nauth = {{ user = \"{USER_NAME}\", domain = \"{DOMAIN_NAME}\", \
         project = \"{PROJECT_NAME}\", password = {{ file = '{}' }} }}\n",
        dir.join(PASSWORD).display()
    )
}

/// Whether the request is to be sent again.
pub(crate) fn is_stale<T>(answer: &Answer<T>) -> bool {
    answer.credential_replaced
}

/// A provider that sends its requests to a fake server.
pub(crate) struct Harness {
    pub(crate) fixture: &'static ProviderFixture,
    pub(crate) server: FakeServer,
    pub(crate) provider: Box<dyn Provider>,
    /// Half an hour passes after each failure, so that a credential that was refused is tried again.
    failures: AtomicU64,
    /// With the files of the secrets.
    pub(crate) dir: TempDir,
}

impl Harness {
    pub(crate) async fn new(fixture: &'static ProviderFixture) -> Self {
        let server = FakeServer::start().await;
        let base_url = server.base_url();
        Self::with_base_url(fixture, server, &base_url)
    }

    /// With additional lines in the provider's section.
    pub(crate) async fn with_config(fixture: &'static ProviderFixture, extra_config: &str) -> Self {
        let server = FakeServer::start().await;
        let base_url = server.base_url();
        Self::try_with_config(fixture, server, &base_url, extra_config).expect("a provider")
    }

    /// With another address than that of the fake server.
    pub(crate) fn with_base_url(
        fixture: &'static ProviderFixture,
        server: FakeServer,
        base_url: &str,
    ) -> Self {
        Self::try_with_config(fixture, server, base_url, "").expect("a provider")
    }

    /// The error for such additional lines in the provider's section.
    pub(crate) async fn config_error(
        fixture: &'static ProviderFixture,
        extra_config: &str,
    ) -> String {
        let server = FakeServer::start().await;
        let base_url = server.base_url();
        match Self::try_with_config(fixture, server, &base_url, extra_config) {
            Ok(_) => panic!("{extra_config} is taken"),
            Err(error) => error.to_string(),
        }
    }

    fn try_with_config(
        fixture: &'static ProviderFixture,
        server: FakeServer,
        base_url: &str,
        extra_config: &str,
    ) -> Result<Self, BuildError> {
        let dir = TempDir::with_prefix("jobtrack-provider-").expect("a temporary directory");
        for secret in fixture.secrets {
            std::fs::write(dir.path().join(secret), format!("{secret}\n")).expect("its file");
        }
        let text = format!(
            "[polling]\nrequest_timeout = \"{}s\"\n[providers.subject]\nkind = \"{}\"\n{}{extra_config}\n",
            REQUEST_TIMEOUT.as_secs(),
            fixture.kind,
            (fixture.config)(base_url, dir.path())
        );
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).expect("the config");
        let config = jobtrack::config::load(
            Some(&file),
            &std::collections::BTreeMap::new(),
            &jobtrack::provider::kind_schemas(),
        )
        .expect("a config")
        .config;
        let name: ProviderName = "subject".parse().expect("a name");
        let provider = build(
            &name,
            &config.providers[&name],
            config.store.statement,
            &network,
            &SharedCredentials::default(),
        )?;
        Ok(Self { fixture, server, provider, failures: AtomicU64::new(0), dir })
    }

    /// Polls once, or twice if the first answer says that the credential was stale, as the tracker does.
    /// No answer and no error may contain a secret or an address, and an error is short.
    pub(crate) async fn poll(&self) -> Answer {
        let id: RemoteId = self.fixture.remote_id.parse().expect("an id");
        let mut answer = self.provider.poll(&id, self.now()).await;
        if is_stale(&answer) {
            answer = self.provider.poll(&id, self.now()).await;
        }
        assert!(!is_stale(&answer), "{answer:?}");
        self.count_failure(answer.result.is_err());
        self.assert_no_secrets(&format!("{answer:?}"));
        if let Err(error) = &answer.result {
            let length = error.to_string().len();
            assert!((1..2000).contains(&length), "an error of {length} bytes: {error:.2000}");
        }
        answer
    }

    /// The local clock of the next request.
    fn now(&self) -> UtcTime {
        let start = UtcTime::parse_rfc3339("2026-11-22T10:00:00Z").expect("a time");
        start.plus(Duration::from_mins(30 * self.failures.load(Ordering::Relaxed)))
    }

    fn count_failure(&self, has_failed: bool) {
        self.failures.fetch_add(u64::from(has_failed), Ordering::Relaxed);
    }

    /// Cancels the job.
    pub(crate) async fn cancel(&self) -> Result<(), ProviderError> {
        let id: RemoteId = self.fixture.remote_id.parse().expect("an id");
        self.cancel_answer(&id).await.result
    }

    /// The whole answer to the cancel request.
    pub(crate) async fn cancel_answer(&self, id: &RemoteId) -> Answer<()> {
        let mut answer = self.provider.cancel(id, self.now()).await;
        if is_stale(&answer) {
            answer = self.provider.cancel(id, self.now()).await;
        }
        self.count_failure(answer.result.is_err());
        self.assert_no_secrets(&format!("{answer:?}"));
        answer
    }

    /// Runs a connection check with a clock that is ahead of the service's by `clock_ahead_s`.
    pub(crate) async fn check(&self, clock_ahead_s: i64) -> ConnectionCheck {
        let now = UtcTime::from_millis(
            jobtrack::clock::Clock::start().utc_now().as_millis() + clock_ahead_s * 1000,
        );
        let mut check = self.provider.check_connection(now).await;
        if check.credential_replaced {
            check = self.provider.check_connection(now).await;
        }
        self.assert_no_secrets(&format!("{check:?}"));
        check
    }

    fn assert_no_secrets(&self, text: &str) {
        let address = self.server.addr().to_string();
        for secret in [
            API_KEY,
            ACCESS_KEY_ID,
            SECRET_ACCESS_KEY,
            SECURITY_TOKEN,
            PASSWORD,
            FIRST_TOKEN,
            &address,
            "http:",
            "/api/",
            "/jobs/",
            "/instances/",
        ] {
            assert!(!text.contains(secret), "{secret} is told: {text:.2000}");
        }
    }

    /// Polls once while every request meets this fault.
    pub(crate) async fn poll_with_fault(&self, fault: Fault) -> Answer {
        self.server.inject_fault(FaultTarget::All, fault, FaultRepeat::Always);
        let answer = self.poll().await;
        self.server.clear_faults();
        answer
    }

    /// The result of a poll that is answered by a 200 with this body.
    pub(crate) async fn parse_body(
        &self,
        body: impl Into<Vec<u8>>,
    ) -> Result<Observation, ProviderError> {
        let content_type = "application/json".to_owned();
        self.poll_with_fault(Fault::Body { content_type, bytes: body.into() }).await.result
    }

    /// The observation from a valid body.
    pub(crate) async fn parse_valid_body(
        &self,
        case: &str,
        body: impl Into<Vec<u8>>,
    ) -> Observation {
        self.parse_body(body).await.unwrap_or_else(|error| panic!("{case}: {error}"))
    }

    /// The smallest body of a running job, with this field set to the JSON text `value`.
    pub(crate) fn body_with_field(&self, field: &str, value: &str) -> String {
        let mut body = (self.fixture.minimal_body)(self.fixture.running_state);
        body.remove(field);
        let other_fields = Value::Object(body).to_string();
        format!("{{\"{field}\": {value}, {}", &other_fields[1..])
    }
}
