//! Reads arbitrary bytes as the program reads them from outside, one function for each kind of input, and
//! panics where a promise is broken: an answer is an observation only if its status says so, an error has a
//! text of bounded length, and no secret is repeated.
//!
//! Used by the fuzz targets in `fuzz/` and by `tests/pure/fuzz_corpus.rs`, which runs the seeds in
//! `tests/corpus`. A response is written as in HTTP: a status line, headers, a blank line, the body.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use jobtrack::api::AddRequest;
use jobtrack::cli::{parse_add_line, parse_job_refs};
use jobtrack::config::{Config, ConfigError};
use jobtrack::job::{
    Answer, ListPageQuery, ProviderError, ProviderErrorKind, ProviderName, RateLimitInfo, RemoteId,
    UtcTime,
};
use jobtrack::provider::{
    NewTransport, Provider, SharedCredentials, Transport, build, kind_schemas,
};
use reqwest::{Request, Response};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Reads one input. Returns whether it was accepted.
pub(crate) type FuzzFunction = fn(&[u8]) -> bool;

/// Every kind of input by the name of its fuzz target, which is also its directory in `tests/corpus`.
pub(crate) const FUZZ_FUNCTIONS: [(&str, FuzzFunction); 9] = [
    ("dune", |input| poll("dune", "01GBM4W2N0NMCGPZYW8AYK4YF1", input)),
    ("dli", |input| poll("lake", "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa", input)),
    ("dli_list", list),
    ("dataarts", |input| poll("scripts", "etl/90f6e4d2b9a546d8a7b1a8b8a5b0a1ee", input)),
    ("error_responses", error_responses),
    ("rate_limit_headers", rate_limit_headers),
    ("config", config),
    ("control_bodies", control_body),
    ("id_lists", id_list),
];

const SECRET: &str = "s3cr3t+of/the=service";
const STATUSES: [&str; 10] = ["400", "401", "402", "403", "404", "409", "422", "429", "500", "503"];
const MAX_ERROR_BYTES: usize = 4000;

static PROVIDERS: LazyLock<Providers> = LazyLock::new(Providers::build);

thread_local! {
    static NEXT_RESPONSE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    static CONFIG_DIR: TempDir = TempDir::with_prefix("jobtrack-fuzz-").expect("a directory");
}

/// A provider of each kind.
struct Providers {
    by_name: BTreeMap<ProviderName, Box<dyn Provider>>,
    /// Holds the secrets.
    _dir: TempDir,
}

impl Providers {
    fn build() -> Self {
        let dir = TempDir::with_prefix("jobtrack-fuzz-").expect("a directory");
        let key = dir.path().join("key");
        fs::write(&key, SECRET).expect("a file");
        let huawei = format!(
            "base_url = \"http://127.0.0.1:1\"\nproject_id = \"4f1\"\nauth = {{ token = {{ file = \"{}\" }} }}",
            key.display()
        );
        let text = format!(
            "[providers.dune]\nkind = \"dune\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = {{ file = \"{}\" }}\n\
             [providers.lake]\nkind = \"dli\"\n{huawei}\n\
             [providers.scripts]\nkind = \"dataarts\"\n{huawei}\n",
            key.display()
        );
        let config = load(text.as_bytes()).expect("the config of the fuzz functions");
        let transport: &NewTransport = &|_, _| Ok(Arc::new(NextResponse));
        let shared_credentials = SharedCredentials::default();
        let build = |(name, settings)| {
            let statement = config.store.statement;
            let provider = build(name, settings, statement, transport, &shared_credentials);
            (name.clone(), provider.expect("a provider"))
        };
        Self { by_name: config.providers.iter().map(build).collect(), _dir: dir }
    }

    fn get(&self, name: &str) -> &dyn Provider {
        &*self.by_name[&name.parse().expect("a name")]
    }
}

/// Answers each request with the response of the thread.
#[derive(Debug)]
struct NextResponse;

impl Transport for NextResponse {
    fn send(&self, _: Request) -> BoxFuture<'_, Result<Response, ProviderError>> {
        let parsed = NEXT_RESPONSE.with_borrow(|bytes| parse_response(bytes));
        let error = || ProviderError::new(ProviderErrorKind::Transient, "not a response");
        Box::pin(std::future::ready(parsed.ok_or_else(error)))
    }
}

/// `None` if HTTP does not allow such a response.
fn parse_response(input: &[u8]) -> Option<Response> {
    let end = input.windows(2).position(|two| two == b"\n\n")?;
    let mut lines = std::str::from_utf8(&input[..end]).ok()?.lines();
    let mut response = http::Response::builder().status(lines.next()?);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        response = response.header(name, value);
    }
    response.body(input[end + 2..].to_vec()).ok().map(Response::from)
}

fn now() -> UtcTime {
    UtcTime::parse_rfc3339("2026-11-22T10:00:00Z").expect("a time")
}

fn poll(provider: &str, id: &str, input: &[u8]) -> bool {
    NEXT_RESPONSE.set(input.to_vec());
    let id: RemoteId = id.parse().expect("an id");
    let answer = RUNTIME.with(|runtime| runtime.block_on(PROVIDERS.get(provider).poll(&id, now())));
    assert_answer_keeps_promises(&answer, input)
}

fn list(input: &[u8]) -> bool {
    NEXT_RESPONSE.set(input.to_vec());
    let window = ListPageQuery { from: UtcTime::from_millis(0), to: now(), page: 1 };
    let answer =
        RUNTIME.with(|runtime| runtime.block_on(PROVIDERS.get("lake").list(&window, now())));
    assert_answer_keeps_promises(&answer, input)
}

/// The headers and the body of an unsuccessful response, with several statuses, from each kind of
/// provider.
fn error_responses(input: &[u8]) -> bool {
    for status in STATUSES {
        let response = [status.as_bytes(), b"\n", input].concat();
        for (name, id) in
            [("dune", "01GBM4W2N0NMCGPZYW8AYK4YF1"), ("lake", "1"), ("scripts", "a/1")]
        {
            assert!(!poll(name, id, &response), "an answer with the status {status} is a state");
        }
    }
    parse_response(&[b"400\n", input].concat()).is_some()
}

/// The headers of a response, with and without success. An input is accepted if it says something about
/// rate limits.
fn rate_limit_headers(input: &[u8]) -> bool {
    let id = "01GBM4W2N0NMCGPZYW8AYK4YF1".parse().expect("an id");
    let mut found = false;
    for (status, body) in [("200", &b"{}"[..]), ("429", b"{}"), ("503", b"")] {
        NEXT_RESPONSE.set([status.as_bytes(), b"\n", input, b"\n\n", body].concat());
        let answer =
            RUNTIME.with(|runtime| runtime.block_on(PROVIDERS.get("dune").poll(&id, now())));
        assert!(answer.result.is_err(), "an empty object is no state");
        found |= answer.rate_limit != RateLimitInfo::default();
    }
    found
}

fn assert_answer_keeps_promises<T: Debug>(answer: &Answer<T>, input: &[u8]) -> bool {
    let printed = format!("{answer:?}");
    assert!(!printed.contains(SECRET), "the secret is repeated: {printed}");
    match &answer.result {
        Ok(_) => assert!(input.starts_with(b"2"), "a state without success: {printed}"),
        Err(error) => {
            let length = error.to_string().len();
            assert!((1..MAX_ERROR_BYTES).contains(&length), "an error of {length} bytes");
        }
    }
    answer.result.is_ok()
}

fn load(text: &[u8]) -> Result<Config, ConfigError> {
    CONFIG_DIR.with(|dir| {
        let file = dir.path().join("config.toml");
        fs::write(&file, text).expect("a file");
        let loaded = jobtrack::config::load(Some(&file), &BTreeMap::new(), &kind_schemas());
        loaded.map(|loaded| loaded.config)
    })
}

fn config(input: &[u8]) -> bool {
    match load(input) {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// The body of `POST /v1/jobs`. What is accepted is the same after it was written and read again.
fn control_body(input: &[u8]) -> bool {
    let Ok(request) = serde_json::from_slice::<AddRequest>(input) else { return false };
    let text = serde_json::to_string(&request).expect("JSON");
    let again: AddRequest = serde_json::from_str(&text).expect("the request is read again");
    assert_eq!(text, serde_json::to_string(&again).expect("JSON"));
    true
}

/// The standard input of `jobtrack add` and `jobtrack wait`. An accepted id is valid for the daemon too.
fn id_list(input: &[u8]) -> bool {
    let mut accepted = false;
    for line in input.split(|byte| *byte == b'\n') {
        for provider in [None, Some("dune")] {
            if let Ok(Some(entry)) = parse_add_line(line, provider) {
                let id = &entry.remote_id;
                assert!(id.parse::<RemoteId>().is_ok(), "{id:?}");
                accepted = true;
            }
        }
    }
    for job in parse_job_refs(&String::from_utf8_lossy(input)).into_iter().flatten() {
        assert!(job.to_string().parse().is_ok_and(|again| job == again), "{job}");
    }
    accepted
}
