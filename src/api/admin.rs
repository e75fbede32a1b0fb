//! The responses to the commands that concern a provider or the daemon: check, forget, prune and reload.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::job::{Finding, ProviderName, State, UtcTime};

/// The response of `POST /v1/providers/{name}/check`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionCheckResponse {
    pub provider: ProviderName,
    /// Whether the provider accepts requests and the clocks agree.
    pub ok: bool,
    /// Two fields of the object: `finding`, a fixed name, and `detail`, the reason, which is absent
    /// if the finding is `ok`.
    #[serde(flatten)]
    pub finding: Finding,
    /// The local clock minus the provider's; none if the answer had no date.
    pub clock_ahead_s: Option<i64>,
    /// What to do, one sentence each.
    pub advice: Vec<String>,
}

/// The response of `DELETE /v1/providers/{name}/durations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetDurationsResponse {
    pub provider: ProviderName,
    /// The name in the request; none if all durations of the provider were deleted.
    pub similar_to: Option<String>,
    /// The number of past runs whose duration was deleted, or lost the name `similar_to`.
    pub forgotten_count: u64,
}

/// The response of `GET /v1/prune`: what the next maintenance deletes if nothing changes until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneForecast {
    /// When `maintenance.prune_schedule` is due next; the present if it is overdue, none if it is never due.
    pub next_run_at: Option<UtcTime>,
    /// By state; states without a job to delete are left out.
    pub jobs: Vec<PrunableJobs>,
}

/// The jobs of one state that are to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunableJobs {
    pub state: State,
    pub count: i64,
    /// When the daemon learned of the ends of the first and of the last of them.
    pub oldest_terminal_at: UtcTime,
    pub newest_terminal_at: UtcTime,
}

/// The response of `POST /v1/reload`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadResponse {
    /// The settings that changed, one line each.
    pub changed: Vec<String>,
    /// The settings that changed in the file and take effect at the next start.
    pub needs_restart: Vec<String>,
}

impl fmt::Display for ReloadResponse {
    /// The changes on one line, for the log and the audit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needs_restart =
            self.needs_restart.iter().map(|what| format!("needs a restart: {what}"));
        let lines: Vec<_> = self.changed.iter().cloned().chain(needs_restart).collect();
        f.write_str(if lines.is_empty() { "no settings changed" } else { "" })?;
        f.write_str(&lines.join("; "))
    }
}
