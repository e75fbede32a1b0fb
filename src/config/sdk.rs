//! What users of Huawei's SDKs have in their environment already: it stands in for `auth`, as
//! `DUNE_API_KEY` does for Dune's key.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::load::set;

const AK: &str = "HUAWEICLOUD_SDK_AK";
const SK: &str = "HUAWEICLOUD_SDK_SK";
const SECURITY_TOKEN: &str = "HUAWEICLOUD_SDK_SECURITY_TOKEN";
const PROJECT_ID: &str = "HUAWEICLOUD_SDK_PROJECT_ID";

/// For each provider of Huawei's without `auth`: the variable, the dotted key that it sets, and its
/// value, which is where a secret lies and never the secret.
pub(super) fn implied<'a>(
    providers: &Dict,
    env: &'a BTreeMap<String, String>,
) -> Vec<(&'static str, String, &'a str)> {
    if set(env, AK).and(set(env, SK)).is_none() {
        return Vec::new();
    }
    let token = set(env, SECURITY_TOKEN).map(|_| (SECURITY_TOKEN, "auth.security_token.env"));
    let secrets: Vec<_> =
        [(AK, "auth.ak.env"), (SK, "auth.sk.env")].into_iter().chain(token).collect();
    let mut found = Vec::new();
    for (name, _) in providers.iter().filter(|(_, own)| lacks_auth(own)) {
        for (variable, key) in &secrets {
            found.push((*variable, format!("providers.{name}.{key}"), *variable));
        }
        if let Some(id) = set(env, PROJECT_ID) {
            found.push((PROJECT_ID, format!("providers.{name}.project_id"), id));
        }
    }
    found
}

fn lacks_auth(provider: &Value) -> bool {
    provider.as_dict().is_some_and(|own| {
        let kind = own.get("kind").and_then(Value::as_str);
        matches!(kind, Some("dli" | "dataarts")) && !own.contains_key("auth")
    })
}
