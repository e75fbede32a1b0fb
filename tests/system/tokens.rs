//! Tokens that are fetched for a user: how few fetches many polls cause, and what a fetch that fails
//! does to them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use jobtrack::job::{Answer, ProviderError, ProviderName, RemoteId, UtcTime};
use jobtrack::provider::{Provider, build};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::fake_server::{
    DOMAIN, Fault, Kind, Life, PASSWORD, PROJECT, StandIn, Target, Times, USER,
};

const ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const SOON: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A provider that proves with this password who asks.
struct Bench {
    standin: StandIn,
    provider: Box<dyn Provider>,
    _dir: TempDir,
}

impl Bench {
    async fn new(password: &str) -> Self {
        let standin = StandIn::start().await;
        standin.put_for(Kind::Dli, ID, Life::new());
        let dir = TempDir::with_prefix("jobtrack-tokens-").expect("a temporary directory");
        let (file, secret) = (dir.path().join("config.toml"), dir.path().join("password"));
        std::fs::write(&secret, password).expect("the password");
        let text = format!(
            "[providers.lake]\nkind = \"dli\"\nproject_id = \"4f1\"\nbase_url = \"{url}\"\n\
             iam_url = \"{url}\"\nregion = \"{PROJECT}\"\nrequest_timeout = \"1m\"\n\
             auth = {{ user = \"{USER}\", domain = \"{DOMAIN}\", \
             password = {{ file = \"{}\" }} }}\n",
            secret.display(),
            url = standin.base_url(),
        );
        std::fs::write(&file, text).expect("the config");
        let loaded = jobtrack::config::load(Some(&file), &BTreeMap::new()).expect("a config");
        let (config, name): (_, ProviderName) = (loaded.config, "lake".parse().expect("a name"));
        let own = &config.providers[&name];
        let provider =
            build(&name, own, &config.polling, config.store.statement).expect("a provider");
        Self { standin, provider, _dir: dir }
    }

    /// Asks once, so long after the first time.
    async fn poll_after(&self, span: Duration) -> Answer {
        let id: RemoteId = ID.parse().expect("an id");
        let start = UtcTime::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
        let answer = self.provider.poll(&id, start.plus(span)).await;
        assert!(!format!("{answer:?}").contains(PASSWORD), "{answer:?}");
        answer
    }

    async fn poll(&self) -> Answer {
        self.poll_after(Duration::ZERO).await
    }

    async fn good_after(&self, span: Duration) {
        self.poll_after(span).await.result.expect("a good answer");
    }

    /// So many at once: all have begun before the first is answered.
    async fn polls(&self, many: usize) -> Vec<Answer> {
        join_all((0..many).map(|_| self.poll())).await
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
async fn ten_thousand_polls_across_a_tokens_early_death_cause_one_fetch_and_none_fails() {
    const POLLS: usize = 10_000;
    /// As many as a provider may ever have under way, by its `max_in_flight`: each needs a socket.
    const ROOM: usize = 1000;
    raise_descriptor_limit();
    let bench = Bench::new(PASSWORD).await;
    bench.good_after(Duration::ZERO).await;
    assert_eq!(bench.standin.token_fetches(), 1);

    let room = Semaphore::new(ROOM);
    let polls = join_all((0..POLLS).map(|_| async {
        let _room = room.acquire().await.expect("it is never closed");
        bench.poll().await
    }));
    let death = async {
        bench.standin.wait_for_requests(POLLS / 3, SOON).await;
        bench.standin.kill_token();
    };
    let (answers, ()) = tokio::join!(polls, death);

    for answer in answers {
        answer.result.expect("no poll fails");
    }
    assert_eq!(bench.standin.token_fetches(), 2);
    let asked = bench.standin.requests();
    let refused = asked.iter().filter(|request| request.status == Some(401)).count();
    assert!(refused >= 2, "many were under way when it died: {refused}");
    assert_eq!(asked.len(), 1 + POLLS + refused, "each asked once more at most");
}

#[tokio::test]
async fn polls_without_a_token_wait_for_one_fetch() {
    let bench = Bench::new(PASSWORD).await;
    for answer in bench.polls(300).await {
        answer.result.expect("a good answer");
    }
    assert_eq!((bench.standin.token_fetches(), bench.standin.count()), (1, 300));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_for_all_polls_that_wait() {
    let bench = Bench::new("another-password").await;
    for fetches in 1..=3 {
        for answer in bench.polls(100).await {
            let error = answer.result.expect_err("the password is wrong");
            let told = error.to_string();
            assert!(matches!(error, ProviderError::Auth(_)), "{error:?}");
            assert!(told.contains("no token from IAM: HTTP 401"), "{told}");
            assert!(!told.contains("another-password") && told.contains("****"), "{told}");
        }
        assert_eq!(bench.standin.token_fetches(), fetches);
    }
    assert_eq!(bench.standin.count(), 0, "without a token nobody asks");
}

#[tokio::test]
async fn a_password_that_was_changed_is_tried_once_for_all_polls_under_way() {
    let bench = Bench::new(PASSWORD).await;
    bench.good_after(Duration::ZERO).await;
    bench.standin.set_key("another");
    for answer in bench.polls(100).await {
        let error = answer.result.expect_err("the token died and there is no other");
        assert!(matches!(error, ProviderError::Auth(_)), "{error:?}");
    }
    assert_eq!(bench.standin.token_fetches(), 2);
    assert_eq!(bench.standin.count(), 1 + 100);
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_is_the_end_of_the_poll() {
    let bench = Bench::new(PASSWORD).await;
    bench.good_after(Duration::ZERO).await;
    let refusal = Fault::status(401, r#"{"error_code":"APIGW.0307"}"#);
    bench.standin.fault(Target::All, refusal, Times::Always);
    for answer in bench.polls(100).await {
        let error = answer.result.expect_err("whatever the token");
        assert!(matches!(error, ProviderError::Auth(_)), "{error:?}");
        assert!(error.to_string().contains("a new token is refused too"), "{error}");
    }
    assert_eq!((bench.standin.token_fetches(), bench.standin.count()), (2, 1 + 200));
}

#[tokio::test]
async fn a_token_is_renewed_an_hour_before_its_end() {
    let bench = Bench::new(PASSWORD).await;
    let fetches = [
        (Duration::ZERO, 1),
        (22 * HOUR + 59 * MINUTE, 1),
        (23 * HOUR + MINUTE, 2),
        (25 * HOUR, 2),
    ];
    for (span, fetches) in fetches {
        bench.good_after(span).await;
        assert_eq!(bench.standin.token_fetches(), fetches, "after {span:?}");
    }
    assert_eq!(bench.standin.count(), 4, "no token was refused");
}

#[tokio::test]
async fn an_old_token_is_used_to_its_end_while_there_is_no_newer() {
    let bench = Bench::new(PASSWORD).await;
    bench.good_after(Duration::ZERO).await;
    bench.standin.refuse_tokens(Some(503));
    // A fetch that failed is not tried again at once.
    for (span, fetches) in [(MINUTE, 2), (2 * MINUTE, 2), (7 * MINUTE, 3)] {
        bench.good_after(23 * HOUR + span).await;
        assert_eq!(bench.standin.token_fetches(), fetches, "after {span:?}");
    }
    let error = bench.poll_after(24 * HOUR + MINUTE).await.result.expect_err("it is over");
    assert!(matches!(error, ProviderError::Transient(_)), "{error:?}");
    assert!(error.to_string().contains("IAM"), "{error}");
    bench.standin.refuse_tokens(None);
    bench.good_after(24 * HOUR + 2 * MINUTE).await;
}

#[tokio::test]
async fn what_iam_answers_is_never_about_a_job() {
    let bench = Bench::new(PASSWORD).await;
    for status in [302, 400, 401, 403, 404, 429, 500, 503] {
        bench.standin.refuse_tokens(Some(status));
        let error = bench.poll().await.result.expect_err("there is no token");
        let meant = match status {
            401 | 403 => matches!(error, ProviderError::Auth(_)),
            429 => matches!(error, ProviderError::RateLimited(_)),
            500.. => matches!(error, ProviderError::Transient(_)),
            _ => matches!(error, ProviderError::Misconfigured(_)),
        };
        assert!(meant && error.to_string().contains(&status.to_string()), "{status}: {error:?}");
    }
}
