//! The README's commands work as they stand: as a normal user in an empty environment, against the
//! fake server. Its links point to files, and CI runs its test commands.

use std::path::Path;

use crate::client_paths::PlainUser;
use crate::support::EVENT_TIMEOUT;
use crate::support::daemon::{DaemonHome, run_with_timeout, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};

const README: &str = include_str!("../../README.md");

/// The text between a heading and the next heading.
fn section(heading: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("## {heading}\n")).expect("the heading");
    rest.split("\n## ").next().expect("a section")
}

/// The shell blocks of a text, without the indentation of a list.
fn shell_blocks(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().expect("the block ends"))
        .map(|block| block.lines().map(str::trim).collect::<Vec<_>>().join("\n"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_dune_execution_is_tracked_in_four_commands() {
    let dune = FakeServer::start().await;
    dune.set_credentials("your-key");
    let script = JobScript::starting_at_first_request().with_query_id(1_215_383);
    dune.add_job("01FIRST", script.ending_with(JobEnd::Completed));
    let user = PlainUser::new();
    let [start, add, wait, query, ..] =
        &shell_blocks(section("Track your first Dune execution"))[..]
    else {
        panic!("four commands");
    };
    let add = add.replace("https://api.dune.com", &dune.base_url());
    assert!(add.contains(&dune.base_url()), "{add}");
    // A person needs longer to type than the daemon to start.
    let ready = "until jobtrack status >/dev/null 2>&1; do :; done";
    let session = format!("set -e\n{start}\n{ready}\n{add}\n{wait}\n{query}\nkill $!; wait $!");
    let base_url = dune.base_url();
    let env = [
        ("HOME", user.home.path()),
        ("JOBTRACK__PROVIDERS__DUNE__KIND", Path::new("dune")),
        ("JOBTRACK__PROVIDERS__DUNE__BASE_URL", Path::new(&base_url)),
        ("JOBTRACK__PROVIDERS__DUNE__API_KEY__ENV", Path::new("DUNE_API_KEY")),
    ];
    let output = run_with_timeout(user.shell(&env).args(["-c", &session]), "", EVENT_TIMEOUT);
    let printed = utf8(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", utf8(&output.stderr));
    for expected in ["1 dune/01FIRST added", "done", "│ 01FIRST   │ succeeded │"] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_commands_succeed() {
    let dune = FakeServer::start().await;
    dune.add_job("01LONG", JobScript::new().running(std::time::Duration::from_hours(1)));
    dune.add_job("01GBM4W2N0NMCGPZYW8AYK4YF1", JobScript::new().ending_with(JobEnd::Completed));
    let home = DaemonHome::new(&dune.base_url(), "");
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", "01LONG"]);
    let [commands] = &shell_blocks(section("Daily use"))[..] else { panic!("one block") };
    assert!(commands.lines().count() >= 8, "{commands}");
    for line in commands.lines() {
        let command = line.split('#').next().expect("a command").trim();
        let arguments: Vec<_> = command.split(' ').skip(1).collect();
        // It follows the events until it is interrupted.
        let arguments = if arguments == ["watch"] { vec!["watch", "--help"] } else { arguments };
        home.run_client_ok(&arguments);
    }
}

#[test]
fn links_between_the_documents_point_to_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    let docs = std::fs::read_dir(root.join("docs")).expect("docs");
    documents.extend(docs.map(|entry| entry.expect("an entry").path()));
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut links = 0;
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("a document");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().expect("a path");
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let path = document.parent().expect("a directory").join(file);
            assert!(path.exists(), "{}: {target}", document.display());
            links += 1;
        }
    }
    assert!(links >= 20, "{links}");
}

#[test]
fn ci_runs_the_test_commands_of_the_readme() {
    let ci = include_str!("../../.ci/run");
    let blocks = shell_blocks(README);
    for command in ["cargo test", "cargo run --example demo"] {
        assert!(blocks.iter().any(|block| block.trim() == command), "{command}");
    }
    assert!(ci.lines().any(|line| line == "cargo test") && ci.contains("--example demo"));
}
