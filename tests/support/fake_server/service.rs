//! The kinds of services that are played: which request is for which, and what all have in common.
//!
//! What only one kind knows is in its own file (`dune`, `dli`, `dataarts`; `huawei` for both of the
//! last two) and is chosen here and nowhere else.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::{Answer, Head};
use super::iam::Iam;
use super::rate_limit::Limit;
use super::script::{End, Life, Phase, Snapshot};
use super::{dataarts, dli, dune, huawei};

/// A service that is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Dune,
    Dli,
    DataArts,
}

/// Why a request is refused; each kind says it in its own way.
#[derive(Clone, Debug)]
pub enum Refusal<'a> {
    Method,
    Path,
    Key,
    Signature,
    /// A part of the query that is none.
    Parameter,
    /// A token that was given and has ended.
    Stale,
    /// The flag: whether another job of the same script is known.
    NoJob(&'a str, bool),
    TooMany {
        limit: Limit,
        retry_after: Option<String>,
    },
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Dune, Self::Dli, Self::DataArts];

    /// Whose endpoint a path is meant for.
    pub fn of(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("v1.0") => Self::Dli,
            Some("v1") => Self::DataArts,
            Some(_) | None => Self::Dune,
        }
    }

    /// The job that a path asks for; none if it is not the status path.
    pub fn job_of(self, path: &str) -> Option<String> {
        match self {
            Self::Dune => dune::job_of(path),
            Self::Dli => dli::job_of(path),
            Self::DataArts => dataarts::job_of(path),
        }
    }

    /// Whether a path asks for a list of jobs.
    pub fn is_list(self, path: &str) -> bool {
        self == Self::Dli && dli::is_list(path)
    }

    /// The job that a request asks to stop; none if it asks for something else.
    pub fn stops(self, head: &Head) -> Option<String> {
        let path = head.path();
        match (self, head.method.as_str()) {
            (Self::Dune, "POST") => {
                dune::job_of(&format!("{}/status", path.strip_suffix("/cancel")?))
            }
            (Self::Dli, "DELETE") => dli::job_of(&format!("{path}/status")),
            (Self::DataArts, "POST") => dataarts::job_of(path.strip_suffix("/stop")?),
            _ => None,
        }
    }

    /// How a job ends that was stopped, and what the service answers then.
    pub fn stopped(self, id: &str) -> (End, Answer) {
        match self {
            Self::Dune => (End::Cancelled, Answer::json(200, &json!({ "success": true }))),
            Self::Dli => {
                let told = json!({ "is_success": true, "message": "", "job_id": id });
                (End::Cancelled, Answer::json(200, &told))
            }
            // It has no word of its own for that.
            Self::DataArts => (End::Failed, Answer::new(204, "application/json", Vec::new())),
        }
    }

    /// The header that proves who asks.
    pub fn key_header(self) -> &'static str {
        match self {
            Self::Dune => dune::KEY_HEADER,
            Self::Dli | Self::DataArts => huawei::KEY_HEADER,
        }
    }

    /// Why it is not known who asks; none if it is.
    pub fn stranger(self, head: &Head, key: &str, sk: &str, iam: &Iam) -> Option<Refusal<'static>> {
        match self {
            Self::Dune => (head.header(self.key_header()) != Some(key)).then_some(Refusal::Key),
            Self::Dli | Self::DataArts => huawei::stranger(head, key, sk, iam),
        }
    }

    /// The key that came, or the id of the one that signed, good or bad.
    pub fn key_of(self, head: &Head) -> Option<&str> {
        let key = head.header(self.key_header());
        match self {
            Self::Dune => key,
            Self::Dli | Self::DataArts => key.or_else(|| huawei::signer(head)),
        }
    }

    /// Whether answers have `RateLimit` headers, and refused requests are not counted.
    pub fn tells_its_limit(self) -> bool {
        self == Self::Dune
    }

    /// The body of a good answer.
    pub fn body(self, id: &str, submitted: Timestamp, now: &Snapshot) -> Value {
        match self {
            Self::Dune => dune::body(id, submitted, now),
            Self::Dli => dli::body(id, dli::Dialect::of(id), submitted, now),
            Self::DataArts => dataarts::body(id, now),
        }
    }

    pub fn refuse(self, why: &Refusal<'_>) -> Answer {
        let answer = match self {
            Self::Dune => dune::refuse(why),
            Self::Dli => huawei::refuse(why, dli::no_job),
            Self::DataArts => huawei::refuse(why, dataarts::no_job),
        };
        if let Refusal::TooMany { retry_after: Some(after), .. } = why {
            return answer.header("retry-after", after);
        }
        answer
    }

    /// What a decent client never does.
    pub fn violations(self, head: &Head) -> Vec<String> {
        let path = head.path();
        let mut found = Vec::new();
        let names_key = |pair: &str| {
            let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
            ["api_key", "token", dune::KEY_HEADER, huawei::KEY_HEADER].contains(&name.as_str())
        };
        if head.query().split('&').any(names_key) {
            found.push(format!("the API key is in the URL of {path}"));
        }
        let foreign = |kind: &Self| kind.key_header() != self.key_header();
        if Self::ALL.iter().filter(|kind| foreign(kind)).any(|kind| head.has(kind.key_header())) {
            found.push(format!("the key of another service comes with {path}"));
        }
        if !path.is_ascii() {
            found.push(format!("{path} is not percent-encoded"));
        } else if path.contains("%25") {
            found.push(format!("{path} is percent-encoded twice"));
        } else if self.stops(head).is_none()
            && (head.method != "GET" || self.job_of(path).is_none() && !self.is_list(path))
        {
            found.push(format!("{} {path} is not the status endpoint", head.method));
        }
        found
    }

    /// The kind's word for a phase. Panics if it has none.
    pub fn word(self, phase: &Phase) -> String {
        if let Phase::Said { word, .. } = phase {
            return word.clone();
        }
        let known = self.words().iter().find(|(_, meant)| meant == phase);
        known.unwrap_or_else(|| panic!("{self:?} has no word for {phase:?}")).0.to_owned()
    }

    /// What a word of the kind's means.
    pub fn phase(self, word: &str) -> Option<Phase> {
        self.words().iter().find(|(known, _)| *known == word).map(|(_, phase)| phase.clone())
    }

    /// The life with its bare words read as this kind means them. Panics if it has a phase for which
    /// the kind has no word.
    pub fn reads(self, life: Life) -> Life {
        let life = life.read_with(|word| self.phase(word));
        for (_, _, phase) in life.timeline() {
            self.word(phase);
        }
        life
    }

    fn words(self) -> &'static [(&'static str, Phase)] {
        match self {
            Self::Dune => &dune::WORDS,
            Self::Dli => &dli::WORDS,
            Self::DataArts => &dataarts::WORDS,
        }
    }
}
