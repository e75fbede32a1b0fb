//! The whole daemon with a clock that is decades or millennia away, by libfaketime.

use std::path::Path;
use std::time::Duration;

use crate::support::daemon::{DaemonHome, utf8, wait_for_query_value};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{FAST_POLLING_TOML, db, report_unavailable};

/// Where distributions install the library.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

#[tokio::test(flavor = "multi_thread")]
async fn fault_30_jobs_are_tracked_in_1970_after_2038_and_in_9999() {
    let Some(library) = LIBRARIES.iter().find(|path| Path::new(path).exists()) else {
        report_unavailable("libfaketime is not installed");
        return;
    };
    for (clock, year) in [
        ("1970-01-01 00:00:01", "1970"),
        ("2038-01-19 03:14:00", "2038"),
        ("2106-02-07 06:28:10", "2106"),
        ("9999-12-31 23:59:58", "9999"),
    ] {
        let dune = FakeServer::start().await;
        let life = JobScript::starting_at_first_request().running(Duration::from_millis(300));
        dune.add_job("01ENDS", life.ending_with(JobEnd::Completed));
        dune.add_job("01LONG", JobScript::new().running(Duration::from_hours(1)));
        let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
        let mut command = home.daemon_command();
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME", format!("@{clock}"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("TZ", "UTC");
        let daemon = home.spawn(command);
        daemon.wait_for_notification("READY=1", &home);
        home.run_client_ok(&["add", "dune", "01ENDS", "01LONG"]);
        home.run_client_ok(&["wait", "dune/01ENDS", "--timeout", "25s"]);
        for command in [&["list", "--all"][..], &["show", "2"], &["history"], &["status"]] {
            home.run_client_ok(command);
            home.run_client_ok(&[&["--json"], command].concat());
        }
        let registered = "SELECT registered_at FROM jobs WHERE id = 1";
        let registered = db::query_value(&home.database(), registered);
        assert!(registered.starts_with(year), "{clock}: {registered}");
        assert!(daemon.stop().success(), "{clock}: {}", home.log());

        // The right clock afterwards, hundreds or thousands of years earlier or decades later.
        let daemon = home.start();
        home.run_client_ok(&["poll", "2"]);
        let state = db::query_value(&home.database(), "SELECT state FROM jobs WHERE id = 2");
        assert_eq!(state, "running", "{clock}: no job is given up or lost by a clock");
        assert!(daemon.stop().success());
        let verified = home.run_daemon_to_exit(&["verify"]);
        assert!(verified.status.success(), "{clock}: {}", utf8(&verified.stdout));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_30_a_job_that_ended_while_the_clock_was_behind_is_not_deleted_when_it_is_set() {
    let Some(library) = LIBRARIES.iter().find(|path| Path::new(path).exists()) else {
        report_unavailable("libfaketime is not installed");
        return;
    };
    // (clock, whether the providers' clocks are believed instead)
    for (clock, is_corrected) in [("@1970-01-01 00:00:01", true), ("-30d", false)] {
        let dune = FakeServer::start().await;
        let life = JobScript::starting_at_first_request().running(Duration::from_millis(300));
        dune.add_job("01ENDS", life.ending_with(JobEnd::Completed));
        let keep =
            "[maintenance]\nprune_schedule = \"* * * * * *\"\nretention = { succeeded = \"1h\" }";
        let home = DaemonHome::new(&dune.base_url(), &format!("{FAST_POLLING_TOML}\n{keep}"));
        let mut command = home.daemon_command();
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME", clock)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("TZ", "UTC");
        let daemon = home.spawn(command);
        daemon.wait_for_notification("READY=1", &home);
        home.run_client_ok(&["add", "dune", "01ENDS"]);
        home.run_client_ok(&["wait", "dune/01ENDS", "--timeout", "25s"]);
        assert!(daemon.stop().success(), "{clock}: {}", home.log());
        let is_recent = "SELECT terminal_at > datetime('now', '-1 hour') FROM jobs";
        let is_recent = db::query_value(&home.database(), is_recent);
        assert_eq!(is_recent, if is_corrected { "1" } else { "0" }, "{clock}");

        db::run_script_ok(&home.database(), "DELETE FROM last_event WHERE name = 'prune'");
        let daemon = home.start();
        // An answer agrees with the clock, which lets old jobs be deleted.
        dune.add_job("01NEXT", JobScript::new().running(Duration::from_hours(1)));
        home.run_client_ok(&["add", "dune", "01NEXT"]);
        home.run_client_ok(&["poll", "dune/01NEXT"]);
        let pruned = "SELECT count(*) FROM last_event WHERE name = 'prune'";
        wait_for_query_value(&home, pruned, "1").await;
        assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM jobs"), "2", "{clock}");
        assert!(daemon.stop().success(), "{clock}: {}", home.log());
    }
}
