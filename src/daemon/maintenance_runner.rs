//! The running housekeeping, started anew when its settings change.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::MaintenanceConfig;
use crate::maintenance::MaintenanceScheduler;
use crate::store::{MaintenanceTask, Reader};

/// Holds the housekeeping that is in force.
#[derive(Debug)]
pub(super) struct MaintenanceRunner {
    reader: Reader,
    tasks: mpsc::Sender<MaintenanceTask>,
    current_run: CancellationToken,
}

impl MaintenanceRunner {
    pub(super) fn new(reader: Reader, tasks: mpsc::Sender<MaintenanceTask>) -> Self {
        Self { reader, tasks, current_run: CancellationToken::new() }
    }

    /// One with these settings, to be started.
    pub(super) async fn prepare(
        &self,
        config: &MaintenanceConfig,
    ) -> Result<MaintenanceScheduler, String> {
        let last_runs = self.reader.last_event_times().await.map_err(|error| error.to_string())?;
        MaintenanceScheduler::new(config, &last_runs, self.tasks.clone())
            .map_err(|error| error.to_string())
    }

    /// Ends the one that runs and starts this one. Without housekeeping the daemon does its work all
    /// the same, so a failure is only told.
    pub(super) fn start(&mut self, new: MaintenanceScheduler) {
        self.current_run.cancel();
        self.current_run = CancellationToken::new();
        let shutdown = self.current_run.clone();
        tokio::spawn(async move {
            if let Err(error) = new.run(shutdown).await {
                tracing::error!("there is no housekeeping, everything else goes on: {error}");
            }
        });
    }
}

impl Drop for MaintenanceRunner {
    fn drop(&mut self) {
        self.current_run.cancel();
    }
}
