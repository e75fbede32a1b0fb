//! What the two services of Huawei Cloud have in common: the token, and the gateway that refuses
//! before a service sees the request.

use serde_json::json;

use super::http::Answer;
use super::kind::Refusal;
use super::limit::Limit;

pub const KEY_HEADER: &str = "x-auth-token";

/// A refusal; `no_job` is the service's own code and text for a job that it does not know, given
/// whether it knows another of the same script.
pub fn refuse(why: &Refusal<'_>, no_job: fn(bool) -> (&'static str, &'static str)) -> Answer {
    match why {
        Refusal::Method | Refusal::Path => error(
            404,
            "APIGW.0101",
            "The API does not exist or has not been published in the environment",
        ),
        Refusal::Key => {
            error(401, "APIGW.0301", "Incorrect IAM authentication information: decrypt token fail")
        }
        Refusal::NoJob(_, script_known) => {
            let (code, told) = no_job(*script_known);
            error(400, code, told)
        }
        Refusal::TooMany { limit: Limit { requests, window, .. }, .. } => {
            let (number, unit) = match window.as_secs() {
                seconds if seconds % 60 == 0 => (seconds / 60, "minute"),
                seconds => (seconds, "second"),
            };
            let told = format!(
                "The throttling threshold has been reached: policy user over ratelimit,\
                 limit:{requests},time:{number} {unit}"
            );
            error(429, "APIGW.0308", &told)
        }
    }
}

fn error(status: u16, code: &str, told: &str) -> Answer {
    Answer::json(status, &json!({ "error_code": code, "error_msg": told }))
}
