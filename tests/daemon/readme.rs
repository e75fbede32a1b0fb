//! What the README says is true: its queries run on a database in use, its config is one, its test
//! command and its demo are what is checked.

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::FakeServer;
use crate::support::{self, db};

const README: &str = include_str!("../../README.md");

/// The blocks of one language, in order.
fn code_blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    README
        .split(opening.as_str())
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a block ends"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn readme_queries_run_on_a_live_database() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), "");
    home.start().stop();
    let sample = include_str!("../../migrations/samples/0001.sql");
    let mut shell = std::process::Command::new("sqlite3");
    let loaded = support::daemon::run_with_timeout(
        shell.arg(home.database()),
        sample,
        support::EVENT_TIMEOUT,
    );
    assert!(loaded.status.success(), "{}", utf8(&loaded.stderr));

    let queries = code_blocks("sql");
    assert!(queries.len() >= 5, "{}", queries.len());
    for query in queries {
        let recent = query.replace("datetime('now', '-1 day')", "'2026-01-01'");
        assert!(!db::query_rows(&home.database(), &recent).is_empty(), "nothing for {query}");
    }
}

#[test]
fn readme_config_is_valid() {
    let home = DaemonHome::without_config();
    let [config] = code_blocks("toml")[..] else { panic!("one config") };
    for secret in ["dune-api-key", "huawei-token"] {
        std::fs::write(home.path(secret), "x").expect("a secret");
    }
    let dir = format!("{}/", home.path("").display().to_string().trim_end_matches('/'));
    home.write_config(&config.replace("/etc/jobtrack/", &dir));
    let checked = home.run_daemon_to_exit(&["--check"]);
    assert!(checked.status.success(), "{}", utf8(&checked.stderr));
}

#[test]
fn readme_test_commands_are_run_by_ci() {
    let ci = include_str!("../../.ci/run");
    for command in ["cargo test\n", "cargo run --example demo\n"] {
        assert!(code_blocks("sh").contains(&command), "{command}");
    }
    assert!(ci.ends_with("cargo test\n") && ci.contains("--example demo"));
}

#[test]
fn the_client_knows_each_command_of_the_table() {
    let home = DaemonHome::without_config();
    let rows = README.lines().filter(|line| line.starts_with("| `jobtrack "));
    let mut known = 0;
    for part in
        rows.flat_map(|row| row.split('`').filter_map(|part| part.strip_prefix("jobtrack ")))
    {
        let command = part.split(' ').next().expect("a word");
        let help = home.run_client(&[command, "--help"]);
        assert!(help.status.success(), "{command}");
        known += 1;
    }
    assert!(known >= 10, "{known}");
}
