//! Refuses a filter for a provider that neither is configured nor has jobs: a misspelt name must not give an empty
//! list.
//!
//! Used by the handlers of lists, of the history and of event streams.

use std::sync::Arc;

use crate::job::ProviderName;
use crate::scheduler::CommandError;
use crate::store::JobFilter;

use super::app_state::AppState;
use super::connection_limiter::ConnectionPermit;
use super::error::ApiError;
use super::turn_reader::{ReadPurpose, TurnReader};

pub(super) async fn ensure_known(
    app: &AppState,
    connection: &Arc<ConnectionPermit>,
    provider: Option<&ProviderName>,
) -> Result<(), ApiError> {
    let Some(name) = provider else { return Ok(()) };
    // Also those that are not configured any more and have unfinished jobs.
    let snapshot = app.handle.snapshot().await;
    let mut providers = snapshot.providers.iter().map(|provider| &provider.report);
    if providers.any(|report| report.provider == *name) {
        return Ok(());
    }
    let filter = JobFilter { provider: Some(name.clone()), limit: 1, ..JobFilter::default() };
    let reader = TurnReader::new(app.reader.clone(), Arc::clone(connection), ReadPurpose::List);
    if !reader.turn().await.jobs(&filter).await?.is_empty() {
        return Ok(());
    }
    let configured = snapshot.providers.iter().filter(|provider| provider.kind.is_some());
    let configured: Vec<_> =
        configured.map(|provider| provider.report.provider.to_string()).collect();
    let names = if configured.is_empty() { "none".to_owned() } else { configured.join(", ") };
    Err(CommandError::ProviderNotConfigured(name.clone(), names).into())
}
