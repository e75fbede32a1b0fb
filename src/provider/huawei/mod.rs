//! What Huawei Cloud's services have in common: how they are asked, and how they refuse.
//!
//! Used by `dli` and `dataarts`. The services' own codes and the gateway's are in the table of all
//! kinds, [`meaning`]; the status decides where a code says nothing.

mod auth;
mod rate_limit_text;
pub mod sign;
mod token;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::job::{ProviderError, ProviderErrorKind, UtcTime};

use super::classify::{self, ErrorResponse};
use super::http::{HttpClient, HttpRequest, HttpResponse};
use super::json_fields::{non_empty_str, truncate};
use super::json_filter::JsonKeyFilter;
pub(super) use auth::Auth;
use token::TokenLease;
pub(super) use token::{IamUser, TokenCache};

/// Well formed, and no job's.
pub(super) const NONEXISTENT_ID: &str = "00000000-0000-0000-0000-000000000000";

/// One account of a service: where it is and who asks.
#[derive(Debug)]
pub(super) struct HuaweiClient {
    pub(super) http: HttpClient,
    pub(super) base_url: Url,
    pub(super) project_id: String,
    pub(super) auth: Auth,
}

/// What one request asks for.
#[derive(Debug, Clone)]
pub(super) struct HuaweiRequest<'a> {
    pub(super) method: Method,
    /// Of the path, each percent-encoded once.
    pub(super) segments: &'a [&'a str],
    /// Not encoded.
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Beside those that prove who asks.
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    pub(super) body_filter: Option<JsonKeyFilter>,
    /// Bytes of the answer that are kept at most.
    pub(super) max_bytes: usize,
}

impl<'a> HuaweiRequest<'a> {
    /// A GET of this path, nothing more.
    pub(super) fn get(segments: &'a [&'a str]) -> Self {
        let (method, max_bytes) = (Method::GET, HttpClient::MAX_BODY_BYTES);
        Self { method, segments, query: &[], headers: &[], body_filter: None, max_bytes }
    }
}

impl HuaweiClient {
    /// Asks, with the proof of who does; once more if a fetched token was refused, since it may die
    /// before its time.
    pub(super) async fn send(
        &self,
        request: HuaweiRequest<'_>,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let Auth::Password(token_cache) = &self.auth else {
            return self.send_once(request, None, now).await;
        };
        let lease = token_cache.lease(&self.http, now).await?;
        let reply = self.send_once(request.clone(), Some(&lease), now).await?;
        if !is_token_rejected(&reply) {
            return Ok(reply);
        }
        let new_lease = token_cache.replace_rejected(&self.http, &lease, now).await?;
        let reply = self.send_once(request, Some(&new_lease), now).await?;
        if is_token_rejected(&reply) {
            let rejection = rejection_error(&reply);
            return Err(ProviderError::new(
                ProviderErrorKind::Auth,
                format!("a new token is refused too: {rejection}"),
            ));
        }
        Ok(reply)
    }

    async fn send_once(
        &self,
        request: HuaweiRequest<'_>,
        lease: Option<&TokenLease>,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let HuaweiRequest { method, segments, query, headers, body_filter, max_bytes } = request;
        let url = self.endpoint_url(segments, query)?;
        let mut all_headers =
            self.auth.auth_headers(&method, &url, &self.project_id, lease, now)?;
        all_headers.extend_from_slice(headers);
        let (body, secrets_to_redact) = (Vec::new(), self.auth.secrets_to_redact());
        let http_request = HttpRequest {
            method,
            url,
            headers: all_headers,
            body,
            secrets_to_redact,
            body_filter,
            max_bytes,
        };
        let mut reply = self.http.send(http_request, now).await?;
        if !reply.status.is_success()
            && let ProviderError { kind: ProviderErrorKind::RateLimited, message } =
                rejection_error(&reply)
        {
            reply.rate_limit.quota =
                reply.rate_limit.quota.or_else(|| rate_limit_text::parse_quota(&message));
        }
        Ok(reply)
    }

    /// In the form that is signed. A URL swallows segments of dots, which no service has.
    fn endpoint_url(
        &self,
        segments: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Url, ProviderError> {
        let mut path = self.base_url.path().trim_end_matches('/').to_owned();
        for segment in segments {
            path.push('/');
            path.push_str(&sign::percent_encode(segment));
        }
        let mut url = self.base_url.clone();
        url.set_path(&path);
        let encoded_query = query.iter().map(|(name, value)| {
            format!("{}={}", sign::percent_encode(name), sign::percent_encode(value))
        });
        let encoded_query = encoded_query.collect::<Vec<_>>().join("&");
        url.set_query((!encoded_query.is_empty()).then_some(&encoded_query));
        if url.path() == path {
            Ok(url)
        } else {
            Err(ProviderError::new(
                ProviderErrorKind::Misconfigured,
                "a part of the path is only dots",
            ))
        }
    }
}

/// Whether it says that the token is none, or no longer; not that it does not suffice.
fn is_token_rejected(reply: &HttpResponse) -> bool {
    let parse_body = || serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
    let has_expired_token_code = |body: Value| {
        matches!(
            error_code_and_message(&body).0.split_once('.'),
            Some(("APIGW" | "APIG", "0301" | "0307"))
        )
    };
    reply.status == StatusCode::UNAUTHORIZED
        || (reply.status.is_client_error() && has_expired_token_code(parse_body()))
}

/// An answer that is no 200 → its meaning.
pub(super) fn rejection_error(reply: &HttpResponse) -> ProviderError {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    rejection_error_from_body(reply.status, &body)
}

/// The same for a body that was read already.
pub(super) fn rejection_error_from_body(status: StatusCode, body: &Value) -> ProviderError {
    let (code, message) = error_code_and_message(body);
    let message = match (code, message) {
        ("", message) => message.to_owned(),
        (code, "") => code.to_owned(),
        (code, message) => format!("{code} {message}"),
    };
    let response = ErrorResponse { status: status.as_u16(), code, dune_message: "" };
    classify::provider_error(response, truncate(&message, 512))
}

/// Whether a refusal speaks of rights, not of who asks.
pub(super) fn is_permission_error(reply: &HttpResponse) -> bool {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    match error_code_and_message(&body).0.split_once('.') {
        Some(("DLI", "0013" | "0014") | ("DLF", "6888") | ("APIGW" | "APIG", "0302")) => true,
        Some(("APIGW" | "APIG", "0301" | "0307")) => false,
        _ => reply.status == StatusCode::FORBIDDEN,
    }
}

/// Code and text of an error in each of the shapes that were seen.
fn error_code_and_message(body: &Value) -> (&str, &str) {
    let first_present =
        |names: &[&str]| names.iter().find_map(|name| non_empty_str(body.get(name)));
    if let Some(nested) = body.get("error").filter(|inner| inner.is_object()) {
        let title =
            non_empty_str(nested.get("message")).or_else(|| non_empty_str(nested.get("title")));
        return (non_empty_str(nested.get("code")).unwrap_or_default(), title.unwrap_or_default());
    }
    let code = first_present(&["error_code", "errorCode", "code"]).unwrap_or_default();
    let message = first_present(&["error_msg", "errorMsg", "message", "error"]).unwrap_or_default();
    (code, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn error_bodies_are_parsed_in_every_shape() {
        let shapes = [
            json!({"error_code": "DLI.0002", "error_msg": "gone"}),
            json!({"error_code": "DLI.0002", "error_msg": "gone", "request_id": "7"}),
            json!({"errorCode": "DLI.0002", "errorMsg": "gone"}),
            json!({"code": "DLI.0002", "message": "gone"}),
            json!({"error": {"code": "DLI.0002", "message": "gone", "title": "t"}}),
        ];
        for shape in shapes {
            let error = rejection_error_from_body(StatusCode::BAD_REQUEST, &shape);
            let expected =
                ProviderError::new(ProviderErrorKind::NotFound, "HTTP 400: DLI.0002 gone");
            assert_eq!(error, expected, "{shape}");
        }
        let none = rejection_error_from_body(StatusCode::BAD_REQUEST, &Value::Null);
        assert_eq!(none, ProviderError::new(ProviderErrorKind::Malformed, "HTTP 400"));
    }

    fn client(base: &str) -> HuaweiClient {
        HuaweiClient {
            http: HttpClient::new(std::time::Duration::from_secs(1)).expect("a client"),
            base_url: base.parse().expect("a URL"),
            project_id: "p".into(),
            auth: Auth::Token("t".into()),
        }
    }

    #[test]
    fn paths_are_sent_exactly_as_signed() {
        let cases = [
            ("\u{811a}\u{672c}", "%E8%84%9A%E6%9C%AC"),
            ("a b+c", "a%20b%2Bc"),
            ("~_-.*", "~_-.%2A"),
            ("%2f/", "%252f%2F"),
            ("a?b#c\\", "a%3Fb%23c%5C"),
            ("...", "..."),
            ("", ""),
        ];
        for base in ["http://h", "http://h/"] {
            for (segment, encoded) in cases {
                let url = client(base).endpoint_url(&["v1", segment, "x"], &[]).expect(segment);
                assert_eq!(url.as_str(), format!("http://h/v1/{encoded}/x"));
            }
            for segment in [".", ".."] {
                let error =
                    client(base).endpoint_url(&["v1", segment, "x"], &[]).expect_err(segment);
                assert!(error.kind == ProviderErrorKind::Misconfigured, "{error}");
            }
        }
        let with_base_path = client("http://h/proxy/").endpoint_url(&["v1"], &[]).expect("a path");
        assert_eq!(with_base_path.path(), "/proxy/v1");
    }

    #[test]
    fn a_5xx_status_overrides_the_error_code() {
        let body = json!({"error_code": "DLI.0002", "error_msg": "no such job"});
        let error = rejection_error_from_body(StatusCode::INTERNAL_SERVER_ERROR, &body);
        assert!(error.kind == ProviderErrorKind::Transient, "{error:?}");
    }
}
