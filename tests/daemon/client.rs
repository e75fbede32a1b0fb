//! The commands of the client and the API with curl: output, exit codes, and error messages that say
//! what to do.

use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::daemon::{Daemon, DaemonHome, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{self, EVENT_TIMEOUT, FAST_POLLING_TOML, db, timed};

/// A daemon that tracks one job for each final state, and one that runs for an hour.
async fn daemon_with_all_final_states() -> (FakeServer, DaemonHome, Daemon) {
    let dune = FakeServer::start().await;
    let running = || JobScript::starting_at_first_request().running(Duration::from_millis(300));
    dune.add_job("01WELL", running().ending_with(JobEnd::Completed));
    dune.add_job("01BADLY", running().ending_with(JobEnd::Failed));
    dune.add_job("01STOPPED", running().ending_with(JobEnd::Cancelled));
    dune.add_job("01GONE", running().ending_with(JobEnd::Expired));
    dune.add_job("01STRANGE", running().ending_in_state("QUERY_STATE_MELTED", Some(true)));
    dune.add_job(
        "01LONG",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&[
        "add",
        "dune",
        "01WELL",
        "01BADLY",
        "01STOPPED",
        "01GONE",
        "01STRANGE",
        "01LONG",
    ]);
    (dune, home, daemon)
}

fn exit_code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_exit_code_reflects_final_states() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    let cases: [(&[&str], i32); 14] = [
        (&["--label", "batch=none"], 4),
        (&["-"], 4),
        (&["dune/01WELL"], 0),
        (&["1"], 0),
        (&["dune/01BADLY"], 1),
        (&["dune/01STOPPED"], 1),
        (&["dune/01GONE"], 1),
        (&["dune/01STRANGE"], 3),
        (&["dune/01WELL", "dune/01STRANGE"], 3),
        (&["dune/01STRANGE", "dune/01BADLY", "dune/01WELL"], 1),
        (&["--any", "dune/01WELL", "dune/01LONG"], 0),
        (&["dune/01NOBODY"], 4),
        (&["999"], 4),
        (&["dune/01LONG", "--timeout", "300ms"], 124),
    ];
    for (arguments, expected) in cases {
        let waited = home.run_client(&[&["wait"], arguments].concat());
        assert_eq!(exit_code(&waited), expected, "{arguments:?}: {}", utf8(&waited.stderr));
    }
    home.run_client_ok(&["untrack", "dune/01LONG"]);
    assert_eq!(exit_code(&home.run_client(&["wait", "dune/01LONG"])), 3, "untracked");
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_reports_the_result_although_nobody_reads_its_output() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut wait = home.client_command(&["wait", "dune/01WELL", "dune/01BADLY"]);
    let waited = wait.stdout(writer).output().expect("jobtrack runs");
    assert_eq!(exit_code(&waited), 1, "{}", utf8(&waited.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_label_includes_jobs_that_failed_before() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    home.run_client_ok(&["add", "dune", "01WELL", "01BADLY", "--label", "batch=7"]);
    assert_eq!(exit_code(&home.run_client(&["wait", "dune/01BADLY"])), 1);
    assert_eq!(
        exit_code(&home.run_client(&["wait", "--label", "batch=7"])),
        1,
        "a job of the batch had failed before"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_give_up_after_is_rejected() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    for duration in ["10000000000000000000s", "0s", "500d"] {
        let refused = home.run_client(&["add", "dune", "01X", "--give-up-after", duration]);
        assert_eq!(exit_code(&refused), 2, "{duration}");
        assert!(utf8(&refused.stderr).contains("at most 400d"), "{}", utf8(&refused.stderr));
    }
    home.run_client_ok(&["add", "dune", "01X", "--give-up-after", "2h"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_script_adds_and_waits() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    let script = "jobtrack add dune 01WELL && jobtrack wait dune/01WELL && echo done";
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_jobtrack")).parent().expect("a directory");
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-ec", script])
        .env("JOBTRACK_SOCKET", home.socket())
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()));
    let output = support::daemon::run_with_timeout(&mut shell, "", EVENT_TIMEOUT);
    let printed = utf8(&output.stdout);
    assert!(output.status.success(), "{}", utf8(&output.stderr));
    assert!(printed.contains("dune/01WELL existing") && printed.ends_with("done\n"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_error_names_the_paths() {
    let home = DaemonHome::without_config();
    for command in [&["list"][..], &["add", "dune", "01X"], &["status"], &["show", "1"]] {
        let refused = home.run_client(command);
        assert_eq!(exit_code(&refused), 69, "{command:?}");
        let why = utf8(&refused.stderr);
        assert!(why.contains("control.sock") && why.contains("jobtrackd"), "{why}");
        assert_eq!(why.lines().count(), 1, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_names_the_cause_and_what_to_do() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    let cases: [(&[&str], i32, &[&str]); 18] = [
        (&["add", "dune/01X"], 2, &["write: jobtrack add dune 01X"]),
        (&["add", "lake", "01X"], 1, &["lake", "not configured", "dune"]),
        (&["add", "dune", "not/an/id"], 1, &["letters, digits", "01GBM4W2N0NMCGPZYW8AYK4YF1"]),
        (&["add", "DUNE", "01X"], 1, &["lower-case"]),
        (&["add", "dune", "01X", "--label", "novalue"], 2, &["KEY=VALUE"]),
        (&["add", "dune", "01X", "--give-up-after", "soon"], 2, &["soon"]),
        (&["add", "dune", "execution_id"], 1, &["execution_id", "column"]),
        (&["add", "dune", "1234567"], 1, &["number", "01GBM4W2N0NMCGPZYW8AYK4YF1"]),
        (&["show", "999"], 4, &["999"]),
        (&["show", "dune/01NOBODY"], 4, &["dune/01NOBODY"]),
        (&["show", "nonsense"], 4, &["nonsense"]),
        (&["show", "non sense"], 2, &["PROVIDER/REMOTE_ID"]),
        (&["history", "999"], 4, &["999"]),
        (&["poll", "999"], 4, &["999"]),
        (&["cancel", "999"], 4, &["999"]),
        (&["untrack", "999"], 4, &["999"]),
        (&["list", "--state", "sleeping"], 2, &["sleeping"]),
        (&["list", "--provider", "dunes"], 1, &["dunes", "not configured", "configured: dune"]),
    ];
    for (arguments, expected, words) in cases {
        let refused = home.run_client(arguments);
        let why = utf8(&refused.stderr);
        assert_eq!(exit_code(&refused), expected, "{arguments:?}: {why}");
        for word in words {
            assert!(why.contains(word), "{arguments:?}: {word:?} is not in {why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_json_an_error_is_a_problem_object_with_the_code_of_the_api() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    let cases: [(&[&str], i32, &str); 10] = [
        (&["wait", "6", "--for", "end", "--timeout", "1s"], 124, "timeout"),
        (&["show", "999"], 4, "not_found"),
        (&["cancel", "999"], 4, "not_found"),
        (&["untrack", "dune/01NOBODY"], 4, "not_found"),
        (&["wait", "999"], 4, "not_found"),
        (&["list", "--provider", "dunes"], 1, "provider_not_configured"),
        (&["history", "--provider", "dunes"], 1, "provider_not_configured"),
        (&["check", "dunes"], 1, "provider_not_configured"),
        (&["list", "--state", "sleeping"], 2, "usage"),
        (&["history", "--after", "x"], 2, "bad_request"),
    ];
    for (arguments, expected, code) in cases {
        let refused = home.run_client(&[&["--json"], arguments].concat());
        let why = utf8(&refused.stderr);
        assert_eq!(exit_code(&refused), expected, "{arguments:?}: {why}");
        let problem: serde_json::Value = serde_json::from_str(&why).expect("one JSON object");
        assert_eq!(problem["code"], code, "{why}");
        assert!(problem["detail"].is_string(), "{why}");
    }
    let nowhere = DaemonHome::without_config();
    let refused = nowhere.run_client(&["--json", "list"]);
    let problem: serde_json::Value = serde_json::from_slice(&refused.stderr).expect("JSON");
    assert_eq!((exit_code(&refused), &problem["code"]), (69, &"no_daemon".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_id_alone_names_the_job_if_only_one_provider_has_it() {
    let (dune, home, _daemon) = daemon_with_all_final_states().await;
    assert!(home.run_client_ok(&["show", "01LONG"]).contains("dune/01LONG"));
    let base = dune.base_url();
    let key = home.path("key").display().to_string();
    home.configure(&base, &format!(
        "{FAST_POLLING_TOML}\n[providers.other]\nkind = \"dune\"\nbase_url = \"{base}\"\napi_key = {{ file = \"{key}\" }}\n"
    ));
    home.run_client_ok(&["reload"]);
    home.run_client_ok(&["add", "other", "01LONG"]);
    for command in ["show", "history", "poll", "wait", "cancel", "untrack"] {
        let refused = home.run_client(&[command, "01LONG", "--json"]);
        let why = utf8(&refused.stderr);
        assert!(why.contains("dune/01LONG or other/01LONG"), "{command}: {why}");
        assert!(why.contains(r#""code":"ambiguous_job""#), "{command}: {why}");
        assert_eq!(exit_code(&refused), 2, "{command}");
    }
    // The other jobs are cancelled or untracked.
    home.run_client_ok(&["add", "other", "01WELL"]);
    for (command, last) in [("cancel", "6"), ("untrack", "7")] {
        let output = home.run_client(&[command, "999", "01WELL", last]);
        let errors = utf8(&output.stderr);
        assert!(errors.starts_with("no such job: 999\n01WELL: several"), "{errors}");
        assert_eq!((exit_code(&output), errors.lines().count()), (2, 2), "{errors}");
        let printed = utf8(&output.stdout);
        assert!(printed.starts_with(&format!("{last} ")), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_id_is_rejected_and_what_is_unlikely_causes_one_warning() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), "");
    let _daemon = home.start();
    let export = "execution_id\nNone\nnan\n1234567\n01ODD1\n01ODD2\n01GBM4W2N0NMCGPZYW8AYK4YF1\n";
    let added = home.run_client_with_input(&["add", "dune", "-"], export);
    let (out, err) = (utf8(&added.stdout), utf8(&added.stderr));
    assert_eq!((exit_code(&added), out.lines().count()), (1, 3), "{out}{err}");
    assert_eq!(err.matches("rejected").count(), 4, "{err}");
    assert_eq!(err.matches("dune/01ODD1 and 1 other: warning: ").count(), 1, "{err}");
    assert_eq!(err.lines().count(), 5, "{err}");
    let lines = "01QUOTED note=\"hello world\"\n{\"remote_id\": \"01JSON\", \"labels\": {\"note\": \"a b\"}}\n";
    let added = home.run_client_with_input(&["add", "dune", "-", "-q"], lines);
    assert_eq!((exit_code(&added), utf8(&added.stderr)), (0, String::new()));
    let notes =
        "SELECT group_concat(labels ->> 'note', '|') FROM jobs WHERE labels ->> 'note' IS NOT NULL";
    assert_eq!(db::query_value(&home.database(), notes), "hello world|a b");
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_again_is_idempotent_and_updates_labels() {
    let dune = FakeServer::start().await;
    dune.add_job(
        "01LONG",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    assert_eq!(
        home.run_client_ok(&["add", "dune", "01LONG", "--label", "team=a"]),
        "1 dune/01LONG added\n"
    );
    let again = home.run_client_ok(&["add", "dune", "01LONG", "01LONG", "--label", "run=7"]);
    assert_eq!(again, "1 dune/01LONG existing\n1 dune/01LONG existing\n");
    let labels = "SELECT count(*), labels, added_by_uid FROM jobs";
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(
        db::query_value(&home.database(), labels),
        format!("1|{{\"team\":\"a\",\"run\":\"7\"}}|{uid}")
    );
    home.run_client_ok(&["untrack", "1"]);
    let message = db::query_value(&home.database(), "SELECT state, message FROM jobs");
    assert_eq!(message, format!("untracked|untracked on request by uid {uid}"));
    assert_eq!(
        home.run_client_ok(&["add", "dune", "01LONG"]),
        "2 dune/01LONG added\n",
        "a new job"
    );
    assert!(
        home.run_client_ok(&["show", "dune/01LONG"]).starts_with("job              2\n"),
        "the newest"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_ids_are_added_in_seconds() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), "");
    let _daemon = home.start();
    let lines: Vec<_> = (0..10_000).map(|n| format!("01BULK{n:06} batch=7")).collect();
    let input = format!("# a comment\n\n{}\n", lines.join("\n"));
    let (added, took) = timed(|| home.run_client_with_input(&["add", "dune", "-"], &input));
    assert!(added.status.success(), "{}", utf8(&added.stderr));
    assert!(took < Duration::from_secs(20), "took {took:?}");
    assert_eq!(utf8(&added.stdout).lines().count(), 10_000);
    assert_eq!(
        db::query_value(
            &home.database(),
            "SELECT count(*) FROM jobs WHERE labels ->> 'batch' = '7'"
        ),
        "10000"
    );
    let listed = home.run_client_ok(&["--json", "list", "--limit", "10000", "--label", "batch=7"]);
    assert_eq!(listed.lines().count(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_rejected_and_the_others_are_added() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    let input = "dune/01ONE a=b\nnonsense\nlake/01X\ndune/01TWO a=b c\ndune/01THREE\n";
    let added = home.run_client_with_input(&["add", "-"], input);
    assert_eq!(exit_code(&added), 1);
    let (out, err) = (utf8(&added.stdout), utf8(&added.stderr));
    assert!(out.contains("dune/01ONE added") && out.contains("dune/01THREE added"), "{out}{err}");
    for word in ["line 2", "lake", "line 4"] {
        assert!(err.contains(word), "{word} is not in {err}");
    }
    let added = home.run_client_with_input(&["--json", "add", "-"], input);
    let err = utf8(&added.stderr);
    let objects: Vec<serde_json::Value> =
        err.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let errors = objects.iter().filter(|object| object["code"] == "invalid_line").count();
    let notices = objects.iter().filter(|object| object["notice"].is_string()).count();
    assert_eq!((errors, notices, objects.len()), (2, 1, 3), "{err}");
    let outcomes = utf8(&added.stdout);
    assert_eq!(outcomes.matches(r#""outcome":"rejected""#).count(), 1, "{outcomes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_and_history_support_filters_and_json() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    let rest = ["dune/01WELL", "dune/01BADLY", "dune/01STOPPED", "dune/01GONE", "dune/01STRANGE"];
    home.run_client(&[&["wait"], &rest[..]].concat());
    let count =
        |arguments: &[&str]| home.run_client_ok(&[&["--json"], arguments].concat()).lines().count();
    assert_eq!(count(&["list"]), 1, "only unfinished jobs");
    assert_eq!(count(&["list", "--all"]), 6);
    assert_eq!(count(&["list", "--state", "unsuccessful"]), 4);
    assert_eq!(count(&["list", "--state", "failed", "--state", "expired"]), 2);
    assert_eq!(count(&["list", "--all", "--since", "1h"]), 6);
    assert_eq!(count(&["list", "--all", "--limit", "4"]), 4);
    assert_eq!(count(&["list", "--all", "--provider", "dune"]), 6);
    let all = count(&["history"]);
    assert_eq!(all.to_string(), db::query_value(&home.database(), "SELECT count(*) FROM history"));
    assert_eq!(count(&["history", "--after", "6"]), all - 6);
    assert_eq!(count(&["history", "dune/01WELL"]), 4);
    let row: serde_json::Value = serde_json::from_str(
        home.run_client_ok(&["--json", "history", "1"]).lines().next().expect("a row"),
    )
    .expect("JSON");
    assert_eq!(row["to_state"], "registered");
    let table = home.run_client_ok(&["list", "--all"]);
    assert!(table.lines().next().expect("a head").starts_with("JOB") && !table.contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_works_with_plain_curl() {
    let (_dune, home, _daemon) = daemon_with_all_final_states().await;
    let curl = |arguments: &[&str]| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "-i", "--unix-socket"]).arg(home.socket()).args(arguments);
        utf8(&support::daemon::run_with_timeout(&mut curl, "", EVENT_TIMEOUT).stdout)
    };
    let job = curl(&["http://jobtrack/v1/jobs/1?wait=20s"]);
    assert!(job.contains("200 OK") && job.contains("\"state\":\"succeeded\""), "{job}");
    let cases = [
        ("http://jobtrack/v1/jobs/999", "404", "not_found"),
        ("http://jobtrack/v1/nothing", "404", "not_found"),
        ("http://jobtrack/v1/jobs?sate=failed", "400", "bad_request"),
        ("http://jobtrack/v1/jobs?limit=0", "400", "bad_request"),
        ("http://jobtrack/v1/jobs/x", "400", "bad_request"),
    ];
    for (url, status, code) in cases {
        let answer = curl(&[url]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{url}: {answer}");
        assert!(answer.contains("application/problem+json"), "{url}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{url}: {answer}");
    }
    let wrong = curl(&["-X", "PUT", "http://jobtrack/v1/jobs"]);
    assert!(wrong.contains("405") && wrong.contains("method_not_allowed"), "{wrong}");
    let untracked = curl(&["-X", "POST", "http://jobtrack/v1/jobs/6/untrack"]);
    assert!(
        untracked.contains("200 OK") && untracked.contains("\"state\":\"untracked\""),
        "{untracked}"
    );
    let removed = curl(&["-X", "DELETE", "http://jobtrack/v1/jobs/6"]);
    assert!(removed.contains("405") && removed.to_lowercase().contains("allow: get"), "{removed}");
    let body = r#"{"jobs":[{"provider":"dune","remote_id":"01WELL"},{"provider":"dune","remote_id":"?"}]}"#;
    let added = curl(&["-d", body, "http://jobtrack/v1/jobs"]);
    assert!(
        added.contains("200 OK")
            && added.contains("\"existing\"")
            && added.contains("\"rejected\""),
        "{added}"
    );
    let bad = curl(&["-d", "{\"jobs\":", "http://jobtrack/v1/jobs"]);
    assert!(bad.contains("400") && bad.contains("bad_request"), "{bad}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_ends_with_the_program_that_reads_its_output() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    let mut watch = tokio::process::Command::from(home.client_command(&["watch"]));
    let watch = watch.stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let mut watch = watch.expect("the client");
    drop(watch.stdout.take());
    let status = tokio::time::timeout(EVENT_TIMEOUT, watch.wait()).await.expect("it ends");
    assert_eq!(status.expect("a status").code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_of_jobs_is_told() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    for input in ["", "\n# a comment\n"] {
        let output = home.run_client_with_input(&["add", "dune", "-"], input);
        assert_eq!(exit_code(&output), 0);
        assert_eq!(utf8(&output.stderr), "no job is on standard input, and none was added\n");
    }
}
