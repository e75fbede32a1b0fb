//! Kind `dataarts`: script instances of Huawei's DataArts Studio,
//! `GET {base}/v1/{project_id}/scripts/{script_name}/instances/{instance_id}`.
//!
//! Source of states and fields: DataArts Studio API reference, "Querying the Execution Result of a Script
//! Instance". A remote id is `SCRIPT/INSTANCE`. The answer contains result rows, which are dropped while
//! the body is received. It contains no time of day.

mod instance;

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::config::{DiscoveredSetting, KindSchema, SettingError, SettingsTable};
use crate::job::{
    Answer, ConnectionCheck, ObservedState, ProviderError, ProviderErrorKind, RemoteId, UtcTime,
};
use crate::provider::Provider;
use crate::provider::answer_json::{FieldTable, read_object};
use crate::provider::classify::ErrorRule;
use crate::provider::connection_check::build_connection_check;
use crate::provider::http::{HttpResponse, parse_answer};
use crate::provider::kinds::{BuildContext, Kind};
use crate::provider::state_map::{BuiltinStates, StateMap};

use super::client::{HuaweiClient, HuaweiRequest, NONEXISTENT_ID};
use super::error::{HINTS, is_permission_error, rejection_error};
use super::error_codes::ERROR_RULES;
use super::settings::{HeaderText, HuaweiSettings, implied_settings, join};

use instance::parse_instance;

/// Registers the kind `dataarts`; the settings are in [`HuaweiSettings`] and [`WorkspaceSettings`].
#[derive(Debug)]
pub(in crate::provider::kinds) struct DataArts;

/// The keys that `dli` does not have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkspaceSettings {
    workspace_id: Option<HeaderText>,
}

impl DataArts {
    fn parse(
        settings: &SettingsTable,
    ) -> Result<(HuaweiSettings, WorkspaceSettings), Vec<SettingError>> {
        let (workspace, account) = settings.clone().split(&["workspace_id"]);
        let workspace = workspace.parse().map_err(|error| vec![error])?;
        Ok((HuaweiSettings::parse(&account, "dayu-dlf")?, workspace))
    }
}

impl KindSchema for DataArts {
    fn name(&self) -> &'static str {
        "dataarts"
    }

    /// The service allows 30 a second for a user.
    fn default_requests_per_minute(&self) -> u32 {
        600
    }

    fn implied_settings(
        &self,
        settings: &SettingsTable,
        env: &BTreeMap<String, String>,
    ) -> Vec<DiscoveredSetting> {
        implied_settings(settings, env)
    }

    fn validate(
        &self,
        settings: &SettingsTable,
    ) -> Result<Vec<(&'static str, String)>, Vec<SettingError>> {
        Ok(Self::parse(settings)?.0.effective_urls())
    }
}

impl Kind for DataArts {
    fn build(
        &self,
        settings: &SettingsTable,
        context: BuildContext<'_>,
    ) -> Result<Box<dyn Provider>, String> {
        let (account, workspace) = Self::parse(settings).map_err(|errors| join(&errors))?;
        Ok(Box::new(DataArtsProvider {
            client: account.into_client(context.http, context.shared_credentials)?,
            workspace: workspace.workspace_id.as_ref().and_then(HeaderText::to_header),
            state_map: StateMap::new("", BUILTIN_STATES, context.user_states)?,
        }))
    }

    fn error_rules(&self) -> &'static [&'static [ErrorRule]] {
        ERROR_RULES
    }
}

/// The scripts of one workspace.
#[derive(Debug)]
struct DataArtsProvider {
    client: HuaweiClient,
    /// Without it the service uses the workspace "default".
    workspace: Option<HeaderValue>,
    state_map: StateMap,
}

const BUILTIN_STATES: BuiltinStates = &[
    ("LAUNCHING", ObservedState::Pending),
    ("RUNNING", ObservedState::Running),
    ("FINISHED", ObservedState::Succeeded),
    ("FAILED", ObservedState::Failed),
];

const DROPPED_KEYS: &[&str] = &["rows", "rawResult"];

impl DataArtsProvider {
    async fn poll_instance(&self, id: &RemoteId, now: UtcTime) -> Answer {
        match split_id(id) {
            Ok((script, instance)) => {
                let response = self.request_instance(script, instance, now).await;
                parse_answer(response, |response| parse_instance(response, script, &self.state_map))
            }
            Err(error) => Answer::failed(error),
        }
    }

    async fn request_instance(
        &self,
        script: &str,
        instance: &str,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let project = self.client.project_id.as_str();
        let path = ["v1", project, "scripts", script, "instances", instance];
        let request = HuaweiRequest {
            headers: &self.workspace_header(),
            dropped_keys: DROPPED_KEYS,
            ..HuaweiRequest::get(&path)
        };
        self.client.send(request, now).await
    }

    async fn stop_instance(&self, id: &RemoteId, now: UtcTime) -> Answer<()> {
        let (script, instance) = match split_id(id) {
            Ok(parts) => parts,
            Err(error) => return Answer::failed(error),
        };
        let project = self.client.project_id.as_str();
        let path = ["v1", project, "scripts", script, "instances", instance, "stop"];
        let request = HuaweiRequest {
            method: Method::POST,
            headers: &self.workspace_header(),
            ..HuaweiRequest::get(&path)
        };
        parse_answer(self.client.send(request, now).await, |response| {
            if !response.status.is_success() {
                return Err(rejection_error(response));
            }
            // The body is not documented. A body that is not JSON comes from a proxy, not from the service.
            if !response.body.trim_ascii().is_empty() {
                read_object(&response.body, &FieldTable::EMPTY)?;
            }
            Ok(())
        })
    }

    async fn send_connection_check(&self, now: UtcTime) -> ConnectionCheck {
        let response = self.request_instance("jobtrack-check", NONEXISTENT_ID, now).await;
        build_connection_check(response, HINTS, is_permission_error, rejection_error)
    }

    fn workspace_header(&self) -> Vec<(HeaderName, HeaderValue)> {
        let name = HeaderName::from_static("workspace");
        self.workspace.iter().map(|id| (name.clone(), id.clone())).collect()
    }
}

/// The script and the instance of an id.
fn split_id(id: &RemoteId) -> Result<(&str, &str), ProviderError> {
    let parts = id.as_str().split_once('/');
    parts.ok_or_else(|| {
        ProviderError::new(
            ProviderErrorKind::InvalidId,
            "the id has no instance: it must be SCRIPT/INSTANCE",
        )
    })
}

impl Provider for DataArtsProvider {
    fn validate_id(&self, id: &RemoteId) -> Result<(), String> {
        let is_valid_name = |text: &str| {
            (1..=128).contains(&text.chars().count())
                && text != "."
                && text != ".."
                && text.chars().all(|c| c.is_alphanumeric() || "_.-".contains(c))
        };
        match id.as_str().split_once('/') {
            Some((script, instance)) if is_valid_name(script) && is_valid_name(instance) => Ok(()),
            Some(_) | None => Err(
                "a DataArts id is SCRIPT/INSTANCE, each of letters, digits, _, . and -, such as \
                     dwsscript/a1ad-448a-9d56-4154193d49c5"
                    .into(),
            ),
        }
    }

    fn credential_fingerprint(&self) -> u64 {
        self.client.auth.credential_fingerprint()
    }

    fn renew_rejected_secrets(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.client.auth.secrets().renew_if_rejected())
    }

    fn poll<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer> {
        Box::pin(self.poll_instance(id, now))
    }

    fn cancel<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer<()>> {
        Box::pin(self.stop_instance(id, now))
    }

    fn check_connection(&self, now: UtcTime) -> BoxFuture<'_, ConnectionCheck> {
        Box::pin(self.send_connection_check(now))
    }
}
