//! Huawei Cloud's IAM: gives a token for a password.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::{FakeHttpRequest, FakeHttpResponse};
use super::script::add_duration;

pub const TOKENS_PATH: &str = "/v3/auth/tokens";
/// Who may have tokens, and of which account and project he is.
pub const USER_NAME: &str = "fake-user";
pub const DOMAIN_NAME: &str = "fake-domain";
pub const PROJECT_NAME: &str = "fake-region";
/// What proves that it is he, at first.
pub const PASSWORD: &str = "fake-password";
/// The token that is given first; each has its number.
pub const FIRST_TOKEN: &str = "fake-token-1";
const TOKEN_PREFIX: &str = "fake-token-";
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// What it knows.
pub struct Iam {
    pub password: String,
    /// The one that is taken, the newest unless it died.
    pub valid_token: Option<String>,
    /// How often a token was asked for.
    pub token_request_count: usize,
    /// With this status it refuses whatever comes.
    pub forced_status: Option<u16>,
    issued_count: usize,
}

impl Default for Iam {
    fn default() -> Self {
        let password = PASSWORD.to_owned();
        Self {
            password,
            valid_token: None,
            token_request_count: 0,
            forced_status: None,
            issued_count: 0,
        }
    }
}

impl Iam {
    /// Whether a token is still taken; none if it was never given.
    pub fn token_validity(&self, token: &str) -> Option<bool> {
        let number: usize = token.strip_prefix(TOKEN_PREFIX)?.parse().ok()?;
        (1..=self.issued_count)
            .contains(&number)
            .then(|| self.valid_token.as_deref() == Some(token))
    }

    pub fn handle(&mut self, head: &FakeHttpRequest, now: Timestamp) -> FakeHttpResponse {
        self.token_request_count += 1;
        if let Some(status) = self.forced_status {
            return error_response(status, "as it was told to");
        }
        if head.method != "POST" || head.query() != "nocatalog=true" {
            return error_response(404, "The resource could not be found.");
        }
        let request_body: Option<Value> = serde_json::from_slice(&head.body).ok();
        let user =
            request_body.as_ref().map(|body| body["auth"]["identity"]["password"]["user"].clone());
        let password = user.as_ref().and_then(|user| user["password"].as_str());
        if password.is_some_and(|password| password != self.password) {
            // Worse than the real one: it repeats what it was told.
            let message = format!("The username or password is wrong: {}", password.unwrap_or(""));
            return error_response(401, &message);
        }
        if request_body != Some(self.expected_body()) {
            return error_response(400, "The request body is invalid");
        }
        self.issued_count += 1;
        let token = format!("{TOKEN_PREFIX}{}", self.issued_count);
        self.valid_token = Some(token.clone());
        let expires_at =
            add_duration(now, TOKEN_LIFETIME).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let body = json!({ "token": { "expires_at": expires_at, "methods": ["password"] } });
        FakeHttpResponse::json(201, &body).header("X-Subject-Token", token)
    }

    fn expected_body(&self) -> Value {
        let user = json!({ "name": USER_NAME, "password": self.password, "domain": { "name": DOMAIN_NAME } });
        json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } },
            "scope": { "project": { "name": PROJECT_NAME } },
        }})
    }
}

fn error_response(status: u16, message: &str) -> FakeHttpResponse {
    FakeHttpResponse::json(
        status,
        &json!({ "error": { "code": status, "message": message, "title": "No" } }),
    )
}
