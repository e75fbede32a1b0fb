//! Starts the maintenance of the database, and restarts it when a reload changes its settings.

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::MaintenanceConfig;
use crate::maintenance::MaintenanceScheduler;
use crate::store::{MaintenanceTask, Reader};

#[derive(Debug)]
pub(super) struct MaintenanceTaskHandle {
    reader: Reader,
    tasks: mpsc::Sender<MaintenanceTask>,
    clock: Clock,
    /// The settings of the running maintenance, for the control socket.
    settings: watch::Sender<MaintenanceConfig>,
    current_run: CancellationToken,
}

impl MaintenanceTaskHandle {
    pub(super) fn new(
        reader: Reader,
        tasks: mpsc::Sender<MaintenanceTask>,
        clock: Clock,
        settings: watch::Sender<MaintenanceConfig>,
    ) -> Self {
        Self { reader, tasks, clock, settings, current_run: CancellationToken::new() }
    }

    /// Builds the maintenance with these settings, for [`Self::start`].
    pub(super) async fn prepare(
        &self,
        config: &MaintenanceConfig,
    ) -> Result<MaintenanceScheduler, String> {
        let last_runs = self.reader.last_event_times().await.map_err(|error| error.to_string())?;
        MaintenanceScheduler::new(config, &last_runs, self.tasks.clone(), self.clock.clone())
            .map_err(|error| error.to_string())
    }

    /// Replaces the running maintenance by `maintenance`, which was prepared with `config`. Its failure is only
    /// logged, because the daemon can track jobs without it.
    pub(super) fn start(&mut self, maintenance: MaintenanceScheduler, config: &MaintenanceConfig) {
        self.settings.send_replace(config.clone());
        self.current_run.cancel();
        self.current_run = CancellationToken::new();
        let shutdown = self.current_run.clone();
        tokio::spawn(async move {
            if let Err(error) = maintenance.run(shutdown).await {
                tracing::error!(
                    "maintenance of the database has stopped; jobs are tracked as before; restart \
                     jobtrackd to resume maintenance: {error}"
                );
            }
        });
    }
}

impl Drop for MaintenanceTaskHandle {
    fn drop(&mut self) {
        self.current_run.cancel();
    }
}
