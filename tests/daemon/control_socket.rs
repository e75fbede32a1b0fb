//! The control socket under clients that are broken, slow or too many, and the socket file itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::control_load::{connect, list_latencies, memory_mib, percentile, send};
use crate::support::daemon::{DaemonHome, utf8, wait_for_query_value};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db, timed};

/// The time within which others are served. Debug builds on a busy machine need more than the 100 ms
/// that `tests/system/control_load.rs` checks in a release build.
const LATENCY_LIMIT: Duration = Duration::from_secs(1);
const MAX_MEMORY_GROWTH_MIB: u64 = 64;

/// Reads the ids and the names of the events of a stream until one has this id.
fn read_events(stream: UnixStream, last_id: i64) -> (Vec<i64>, Vec<String>) {
    stream.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
    let (mut ids, mut other_lines) = (Vec::new(), Vec::new());
    for line in BufReader::new(stream).lines() {
        let line = line.expect("an event stream");
        if let Some(id) = line.strip_prefix("id: ") {
            ids.push(id.parse().expect("a number"));
            if ids.last() == Some(&last_id) {
                break;
            }
        } else if !line.starts_with("data: {\"cursor\"") {
            other_lines.push(line);
        }
    }
    (ids, other_lines)
}

fn events_request(last_event_id: i64) -> String {
    format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {last_event_id}\r\n\r\n")
}

fn add_jobs(home: &DaemonHome, prefix: &str, count: usize) {
    let ids: Vec<_> = (0..count).map(|n| format!("{prefix}{n}")).collect();
    let added = home.run_client_with_input(&["add", "dune", "-", "-q"], &ids.join("\n"));
    assert!(added.status.success(), "{}", utf8(&added.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_48_a_broken_client_disturbs_nobody() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    let idle = memory_mib(daemon.pid());
    let endless_head = [b"GET /v1/jobs?label=".as_slice(), &vec![b'x'; 64 << 10]].concat();
    let malformed_requests: [&[u8]; 8] = [
        b"GET /v1/jo",
        b"\0\0\0\0\r\n\r\n",
        b"GET /v1/jobs?label=\xff\xfe HTTP/1.1\r\nHost: \xc3\x28\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{}",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n{\"jobs\":",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n{",
        b"GET / HTTP/9.9\r\n\r\n",
        &endless_head,
    ];
    // More than may be open at once.
    let mut open = Vec::new();
    for bytes in malformed_requests.iter().cycle().take(700) {
        let mut stream = connect(&home.socket());
        let _ = stream.write_all(bytes);
        open.push(stream);
        if open.len() % 100 == 0 {
            let (_, took) = timed(|| home.run_client_ok(&["list"]));
            assert!(took < LATENCY_LIMIT, "{took:?} with {} connections", open.len());
        }
    }
    home.run_client_ok(&["add", "dune", "01FINE"]);
    let grown = memory_mib(daemon.pid()).saturating_sub(idle);
    assert!(grown < MAX_MEMORY_GROWTH_MIB, "{grown} MiB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_49_idle_connections_do_not_block_clients() {
    let dune = FakeServer::start().await;
    for limit in ["--nofile=64", "--nofile=96"] {
        let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
        let mut command = Command::new("prlimit");
        let daemon = home.daemon_command();
        command.arg(limit).arg(daemon.get_program()).args(daemon.get_args()).env_clear();
        let daemon = home.spawn(command);
        daemon.wait_for_notification("READY=1", &home);
        let mut silent = Vec::new();
        for n in 0..900 {
            silent.push(connect(&home.socket()));
            if n % 100 == 0 {
                let (_, took) = timed(|| home.run_client_ok(&["list", "--all"]));
                assert!(took < LATENCY_LIMIT, "{took:?}");
            }
        }
        home.run_client_ok(&["add", "dune", "01FINE"]);
        assert!(!home.log().contains("cannot accept"), "{}", home.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_49_a_full_queue_of_connections_means_busy_and_not_away() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    daemon.signal(Signal::STOP);
    let mut waiting = Vec::new();
    loop {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.expect("a socket");
        let address = rustix::net::SocketAddrUnix::new(home.socket()).expect("an address");
        if let Err(error) = rustix::net::connect(&socket, &address) {
            assert_eq!(error, rustix::io::Errno::AGAIN);
            break;
        }
        waiting.push(socket);
    }
    let output = home.run_client(&["list"]);
    let error = utf8(&output.stderr);
    assert!(output.status.code() == Some(69) && error.contains("is busy"), "{error}");
    // A client waits for a place in the queue.
    let mut client = home.client_command(&["list"]);
    let mut client = client.stdout(Stdio::null()).spawn().expect("a client");
    daemon.signal(Signal::CONT);
    assert!(client.wait().expect("it ends").success());
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_50_a_slow_event_stream_reader_blocks_nobody() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    let mut slow = connect(&home.socket());
    slow.write_all(b"GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    // The client reads nothing, while more is sent than all buffers hold.
    add_jobs(&home, "01SLOW", 5000);
    let quick = home.run_client_ok(&["--json", "history", "--after", "4000"]);
    assert_eq!(quick.lines().count(), 1000);
    let latencies = list_latencies(&home, 50);
    assert!(percentile(&latencies, 99) < LATENCY_LIMIT, "{latencies:?}");
    dune.wait_for_requests(20, EVENT_TIMEOUT).await;
    // It resumes after what it has read, without a gap.
    let (first_ids, _) = read_events(slow, 700);
    assert_eq!(first_ids, (1..=700).collect::<Vec<_>>());
    let (ids, other_lines) = read_events(send(&home.socket(), &events_request(700)), 5000);
    assert_eq!(ids, (701..=5000).collect::<Vec<_>>());
    assert!(!other_lines.iter().any(|line| line.contains("pruned")), "{other_lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_68_event_streams_leave_places_and_are_refused_as_busy() {
    let dune = FakeServer::start().await;
    dune.add_job("01WAITS", JobScript::new().ending_with(JobEnd::Completed));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    let streams: Vec<_> = (0..448).map(|_| send(&home.socket(), &events_request(0))).collect();
    let heads = streams.iter().map(|mut stream| {
        stream.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
        let mut head = [0; 1024];
        let size = stream.read(&mut head).expect("a response");
        String::from_utf8_lossy(&head[..size]).to_lowercase()
    });
    let refused: Vec<_> = heads.filter(|head| head.starts_with("http/1.1 503")).collect();
    assert_eq!(refused.len(), 64, "three quarters of 512 places are for those who wait");
    assert!(refused[0].contains("retry-after: 1"), "{}", refused[0]);
    home.run_client_ok(&["add", "dune", "01WAITS"]);
    let mut wait = home.client_command(&["wait", "1"]);
    let mut wait = wait.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a client");
    let mut notice = String::new();
    let stderr = wait.stderr.take().expect("a pipe");
    BufReader::new(stderr).read_line(&mut notice).expect("a notice");
    // If the job has ended before `wait` has asked for events, there is nothing to wait for.
    assert!(notice.is_empty() || notice.contains("jobtrackd is busy"), "{notice}");
    drop(streams);
    assert!(wait.wait().expect("it ends").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_69_a_stream_that_resumes_is_told_which_transitions_were_deleted() {
    let dune = FakeServer::start().await;
    for n in 0..5 {
        dune.add_job(&format!("01OLD{n}"), JobScript::new().ending_with(JobEnd::Completed));
    }
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    add_jobs(&home, "01OLD", 5);
    home.run_client_ok(&["wait", "1", "2", "3", "4", "5"]);
    let newest: i64 =
        db::query_value(&home.database(), "SELECT max(seq) FROM history").parse().expect("a seq");
    // All history is deleted, as the retention does it.
    db::run_script_ok(&home.database(), "PRAGMA foreign_keys = on; DELETE FROM job;");
    let daemon = {
        daemon.stop();
        home.start()
    };
    let first_new = newest + 1;
    add_jobs(&home, "01NEW", 1);
    let (ids, lines) = read_events(send(&home.socket(), &events_request(5)), first_new);
    assert_eq!(ids[0], first_new);
    let pruned =
        format!("data: {{\"after\":\"5\",\"up_to\":\"{first_new}\",\"count\":{}}}", newest - 5);
    assert!(lines.contains(&"event: pruned".to_owned()) && lines.contains(&pruned), "{lines:?}");
    // A number of the future belongs to another database.
    let mut ahead = send(&home.socket(), &events_request(first_new + 100));
    let mut response = [0; 1024];
    let size = ahead.read(&mut response).expect("a response");
    let response = String::from_utf8_lossy(&response[..size]).into_owned();
    assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    assert!(response.contains("does not name an event of this database"), "{response}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_69_wait_ends_when_a_job_was_deleted_before_its_end_was_seen() {
    let dune = FakeServer::start().await;
    let hour = JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed);
    dune.add_job("01GONE", hour);
    dune.add_job("01ENDS", JobScript::new().ending_with(JobEnd::Completed));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01GONE", "01ENDS"]);
    let mut wait = home.client_command(&["wait", "1", "2", "--json"]);
    let mut wait = wait.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a client");
    // The client has read both jobs once it prints the end of one.
    let mut line = String::new();
    let stdout = wait.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a job");
    assert!(line.contains("01ENDS"), "{line}");
    daemon.stop();
    let mut stderr = BufReader::new(wait.stderr.take().expect("a pipe"));
    let mut notice = String::new();
    stderr.read_line(&mut notice).expect("a notice");
    assert!(notice.contains("unavailable"), "{notice}");
    // While the client is not connected, the job ends and is deleted.
    db::run_script_ok(
        &home.database(),
        "PRAGMA foreign_keys = on;
         INSERT INTO transition (job_id, from_state, to_state, evidence, observed_at)
         SELECT id, state, 'failed', 'local', '2026-01-01 00:00:00.000' FROM job WHERE id = 1;
         DELETE FROM job;",
    );
    let daemon = home.start();
    notice.clear();
    stderr.read_line(&mut notice).expect("a notice");
    let error: serde_json::Value = serde_json::from_str(&notice).expect("a JSON object");
    assert_eq!(error["code"], "not_found");
    assert_eq!(error["detail"], "job 1 was deleted; its end is not known");
    assert_eq!(wait.wait().expect("it ends").code(), Some(4));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_52_a_daemon_removes_only_its_own_socket() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let first = home.start();
    std::fs::remove_file(home.socket()).expect("the socket file");
    let config = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    home.write_config(&config.replace("/state/", "/state2/"));
    let second = home.start();
    assert!(first.stop().success());
    home.run_client_ok(&["status"]);
    assert!(second.stop().success());
    assert!(!home.socket().exists(), "the second daemon has removed its own socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_52_what_is_not_a_stale_socket_is_never_replaced() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    let config = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    let elsewhere = config.replace("/state/", "/state2/");
    let rejected_at = |socket: &std::path::Path| {
        let text =
            elsewhere.replace(&home.socket().display().to_string(), &socket.display().to_string());
        home.write_config(&text);
        let output = home.run_daemon_to_exit(&[]);
        assert_eq!(output.status.code(), Some(74), "{}", socket.display());
        utf8(&output.stderr)
    };
    // The running daemon's socket, by another way through the directories.
    symlink(home.path("run"), home.path("also-run")).expect("a link");
    let reason = rejected_at(&home.path("also-run/control.sock"));
    assert!(reason.contains("another jobtrackd listens on this socket"), "{reason}");
    // Names of the socket that are not the socket itself.
    symlink(home.socket(), home.path("link.sock")).expect("a link");
    assert!(rejected_at(&home.path("link.sock")).contains("not a socket"));
    std::fs::create_dir(home.path("directory.sock")).expect("a directory");
    assert!(rejected_at(&home.path("directory.sock")).contains("not a socket"));
    // Another program's sockets: one that listens, and one for datagrams.
    let listening = UnixListener::bind(home.path("other.sock")).expect("a socket");
    assert!(rejected_at(&home.path("other.sock")).contains("listens on this socket"));
    drop(listening);
    let datagrams = std::os::unix::net::UnixDatagram::bind(home.path("datagram.sock"));
    let datagrams = datagrams.expect("a socket");
    rejected_at(&home.path("datagram.sock"));
    assert!(home.path("datagram.sock").exists());
    drop(datagrams);
    home.run_client_ok(&["status"]);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_57_without_descriptors_polls_fail_and_clients_are_still_served() {
    let dune = FakeServer::start().await;
    let ids: Vec<_> = (0..80).map(|n| format!("01POLLED{n}")).collect();
    for id in &ids {
        let hour = JobScript::new().running(Duration::from_hours(1));
        dune.add_job(id, hour.ending_with(JobEnd::Completed));
    }
    let settings = format!("{FAST_POLLING_TOML}\nmax_in_flight = 64\nrequest_timeout = \"2s\"");
    let home = DaemonHome::new(&dune.base_url(), &settings);
    let mut command = Command::new("prlimit");
    let daemon = home.daemon_command();
    command.arg("--nofile=64").arg(daemon.get_program()).args(daemon.get_args()).env_clear();
    let daemon = home.spawn(command);
    daemon.wait_for_notification("READY=1", &home);
    add_jobs(&home, "01POLLED", 80);
    wait_for_query_value(&home, "SELECT count(*) FROM jobs WHERE state = 'running'", "80").await;
    // Each poll holds a descriptor until its timeout.
    dune.inject_fault(FaultTarget::All, Fault::Hang, FaultRepeat::Always);
    let failed = "SELECT count(*) > 0 FROM jobs WHERE last_poll_error LIKE '%Too many open files%'";
    wait_for_query_value(&home, failed, "1").await;
    for _ in 0..20 {
        home.run_client_ok(&["list"]);
    }
    dune.clear_faults();
    let recovered = "SELECT count(*) FROM jobs WHERE last_poll_error IS NULL";
    wait_for_query_value(&home, recovered, "80").await;
    add_jobs(&home, "01LATER", 1);
    assert!(daemon.stop().success());
}
