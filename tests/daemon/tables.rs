//! What people read of jobs and transitions: times in every form, columns, formats, orders, and how tables
//! fit the terminal.

use std::io::Read;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::daemon::{Daemon, DaemonHome, run_with_timeout, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db};

const LONG_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";

/// A daemon that has followed one job to success and one to failure, and tracks a third one.
async fn daemon_with_three_jobs() -> (FakeServer, DaemonHome, Daemon) {
    let dune = FakeServer::start().await;
    let running = |ms| JobScript::starting_at_first_request().running(Duration::from_millis(ms));
    dune.add_job("01WELL", running(300).ending_with(JobEnd::Completed));
    dune.add_job("01BADLY", running(100).ending_with(JobEnd::Failed));
    dune.add_job(LONG_ID, running(3_600_000).ending_with(JobEnd::Completed));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01WELL", "01BADLY"]);
    home.run_client(&["wait", "1", "2"]);
    let labels = ["--label", "team=growth", "--label", "note=daily users by country and week"];
    home.run_client_ok(&[&["add", "dune", LONG_ID][..], &labels].concat());
    home.run_client_ok(&["poll", "3"]);
    (dune, home, daemon)
}

fn run_with_env(home: &DaemonHome, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = home.client_command(arguments);
    run_with_timeout(command.envs(env.iter().copied()), "", EVENT_TIMEOUT)
}

#[tokio::test(flavor = "multi_thread")]
async fn options_take_every_time_that_is_printed_and_days_and_durations() {
    let (_dune, home, _daemon) = daemon_with_three_jobs().await;
    let count = |arguments: &[&str]| home.run_client_ok(arguments).lines().count();
    let registered = "SELECT registered_at FROM jobs WHERE id = 3";
    let printed = db::query_value(&home.database(), registered);
    let shown = home.run_client_ok(&["show", "3"]);
    let shown = shown.lines().find_map(|line| line.strip_prefix("registered")).expect("a row");
    assert_eq!(shown.trim(), format!("{printed} UTC"));
    for same in [
        printed.clone(),
        shown.trim().to_owned(),
        format!("{printed}Z"),
        format!("{}Z", printed.replace(' ', "T")),
        printed.replace(' ', "T"),
    ] {
        let list = |option: &str| count(&["list", "--all", option, &same, "-o", "name"]);
        assert_eq!((list("--since"), list("--until")), (1, 2), "{same}");
    }
    for earlier in ["1h ago", "2 days ago", "1h", "yesterday", "2026-01-31"] {
        assert_eq!(count(&["list", "--since", earlier, "-o", "name"]), 1, "{earlier}");
        assert!(count(&["--json", "history", "--since", earlier]) > 6, "{earlier}");
        assert_eq!(count(&["--json", "history", "--until", earlier]), 0, "{earlier}");
        assert_eq!(count(&["list", "--ended-since", earlier, "-o", "name"]), 2, "{earlier}");
    }
    for command in [["list", "--ended-since"], ["list", "--until"], ["history", "--since"]] {
        let refused = home.run_client(&[command[0], command[1], "whenever"]);
        assert_eq!(refused.status.code(), Some(2));
        let why = utf8(&refused.stderr);
        assert!(why.contains("whenever") && why.contains("today") && why.contains("2h"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_times_have_an_offset_and_are_read_as_they_are_printed() {
    let (_dune, home, _daemon) = daemon_with_three_jobs().await;
    let run = |arguments: &[&str]| {
        let output = run_with_env(&home, arguments, &[("TZ", "JST-9")]);
        assert!(output.status.success(), "{}", utf8(&output.stderr));
        utf8(&output.stdout)
    };
    let utc = db::query_value(
        &home.database(),
        "SELECT strftime('%Y-%m-%d %H:%M:%f', registered_at, '+9 hours') FROM jobs WHERE id = 3",
    );
    let list = run(&["list", "--columns", "registered_at", "--local"]);
    let printed = list.lines().nth(1).expect("a row");
    assert_eq!(printed, format!("{utc}+09:00"));
    for time in [printed, &utc] {
        let found = run(&["list", "--all", "--local", "--since", time, "-o", "name"]);
        assert_eq!(found, format!("dune/{LONG_ID}\n"), "{time}");
    }
    assert_eq!(run(&["list", "--all", "--since", &utc, "-o", "name"]), "", "without --local: UTC");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_the_chosen_columns_format_and_order() {
    let (_dune, home, _daemon) = daemon_with_three_jobs().await;
    let ok = |arguments: &[&str]| home.run_client_ok(arguments);
    let ids = |sort: &str| {
        let sort = format!("--sort={sort}");
        ok(&["list", "--all", &sort, "--columns", "id", "-o", "csv"]).replace('\n', " ")
    };
    assert_eq!(ids("id"), "id 1 2 3 ");
    assert_eq!(ids("-name"), "id 1 3 2 ");
    assert_eq!(ids("ended_at"), "id 2 1 3 ", "a job that has not ended is last");
    assert_eq!(ids("-ended_at"), "id 1 2 3 ", "a job that has not ended is last");
    let first = ok(&["list", "--all", "--sort", "-name", "--limit", "1", "-o", "name"]);
    assert_eq!(first, "dune/01WELL\n");

    let csv = ok(&["list", "--all", "--columns", "id,state,ran,labels", "-o", "csv"]);
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(
        lines[..2],
        ["id,state,ran,labels", "3,running,,note=daily users by country and week team=growth"]
    );
    assert!(lines[3].starts_with("1,succeeded,0."), "{csv}");
    let wide = ok(&["list", "--all", "-o", "wide"]);
    let headings = wide.lines().next().expect("a header");
    assert!(["QUEUED", "RAN", "TOTAL"].iter().all(|name| headings.contains(name)), "{wide}");
    assert_eq!(ok(&["list", "-o", "json"]), ok(&["list", "--json"]));
    for refused in [
        &["list", "--columns", "nonsense"][..],
        &["list", "--sort", "nonsense"],
        &["list", "--json", "-o", "csv"],
        &["list", "-o", "json", "--columns", "id"],
    ] {
        let refused = home.run_client(refused);
        assert_eq!(refused.status.code(), Some(2), "{}", utf8(&refused.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_jobs_of_an_order_are_found_among_all_pages() {
    let home = DaemonHome::new("http://127.0.0.1:1", FAST_POLLING_TOML);
    let _daemon = home.start();
    let ids: Vec<_> = (0..2_100).map(|number| format!("01JOB{number}")).collect();
    let added = home.run_client_with_input(&["add", "dune", "-", "--quiet"], &ids.join("\n"));
    assert!(added.status.success(), "{}", utf8(&added.stderr));
    for (sort, expected) in [("id", "1\n2\n"), ("-id", "2100\n2099\n"), ("-name", "1000\n999\n")] {
        let sort = format!("--sort={sort}");
        let list = ["list", &sort, "--limit", "2", "--columns", "id", "-o", "csv"];
        let output = home.run_client(&list);
        assert_eq!(utf8(&output.stdout), format!("id\n{expected}"), "{sort}");
        assert!(utf8(&output.stderr).contains("more jobs match"), "{sort}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_filtered_limited_and_reversed() {
    let (_dune, home, _daemon) = daemon_with_three_jobs().await;
    let cursors = |arguments: &[&str]| {
        let chosen = [&["history", "-o", "csv", "--columns", "cursor"], arguments].concat();
        let csv = home.run_client_ok(&chosen);
        csv.lines().skip(1).map(|line| line.parse().expect("a number")).collect::<Vec<i64>>()
    };
    let all = cursors(&[]);
    assert!(all.len() > 6 && all.is_sorted());
    let reversed: Vec<_> = all.iter().rev().copied().collect();
    assert_eq!(cursors(&["--reverse"]), reversed);
    assert_eq!(cursors(&["--limit", "3"]), all[all.len() - 3..]);
    assert_eq!(cursors(&["--limit", "3", "--reverse"]), reversed[..3]);
    assert_eq!(cursors(&["--limit", "3", "--after", "2"]), [3, 4, 5]);
    assert_eq!(cursors(&["--state", "terminal"]).len(), 2);
    assert_eq!(cursors(&["--state", "failed", "--state", "registered", "2"]).len(), 2);
    assert_eq!(cursors(&["--label", "team=growth"]), cursors(&["3"]));
    assert_eq!(cursors(&["--label", "team=none"]), [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_pages_the_history_in_both_orders() {
    let (_dune, home, _daemon) = daemon_with_three_jobs().await;
    let get = |path: &str| {
        let mut curl = std::process::Command::new("curl");
        let url = format!("http://jobtrack/v1/{path}");
        curl.args(["-sS", "--unix-socket"]).arg(home.socket()).arg(url);
        let response = run_with_timeout(&mut curl, "", EVENT_TIMEOUT).stdout;
        serde_json::from_slice::<serde_json::Value>(&response).expect("JSON")
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    for (order, position) in [("oldest_first", "after"), ("newest_first", "before")] {
        let mut found = Vec::new();
        let mut page = get(&format!("history?since=yesterday&until=now&order={order}&limit=2"));
        loop {
            let transitions = page["transitions"].as_array().expect("an array");
            found.extend(transitions.iter().map(|row| text(&row["cursor"])));
            if page["next_cursor"].is_null() {
                break;
            }
            let cursor = text(&page["next_cursor"]);
            page = get(&format!("history?order={order}&limit=2&{position}={cursor}"));
        }
        let mut expected: Vec<_> = (1..=found.len()).map(|number| number.to_string()).collect();
        if order == "newest_first" {
            expected.reverse();
        }
        assert!(found.len() > 6 && found == expected, "{order}: {found:?}");
    }
    assert_eq!(get("jobs?ended_since=1h%20ago")["jobs"].as_array().map(Vec::len), Some(2));
    for wrong in ["history?order=sideways", "history?until=whenever", "jobs?ended_since=12"] {
        assert_eq!(get(wrong)["code"], "bad_request", "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn show_as_json_has_the_transitions_too() {
    let (_dune, home, _daemon) = daemon_with_three_jobs().await;
    let shown = home.run_client_ok(&["--json", "show", "2"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&shown["id"], &shown["state"]), (&2.into(), &"failed".into()));
    let transitions = shown["transitions"].as_array().expect("an array");
    let history = home.run_client_ok(&["--json", "history", "2"]);
    let history: Vec<serde_json::Value> =
        history.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(*transitions, history);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_fit_the_width_of_the_terminal() {
    let (_dune, home, _daemon) = daemon_with_three_jobs().await;
    for command in
        [&["list", "--all"][..], &["history"], &["history", "3"], &["show", "3"], &["status"]]
    {
        for columns in ["80", "160"] {
            let output = run_with_env(&home, command, &[("COLUMNS", columns)]);
            let printed = utf8(&output.stdout);
            let width: usize = columns.parse().expect("a number");
            let is_path = |line: &str| line.starts_with("database");
            for line in printed.lines().filter(|line| !is_path(line)) {
                assert!(line.chars().count() <= width, "{columns}: {line}\n{printed}");
            }
            let is_cut = printed.contains('…');
            let is_wide = command == ["list", "--all"] || command == ["history"];
            assert_eq!(is_cut, is_wide && width == 80, "{command:?}\n{printed}");
        }
    }
    assert!(!home.run_client_ok(&["list"]).contains('…'), "a pipe has no width");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pager_shows_what_is_longer_than_the_terminal() {
    let (_dune, home, _daemon) = daemon_with_three_jobs().await;
    let print_on_terminal = |arguments: &[&str], rows: u16| {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&terminal).expect("its mode");
        unlockpt(&terminal).expect("its lock");
        let size = Winsize { ws_row: rows, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("its size");
        let path = ptsname(&terminal, Vec::new()).expect("its path").into_string().expect("UTF-8");
        let screen = std::fs::File::options().read(true).write(true).open(path).expect("opened");
        let mut command = home.client_command(arguments);
        command.envs([("JOBTRACK_PAGER", "sed s/^/paged:/"), ("TERM", "xterm")]);
        command.stdin(Stdio::null()).stdout(screen);
        let mut child = command.spawn().expect("jobtrack starts");
        drop(command);
        let mut printed = Vec::new();
        // The end of a terminal is an error.
        let _ = std::fs::File::from(terminal).read_to_end(&mut printed);
        assert!(child.wait().expect("it ends").success());
        utf8(&printed)
    };
    let printed = print_on_terminal(&["history"], 5);
    assert!(printed.lines().count() > 6, "{printed}");
    assert!(printed.lines().all(|line| line.starts_with("paged:")), "{printed}");
    assert!(printed.contains('\u{1b}'), "colours as on the terminal: {printed}");
    for (arguments, rows) in [(&["history"][..], 50), (&["history", "--no-pager"], 5)] {
        let printed = print_on_terminal(arguments, rows);
        assert!(printed.lines().count() > 6 && !printed.contains("paged:"), "{printed}");
    }
}
