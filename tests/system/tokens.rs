//! Tokens that are fetched for a user: how few fetches many polls cause, and what a fetch that fails
//! does to them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use jobtrack::job::{Answer, ProviderErrorKind, ProviderName, RemoteId, UtcTime};
use jobtrack::provider::{Provider, build};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::fake_server::{
    DOMAIN_NAME, FakeServer, Fault, FaultRepeat, FaultTarget, JobScript, PASSWORD, PROJECT_NAME,
    ServiceKind, USER_NAME,
};

const JOB_ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const DEADLINE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A provider that proves with this password who asks.
struct TokenFixture {
    server: FakeServer,
    provider: Box<dyn Provider>,
    _dir: TempDir,
}

impl TokenFixture {
    async fn new(password: &str) -> Self {
        let standin = FakeServer::start().await;
        standin.add_job_of(ServiceKind::Dli, JOB_ID, JobScript::new());
        let dir = TempDir::with_prefix("jobtrack-tokens-").expect("a temporary directory");
        let (file, secret) = (dir.path().join("config.toml"), dir.path().join("password"));
        std::fs::write(&secret, password).expect("the password");
        let text = format!(
            "[providers.lake]\nkind = \"dli\"\nproject_id = \"4f1\"\nbase_url = \"{url}\"\n\
             iam_url = \"{url}\"\nregion = \"{PROJECT_NAME}\"\nrequest_timeout = \"1m\"\n\
             auth = {{ user = \"{USER_NAME}\", domain = \"{DOMAIN_NAME}\", \
             password = {{ file = \"{}\" }} }}\n",
            secret.display(),
            url = standin.base_url(),
        );
        std::fs::write(&file, text).expect("the config");
        let loaded = jobtrack::config::load(
            Some(&file),
            &BTreeMap::new(),
            &jobtrack::provider::kind_schemas(),
        )
        .expect("a config");
        let (config, name): (_, ProviderName) = (loaded.config, "lake".parse().expect("a name"));
        let own = &config.providers[&name];
        let provider = build(&name, own, config.store.statement).expect("a provider");
        Self { server: standin, provider, _dir: dir }
    }

    /// Asks once, so long after the first time.
    async fn poll_after(&self, span: Duration) -> Answer {
        let id: RemoteId = JOB_ID.parse().expect("an id");
        let start = UtcTime::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
        let answer = self.provider.poll(&id, start.plus(span)).await;
        assert!(!format!("{answer:?}").contains(PASSWORD), "{answer:?}");
        answer
    }

    async fn poll(&self) -> Answer {
        self.poll_after(Duration::ZERO).await
    }

    async fn poll_ok_after(&self, span: Duration) {
        self.poll_after(span).await.result.expect("a good answer");
    }

    /// So many at once: all have begun before the first is answered.
    async fn poll_concurrently(&self, count: usize) -> Vec<Answer> {
        join_all((0..count).map(|_| self.poll())).await
    }
}

/// Two descriptors a connection, since both of its ends are here.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the limit may be raised to its maximum");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_polls_across_a_token_invalidation_cause_one_fetch() {
    const POLLS: usize = 10_000;
    /// As many as a provider may ever have under way, by its `max_in_flight`: each needs a socket.
    const DESCRIPTOR_HEADROOM: usize = 1000;
    raise_descriptor_limit();
    let bench = TokenFixture::new(PASSWORD).await;
    bench.poll_ok_after(Duration::ZERO).await;
    assert_eq!(bench.server.token_request_count(), 1);

    let room = Semaphore::new(DESCRIPTOR_HEADROOM);
    let polls = join_all((0..POLLS).map(|_| async {
        let _room = room.acquire().await.expect("it is never closed");
        bench.poll().await
    }));
    let death = async {
        bench.server.wait_for_requests(POLLS / 3, DEADLINE).await;
        bench.server.invalidate_token();
    };
    let (answers, ()) = tokio::join!(polls, death);

    for answer in answers {
        answer.result.expect("no poll fails");
    }
    assert_eq!(bench.server.token_request_count(), 2);
    let asked = bench.server.requests();
    let refused = asked.iter().filter(|request| request.response_status == Some(401)).count();
    assert!(refused >= 2, "many were under way when it died: {refused}");
    assert_eq!(asked.len(), 1 + POLLS + refused, "each asked once more at most");
}

#[tokio::test]
async fn polls_without_a_token_wait_for_one_fetch() {
    let bench = TokenFixture::new(PASSWORD).await;
    for answer in bench.poll_concurrently(300).await {
        answer.result.expect("a good answer");
    }
    assert_eq!((bench.server.token_request_count(), bench.server.request_count()), (1, 300));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_for_all_polls_that_wait() {
    let bench = TokenFixture::new("another-password").await;
    for fetches in 1..=3 {
        for answer in bench.poll_concurrently(100).await {
            let error = answer.result.expect_err("the password is wrong");
            let told = error.to_string();
            assert!(error.kind == ProviderErrorKind::Auth, "{error:?}");
            assert!(told.contains("no token from IAM: HTTP 401"), "{told}");
            assert!(!told.contains("another-password") && told.contains("****"), "{told}");
        }
        assert_eq!(bench.server.token_request_count(), fetches);
    }
    assert_eq!(bench.server.request_count(), 0, "without a token nobody asks");
}

#[tokio::test]
async fn a_password_that_was_changed_is_tried_once_for_all_polls_under_way() {
    let bench = TokenFixture::new(PASSWORD).await;
    bench.poll_ok_after(Duration::ZERO).await;
    bench.server.set_credentials("another");
    for answer in bench.poll_concurrently(100).await {
        let error = answer.result.expect_err("the token died and there is no other");
        assert!(error.kind == ProviderErrorKind::Auth, "{error:?}");
    }
    assert_eq!(bench.server.token_request_count(), 2);
    assert_eq!(bench.server.request_count(), 1 + 100);
}

#[tokio::test]
async fn a_poll_fails_when_the_new_token_is_rejected_too() {
    let bench = TokenFixture::new(PASSWORD).await;
    bench.poll_ok_after(Duration::ZERO).await;
    let refusal = Fault::status(401, r#"{"error_code":"APIGW.0307"}"#);
    bench.server.inject_fault(FaultTarget::All, refusal, FaultRepeat::Always);
    for answer in bench.poll_concurrently(100).await {
        let error = answer.result.expect_err("whatever the token");
        assert!(error.kind == ProviderErrorKind::Auth, "{error:?}");
        assert!(error.to_string().contains("a new token is refused too"), "{error}");
    }
    assert_eq!((bench.server.token_request_count(), bench.server.request_count()), (2, 1 + 200));
}

#[tokio::test]
async fn a_token_is_renewed_an_hour_before_its_end() {
    let bench = TokenFixture::new(PASSWORD).await;
    let fetches = [
        (Duration::ZERO, 1),
        (22 * HOUR + 59 * MINUTE, 1),
        (23 * HOUR + MINUTE, 2),
        (25 * HOUR, 2),
    ];
    for (span, fetches) in fetches {
        bench.poll_ok_after(span).await;
        assert_eq!(bench.server.token_request_count(), fetches, "after {span:?}");
    }
    assert_eq!(bench.server.request_count(), 4, "no token was refused");
}

#[tokio::test]
async fn an_old_token_is_used_until_expiry_if_no_new_one_is_available() {
    let bench = TokenFixture::new(PASSWORD).await;
    bench.poll_ok_after(Duration::ZERO).await;
    bench.server.reject_token_requests(Some(503));
    // A fetch that failed is not tried again at once.
    for (span, fetches) in [(MINUTE, 2), (2 * MINUTE, 2), (7 * MINUTE, 3)] {
        bench.poll_ok_after(23 * HOUR + span).await;
        assert_eq!(bench.server.token_request_count(), fetches, "after {span:?}");
    }
    let error = bench.poll_after(24 * HOUR + MINUTE).await.result.expect_err("it is over");
    assert!(error.kind == ProviderErrorKind::Transient, "{error:?}");
    assert!(error.to_string().contains("IAM"), "{error}");
    bench.server.reject_token_requests(None);
    bench.poll_ok_after(24 * HOUR + 2 * MINUTE).await;
}

#[tokio::test]
async fn iam_errors_never_change_a_job() {
    let bench = TokenFixture::new(PASSWORD).await;
    for status in [302, 400, 401, 403, 404, 429, 500, 503] {
        bench.server.reject_token_requests(Some(status));
        let error = bench.poll().await.result.expect_err("there is no token");
        let meant = match status {
            401 | 403 => error.kind == ProviderErrorKind::Auth,
            429 => error.kind == ProviderErrorKind::RateLimited,
            500.. => error.kind == ProviderErrorKind::Transient,
            _ => error.kind == ProviderErrorKind::Misconfigured,
        };
        assert!(meant && error.to_string().contains(&status.to_string()), "{status}: {error:?}");
    }
}
