//! The kinds of providers, and the bench on which each is tried.

use std::path::Path;
use std::time::Duration;

use jobtrack::job::{
    Answer, Checkup, Observation, ProviderError, ProviderName, RemoteId, Said, Utc,
};
use jobtrack::provider::{BuildError, Provider, build};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::dataarts::{DATAARTS, NAMED_DATAARTS, SIGNED_DATAARTS};
use super::dli::{DLI, NAMED_DLI, SIGNED_DLI};
use super::dune::DUNE;
use crate::support::fake_server::{
    AK, DOMAIN, FIRST_TOKEN, Fault, KEY, Life, PASSWORD, PROJECT, SECURITY_TOKEN, SK, StandIn,
    Target, Times, USER,
};

pub(crate) const SUBJECTS: [&Subject; 7] =
    [&DUNE, &DLI, &SIGNED_DLI, &NAMED_DLI, &DATAARTS, &SIGNED_DATAARTS, &NAMED_DATAARTS];

/// The time that a request may take on the bench.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);

/// A kind of provider, and what is special about it.
pub(crate) struct Subject {
    pub(crate) kind: &'static str,
    /// Its lines in `[providers.subject]`, but for the kind.
    pub(crate) config: fn(base_url: &str, secrets: &Path) -> String,
    /// What the service sees of its key.
    pub(crate) key: &'static str,
    /// Whether a 401 makes it fetch another token, and ask once more with that.
    pub(crate) renews: bool,
    /// What nobody else may see: each lies in a file of its name.
    pub(crate) secrets: &'static [&'static str],
    /// A job that the stand-in may know.
    pub(crate) id: &'static str,
    /// How the service is asked to stop that job: a method, and the end of the path.
    pub(crate) stop: (&'static str, &'static str),
    /// A 200 that refuses to stop it, if the service knows such.
    pub(crate) stop_refused: Option<&'static str>,
    /// Gives that job a life at the stand-in.
    pub(crate) put: fn(&StandIn, Life),
    /// The least body that says this word of the job.
    pub(crate) body: fn(word: &str) -> Map<String, Value>,
    /// The field that names the job, if an answer does.
    pub(crate) id_field: Option<&'static str>,
    pub(crate) word_field: &'static str,
    /// An optional field that is kept in the detail as it is, if it is text or a number.
    pub(crate) detail_field: Option<&'static str>,
    /// The field that says "over" by itself, if there is one.
    pub(crate) over_field: Option<&'static str>,
    /// Each word that is known.
    pub(crate) words: &'static [(&'static str, Said)],
    /// A good word for a job that is not over.
    pub(crate) running: &'static str,
    /// Whole bodies, and what must be read in them.
    pub(crate) examples: fn() -> Vec<Example>,
    /// The body of a job that failed with this message.
    pub(crate) failure: fn(message: &str) -> Map<String, Value>,
    /// Its own refusals.
    pub(crate) refusals: &'static [Refusal],
    /// A refusal's body that holds this text.
    pub(crate) error_body: fn(text: &str) -> String,
}

/// A body, and what must be read in it.
pub(crate) struct Example {
    pub(crate) name: &'static str,
    pub(crate) body: String,
    pub(crate) expected: Observation,
}

/// The fields of a JSON object.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is an object"),
    }
}

/// A status and a body, and what must be made of them.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: &'static str,
    pub(crate) class: Class,
}

/// `auth = { … }`: each of its keys, and the file below `dir` that holds it.
pub(crate) fn huawei_auth(dir: &Path, keys: &[(&str, &str)]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|(key, file)| format!("{key} = {{ file = \"{}\" }}", dir.join(file).display()))
        .collect();
    format!("auth = {{ {} }}\n", keys.join(", "))
}

/// The same for a user and his password.
pub(crate) fn huawei_user(base_url: &str, dir: &Path) -> String {
    format!(
        "iam_url = \"{base_url}\"\nauth = {{ user = \"{USER}\", domain = \"{DOMAIN}\", \
         project = \"{PROJECT}\", password = {{ file = '{}' }} }}\n",
        dir.join(PASSWORD).display()
    )
}

/// The variants of `ProviderError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Transient,
    RateLimited,
    Quota,
    Auth,
    NotFound,
    Misconfigured,
    Malformed,
}

pub(crate) fn class(error: &ProviderError) -> Class {
    match error {
        ProviderError::Transient(_) => Class::Transient,
        ProviderError::RateLimited(_) => Class::RateLimited,
        ProviderError::Quota(_) => Class::Quota,
        ProviderError::Auth(_) => Class::Auth,
        ProviderError::NotFound(_) => Class::NotFound,
        ProviderError::Misconfigured(_) => Class::Misconfigured,
        ProviderError::Malformed(_) => Class::Malformed,
    }
}

/// A provider, ready to ask the stand-in.
pub(crate) struct Bench {
    pub(crate) subject: &'static Subject,
    pub(crate) standin: StandIn,
    pub(crate) provider: Box<dyn Provider>,
    _dir: TempDir,
}

impl Bench {
    pub(crate) async fn new(subject: &'static Subject) -> Self {
        let standin = StandIn::start().await;
        let base_url = standin.base_url();
        Self::at(subject, standin, &base_url)
    }

    /// With more lines in the provider's section.
    pub(crate) async fn with_lines(subject: &'static Subject, more: &str) -> Self {
        let standin = StandIn::start().await;
        let base_url = standin.base_url();
        Self::configured(subject, standin, &base_url, more).expect("a provider")
    }

    /// With the service at another address than the stand-in's own.
    pub(crate) fn at(subject: &'static Subject, standin: StandIn, base_url: &str) -> Self {
        Self::configured(subject, standin, base_url, "").expect("a provider")
    }

    /// Why such lines in the provider's section cannot be used.
    pub(crate) async fn refused_with(subject: &'static Subject, more: &str) -> String {
        let standin = StandIn::start().await;
        let base_url = standin.base_url();
        match Self::configured(subject, standin, &base_url, more) {
            Ok(_) => panic!("{more} is taken"),
            Err(error) => error.to_string(),
        }
    }

    fn configured(
        subject: &'static Subject,
        standin: StandIn,
        base_url: &str,
        more: &str,
    ) -> Result<Self, BuildError> {
        let dir = TempDir::with_prefix("jobtrack-provider-").expect("a temporary directory");
        for secret in subject.secrets {
            std::fs::write(dir.path().join(secret), format!("{secret}\n")).expect("its file");
        }
        let text = format!(
            "[polling]\nrequest_timeout = \"{}s\"\n[providers.subject]\nkind = \"{}\"\n{}{more}\n",
            TIMEOUT.as_secs(),
            subject.kind,
            (subject.config)(base_url, dir.path())
        );
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).expect("the config");
        let config = jobtrack::config::load(Some(&file), &std::collections::BTreeMap::new())
            .expect("a config")
            .config;
        let name: ProviderName = "subject".parse().expect("a name");
        let provider =
            build(&name, &config.providers[&name], &config.polling, config.store.statement)?;
        Ok(Self { subject, standin, provider, _dir: dir })
    }

    /// Asks once. Whatever comes of it: it tells neither the secret nor an address, and is short.
    pub(crate) async fn poll(&self) -> Answer {
        let id: RemoteId = self.subject.id.parse().expect("an id");
        let now = Utc::parse("2026-11-22T10:00:00Z").expect("a time");
        let answer = self.provider.poll(&id, now).await;
        self.keeps_secrets(&format!("{answer:?}"));
        if let Err(error) = &answer.result {
            let length = error.to_string().len();
            assert!((1..2000).contains(&length), "an error of {length} bytes: {error:.2000}");
        }
        answer
    }

    /// Asks once to stop the job.
    pub(crate) async fn cancel(&self) -> Result<(), ProviderError> {
        let id: RemoteId = self.subject.id.parse().expect("an id");
        let now = Utc::parse("2026-11-22T10:00:00Z").expect("a time");
        let cancelled = self.provider.cancel(&id, now).await;
        self.keeps_secrets(&format!("{cancelled:?}"));
        cancelled
    }

    /// Checks once, by a clock that is as far ahead of the service's.
    pub(crate) async fn check(&self, ahead_s: i64) -> Checkup {
        let now = Utc::from_millis(jobtrack::clock::Clock::wall().as_millis() + ahead_s * 1000);
        let checkup = self.provider.check(now).await;
        self.keeps_secrets(&format!("{checkup:?}"));
        checkup
    }

    fn keeps_secrets(&self, told: &str) {
        let address = self.standin.addr().to_string();
        for secret in [
            KEY,
            AK,
            SK,
            SECURITY_TOKEN,
            PASSWORD,
            FIRST_TOKEN,
            &address,
            "http:",
            "/api/",
            "/jobs/",
            "/instances/",
        ] {
            assert!(!told.contains(secret), "{secret} is told: {told:.2000}");
        }
    }

    /// Asks once, and gets this, whatever it tries.
    pub(crate) async fn meet(&self, fault: Fault) -> Answer {
        self.standin.fault(Target::All, fault, Times::Always);
        let answer = self.poll().await;
        self.standin.clear_faults();
        answer
    }

    /// What is made of a 200 with this body.
    pub(crate) async fn read(
        &self,
        body: impl Into<Vec<u8>>,
    ) -> Result<Observation, ProviderError> {
        let content_type = "application/json".to_owned();
        self.meet(Fault::Body { content_type, bytes: body.into() }).await.result
    }

    /// What is read in a good body.
    pub(crate) async fn good(&self, case: &str, body: impl Into<Vec<u8>>) -> Observation {
        self.read(body).await.unwrap_or_else(|error| panic!("{case}: {error}"))
    }

    /// The least body of a running job, with this field set to the JSON text `value`.
    pub(crate) fn with(&self, field: &str, value: &str) -> String {
        let mut body = (self.subject.body)(self.subject.running);
        body.remove(field);
        let rest = Value::Object(body).to_string();
        format!("{{\"{field}\": {value}, {}", &rest[1..])
    }
}
