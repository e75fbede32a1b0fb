//! Tokens that are fetched for a user: how few fetches many polls cause, and how polls react to a
//! failed fetch.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use jobtrack::job::{Answer, ProviderErrorKind, ProviderName, RemoteId, UtcTime};
use jobtrack::provider::{Provider, SharedCredentials, build, network};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::fake_server::{
    DOMAIN_NAME, FakeServer, Fault, FaultRepeat, FaultTarget, JobScript, PASSWORD, PROJECT_NAME,
    ServiceKind, USER_NAME,
};

const JOB_ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const OTHER_JOB_ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7ab";
const DEADLINE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A DLI provider that authenticates with a user name and a password, and its fake server.
struct TokenFixture {
    server: FakeServer,
    provider: Box<dyn Provider>,
    _dir: TempDir,
}

impl TokenFixture {
    async fn new(password: &str) -> Self {
        Self::with_auth_keys(password, &format!(", project = \"{PROJECT_NAME}\"")).await
    }

    /// With additional keys in the table `auth`.
    async fn with_auth_keys(password: &str, keys: &str) -> Self {
        let server = FakeServer::start().await;
        server.add_job_of(ServiceKind::Dli, JOB_ID, JobScript::new());
        let dir = TempDir::with_prefix("jobtrack-tokens-").expect("a temporary directory");
        let (file, secret) = (dir.path().join("config.toml"), dir.path().join("password"));
        std::fs::write(&secret, password).expect("the password");
        let text = format!(
            "[providers.lake]\nkind = \"dli\"\nproject_id = \"4f1\"\nbase_url = \"{url}\"\n\
             iam_url = \"{url}\"\nregion = \"eu-de\"\nrequest_timeout = \"1m\"\n\
             auth = {{ user = \"{USER_NAME}\", domain = \"{DOMAIN_NAME}\", \
             password = {{ file = \"{}\" }}{keys} }}\n",
            secret.display(),
            url = server.base_url(),
        );
        std::fs::write(&file, text).expect("the config");
        let loaded = jobtrack::config::load(
            Some(&file),
            &BTreeMap::new(),
            &jobtrack::provider::kind_schemas(),
        )
        .expect("a config");
        let (config, name): (_, ProviderName) = (loaded.config, "lake".parse().expect("a name"));
        let settings = &config.providers[&name];
        let provider =
            build(&name, settings, config.store.statement, &network, &SharedCredentials::default())
                .expect("a provider");
        Self { server, provider, _dir: dir }
    }

    /// Polls the job at this time after the start of the test's clock, a second time if the token of the first poll
    /// was rejected and replaced.
    async fn poll_after(&self, span: Duration) -> Answer {
        let id: RemoteId = JOB_ID.parse().expect("an id");
        let start = UtcTime::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
        let mut answer = self.provider.poll(&id, start.plus(span)).await;
        if answer.credential_replaced {
            answer = self.provider.poll(&id, start.plus(span)).await;
        }
        assert!(!format!("{answer:?}").contains(PASSWORD), "{answer:?}");
        answer
    }

    async fn poll(&self) -> Answer {
        self.poll_after(Duration::ZERO).await
    }

    async fn poll_ok_after(&self, span: Duration) {
        self.poll_after(span).await.result.expect("a successful poll");
    }

    /// Polls `count` times at once: all polls have started before the first response.
    async fn poll_concurrently(&self, count: usize) -> Vec<Answer> {
        self.poll_concurrently_after(count, Duration::ZERO).await
    }

    async fn poll_concurrently_after(&self, count: usize, span: Duration) -> Vec<Answer> {
        join_all((0..count).map(|_| self.poll_after(span))).await
    }
}

/// Each connection needs two descriptors, because both of its ends are in this process.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the limit may be raised to its maximum");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_polls_across_a_token_invalidation_cause_one_fetch() {
    const POLLS: usize = 10_000;
    /// The largest `max_in_flight` that the config accepts; each poll in flight needs a socket.
    const MAX_CONCURRENT_POLLS: usize = 1000;
    raise_descriptor_limit();
    let fixture = TokenFixture::new(PASSWORD).await;
    fixture.poll_ok_after(Duration::ZERO).await;
    assert_eq!(fixture.server.token_request_count(), 1);

    let permits = Semaphore::new(MAX_CONCURRENT_POLLS);
    let polls = join_all((0..POLLS).map(|_| async {
        let _permit = permits.acquire().await.expect("the semaphore is never closed");
        fixture.poll().await
    }));
    let invalidation = async {
        fixture.server.wait_for_requests(POLLS / 3, DEADLINE).await;
        fixture.server.invalidate_token();
    };
    let (answers, ()) = tokio::join!(polls, invalidation);

    for answer in answers {
        answer.result.expect("no poll fails");
    }
    assert_eq!(fixture.server.token_request_count(), 2);
    let requests = fixture.server.requests();
    let rejected = requests.iter().filter(|request| request.response_status == Some(401)).count();
    assert!(rejected >= 2, "too few polls were in flight at the invalidation: {rejected}");
    assert_eq!(requests.len(), 1 + POLLS + rejected, "a poll was retried more than once");
}

#[tokio::test]
async fn a_token_is_for_the_project_id_unless_a_project_is_named() {
    let cases = [
        (String::new(), serde_json::json!({ "id": "4f1" })),
        (format!(", project = \"{PROJECT_NAME}\""), serde_json::json!({ "name": PROJECT_NAME })),
    ];
    for (keys, scope) in cases {
        let fixture = TokenFixture::with_auth_keys(PASSWORD, &keys).await;
        fixture.poll_ok_after(Duration::ZERO).await;
        assert_eq!(fixture.server.token_scopes_requested(), [scope]);
    }
}

#[tokio::test]
async fn polls_without_a_token_wait_for_one_fetch() {
    let fixture = TokenFixture::new(PASSWORD).await;
    for answer in fixture.poll_concurrently(300).await {
        answer.result.expect("a successful poll");
    }
    assert_eq!((fixture.server.token_request_count(), fixture.server.request_count()), (1, 300));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_for_all_waiting_polls() {
    let fixture = TokenFixture::new("another-password").await;
    // (minutes after the start, token requests)
    for (minute, fetches) in [(0, 1), (0, 1), (1, 2), (2, 2), (5, 2), (6, 3), (20, 3), (21, 4)] {
        for answer in fixture.poll_concurrently_after(100, minute * MINUTE).await {
            let error = answer.result.expect_err("the password is wrong");
            let message = error.to_string();
            assert!(error.kind == ProviderErrorKind::Auth, "{error:?}");
            assert!(message.contains("no token from IAM: HTTP 401"), "{message}");
            assert!(!message.contains("another-password") && message.contains("****"), "{message}");
        }
        assert_eq!(fixture.server.token_request_count(), fetches);
    }
    assert_eq!(fixture.server.request_count(), 0, "no poll is sent without a token");
}

#[tokio::test]
async fn a_changed_password_is_tried_once_for_all_polls_in_flight() {
    let fixture = TokenFixture::new(PASSWORD).await;
    fixture.poll_ok_after(Duration::ZERO).await;
    fixture.server.set_credentials("another");
    for answer in fixture.poll_concurrently(100).await {
        let error = answer.result.expect_err("the token is invalid and the password is wrong");
        assert!(error.kind == ProviderErrorKind::Auth, "{error:?}");
    }
    assert_eq!(fixture.server.token_request_count(), 2);
    assert_eq!(fixture.server.request_count(), 1 + 100);
}

#[tokio::test]
async fn a_poll_fails_when_the_new_token_is_rejected_too() {
    let fixture = TokenFixture::new(PASSWORD).await;
    fixture.poll_ok_after(Duration::ZERO).await;
    let rejection = Fault::status(401, r#"{"error_code":"APIGW.0307"}"#);
    fixture.server.inject_fault(FaultTarget::All, rejection, FaultRepeat::Always);
    for answer in fixture.poll_concurrently(100).await {
        let error = answer.result.expect_err("every token is rejected");
        assert!(error.kind == ProviderErrorKind::Auth, "{error:?}");
        assert!(
            error.to_string().contains("the token before this one was rejected too"),
            "{error}"
        );
    }
    assert_eq!(
        (fixture.server.token_request_count(), fixture.server.request_count()),
        (2, 1 + 200)
    );
    fixture.server.clear_faults();
    fixture.poll_ok_after(Duration::ZERO).await;
    assert_eq!(fixture.server.token_request_count(), 3, "the rejected token is not sent again");
}

/// A job that is rejected with each token, while another one is accepted with it. The first token was accepted for
/// no request either: the rejection may concern its age.
#[tokio::test]
async fn fault_63_a_rejection_with_a_new_credential_is_the_services_own_with_its_limits() {
    let fixture = TokenFixture::new(PASSWORD).await;
    let rejection = Fault::Status {
        code: 401,
        body: r#"{"error_code":"APIGW.0307","error_msg":"no access to this job"}"#.to_owned(),
        headers: vec![("retry-after".to_owned(), "120".to_owned())],
    };
    fixture.server.inject_fault(FaultTarget::job(OTHER_JOB_ID), rejection, FaultRepeat::Always);
    let id: RemoteId = OTHER_JOB_ID.parse().expect("an id");
    let now = UtcTime::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
    for fetches in 2..5 {
        let answer = fixture.provider.poll(&id, now).await;
        assert!(answer.credential_replaced, "{answer:?}");
        assert_eq!(answer.rate_limit.retry_after, Some(Duration::from_mins(2)));
        assert!(answer.server_date.is_some());
        let error = answer.result.expect_err("a rejection");
        assert_eq!(error.kind, ProviderErrorKind::Auth);
        let own_message = "HTTP 401: APIGW.0307 no access to this job";
        assert!(error.message.starts_with(own_message), "{error}");
        assert_eq!(fixture.server.token_request_count(), fetches);
        fixture.poll_ok_after(Duration::ZERO).await;
    }
    let answer = fixture.provider.poll(&id, now).await;
    assert!(answer.credential_replaced);
    let answer = fixture.provider.poll(&id, now).await;
    assert!(!answer.credential_replaced, "no token was accepted between the two");
    assert_eq!(answer.rate_limit.retry_after, Some(Duration::from_mins(2)));
    let error = answer.result.expect_err("a rejection");
    assert!(error.message.contains("the token before this one was rejected too"), "{error}");
    assert_eq!(fixture.server.token_request_count(), 5);
}

#[tokio::test]
async fn a_token_is_renewed_an_hour_before_its_end() {
    let fixture = TokenFixture::new(PASSWORD).await;
    let fetches = [
        (Duration::ZERO, 1),
        (22 * HOUR + 59 * MINUTE, 1),
        (23 * HOUR + MINUTE, 2),
        (25 * HOUR, 2),
    ];
    for (span, fetches) in fetches {
        fixture.poll_ok_after(span).await;
        assert_eq!(fixture.server.token_request_count(), fetches, "after {span:?}");
    }
    assert_eq!(fixture.server.request_count(), 4, "no poll was retried");
}

#[tokio::test]
async fn an_old_token_is_used_until_expiry_if_no_new_one_is_available() {
    let fixture = TokenFixture::new(PASSWORD).await;
    fixture.poll_ok_after(Duration::ZERO).await;
    fixture.server.reject_token_requests(Some(503));
    // A failed fetch is not retried at once.
    for (span, fetches) in [(MINUTE, 2), (2 * MINUTE, 2), (7 * MINUTE, 3)] {
        fixture.poll_ok_after(23 * HOUR + span).await;
        assert_eq!(fixture.server.token_request_count(), fetches, "after {span:?}");
    }
    let error =
        fixture.poll_after(24 * HOUR + MINUTE).await.result.expect_err("the token has expired");
    assert!(error.kind == ProviderErrorKind::Transient, "{error:?}");
    assert!(error.to_string().contains("IAM"), "{error}");
    fixture.server.reject_token_requests(None);
    fixture.poll_ok_after(24 * HOUR + 2 * MINUTE).await;
}

#[tokio::test]
async fn iam_errors_never_change_a_job() {
    let fixture = TokenFixture::new(PASSWORD).await;
    for (hour, status) in (0..).zip([302, 400, 401, 403, 404, 429, 500, 503]) {
        fixture.server.reject_token_requests(Some(status));
        let error = fixture.poll_after(hour * HOUR).await.result.expect_err("IAM issues no token");
        let kind_matches = match status {
            401 | 403 => error.kind == ProviderErrorKind::Auth,
            429 => error.kind == ProviderErrorKind::RateLimited,
            500.. => error.kind == ProviderErrorKind::Transient,
            _ => error.kind == ProviderErrorKind::Misconfigured,
        };
        assert!(
            kind_matches && error.to_string().contains(&status.to_string()),
            "{status}: {error:?}"
        );
    }
}

/// The providers of one daemon share the tokens of a user, and the attempts with its password.
#[tokio::test]
async fn fault_73_providers_of_one_user_share_tokens_and_attempts() {
    let server = FakeServer::start().await;
    server.add_job_of(ServiceKind::Dli, JOB_ID, JobScript::new());
    let dir = TempDir::with_prefix("jobtrack-tokens-").expect("a temporary directory");
    let secret = dir.path().join("password");
    std::fs::write(&secret, "wrong-password").expect("the password");
    let mut sections = Vec::new();
    // Two providers for the project that is named, one for that of project_id.
    for (name, project) in [("one", PROJECT_NAME), ("two", PROJECT_NAME), ("three", "")] {
        let project =
            if project.is_empty() { String::new() } else { format!("project = \"{project}\", ") };
        let auth = format!(
            "user = \"{USER_NAME}\", domain = \"{DOMAIN_NAME}\", {project}password = {{ file = \"{}\" }}",
            secret.display()
        );
        sections.push(format!(
            "[providers.{name}]\nkind = \"dli\"\nproject_id = \"4f1\"\nbase_url = \"{url}\"\n\
             iam_url = \"{url}\"\nauth = {{ {auth} }}\n",
            url = server.base_url(),
        ));
    }
    let file = dir.path().join("config.toml");
    std::fs::write(&file, sections.concat()).expect("the config");
    let schemas = jobtrack::provider::kind_schemas();
    let config =
        jobtrack::config::load(Some(&file), &BTreeMap::new(), &schemas).expect("a config").config;
    let shared = SharedCredentials::default();
    let build_all = || -> Vec<_> {
        let built = config.providers.iter().map(|(name, settings)| {
            build(name, settings, config.store.statement, &network, &shared).expect("a provider")
        });
        built.collect()
    };
    let id: RemoteId = JOB_ID.parse().expect("an id");
    let start = UtcTime::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
    let poll_all = async |providers: &[Box<dyn Provider>], minute: u32| {
        join_all(providers.iter().map(|provider| provider.poll(&id, start.plus(minute * MINUTE))))
            .await
    };

    let providers = build_all();
    for (minute, fetches) in [(0, 1), (0, 1), (1, 2), (5, 2), (6, 3)] {
        for answer in poll_all(&providers, minute).await {
            let error = answer.result.expect_err("the password is wrong");
            assert_eq!(error.kind, ProviderErrorKind::Auth, "{error}");
        }
        assert_eq!(server.token_request_count(), fetches, "after {minute} minutes");
    }
    // A reload with the same password changes nothing; with another one it is tried at once.
    let reloaded = build_all();
    drop(providers);
    poll_all(&reloaded, 7).await;
    assert_eq!(server.token_request_count(), 3);
    std::fs::write(&secret, PASSWORD).expect("the password");
    let reloaded_again = build_all();
    for answer in poll_all(&reloaded_again, 7).await {
        answer.result.expect("the password is right");
    }
    assert_eq!(server.token_request_count(), 5, "one token a project");
    let once_more = build_all();
    drop((reloaded, reloaded_again));
    for answer in poll_all(&once_more, 8).await {
        answer.result.expect("a shared token");
    }
    assert_eq!(server.token_request_count(), 5, "an unchanged user keeps its tokens");
}
