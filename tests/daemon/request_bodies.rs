//! The memory that the bodies of requests to the control socket occupy.

use std::io::{Read, Write};
use std::time::Duration;

use crate::support::control_load::{connect, list_latencies, memory_mib, percentile, send};
use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::FakeServer;
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML};

/// The time within which others are served, by a debug build on a busy machine.
const LATENCY_LIMIT: Duration = Duration::from_secs(1);
const MAX_MEMORY_GROWTH_MIB: u64 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn fault_48_a_body_without_end_is_cut_off() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    let idle = memory_mib(daemon.pid());
    let mut stream = connect(&home.socket());
    stream.set_write_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
    stream
        .write_all(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("a request");
    let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
    let chunks_sent = (0..1600).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(chunks_sent < 200, "100 MiB were accepted");
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    let response = String::from_utf8_lossy(&response).into_owned();
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    let grown = memory_mib(daemon.pid()).saturating_sub(idle);
    assert!(grown < MAX_MEMORY_GROWTH_MIB, "{grown} MiB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_68_bodies_and_answers_of_many_connections_share_a_limit_of_memory() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    let labels: Vec<_> = (0..16).map(|n| format!("key{n}={}", "v".repeat(190))).collect();
    let mut arguments = vec!["add", "dune", "-", "-q"];
    arguments.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
    let ids: Vec<_> = (0..1000).map(|n| format!("01LARGE{n}")).collect();
    let added = home.run_client_with_input(&arguments, &ids.join("\n"));
    assert!(added.status.success(), "{}", utf8(&added.stderr));
    let before = memory_mib(daemon.pid());

    let body = vec![b' '; 3 << 20];
    let mut stalled = Vec::new();
    for _ in 0..60 {
        let head = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n";
        let mut stream = send(&home.socket(), head);
        // A request that gives way to another is closed while it is written.
        let _ = stream.write_all(&body);
        stalled.push(stream);
    }
    for _ in 0..200 {
        let head = "GET /v1/jobs?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n";
        stalled.push(send(&home.socket(), head));
    }
    let latencies = list_latencies(&home, 50);
    assert!(percentile(&latencies, 90) < LATENCY_LIMIT, "{latencies:?}");
    let grown = memory_mib(daemon.pid()).saturating_sub(before);
    assert!(grown < MAX_MEMORY_GROWTH_MIB, "{grown} MiB more");
    let jobs = home.run_client_ok(&["--json", "list", "--limit", "1000"]);
    assert_eq!(jobs.lines().count(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_68_a_body_of_many_short_strings_is_refused_before_it_is_parsed() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    let before = memory_mib(daemon.pid());
    let labels: Vec<_> = (0..300_000).map(|n| format!("\"{n:x}\":\"\"")).collect();
    let labels = labels.join(",");
    let jobs = r#"{"provider":"dune","remote_id":"1"},"#.repeat(100_000);
    for body in [
        format!(r#"{{"jobs":[{{"provider":"dune","remote_id":"1","labels":{{{labels}}}}}]}}"#),
        format!(r#"{{"jobs":[{jobs}{{"provider":"dune","remote_id":"1"}}]}}"#),
    ] {
        let head = format!(
            "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = send(&home.socket(), &head);
        // The response may come before the whole body is sent.
        let _ = stream.write_all(body.as_bytes());
        let mut response = [0; 4096];
        let size = stream.read(&mut response).expect("a response");
        let response = String::from_utf8_lossy(&response[..size]);
        assert!(response.starts_with("HTTP/1.1 413"), "{response}");
        assert!(response.contains("too many names and values"), "{response}");
    }
    let grown = memory_mib(daemon.pid()).saturating_sub(before);
    assert!(grown < MAX_MEMORY_GROWTH_MIB / 2, "{grown} MiB more");
}
