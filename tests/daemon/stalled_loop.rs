//! The scheduler's loop stands still while the rest of the process runs: the watchdog is not notified and
//! `status` says so. A disk that takes long is not such a case.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jobtrack::clock::Clock;
use jobtrack::config::{ControlConfig, MaintenanceConfig, RetentionPolicy, SocketMode};
use jobtrack::control::{self, AppState, ControlSockets, DaemonContext};
use jobtrack::job::{Answer, ConnectionCheck, NotFoundTimeout, RemoteId, UtcTime};
use jobtrack::logging::LostLines;
use jobtrack::policy::Backoff;
use jobtrack::provider::Provider;
use jobtrack::scheduler::{ConfiguredProvider, Providers, Scheduler};
use jobtrack::store::Store;
use jobtrack::systemd;
use jobtrack::tracker::{PollPolicy, ProviderSettings};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db, timed};

const DIRECTORY: &str = "JOBTRACK_STALLED_LOOP";
/// The watchdog is notified three times within this.
const WATCHDOG_USEC: &str = "600000";

/// Blocks whoever drops it: the scheduler's loop, when a reload replaces its providers.
#[derive(Debug)]
struct BlockingProvider;

impl Drop for BlockingProvider {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

impl Provider for BlockingProvider {
    fn validate_id(&self, _: &RemoteId) -> Result<(), String> {
        Ok(())
    }

    fn credential_fingerprint(&self) -> u64 {
        0
    }

    fn poll<'a>(&'a self, _: &'a RemoteId, _: UtcTime) -> BoxFuture<'a, Answer> {
        unreachable!("no job is added")
    }

    fn cancel<'a>(&'a self, _: &'a RemoteId, _: UtcTime) -> BoxFuture<'a, Answer<()>> {
        unreachable!("no job is added")
    }

    fn check_connection(&self, _: UtcTime) -> BoxFuture<'_, ConnectionCheck> {
        unreachable!("nothing is checked")
    }
}

fn blocking_provider() -> ConfiguredProvider {
    let hour = Duration::from_hours(1);
    let settings = ProviderSettings {
        policy: PollPolicy::Backoff,
        name: "blocking".parse().expect("a name"),
        account: None,
        requests_per_minute: 60,
        max_in_flight: 1,
        backoff: Backoff { min: hour, max: hour },
        give_up_after: hour,
        lost_after: NotFoundTimeout { previously_seen: hour, never_seen: hour },
        request_timeout: hour,
        supports_list: false,
        connection_fingerprint: 0,
    };
    ConfiguredProvider { kind: "dune", settings, provider: Arc::new(BlockingProvider) }
}

/// Not a test: a daemon whose loop blocks at SIGUSR1. The test below runs it as a process of its own,
/// because the watchdog's settings are variables of the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "started by the test below"]
async fn run_daemon_whose_loop_blocks() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let mut block = signal(SignalKind::user_defined1()).expect("a handler");
    let clock = Clock::start();
    let database = directory.join("state/jobtrack.db");
    let store = Store::open(&database, &clock).await.expect("a store");
    let (newest_event, reader) = (store.writer.subscribe_newest_event(), store.reader.clone());
    let (_maintenance, maintenance_tasks) = mpsc::channel(1);
    let (scheduler, mut handle) = Scheduler::new(
        clock.clone(),
        Box::new(store.writer),
        Arc::new(store.reader),
        maintenance_tasks,
    );
    let providers = [("blocking".parse().expect("a name"), blocking_provider())];
    tokio::spawn(scheduler.run(Providers::from_iter(providers), CancellationToken::new()));
    handle.wait_until_ready().await.expect("the scheduler runs");
    let config = ControlConfig {
        socket: directory.join("run/control.sock"),
        mode: SocketMode(0o600),
        group: None,
        read_only_socket: None,
        read_only_mode: SocketMode(0o600),
        read_only_group: None,
        max_jobs_per_user: None,
        max_label_bytes_per_user: None,
    };
    let (_reload_failure, reload_failure) = watch::channel(None);
    let maintenance = MaintenanceConfig {
        prune_schedule: "17 3 * * *".parse().expect("a schedule"),
        retention: RetentionPolicy::default(),
    };
    let (_maintenance, maintenance) = watch::channel(maintenance);
    let daemon = DaemonContext {
        clock: clock.clone(),
        started_at: clock.utc_now(),
        database,
        lost_log_lines: LostLines::default(),
        reload_failure,
        maintenance,
        on_demand_timeout: EVENT_TIMEOUT,
    };
    let (reload, _reload_requests) = mpsc::channel(1);
    let app = AppState::new(
        handle.clone(),
        reader,
        newest_event,
        reload,
        daemon,
        CancellationToken::new(),
    );
    tokio::spawn(control::serve(ControlSockets::open(&config).expect("a socket"), app));
    tokio::spawn(systemd::run_watchdog(handle.clone(), clock));
    systemd::notify_ready(&handle).await;
    block.recv().await;
    // Never answered.
    let _ = handle.configure(Providers::default()).await;
    std::future::pending::<()>().await;
}

#[test]
fn fault_13_a_loop_that_stands_still_is_not_reported_alive() {
    let home = DaemonHome::without_config();
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["stalled_loop::run_daemon_whose_loop_blocks", "--exact", "--ignored"])
        .env(DIRECTORY, home.path("."))
        .env("WATCHDOG_USEC", WATCHDOG_USEC)
        .env_remove("WATCHDOG_PID")
        .process_group(0);
    let daemon = home.spawn(command);
    daemon.wait_for_notification("READY=1", &home);
    daemon.wait_for_notification("WATCHDOG=1", &home);
    home.run_client_ok(&["status", "--fail"]);
    daemon.signal(Signal::USR1);

    let silence = Duration::from_secs(2);
    let notified = daemon.count_notifications("WATCHDOG=1", silence);
    assert!(notified > 0, "the loop may stand still for ten seconds");
    let status = home.run_client(&["status", "--fail"]);
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let text = utf8(&status.stdout);
    assert!(text.contains("the scheduler has not moved for 1"), "{text}");
    assert_eq!(daemon.count_notifications("WATCHDOG=1", silence), 0);
}

/// Whether `strace` can attach to another process here.
fn can_trace() -> bool {
    let found = Command::new("strace").arg("--version").stdout(Stdio::null()).status();
    let possible = found.is_ok() && rustix::process::getuid().is_root();
    if !possible {
        println!("skipped: needs strace and root");
    }
    possible
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_13_a_disk_that_takes_long_keeps_the_watchdog_notified() {
    const FSYNC: Duration = Duration::from_secs(13);
    if !can_trace() {
        return;
    }
    let dune = FakeServer::start().await;
    // No answer means no other commits.
    dune.inject_fault(FaultTarget::All, Fault::Hang, FaultRepeat::Always);
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let mut command = home.daemon_command();
    command.env("WATCHDOG_USEC", WATCHDOG_USEC);
    let daemon = home.spawn(command);
    daemon.wait_for_notification("READY=1", &home);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e"]);
    strace.arg(format!("inject=fsync,fdatasync:delay_enter={}", FSYNC.as_micros()));
    strace.args(["-p", &daemon.pid().to_string()]).stderr(Stdio::piped());
    let mut strace = strace.spawn().expect("strace starts");
    let mut message = String::new();
    let messages = strace.stderr.take().expect("a pipe");
    let mut messages = BufReader::new(messages);
    messages.read_line(&mut message).expect("strace says that it is attached");
    assert!(message.contains("attached"), "{message}");

    let mut longest_pause = Duration::ZERO;
    let mut notified = || {
        let ((), pause) = timed(|| daemon.wait_for_notification("WATCHDOG=1", &home));
        longest_pause = longest_pause.max(pause);
        pause
    };
    // strace takes effect a moment after its message: the first commits may still be fast.
    let mut waited = Duration::ZERO;
    let mut added = 0;
    let mut is_slow = false;
    while !is_slow {
        let mut add = home.client_command(&["add", "dune", &format!("01SLOW{added}")]);
        let mut add = add.stderr(Stdio::null()).spawn().expect("the client starts");
        (added, waited) = (added + 1, Duration::ZERO);
        let ended = loop {
            waited += notified();
            if let Some(status) = add.try_wait().expect("the client runs") {
                break status;
            }
        };
        is_slow = !ended.success();
    }
    let stored = || db::query_value(&home.database(), "SELECT count(*) FROM jobs");
    while stored() != added.to_string() {
        waited += notified();
    }
    assert!(waited > FSYNC / 10 * 9, "the fsync was not slow: {waited:?}");
    assert!(longest_pause < Duration::from_secs(5), "{longest_pause:?}");
    home.run_client_ok(&["status", "--fail"]);
    strace.kill().expect("strace runs");
    strace.wait().expect("strace ends");
    assert!(daemon.stop().success());
}
