//! The credentials that users of Huawei's SDKs have already: `HUAWEICLOUD_SDK_*` variables, or the profile
//! `~/.huaweicloud/credentials`.
//!
//! Used by [`layers`](super::layers) for providers without `auth`, and by `provider::secret` for the
//! profile. The settings that result are references; the secrets themselves are read later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::Dict;

use super::env::non_empty_var;
use super::provider::{KindSchema, uses_huawei_sdk_credentials};

const ACCESS_KEY_VAR: &str = "HUAWEICLOUD_SDK_AK";
const SECRET_KEY_VAR: &str = "HUAWEICLOUD_SDK_SK";
const SECURITY_TOKEN_VAR: &str = "HUAWEICLOUD_SDK_SECURITY_TOKEN";
const PROJECT_ID_VAR: &str = "HUAWEICLOUD_SDK_PROJECT_ID";

/// A setting that is added because of a variable or the profile.
#[derive(Debug)]
pub(super) struct ImpliedSetting {
    /// The variable or the path of the profile.
    pub(super) source: String,
    /// Dotted.
    pub(super) key: String,
    /// The name of a variable, a key of the profile, or a project id; never a secret.
    pub(super) value: String,
}

/// The settings implied for each provider of Huawei that has no `auth`. The variables are used if they
/// hold a whole access key, else the profile is.
pub(super) fn implied_settings(
    providers: &Dict,
    kinds: &[&'static dyn KindSchema],
    env: &BTreeMap<String, String>,
) -> Vec<ImpliedSetting> {
    let sdk_settings =
        if non_empty_var(env, ACCESS_KEY_VAR).and(non_empty_var(env, SECRET_KEY_VAR)).is_some() {
            settings_from_env(env)
        } else {
            non_empty_var(env, "HOME")
                .and_then(|home| settings_from_profile(&huawei_profile_path(Path::new(home))))
                .unwrap_or_default()
        };
    providers
        .iter()
        .filter(|(_, table)| uses_huawei_sdk_credentials(table, kinds))
        .flat_map(|(name, _)| {
            sdk_settings.iter().map(move |(source, key, value)| ImpliedSetting {
                source: source.clone(),
                key: format!("providers.{name}.{key}"),
                value: value.clone(),
            })
        })
        .collect()
}

/// Source, key within the provider's table, and value.
type SdkSettings = Vec<(String, &'static str, String)>;

fn settings_from_env(env: &BTreeMap<String, String>) -> SdkSettings {
    let secrets = [
        (ACCESS_KEY_VAR, "auth.ak.env"),
        (SECRET_KEY_VAR, "auth.sk.env"),
        (SECURITY_TOKEN_VAR, "auth.security_token.env"),
    ];
    let secrets = secrets.into_iter().filter(|(name, _)| non_empty_var(env, name).is_some());
    let secrets = secrets.map(|(name, key)| (format!("${name}"), key, name.to_owned()));
    let project = non_empty_var(env, PROJECT_ID_VAR)
        .map(|id| (format!("${PROJECT_ID_VAR}"), "project_id", id.into()));
    secrets.chain(project).collect()
}

/// `None` if the file holds no whole access key.
fn settings_from_profile(path: &Path) -> Option<SdkSettings> {
    let text = std::fs::read_to_string(path).ok()?;
    huawei_profile_value(&text, "ak").and(huawei_profile_value(&text, "sk"))?;
    let secrets = [
        ("ak", "auth.ak.profile"),
        ("sk", "auth.sk.profile"),
        ("security_token", "auth.security_token.profile"),
    ];
    let source = || path.display().to_string();
    let secrets =
        secrets.into_iter().filter(|(name, _)| huawei_profile_value(&text, name).is_some());
    let secrets = secrets.map(|(name, key)| (source(), key, name.to_owned()));
    let project =
        huawei_profile_value(&text, "project_id").map(|id| (source(), "project_id", id.to_owned()));
    Some(secrets.chain(project).collect())
}

/// The profile of Huawei's SDKs in a home directory.
#[must_use]
pub fn huawei_profile_path(home: &Path) -> PathBuf {
    home.join(".huaweicloud/credentials")
}

/// The value of `key` in the section `[basic]` of the profile's `text`.
#[must_use]
pub fn huawei_profile_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().map(str::trim);
    let section = lines.skip_while(|line| *line != "[basic]").skip(1);
    let mut pairs = section.take_while(|line| !line.starts_with('[')).filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim(), value.trim()))
    });
    pairs.find(|(name, value)| *name == key && !value.is_empty()).map(|(_, value)| value)
}
