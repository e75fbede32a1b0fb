//! The commands shown in README.md and docs/*.md, run against a daemon.
//!
//! In a block `console`, each line `$ COMMAND` is run by a shell and must succeed; each line below it
//! must occur in its output. Words with digits match each other, and `…` matches anything. A block
//! `json` shows the shape of the last command's output.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::{DaemonHome, run_with_timeout, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript, ServiceKind};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML};

/// The paths of a daemon that root started.
const DOCUMENTED_PATHS: [&str; 2] = ["/run/jobtrack/control.sock", "/var/lib/jobtrack/jobtrack.db"];

/// The jobs of the documentation: one that succeeds, one that fails, two that run for an hour.
async fn documented_services() -> (FakeServer, DaemonHome) {
    let cloud = FakeServer::start().await;
    let brief = || JobScript::starting_at_first_request().running(Duration::from_millis(300));
    cloud.add_job("01GBM4W2N0NMCGPZYW8AYK4YF1", brief().ending_with(JobEnd::Completed));
    cloud.add_job("01JQ5B2F8RKWPXG9ZT6H3VD4NA", brief().ending_with(JobEnd::Failed));
    let long = || JobScript::starting_at_first_request().running(Duration::from_hours(1));
    cloud.add_job_of(ServiceKind::Dli, "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa", long());
    cloud.add_job_of(ServiceKind::DataArts, "dwsscript/a1ad-448a-9d56-4154193d49c5", long());
    let home = DaemonHome::without_config();
    let (base, key) = (cloud.base_url(), home.path("key").display().to_string());
    let huawei = [("lake", "dli"), ("scripts", "dataarts")].map(|(name, kind)| {
        format!(
            "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{base}\"\nproject_id = \"4f1\"\n\
             auth = {{ token = {{ file = \"{key}\" }} }}\n{FAST_POLLING_TOML}\n"
        )
    });
    home.configure(&base, &format!("{FAST_POLLING_TOML}\n{}", huawei.concat()));
    (cloud, home)
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).expect("docs");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    found.push(root.join("README.md"));
    found.sort();
    found
}

/// The blocks `console` and `json` of a document, in order: language and text.
fn blocks(document: &str) -> Vec<(&str, &str)> {
    let fenced = document.split("\n```").skip(1).step_by(2);
    fenced
        .filter_map(|block| block.split_once('\n'))
        .filter(|(language, _)| ["console", "json"].contains(language))
        .collect()
}

/// A line with each word that has a digit replaced, and single spaces.
fn normalize(line: &str) -> String {
    let has_digit = |word: &str| word.chars().any(|c| c.is_ascii_digit());
    let words = line.split_whitespace().map(|word| if has_digit(word) { "0" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether the parts of `shown` between `…` occur in `printed` in this order.
fn line_matches(shown: &str, printed: &str) -> bool {
    let (shown, mut rest) = (normalize(shown), printed);
    if !shown.contains('…') {
        return shown == printed;
    }
    shown.split('…').map(str::trim).all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Every field that is shown, with the type of its value, is in `actual` too.
fn assert_shape(shown: &Value, actual: &Value, path: &str) {
    match (shown, actual) {
        (Value::Object(shown), Value::Object(actual)) => {
            for (key, value) in shown {
                let actual = actual.get(key).unwrap_or_else(|| panic!("{path}: no {key}"));
                assert_shape(value, actual, &format!("{path}.{key}"));
            }
        }
        (Value::Array(shown), Value::Array(actual)) => {
            if let (Some(shown), Some(actual)) = (shown.first(), actual.first()) {
                assert_shape(shown, actual, &format!("{path}[0]"));
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (shown, actual) => {
            let same = std::mem::discriminant(shown) == std::mem::discriminant(actual);
            assert!(same, "{path}: {shown} is shown, {actual} is printed");
        }
    }
}

struct Shell<'a> {
    home: &'a DaemonHome,
    path: String,
}

impl<'a> Shell<'a> {
    fn new(home: &'a DaemonHome) -> Self {
        let bin = Path::new(env!("CARGO_BIN_EXE_jobtrack")).parent().expect("a directory");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        Self { home, path }
    }

    /// Runs a command line; what it prints on both streams.
    fn run(&self, line: &str) -> String {
        let own = [self.home.socket(), self.home.database()].map(|path| path.display().to_string());
        let paths = DOCUMENTED_PATHS.iter().zip(&own);
        let line =
            paths.clone().fold(line.to_owned(), |line, (shown, own)| line.replace(shown, own));
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("exec 2>&1; {line}")])
            .current_dir(self.home.path(""))
            .env("JOBTRACK_SOCKET", self.home.socket())
            .env("JOBTRACK_CONFIG", self.home.path("config.toml"))
            .env("PATH", &self.path);
        let output = run_with_timeout(&mut shell, "", EVENT_TIMEOUT);
        let printed = utf8(&output.stdout);
        assert!(output.status.success(), "{line}\n{printed}");
        paths.fold(printed, |printed, (shown, own)| printed.replace(own, shown))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_commands_print_what_the_documents_show() {
    let mut commands = 0;
    for path in documents() {
        let name = path.file_name().expect("a name").display().to_string();
        let document = std::fs::read_to_string(&path).expect("a document");
        let (_cloud, home) = documented_services().await;
        let _daemon = home.start();
        let shell = Shell::new(&home);
        let mut printed = String::new();
        for (language, block) in blocks(&document) {
            if language == "json" {
                let shown: Value = serde_json::from_str(block)
                    .unwrap_or_else(|error| panic!("{name}: {error} in {block}"));
                let last = printed.lines().last().unwrap_or_default();
                let actual = serde_json::from_str(last)
                    .unwrap_or_else(|error| panic!("{name}: {error} in {printed}"));
                assert_shape(&shown, &actual, &name);
                continue;
            }
            for line in block.lines() {
                if let Some(command) = line.strip_prefix("$ ") {
                    printed = shell.run(command);
                    commands += 1;
                } else if !line.trim().is_empty() {
                    let found = printed.lines().any(|own| line_matches(line, &normalize(own)));
                    assert!(found, "{name}: not printed: {line}\nprinted:\n{printed}");
                }
            }
        }
    }
    assert!(commands >= 30, "{commands} commands were found");
}

/// All source files as one text, string literals that span lines joined.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else {
            let file = std::fs::read_to_string(&path).expect("a source file");
            for line in file.lines().map(str::trim_start) {
                match line.strip_suffix('\\') {
                    Some(continued) => text.push_str(continued),
                    None => text.extend([line, "\n"]),
                }
            }
        }
    }
    text
}

#[test]
fn documented_messages_are_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = sources(&root.join("src"));
    let document =
        std::fs::read_to_string(root.join("docs/troubleshooting.md")).expect("a document");
    // A message is the first cell of a row that is quoted whole; others are provider texts.
    let cells =
        document.lines().filter(|line| line.starts_with('|')).flat_map(|row| row.split(" | "));
    let quoted = |cell: &str| {
        let inner = cell.trim_start_matches("| ").strip_prefix('`')?.strip_suffix('`')?.to_owned();
        (inner.contains(' ') && !inner.contains(['`', '='])).then_some(inner)
    };
    let messages: Vec<_> = cells.filter_map(quoted).collect();
    assert!(messages.len() >= 15, "{messages:?}");
    for message in messages {
        for part in message.split('…').filter(|part| part.len() > 3) {
            assert!(source.contains(part), "{message}: {part:?} is not in the source");
        }
    }
}
