//! The running housekeeping, started anew when its settings change.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::MaintenanceConfig;
use crate::maintenance::Maintenance;
use crate::store::{Reader, Upkeep};

/// Holds the housekeeping that is in force.
#[derive(Debug)]
pub(super) struct Housekeeper {
    reader: Reader,
    orders: mpsc::Sender<Upkeep>,
    running: CancellationToken,
}

impl Housekeeper {
    pub(super) fn new(reader: Reader, orders: mpsc::Sender<Upkeep>) -> Self {
        Self { reader, orders, running: CancellationToken::new() }
    }

    /// One with these settings, to be started.
    pub(super) async fn prepare(&self, config: &MaintenanceConfig) -> Result<Maintenance, String> {
        let last_runs = self.reader.milestones().await.map_err(|error| error.to_string())?;
        Maintenance::new(config, &last_runs, self.orders.clone()).map_err(|error| error.to_string())
    }

    /// Ends the one that runs and starts this one. Without housekeeping the daemon does its work all
    /// the same, so a failure is only told.
    pub(super) fn start(&mut self, new: Maintenance) {
        self.running.cancel();
        self.running = CancellationToken::new();
        let shutdown = self.running.clone();
        tokio::spawn(async move {
            if let Err(error) = new.run(shutdown).await {
                tracing::error!("there is no housekeeping, everything else goes on: {error}");
            }
        });
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.running.cancel();
    }
}
