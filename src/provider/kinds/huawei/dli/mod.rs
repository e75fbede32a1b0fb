//! Kind `dli`: jobs of Huawei's Data Lake Insight, `GET {base}/v1.0/{project_id}/jobs/{job_id}/status`.
//!
//! Source of states and fields: DLI API reference, "Querying Job Status" (`dli_02_0021`), in the older
//! revision and in the newer one, which adds `job_mode`, `tags` and `SCALING`. Only the state is required.
//! `is_success` is about the request, never about the job. [`list`] reads many jobs from one answer,
//! [`status`] reads one job.

mod list;
mod status;

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use reqwest::{Method, StatusCode};

use crate::config::{DiscoveredSetting, KindSchema, SettingError, SettingsTable};
use crate::job::{
    Answer, ConnectionCheck, ListPage, ListPageQuery, ObservedState, RemoteId, UtcTime,
};
use crate::provider::Provider;
use crate::provider::answer_json::{FieldTable, read_object};
use crate::provider::classify::ErrorRule;
use crate::provider::connection_check::build_connection_check;
use crate::provider::http::parse_answer;
use crate::provider::json_fields::is_ascii_id;
use crate::provider::kinds::{BuildContext, Kind};
use crate::provider::state_map::{BuiltinStates, StateMap};

use super::client::{HuaweiClient, HuaweiRequest, NONEXISTENT_ID};
use super::error::{HINTS, is_permission_error, rejection_error};
use super::error_codes::ERROR_RULES;
use super::settings::{HuaweiSettings, implied_settings, join};

use list::request_list_page;
use status::{StatusParser, check_is_success};

/// Registers the kind `dli`; the settings are in [`HuaweiSettings`].
#[derive(Debug)]
pub(in crate::provider::kinds) struct Dli;

impl Dli {
    fn parse(settings: &SettingsTable) -> Result<HuaweiSettings, Vec<SettingError>> {
        HuaweiSettings::parse(settings, "dli")
    }
}

impl KindSchema for Dli {
    fn name(&self) -> &'static str {
        "dli"
    }

    /// DLI documents no limit; its gateways reject more than 60.
    fn default_requests_per_minute(&self) -> u32 {
        60
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
        Ok(Self::parse(settings)?.effective_urls())
    }
}

impl Kind for Dli {
    fn build(
        &self,
        settings: &SettingsTable,
        context: BuildContext<'_>,
    ) -> Result<Box<dyn Provider>, String> {
        let account = Self::parse(settings).map_err(|errors| join(&errors))?;
        Ok(Box::new(DliProvider {
            client: account.into_client(context.http, context.shared_credentials)?,
            parser: StatusParser {
                state_map: StateMap::new("", BUILTIN_STATES, context.user_states)?,
                statement_capture: context.statement_capture,
            },
        }))
    }

    fn error_rules(&self) -> &'static [&'static [ErrorRule]] {
        ERROR_RULES
    }
}

/// The jobs of one project.
#[derive(Debug)]
struct DliProvider {
    client: HuaweiClient,
    parser: StatusParser,
}

const BUILTIN_STATES: BuiltinStates = &[
    ("LAUNCHING", ObservedState::Pending),
    ("RUNNING", ObservedState::Running),
    ("SCALING", ObservedState::Running),
    ("FINISHED", ObservedState::Succeeded),
    ("FAILED", ObservedState::Failed),
    ("CANCELLED", ObservedState::Cancelled),
    ("CANCELED", ObservedState::Cancelled),
];

/// The answer to a cancellation.
const CANCEL_FIELDS: FieldTable =
    FieldTable { id: None, deciding: &["is_success"], kept: &["message"] };

impl DliProvider {
    async fn poll_job(&self, id: &RemoteId, now: UtcTime) -> Answer {
        let project = self.client.project_id.as_str();
        let path = ["v1.0", project, "jobs", id.as_str(), "status"];
        let request =
            HuaweiRequest { dropped_keys: self.parser.dropped_keys(), ..HuaweiRequest::get(&path) };
        let response = self.client.send(request, now).await;
        parse_answer(response, |response| self.parser.parse_status(response, id))
    }

    async fn cancel_job(&self, id: &RemoteId, now: UtcTime) -> Answer<()> {
        let project = self.client.project_id.as_str();
        let path = ["v1.0", project, "jobs", id.as_str()];
        let request = HuaweiRequest { method: Method::DELETE, ..HuaweiRequest::get(&path) };
        parse_answer(self.client.send(request, now).await, |response| {
            if response.status != StatusCode::OK {
                return Err(rejection_error(response));
            }
            check_is_success(&read_object(&response.body, &CANCEL_FIELDS)?, &response.body)
        })
    }

    async fn send_connection_check(&self, now: UtcTime) -> ConnectionCheck {
        let path = ["v1.0", self.client.project_id.as_str(), "jobs", NONEXISTENT_ID, "status"];
        let response = self.client.send(HuaweiRequest::get(&path), now).await;
        build_connection_check(response, HINTS, is_permission_error, rejection_error)
    }
}

impl Provider for DliProvider {
    fn validate_id(&self, id: &RemoteId) -> Result<(), String> {
        if is_ascii_id(id.as_str()) {
            Ok(())
        } else {
            Err("a DLI job id has at most 128 letters, digits, _ and -, such as \
                 208b08d4-0dc2-4dd7-8879-ddd4c020d7aa"
                .into())
        }
    }

    fn doubt_id(&self, id: &RemoteId) -> Option<&'static str> {
        let expected =
            "all known DLI job ids are UUIDs, such as 208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
        (!id.is_uuid()).then_some(expected)
    }

    fn credential_fingerprint(&self) -> u64 {
        self.client.auth.credential_fingerprint()
    }

    fn renew_rejected_secrets(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.client.auth.secrets().renew_if_rejected())
    }

    fn poll<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer> {
        Box::pin(self.poll_job(id, now))
    }

    fn supports_list(&self) -> bool {
        true
    }

    fn list<'a>(
        &'a self,
        window: &'a ListPageQuery,
        now: UtcTime,
    ) -> BoxFuture<'a, Answer<ListPage>> {
        Box::pin(request_list_page(&self.client, &self.parser, window, now))
    }

    fn cancel<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer<()>> {
        Box::pin(self.cancel_job(id, now))
    }

    fn check_connection(&self, now: UtcTime) -> BoxFuture<'_, ConnectionCheck> {
        Box::pin(self.send_connection_check(now))
    }
}
