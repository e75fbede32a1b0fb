//! What Huawei Cloud's services have in common: how they are asked, and how they refuse.
//!
//! Used by `dli` and `dataarts`. The services' own codes and the gateway's are in the table of all
//! kinds, [`meaning`]; the status decides where a code says nothing.

mod auth;
mod limit;
pub mod sign;
mod token;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::job::{ProviderError, Utc};

use super::fields::{cut, text};
use super::http::{Call, Http, Reply};
use super::meaning::{self, Refusal};
use super::sieve::Sieve;
pub(super) use auth::Auth;
use token::Lent;
pub(super) use token::{Tokens, User};

/// Well formed, and no job's.
pub(super) const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// One account of a service: where it is and who asks.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) http: Http,
    pub(super) base: Url,
    pub(super) project_id: String,
    pub(super) auth: Auth,
}

/// What one request asks for.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Of the path, each percent-encoded once.
    pub(super) segments: &'a [&'a str],
    /// Not encoded.
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Beside those that prove who asks.
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    pub(super) sieve: Option<Sieve>,
    /// Bytes of the answer that are kept at most.
    pub(super) room: usize,
}

impl<'a> Ask<'a> {
    /// A GET of this path, nothing more.
    pub(super) fn get(segments: &'a [&'a str]) -> Self {
        let (method, room) = (Method::GET, Http::MAX_BODY);
        Self { method, segments, query: &[], headers: &[], sieve: None, room }
    }
}

impl Account {
    /// Asks, with the proof of who does; once more if a fetched token was refused, since it may die
    /// before its time.
    pub(super) async fn send(&self, ask: Ask<'_>, now: Utc) -> Result<Reply, ProviderError> {
        let Auth::Password(tokens) = &self.auth else {
            return self.send_once(ask, None, now).await;
        };
        let lent = tokens.lend(&self.http, now).await?;
        let reply = self.send_once(ask.clone(), Some(&lent), now).await?;
        if !refuses_token(&reply) {
            return Ok(reply);
        }
        let newer = tokens.renew(&self.http, &lent, now).await?;
        let reply = self.send_once(ask, Some(&newer), now).await?;
        if refuses_token(&reply) {
            let why = refused(&reply);
            return Err(ProviderError::Auth(format!("a new token is refused too: {why}")));
        }
        Ok(reply)
    }

    async fn send_once(
        &self,
        ask: Ask<'_>,
        lent: Option<&Lent>,
        now: Utc,
    ) -> Result<Reply, ProviderError> {
        let Ask { method, segments, query, headers, sieve, room } = ask;
        let url = self.url(segments, query)?;
        let mut all = self.auth.headers(&method, &url, &self.project_id, lent, now)?;
        all.extend_from_slice(headers);
        let (body, behind) = (Vec::new(), self.auth.behind());
        let call = Call { method, url, headers: all, body, behind, sieve, room };
        let mut reply = self.http.send(call, now).await?;
        if !reply.status.is_success()
            && let ProviderError::RateLimited(told) = refused(&reply)
        {
            reply.pace.quota = reply.pace.quota.or_else(|| limit::read(&told));
        }
        Ok(reply)
    }

    /// In the form that is signed. A URL swallows segments of dots, which no service has.
    fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Url, ProviderError> {
        let mut path = self.base.path().trim_end_matches('/').to_owned();
        for segment in segments {
            path.push('/');
            path.push_str(&sign::encode(segment));
        }
        let mut url = self.base.clone();
        url.set_path(&path);
        let sent = query
            .iter()
            .map(|(name, value)| format!("{}={}", sign::encode(name), sign::encode(value)));
        let sent = sent.collect::<Vec<_>>().join("&");
        url.set_query((!sent.is_empty()).then_some(&sent));
        if url.path() == path {
            Ok(url)
        } else {
            Err(ProviderError::Misconfigured("a part of the path is only dots".into()))
        }
    }
}

/// Whether it says that the token is none, or no longer; not that it does not suffice.
fn refuses_token(reply: &Reply) -> bool {
    let told = || serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
    let died = |body: Value| {
        matches!(error_of(&body).0.split_once('.'), Some(("APIGW" | "APIG", "0301" | "0307")))
    };
    reply.status == StatusCode::UNAUTHORIZED || (reply.status.is_client_error() && died(told()))
}

/// An answer that is no 200 → its meaning.
pub(super) fn refused(reply: &Reply) -> ProviderError {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    refused_with(reply.status, &body)
}

/// The same for a body that was read already.
pub(super) fn refused_with(status: StatusCode, body: &Value) -> ProviderError {
    let (code, told) = error_of(body);
    let told = match (code, told) {
        ("", told) => told.to_owned(),
        (code, "") => code.to_owned(),
        (code, told) => format!("{code} {told}"),
    };
    let refusal = Refusal { status: status.as_u16(), code, dune: "" };
    meaning::read(refusal, cut(&told, 512))
}

/// Whether a refusal speaks of rights, not of who asks.
pub(super) fn forbids(reply: &Reply) -> bool {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    match error_of(&body).0.split_once('.') {
        Some(("DLI", "0013" | "0014") | ("DLF", "6888") | ("APIGW" | "APIG", "0302")) => true,
        Some(("APIGW" | "APIG", "0301" | "0307")) => false,
        _ => reply.status == StatusCode::FORBIDDEN,
    }
}

/// Code and text of an error in each of the shapes that were seen.
fn error_of(body: &Value) -> (&str, &str) {
    let first = |names: &[&str]| names.iter().find_map(|name| text(body.get(name)));
    if let Some(inner) = body.get("error").filter(|inner| inner.is_object()) {
        let title = text(inner.get("message")).or_else(|| text(inner.get("title")));
        return (text(inner.get("code")).unwrap_or_default(), title.unwrap_or_default());
    }
    let code = first(&["error_code", "errorCode", "code"]).unwrap_or_default();
    let told = first(&["error_msg", "errorMsg", "message", "error"]).unwrap_or_default();
    (code, told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_are_understood_in_every_shape() {
        let shapes = [
            json!({"error_code": "DLI.0002", "error_msg": "gone"}),
            json!({"error_code": "DLI.0002", "error_msg": "gone", "request_id": "7"}),
            json!({"errorCode": "DLI.0002", "errorMsg": "gone"}),
            json!({"code": "DLI.0002", "message": "gone"}),
            json!({"error": {"code": "DLI.0002", "message": "gone", "title": "t"}}),
        ];
        for shape in shapes {
            let error = refused_with(StatusCode::BAD_REQUEST, &shape);
            let expected = ProviderError::NotFound("HTTP 400: DLI.0002 gone".into());
            assert_eq!(error, expected, "{shape}");
        }
        let none = refused_with(StatusCode::BAD_REQUEST, &Value::Null);
        assert_eq!(none, ProviderError::Malformed("HTTP 400".into()));
    }

    fn account(base: &str) -> Account {
        Account {
            http: Http::new(std::time::Duration::from_secs(1)).expect("a client"),
            base: base.parse().expect("a URL"),
            project_id: "p".into(),
            auth: Auth::Token("t".into()),
        }
    }

    #[test]
    fn a_path_goes_out_as_it_is_signed() {
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
            for (segment, sent) in cases {
                let url = account(base).url(&["v1", segment, "x"], &[]).expect(segment);
                assert_eq!(url.as_str(), format!("http://h/v1/{sent}/x"));
            }
            for segment in [".", ".."] {
                let error = account(base).url(&["v1", segment, "x"], &[]).expect_err(segment);
                assert!(matches!(error, ProviderError::Misconfigured(_)), "{error}");
            }
        }
        let below = account("http://h/proxy/").url(&["v1"], &[]).expect("a path");
        assert_eq!(below.path(), "/proxy/v1");
    }

    #[test]
    fn a_server_in_trouble_is_not_believed() {
        let body = json!({"error_code": "DLI.0002", "error_msg": "no such job"});
        let error = refused_with(StatusCode::INTERNAL_SERVER_ERROR, &body);
        assert!(matches!(error, ProviderError::Transient(_)), "{error:?}");
    }
}
