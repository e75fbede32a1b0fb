//! One start of the simulated daemon: everything that `jobtrackd` runs but sockets and signals.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jobtrack::clock::Clock;
use jobtrack::config::{self, Config};
use jobtrack::daemon::build_providers;
use jobtrack::provider::{SharedCredentials, Transport, kind_schemas};
use jobtrack::scheduler::{Providers, Scheduler, SchedulerError, SchedulerHandle};
use jobtrack::store::{MaintenanceTask, Reader, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::database::database_path;
use super::plan::{Options, PlantedBug};
use super::services::Services;
use super::store::{FaultyReader, FaultyWriter, StoreContext, run_to_end};
use super::transport::ServiceTransport;
use crate::fake_server;

#[derive(Debug)]
pub struct RunningDaemon {
    pub handle: SchedulerHandle,
    pub reader: Reader,
    pub maintenance: mpsc::Sender<MaintenanceTask>,
    pub task: JoinHandle<Result<(), SchedulerError>>,
    shutdown: CancellationToken,
    context: StoreContext,
}

impl RunningDaemon {
    /// Opens the database in the directory of `context` and starts the scheduler on it.
    pub fn start(
        mut context: StoreContext,
        clock: &Clock,
        providers: Providers,
    ) -> Result<Self, String> {
        context.alive = Arc::new(AtomicBool::new(true));
        let path = database_path(&context.directory);
        let store = run_to_end(&context.time, Store::open(&path, clock))
            .map_err(|error| format!("the database cannot be opened: {error}"))?;
        let reader = store.reader;
        let writer = FaultyWriter { context: context.clone(), writer: store.writer };
        let tracker_reader = FaultyReader { context: context.clone(), reader: reader.clone() };
        let (maintenance, due_tasks) = mpsc::channel(4);
        let (scheduler, handle) =
            Scheduler::new(clock.clone(), Box::new(writer), Arc::new(tracker_reader), due_tasks);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(scheduler.run(providers, shutdown.clone()));
        Ok(Self { handle, reader, maintenance, task, shutdown, context })
    }

    /// Stops in order; the database is closed.
    pub async fn stop(mut self) -> Result<(), String> {
        self.shutdown.cancel();
        let result = (&mut self.task).await.expect("the scheduler does not panic");
        run_to_end(&self.context.time, self.reader.close());
        self.context.alive.store(false, Ordering::Relaxed);
        result.map_err(|error| error.to_string())
    }

    /// Kills the process.
    pub async fn kill(self) {
        self.context.alive.store(false, Ordering::Relaxed);
        self.task.abort();
        let _ = self.task.await;
    }

    pub fn directory(&self) -> &Path {
        &self.context.directory
    }
}

/// Reads the configuration of the simulation, as at a start or a reload, and builds its providers.
pub fn load_providers(
    directory: &Path,
    services: &Arc<Services>,
    credentials: &SharedCredentials,
    options: &Options,
) -> Providers {
    let config = load_config(directory, options);
    let transport: Arc<dyn Transport> = Arc::new(ServiceTransport(services.clone()));
    build_providers(&config, &move |_, _| Ok(transport.clone()), credentials)
        .expect("the providers are valid")
}

fn load_config(directory: &Path, options: &Options) -> Config {
    let dune_budget = if options.planted == Some(PlantedBug::ExceededBudget) { 90 } else { 30 };
    let polling = options.profile.polling_settings();
    let secret = |name: &str, value: &str| -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, value).expect("a file");
        path
    };
    let key = secret("key", fake_server::API_KEY);
    let password = secret("password", fake_server::PASSWORD);
    let text = format!(
        r#"
        [polling]
        give_up_after = "3d"
        {polling}
        [providers.dune]
        kind = "dune"
        base_url = "http://127.0.0.1"
        api_key = {{ file = "{key}" }}
        requests_per_minute = {dune_budget}
        [providers.lake]
        kind = "dli"
        base_url = "http://127.0.0.1"
        project_id = "48cc2c48765f481480c7db940d6409d1"
        auth = {{ token = {{ file = "{key}" }} }}
        account = "huawei"
        [providers.scripts]
        kind = "dataarts"
        base_url = "http://127.0.0.1"
        iam_url = "http://127.0.0.1"
        project_id = "48cc2c48765f481480c7db940d6409d1"
        auth = {{ user = "{user}", password = {{ file = "{password}" }}, domain = "{domain}", project = "{project}" }}
        account = "huawei"
        requests_per_minute = 40
        policy = "backoff"
        "#,
        key = key.display(),
        password = password.display(),
        user = fake_server::USER_NAME,
        domain = fake_server::DOMAIN_NAME,
        project = fake_server::PROJECT_NAME,
    );
    let path = directory.join("config.toml");
    std::fs::write(&path, text).expect("a file");
    let loaded = config::load(Some(&path), &std::collections::BTreeMap::new(), &kind_schemas());
    loaded.expect("the configuration is valid").config
}
