//! The memory that the bodies of requests to the control socket occupy.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

use jobtrack::api::{AddRequest, AddRequestEntry};
use jobtrack::job::Labels;

use crate::support::control_load::{connect, list_latencies, memory_mib, percentile, send};
use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::FakeServer;
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, timed};

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

    for _ in 0..60 {
        let head = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n";
        let mut stream = send(&home.socket(), head);
        // Ends when the request gives way to another, or the daemon ends.
        std::thread::spawn(move || {
            let _ = stream.write_all(&vec![b' '; 3 << 20]);
            let _ = stream.read(&mut [0]);
        });
    }
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let head = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
        stalled.push(send(&home.socket(), head));
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
    let (_, small_add) = timed(|| home.run_client_ok(&["add", "dune", "01SMALL"]));
    assert!(small_add < LATENCY_LIMIT * 2, "{small_add:?}");
}

/// Sends a body; returns the response, or its beginning.
fn post_jobs(home: &DaemonHome, body: &str) -> String {
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = send(&home.socket(), &head);
    stream.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
    // The response may come before the whole body is sent.
    let _ = stream.write_all(body.as_bytes());
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    String::from_utf8_lossy(&response).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_68_of_a_body_of_many_short_strings_only_the_permitted_ones_are_kept() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    let before = memory_mib(daemon.pid());
    let labels: Vec<_> = (0..300_000).map(|n| format!("\"{n:x}\":\"\"")).collect();
    let labels = labels.join(",");
    let response = post_jobs(
        &home,
        &format!(r#"{{"jobs":[{{"provider":"dune","remote_id":"1","labels":{{{labels}}}}}]}}"#),
    );
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(response.contains("too many labels; at most 32"), "{response}");
    for job in [r#"{"provider":"dune","remote_id":"1"}"#, r#"{"provider":"","remote_id":""}"#] {
        let jobs = vec![job; 100_000].join(",");
        let response = post_jobs(&home, &format!(r#"{{"jobs":[{jobs}]}}"#));
        assert!(response.starts_with("HTTP/1.1 413"), "{response}");
        assert!(response.contains("too many jobs"), "{response}");
    }
    let grown = memory_mib(daemon.pid()).saturating_sub(before);
    assert!(grown < MAX_MEMORY_GROWTH_MIB / 2, "{grown} MiB more");
}

/// A request of as many jobs as are permitted, each with `labels` labels.
fn largest_request(prefix: &str, labels: usize, value: &str) -> String {
    let labels: BTreeMap<_, _> =
        (0..labels).map(|n| (format!("key{n:02}"), value.to_owned())).collect();
    let entry = |n| AddRequestEntry {
        provider: "dune".to_owned(),
        remote_id: format!("01{prefix}{n}"),
        labels: labels.clone(),
        give_up_after: Some("2h".to_owned()),
        price: Some("1s".to_owned()),
        similar_to: Some("nightly".to_owned()),
        again: false,
    };
    let jobs = (0..AddRequest::MAX_JOBS).map(entry).collect();
    serde_json::to_string(&AddRequest { jobs }).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_68_the_largest_valid_requests_are_accepted() {
    const MAX_BODY_BYTES: usize = 4 << 20;
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    let before = memory_mib(daemon.pid());
    for (prefix, labels, value, min_bytes) in [
        ("LONG", Labels::MAX_COUNT, "v".repeat(112), MAX_BODY_BYTES * 9 / 10),
        ("SHORT", Labels::MAX_COUNT, String::new(), 0),
        ("QUOTES", 6, "\"".repeat(256), MAX_BODY_BYTES * 7 / 10),
    ] {
        let body = largest_request(prefix, labels, &value);
        assert!((min_bytes..=MAX_BODY_BYTES).contains(&body.len()), "{}", body.len());
        let response = post_jobs(&home, &body);
        assert!(response.starts_with("HTTP/1.1 200"), "{prefix}: {response:.200}");
        assert_eq!(response.matches("\"added\"").count(), AddRequest::MAX_JOBS, "{prefix}");
    }
    let grown = memory_mib(daemon.pid()).saturating_sub(before);
    assert!(grown < MAX_MEMORY_GROWTH_MIB, "{grown} MiB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_68_large_requests_of_one_user_at_once_wait_for_each_other() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    let bodies: Vec<_> =
        (0..6).map(|n| largest_request(&format!("AT{n}ONCE"), 20, &"v".repeat(100))).collect();
    std::thread::scope(|scope| {
        let home = &home;
        let requests: Vec<_> =
            bodies.iter().map(|body| scope.spawn(move || post_jobs(home, body))).collect();
        for request in requests {
            let response = request.join().expect("no panic");
            assert!(response.starts_with("HTTP/1.1 200"), "{response:.200}");
        }
    });
}
