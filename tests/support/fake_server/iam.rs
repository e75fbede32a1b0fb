//! Huawei Cloud's IAM: issues a token for a user name and a password.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::{FakeHttpRequest, FakeHttpResponse};
use super::script::add_duration;

pub const TOKENS_PATH: &str = "/v3/auth/tokens";
/// The only user who can get tokens, with the domain and the project of the request.
pub const USER_NAME: &str = "fake-user";
pub const DOMAIN_NAME: &str = "fake-domain";
pub const PROJECT_NAME: &str = "fake-region";
/// The password until [`set_credentials`](super::FakeServer::set_credentials) changes it.
pub const PASSWORD: &str = "fake-password";
/// The first token that is issued; each token ends with its number.
pub const FIRST_TOKEN: &str = "fake-token-1";
const TOKEN_PREFIX: &str = "fake-token-";
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

pub struct Iam {
    pub password: String,
    /// The tokens that were issued and not invalidated.
    pub valid_tokens: Vec<String>,
    /// The number of token requests, valid or not.
    pub token_request_count: usize,
    /// If set, every token request is rejected with this status.
    pub forced_status: Option<u16>,
    /// The projects of the token requests with the right password.
    pub scopes_requested: Vec<Value>,
    issued_count: usize,
}

impl Default for Iam {
    fn default() -> Self {
        let password = PASSWORD.to_owned();
        Self {
            password,
            valid_tokens: Vec::new(),
            token_request_count: 0,
            forced_status: None,
            scopes_requested: Vec::new(),
            issued_count: 0,
        }
    }
}

impl Iam {
    /// Whether an issued token is still accepted; `None` if it was never issued.
    pub fn token_validity(&self, token: &str) -> Option<bool> {
        let number: usize = token.strip_prefix(TOKEN_PREFIX)?.parse().ok()?;
        (1..=self.issued_count)
            .contains(&number)
            .then(|| self.valid_tokens.iter().any(|valid| valid == token))
    }

    pub fn handle(&mut self, request: &FakeHttpRequest, now: Timestamp) -> FakeHttpResponse {
        self.token_request_count += 1;
        if let Some(status) = self.forced_status {
            return error_response(status, "rejected on request of the test");
        }
        if request.method != "POST" || request.query() != "nocatalog=true" {
            return error_response(404, "The resource could not be found.");
        }
        let request_body: Option<Value> = serde_json::from_slice(&request.body).ok();
        let user =
            request_body.as_ref().map(|body| body["auth"]["identity"]["password"]["user"].clone());
        let password = user.as_ref().and_then(|user| user["password"].as_str());
        if password.is_some_and(|password| password != self.password) {
            // Unlike the real service, this message contains the password: clients must redact it.
            let message = format!("The username or password is wrong: {}", password.unwrap_or(""));
            return error_response(401, &message);
        }
        let project = request_body.as_ref().map(|body| body["auth"]["scope"]["project"].clone());
        let project = project.unwrap_or_default();
        let is_known = project == json!({ "name": PROJECT_NAME })
            || project.as_object().is_some_and(|fields| fields.keys().eq(["id"]));
        self.scopes_requested.push(project.clone());
        if !is_known || request_body != Some(self.expected_body(&project)) {
            return error_response(400, "The request body is invalid");
        }
        self.issued_count += 1;
        let token = format!("{TOKEN_PREFIX}{}", self.issued_count);
        self.valid_tokens.push(token.clone());
        let expires_at =
            add_duration(now, TOKEN_LIFETIME).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let body = json!({ "token": { "expires_at": expires_at, "methods": ["password"] } });
        FakeHttpResponse::json(201, &body).header("X-Subject-Token", token)
    }

    /// The body of a token request, for a project by its name or its id.
    fn expected_body(&self, project: &Value) -> Value {
        let user = json!({ "name": USER_NAME, "password": self.password, "domain": { "name": DOMAIN_NAME } });
        json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } },
            "scope": { "project": project },
        }})
    }
}

fn error_response(status: u16, message: &str) -> FakeHttpResponse {
    FakeHttpResponse::json(
        status,
        &json!({ "error": { "code": status, "message": message, "title": "No" } }),
    )
}
