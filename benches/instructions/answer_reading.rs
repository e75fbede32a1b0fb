//! A Dune provider whose requests are answered in memory with the documented answer of a running query.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jobtrack::job::{ProviderError, RemoteId, UtcTime};
use jobtrack::provider::{
    NewTransport, Provider, SharedCredentials, Transport, build, kind_schemas,
};
use reqwest::{Request, Response};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const ANSWER: &str = include_str!("../../tests/support/data/dune-executing.json");
const ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";

/// The provider and a runtime for its calls.
pub struct AnswerReading {
    provider: Box<dyn Provider>,
    runtime: Runtime,
    /// Holds the API key.
    _dir: TempDir,
}

/// Answers each request at once.
#[derive(Debug)]
struct ExecutingAnswer;

impl Transport for ExecutingAnswer {
    fn send(&self, _: Request) -> BoxFuture<'_, Result<Response, ProviderError>> {
        let response = http::Response::builder()
            .header("content-type", "application/json")
            .header("date", "Sun, 22 Nov 2026 10:00:00 GMT")
            .body(ANSWER);
        Box::pin(std::future::ready(Ok(response.expect("a response").into())))
    }
}

impl AnswerReading {
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("jobtrack-").expect("a directory");
        let (key, file) = (dir.path().join("key"), dir.path().join("config.toml"));
        std::fs::write(&key, "fake-api-key").expect("a file");
        let settings = format!(
            "[providers.dune]\nkind = \"dune\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = {{ file = \"{}\" }}\n",
            key.display()
        );
        std::fs::write(&file, settings).expect("a file");
        let config = jobtrack::config::load(Some(&file), &BTreeMap::new(), &kind_schemas());
        let config = config.expect("a valid configuration").config;
        let transport: &NewTransport = &|_, _| Ok(Arc::new(ExecutingAnswer));
        let (name, settings) = config.providers.iter().next().expect("a provider");
        let credentials = SharedCredentials::default();
        let provider = build(name, settings, config.store.statement, transport, &credentials);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { provider: provider.expect("a provider"), runtime, _dir: dir }
    }

    pub fn run(&self, repetitions: u64) {
        let id: RemoteId = ID.parse().expect("an id");
        let now = UtcTime::parse_rfc3339("2026-11-22T10:00:00Z").expect("a time");
        for _ in 0..repetitions {
            let answer = super::counted(|| self.runtime.block_on(self.provider.poll(&id, now)));
            assert!(answer.result.is_ok(), "{:?}", answer.result);
        }
    }
}
