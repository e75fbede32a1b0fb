//! Many connections to a control socket, and what they cost others.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::daemon::DaemonHome;
use super::{EVENT_TIMEOUT, timed};

/// Connects; waits while the daemon's queue of connections is full.
pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.set_write_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
    stream
}

/// Connects and sends the beginning of a request.
pub fn send(socket: &Path, head: &str) -> UnixStream {
    let mut stream = connect(socket);
    stream.write_all(head.as_bytes()).expect("a request");
    stream
}

/// Sends a request such as `POST /v1/reload` and returns the status of the response.
pub fn status_of(socket: &Path, request: &str) -> String {
    let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut stream = send(socket, &head);
    stream.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
    let mut response = String::new();
    std::io::Read::read_to_string(&mut stream, &mut response).expect("a response");
    response.split(' ').nth(1).expect("a status").to_owned()
}

/// How long each of `count` lists takes, one after the other, over a new connection each; sorted.
pub fn list_latencies(home: &DaemonHome, count: usize) -> Vec<Duration> {
    let client = || {
        let mut stream =
            send(&home.socket(), "GET /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
        let mut response = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut response).expect("a response");
        assert!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response));
    };
    let mut latencies: Vec<_> = (0..count).map(|_| timed(client).1).collect();
    latencies.sort();
    latencies
}

/// The value below which `percent` percent of the sorted values are.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// The resident memory of a process.
pub fn memory_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib >> 10
}
