//! Huawei Cloud's IAM: gives a token for a password.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::{Answer, Head};
use super::script::after;

pub const PATH: &str = "/v3/auth/tokens";
/// Who may have tokens, and of which account and project he is.
pub const USER: &str = "standin-user";
pub const DOMAIN: &str = "standin-domain";
pub const PROJECT: &str = "standin-region";
/// What proves that it is he, at first.
pub const PASSWORD: &str = "standin-password";
/// The token that is given first; each has its number.
pub const FIRST_TOKEN: &str = "standin-token-1";
const TOKEN: &str = "standin-token-";
const LIFE: Duration = Duration::from_hours(24);

/// What it knows.
pub struct Iam {
    pub password: String,
    /// The one that is taken, the newest unless it died.
    pub token: Option<String>,
    /// How often a token was asked for.
    pub fetches: usize,
    /// With this status it refuses whatever comes.
    pub refuses: Option<u16>,
    given: usize,
}

impl Default for Iam {
    fn default() -> Self {
        let password = PASSWORD.to_owned();
        Self { password, token: None, fetches: 0, refuses: None, given: 0 }
    }
}

impl Iam {
    /// Whether a token is still taken; none if it was never given.
    pub fn knows(&self, token: &str) -> Option<bool> {
        let number: usize = token.strip_prefix(TOKEN)?.parse().ok()?;
        (1..=self.given).contains(&number).then(|| self.token.as_deref() == Some(token))
    }

    pub fn answer(&mut self, head: &Head, now: Timestamp) -> Answer {
        self.fetches += 1;
        if let Some(status) = self.refuses {
            return refusal(status, "as it was told to");
        }
        if head.method != "POST" || head.query() != "nocatalog=true" {
            return refusal(404, "The resource could not be found.");
        }
        let asked: Option<Value> = serde_json::from_slice(&head.body).ok();
        let named = asked.as_ref().map(|body| body["auth"]["identity"]["password"]["user"].clone());
        let password = named.as_ref().and_then(|user| user["password"].as_str());
        if password.is_some_and(|password| password != self.password) {
            // Worse than the real one: it repeats what it was told.
            let told = format!("The username or password is wrong: {}", password.unwrap_or(""));
            return refusal(401, &told);
        }
        if asked != Some(self.expected()) {
            return refusal(400, "The request body is invalid");
        }
        self.given += 1;
        let token = format!("{TOKEN}{}", self.given);
        self.token = Some(token.clone());
        let ends = after(now, LIFE).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let body = json!({ "token": { "expires_at": ends, "methods": ["password"] } });
        Answer::json(201, &body).header("X-Subject-Token", token)
    }

    fn expected(&self) -> Value {
        let user = json!({ "name": USER, "password": self.password, "domain": { "name": DOMAIN } });
        json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } },
            "scope": { "project": { "name": PROJECT } },
        }})
    }
}

fn refusal(status: u16, told: &str) -> Answer {
    Answer::json(status, &json!({ "error": { "code": status, "message": told, "title": "No" } }))
}
