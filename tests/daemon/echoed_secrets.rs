//! A provider that repeats the secret in its answers: the secret is written nowhere.
//!
//! The daemon runs with the log level TRACE. The test searches everything that is written or printed: the
//! log, the bytes of the database and its WAL, the output of the client, and the daemon's environment and
//! command line.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget};

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const SECRET: &str = "canary+4f1b/Zq0=c9e2&77aa51d0b8";

/// The secret in the forms in which a service may repeat it, within a JSON text.
fn echoes() -> Vec<String> {
    let encode = |encode_char: fn(u32) -> String| {
        let encoded: Vec<_> = SECRET
            .chars()
            .map(|c| if c.is_alphanumeric() { c.to_string() } else { encode_char(c.into()) })
            .collect();
        encoded.concat()
    };
    let all_escaped: Vec<_> = SECRET.chars().map(|c| format!(r"\u{:04x}", u32::from(c))).collect();
    vec![
        SECRET.to_owned(),
        SECRET.replace('/', r"\/"),
        all_escaped.concat(),
        encode(|c| format!(r"\u{c:04X}")),
        encode(|c| format!(r"\\u{c:04x}")),
        encode(|c| format!("%{c:02X}")),
        encode(|c| format!("&#{c};")),
        STANDARD.encode(format!("user:{SECRET}")),
        SECRET[..20].to_owned(),
        SECRET[11..].to_owned(),
    ]
}

fn assert_no_echo(place: &str, bytes: &[u8]) {
    for echo in echoes() {
        let found = bytes.windows(echo.len()).any(|window| window == echo.as_bytes());
        assert!(!found, "{place} has {echo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_56_71_a_secret_that_a_provider_repeats_is_written_nowhere() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), "requests_per_minute = 6000");
    home.write_secret("key", SECRET);
    let mut command = home.daemon_command();
    command.env("RUST_LOG", "trace");
    let daemon = home.spawn(command);
    daemon.wait_for_notification("READY=1", &home);
    let mut outputs = Vec::new();
    let mut run = |arguments: &[&str]| {
        let output = home.run_client(arguments);
        outputs.extend([output.stdout, output.stderr].concat());
    };
    dune.inject_fault(FaultTarget::All, Fault::status(500, ""), FaultRepeat::Always);
    run(&["add", "dune", EXECUTION_ID]);
    let echoed = echoes().join(" or ");
    let answer = |state: &str| {
        format!(
            r#"{{"execution_id":"{EXECUTION_ID}","state":"{state}","error":{{"message":"key {echoed} is wrong"}},"query_id":"{echoed}"}}"#
        )
    };
    let states = echoes().into_iter().map(|echo| (200, answer(&format!("DREAM {echo}"))));
    let bodies = [
        (200, answer("DREAMING")),
        (200, answer("DREAMING")[1..].to_owned()),
        (400, format!(r#"{{"error":"key {echoed} is wrong"}}"#)),
        (500, format!("<html>key {echoed} is wrong</html>")),
        (404, format!(r#"{{"error":"key {echoed} \ud83d is wrong"}}"#)),
        (401, format!(r#"{{"error":"key {echoed} is wrong"}}"#)),
    ];
    for (status, body) in states.chain(bodies) {
        dune.clear_faults();
        dune.inject_fault(FaultTarget::All, Fault::status(status, &body), FaultRepeat::Always);
        run(&["--json", "poll", "1"]);
        if status != 200 {
            run(&["reload"]);
        }
    }
    run(&["check", "dune"]);
    run(&["cancel", "1"]);
    for arguments in
        [&["list"][..], &["--json", "list"], &["history"], &["--json", "history"], &["status"]]
    {
        run(arguments);
    }
    assert!(
        String::from_utf8_lossy(&outputs).contains("***"),
        "the answers were read and redacted"
    );
    let stored = db::query_value(&home.database(), "SELECT message FROM job");
    assert!(stored.contains("key ***"), "{stored}");
    assert_no_echo("the client's output", &outputs);
    assert_no_echo("the log", home.log().as_bytes());
    let process = Path::new("/proc").join(daemon.pid().to_string());
    for file in ["environ", "cmdline"] {
        assert_no_echo(file, &std::fs::read(process.join(file)).expect("a file of the process"));
    }
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", home.database().display());
        assert_no_echo(&path, &std::fs::read(&path).expect("a file of the database"));
    }
}
