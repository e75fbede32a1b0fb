//! Tokens that are fetched from Huawei Cloud's IAM for a user, and shared by all polls of an account.
//!
//! Used by [`Account`](super::Account). One fetch at a time, however many wait for a token: who waits
//! takes what the fetch that he waited for brought, be it a token or a failure. Fetches are numbered,
//! and a poll remembers the number at which it began, so that a fetch that ended since then counts as
//! its own: many polls that are refused at once cause one fetch. A poll causes two at most.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use crate::job::{ProviderError, Utc};
use crate::provider::fields::cut;
use crate::provider::http::{Call, Http, Reply};
use crate::provider::meaning::{self, Refusal};

use super::error_of;

/// A user, as IAM knows him, and where it is.
#[derive(Debug)]
pub(in crate::provider) struct User {
    pub(in crate::provider) iam: Url,
    pub(in crate::provider) name: String,
    pub(in crate::provider) password: SecretString,
    pub(in crate::provider) domain: String,
    /// The name of the project that tokens are for.
    pub(in crate::provider) project: Option<String>,
    /// Names it instead.
    pub(in crate::provider) project_id: String,
}

/// The tokens of one user.
#[derive(Debug)]
pub(in crate::provider) struct Tokens {
    pub(super) user: User,
    known: watch::Sender<Known>,
    /// Held during a fetch.
    turn: Mutex<()>,
}

/// A token for one poll.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) token: HeaderValue,
    /// How many fetches had ended by then.
    fetches: u64,
}

/// What the fetches so far have brought.
#[derive(Debug, Clone, Default)]
struct Known {
    fetches: u64,
    /// The newest; it is kept when a fetch fails.
    token: Option<Token>,
    /// Why and when the last fetch failed, if it did.
    failed: Option<(ProviderError, Utc)>,
}

/// A token, and the times by our clock from which it is renewed and not used.
#[derive(Debug, Clone)]
struct Token {
    value: HeaderValue,
    /// The number of its fetch.
    fetch: u64,
    renew_at: Utc,
    ends_at: Utc,
}

impl Tokens {
    /// So long before its end a token is renewed; one of a short life halfway.
    const BEFORE_END: Duration = Duration::from_hours(1);
    /// A renewal before the end that failed is tried again after this.
    const NEXT_TRY: Duration = Duration::from_mins(5);

    pub(in crate::provider) fn new(user: User) -> Self {
        Self { user, known: watch::Sender::default(), turn: Mutex::default() }
    }

    /// A token that is good by all that is known.
    pub(super) async fn lend(&self, http: &Http, now: Utc) -> Result<Lent, ProviderError> {
        let known = self.known();
        let Some(lent) = known.lend(now) else { return self.next(http, known.fetches, now).await };
        // Nobody waits for a renewal as long as the old one is good, but the one who fetches it.
        if known.wants_renewal(now)
            && let Ok(_turn) = self.turn.try_lock()
            && self.known().fetches == known.fetches
        {
            return Ok(self.fetch(http, now).await.unwrap_or(lent));
        }
        Ok(lent)
    }

    /// Another token than one that was refused.
    pub(super) async fn renew(
        &self,
        http: &Http,
        refused: &Lent,
        now: Utc,
    ) -> Result<Lent, ProviderError> {
        self.next(http, refused.fetches, now).await
    }

    /// What the first fetch after that many brought; fetches if there was none.
    async fn next(&self, http: &Http, after: u64, now: Utc) -> Result<Lent, ProviderError> {
        let _turn = self.turn.lock().await;
        let known = self.known();
        if known.fetches == after {
            return self.fetch(http, now).await;
        }
        known.since(after)
    }

    /// Only in turn.
    async fn fetch(&self, http: &Http, now: Utc) -> Result<Lent, ProviderError> {
        let before = self.known().fetches;
        let fetched = self.user.ask(http, before + 1, now).await;
        self.known.send_modify(|known| {
            known.fetches = before + 1;
            match fetched {
                Ok(token) => (known.token, known.failed) = (Some(token), None),
                Err(error) => known.failed = Some((error, now)),
            }
        });
        self.known().since(before)
    }

    fn known(&self) -> Known {
        self.known.borrow().clone()
    }
}

impl Known {
    fn lent(&self, token: &Token) -> Lent {
        Lent { token: token.value.clone(), fetches: self.fetches }
    }

    fn lend(&self, now: Utc) -> Option<Lent> {
        self.token.as_ref().filter(|token| now < token.ends_at).map(|token| self.lent(token))
    }

    fn wants_renewal(&self, now: Utc) -> bool {
        // A clock that was put back must not put the next try off.
        let may_try = self
            .failed
            .as_ref()
            .is_none_or(|(_, at)| now < *at || now.since(*at) >= Tokens::NEXT_TRY);
        may_try && self.token.as_ref().is_some_and(|token| now >= token.renew_at)
    }

    /// What the fetches after that many brought.
    fn since(&self, after: u64) -> Result<Lent, ProviderError> {
        let newer = self.token.as_ref().filter(|token| token.fetch > after);
        match (newer, &self.failed) {
            (Some(token), _) => Ok(self.lent(token)),
            (None, Some((error, _))) => Err(error.clone()),
            (None, None) => Err(ProviderError::Transient("no token was fetched".into())),
        }
    }
}

/// The body of a good answer.
#[derive(Deserialize)]
struct Fetched {
    token: Told,
}

#[derive(Deserialize)]
struct Told {
    expires_at: String,
}

impl User {
    /// Fetches a token, once.
    async fn ask(&self, http: &Http, fetch: u64, now: Utc) -> Result<Token, ProviderError> {
        let mut url = self.iam.clone();
        url.set_path(&format!("{}/v3/auth/tokens", self.iam.path().trim_end_matches('/')));
        url.set_query(Some("nocatalog=true"));
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let (method, body, behind) = (Method::POST, self.body(), vec![&self.password]);
        let room = Http::MAX_BODY;
        let call = Call { method, url, headers, body, behind, sieve: None, room };
        let reply = http.send(call, now).await.map_err(no_token)?;
        if reply.status.is_success() {
            read(reply, fetch, now)
        } else {
            Err(no_token(refused(&reply)))
        }
    }

    fn body(&self) -> Vec<u8> {
        let project = match &self.project {
            Some(name) => json!({ "name": name }),
            None => json!({ "id": self.project_id }),
        };
        let user = json!({
            "name": self.name,
            "password": self.password.expose_secret(),
            "domain": { "name": self.domain },
        });
        let identity = json!({ "methods": ["password"], "password": { "user": user } });
        let scope = json!({ "project": project });
        json!({ "auth": { "identity": identity, "scope": scope } }).to_string().into_bytes()
    }
}

/// Its life is reckoned by IAM's clock, since ours may be wrong: a token that seemed to be over at
/// once would be fetched for every poll.
fn read(reply: Reply, fetch: u64, now: Utc) -> Result<Token, ProviderError> {
    let unread = |why: &str| no_token(ProviderError::Malformed(why.into()));
    let value = reply.token.ok_or_else(|| unread("the answer has no X-Subject-Token"))?;
    let fetched: Fetched = serde_json::from_slice(&reply.body)
        .map_err(|_| unread("the answer does not tell when the token ends"))?;
    let ends_at = Utc::parse(&fetched.token.expires_at)
        .ok_or_else(|| unread("the end of the token is no time"))?;
    let life = ends_at.since(reply.server_date.unwrap_or(now));
    if life.is_zero() {
        return Err(unread("the token is over already"));
    }
    let ends_at = now.plus(life);
    let renew_at = ends_at.minus(Tokens::BEFORE_END.min(life / 2));
    Ok(Token { value, fetch, renew_at, ends_at })
}

/// By the status alone: nothing that IAM says is about a job.
fn refused(reply: &Reply) -> ProviderError {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let refusal = Refusal { status: reply.status.as_u16(), ..Refusal::default() };
    match meaning::read(refusal, cut(error_of(&body).1, 512)) {
        // A user, domain or project that it does not understand.
        ProviderError::Malformed(text) => ProviderError::Misconfigured(text),
        other => other,
    }
}

/// Tells that IAM, not the service, is who said it.
fn no_token(error: ProviderError) -> ProviderError {
    let told = |text: String| format!("no token from IAM: {text}");
    match error {
        ProviderError::Transient(text) | ProviderError::NotFound(text) => {
            ProviderError::Transient(told(text))
        }
        ProviderError::RateLimited(text) => ProviderError::RateLimited(told(text)),
        ProviderError::Quota(text) => ProviderError::Quota(told(text)),
        ProviderError::Auth(text) => ProviderError::Auth(told(text)),
        ProviderError::Misconfigured(text) => ProviderError::Misconfigured(told(text)),
        ProviderError::Malformed(text) => ProviderError::Malformed(told(text)),
    }
}
