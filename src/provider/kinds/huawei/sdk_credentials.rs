//! The credentials that users of Huawei's SDKs have already: `HUAWEICLOUD_SDK_*` variables, or the profile
//! `~/.huaweicloud/credentials`.
//!
//! Used by both kinds of Huawei for providers without `auth`. The settings that result are references; the
//! secrets themselves are read when a provider is built.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::ExposeSecret;

use crate::config::{DiscoveredSetting, non_empty_var};
use crate::provider::huawei_profile::{huawei_profile_path, huawei_profile_value};
use crate::provider::secret_file;

const ACCESS_KEY_VAR: &str = "HUAWEICLOUD_SDK_AK";
const SECRET_KEY_VAR: &str = "HUAWEICLOUD_SDK_SK";
const SECURITY_TOKEN_VAR: &str = "HUAWEICLOUD_SDK_SECURITY_TOKEN";
const PROJECT_ID_VAR: &str = "HUAWEICLOUD_SDK_PROJECT_ID";

/// `auth` and `project_id`, from the variables if they hold a whole access key, else from the profile.
pub(super) fn implied_settings(env: &BTreeMap<String, String>) -> Vec<DiscoveredSetting> {
    if non_empty_var(env, ACCESS_KEY_VAR).and(non_empty_var(env, SECRET_KEY_VAR)).is_some() {
        settings_from_env(env)
    } else {
        non_empty_var(env, "HOME")
            .and_then(|home| settings_from_profile(&huawei_profile_path(Path::new(home))))
            .unwrap_or_default()
    }
}

fn settings_from_env(env: &BTreeMap<String, String>) -> Vec<DiscoveredSetting> {
    let secrets = [
        (ACCESS_KEY_VAR, "auth.ak.env"),
        (SECRET_KEY_VAR, "auth.sk.env"),
        (SECURITY_TOKEN_VAR, "auth.security_token.env"),
    ];
    let secrets = secrets.into_iter().filter(|(name, _)| non_empty_var(env, name).is_some());
    let secrets = secrets.map(|(name, key)| DiscoveredSetting::new(format!("${name}"), key, name));
    let project = non_empty_var(env, PROJECT_ID_VAR)
        .map(|id| DiscoveredSetting::new(format!("${PROJECT_ID_VAR}"), "project_id", id));
    secrets.chain(project).collect()
}

/// `None` if the file holds no whole access key.
fn settings_from_profile(path: &Path) -> Option<Vec<DiscoveredSetting>> {
    let text = secret_file::read(path).ok()?;
    let text = text.expose_secret();
    huawei_profile_value(text, "ak").and(huawei_profile_value(text, "sk"))?;
    let secrets = [
        ("ak", "auth.ak.profile"),
        ("sk", "auth.sk.profile"),
        ("security_token", "auth.security_token.profile"),
    ];
    let source = || path.display().to_string();
    let secrets =
        secrets.into_iter().filter(|(name, _)| huawei_profile_value(text, name).is_some());
    let secrets = secrets.map(|(name, key)| DiscoveredSetting::new(source(), key, name));
    let project = huawei_profile_value(text, "project_id")
        .map(|id| DiscoveredSetting::new(source(), "project_id", id));
    Some(secrets.chain(project).collect())
}
