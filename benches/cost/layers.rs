//! Where the microseconds of a poll go: samples the daemon with `perf` and sorts the samples into layers.
//!
//! A sample in the kernel belongs to the system call that led there; a sample in the program to the first crate
//! that its function's name mentions. Functions that the compiler has put into others count as those.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::daemon::DaemonProgram;
use super::measurement::{Plan, measure};
use super::stand_in::Script;
use super::stand_in_process::StandInProcess;
use super::workload::unfinished_jobs;

const WARM_UP: Duration = Duration::from_secs(4);
const DURATION: Duration = Duration::from_secs(15);
const SAMPLES_PER_SECOND: u32 = 1999;
/// How the object of a kernel function begins.
const KERNEL: &str = "[kernel";

/// One layer and its share of a poll.
pub struct Layer {
    pub name: &'static str,
    pub micros_per_poll: f64,
}

/// Measures the daemon at this rate. The layers add up to `micros_per_poll`, or to what this run costs, with the
/// samples. The reason if this machine cannot.
pub async fn measure_layers(
    daemon: &DaemonProgram,
    rate: u32,
    micros_per_poll: Option<f64>,
) -> Result<Vec<Layer>, String> {
    let jobs = unfinished_jobs(rate);
    let stand_in = StandInProcess::start(Script::Stream, jobs).await;
    let mut running = daemon.start(&stand_in, rate, jobs).await;
    let (pid, database) = (running.pid(), running.database());
    let warm_up = Plan { rate, warm_up: Duration::ZERO, duration: WARM_UP };
    measure(&warm_up, pid, Some(&database), &stand_in, Some(&mut running)).await;
    let directory = TempDir::with_prefix("jobtrack-perf-").expect("a directory");
    let samples = directory.path().join("samples");
    let mut recording = record(pid, &samples)?;
    let plan = Plan { rate, warm_up: Duration::ZERO, duration: DURATION };
    let cost = measure(&plan, pid, Some(&database), &stand_in, Some(&mut running)).await;
    drop(running);
    // perf ends with the process that it watches.
    let status = recording.wait().await.map_err(|error| error.to_string())?;
    let output = Command::new("perf")
        .args(["script", "-F", "ip,sym,dso", "-i"])
        .arg(&samples)
        .output()
        .await
        .map_err(|error| error.to_string())?;
    let counts = count_layers(&String::from_utf8_lossy(&output.stdout));
    let total: u32 = counts.values().sum();
    if total == 0 {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("perf took no samples ({status}): {}", message.trim()));
    }
    let all_micros = micros_per_poll.unwrap_or(cost.cpu_micros_per_poll);
    let micros = |count: u32| all_micros * f64::from(count) / f64::from(total);
    let layers = counts.into_iter().map(|(name, n)| Layer { name, micros_per_poll: micros(n) });
    let mut layers: Vec<_> = layers.collect();
    layers.sort_by(|a, b| b.micros_per_poll.total_cmp(&a.micros_per_poll));
    Ok(layers)
}

/// The layers as a Markdown table.
pub fn table(layers: &[Layer], rate: u32) -> String {
    let total: f64 = layers.iter().map(|layer| layer.micros_per_poll).sum();
    let mut table =
        format!("| layer, at {rate} polls a second | µs a poll | share |\n|---|---|---|\n");
    for Layer { name, micros_per_poll } in layers {
        let percent = 100.0 * micros_per_poll / total;
        writeln!(table, "| {name} | {micros_per_poll:.1} | {percent:.0} % |").expect("a string");
    }
    table
}

fn record(pid: u32, samples: &std::path::Path) -> Result<Child, String> {
    Command::new("perf")
        .args(["record", "--quiet", "-e", "cpu-clock", "-g", "-F", &SAMPLES_PER_SECOND.to_string()])
        .arg(format!("--pid={pid}"))
        .arg("-o")
        .arg(samples)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("perf cannot be run: {error}"))
}

/// The number of samples by layer. `script` has the frames of each sample, the innermost first, and an empty
/// line after each sample.
fn count_layers(script: &str) -> BTreeMap<&'static str, u32> {
    let mut counts = BTreeMap::new();
    for sample in script.split("\n\n") {
        let frames: Vec<_> = sample.lines().filter_map(parse_frame).collect();
        if let Some((symbol, object)) = frames.first() {
            let layer = if object.starts_with(KERNEL) {
                kernel_layer(&frames)
            } else {
                program_layer(symbol, object)
            };
            *counts.entry(layer).or_default() += 1;
        }
    }
    counts
}

/// The symbol and the object of a line such as `  7f11 malloc (/usr/lib/libc.so.6)`.
fn parse_frame(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.trim().split_once(' ')?;
    let (symbol, object) = rest.rsplit_once(" (")?;
    Some((symbol, object.trim_end_matches(')')))
}

/// The first layer of which a frame mentions something. A call that writes a file may wait, and one that waits may
/// be interrupted by a packet, hence the order.
fn kernel_layer(frames: &[(&str, &str)]) -> &'static str {
    const LAYERS: [(&str, &[&str]); 4] = [
        (
            "kernel: files and fsync",
            &[
                "fsync",
                "fdatasync",
                "pwrite64",
                "pread64",
                "ext4",
                "vfs_stat",
                "statx",
                "fcntl",
                "openat",
                "unlink",
                "truncate",
                "fallocate",
            ],
        ),
        ("kernel: sockets", &["sock", "tcp_", "unix_", "inet_", "net_rx", "writev", "recvfrom"]),
        ("kernel: memory", &["page_fault", "mmap", "munmap", "madvise", "_brk", "mprotect"]),
        (
            "kernel: waiting, waking and switching threads",
            &["futex", "epoll", "eventfd", "sched", "rseq", "poll", "nanosleep"],
        ),
    ];
    let in_kernel = |object: &str| object.starts_with(KERNEL);
    let mentions = |part: &&str| {
        frames.iter().any(|(symbol, object)| in_kernel(object) && symbol.contains(part))
    };
    let layer = LAYERS.iter().find(|(_, parts)| parts.iter().any(mentions));
    layer.map_or("kernel: interrupts and the rest", |(name, _)| name)
}

fn program_layer(symbol: &str, object: &str) -> &'static str {
    const LIBC: &str = "locks and system calls (libc)";
    const REST: &str = "collections, hashing, the rest of the program";
    const STANDARD: [&str; 6] = ["core", "alloc", "std", "impl", "dyn", "hashbrown"];
    if object.contains("libc.so") || object.contains("ld-linux") {
        let allocates =
            ["alloc", "free", "mem", "_int_", "chunk"].iter().any(|part| symbol.contains(part));
        return if allocates { "allocating and copying memory" } else { LIBC };
    }
    if object.starts_with("[vdso") {
        return LIBC;
    }
    if symbol.contains("[unknown]") {
        return "functions without a symbol";
    }
    if symbol.starts_with("ring_core") {
        return "TLS";
    }
    if !symbol.contains("::") {
        return "SQLite";
    }
    let mut paths = symbol.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let path = paths.find_map(|path| {
        let (name, rest) = path.split_once("::")?;
        (!name.is_empty() && !STANDARD.contains(&name)).then_some((name, rest))
    });
    match path {
        Some(("libm", _)) => "tracker, policy",
        Some(("jobtrack", rest)) => match rest.split("::").next().unwrap_or_default() {
            "tracker" | "policy" | "job" => "tracker, policy",
            "scheduler" | "clock" => "scheduler",
            "store" => "store",
            "provider" => "provider: requests and answers",
            "control" | "api" => "control socket",
            _ => REST,
        },
        Some(("serde" | "serde_core" | "serde_json" | "jiff" | "sfv" | "httpdate", _)) => {
            "provider: requests and answers"
        }
        Some((
            "reqwest" | "hyper" | "hyper_util" | "http" | "http_body" | "http_body_util"
            | "httparse" | "tower" | "tower_http" | "tower_service" | "url" | "bytes",
            _,
        )) => "HTTP client",
        Some(("sqlx_core" | "sqlx_sqlite" | "sqlx" | "libsqlite3_sys" | "flume", _)) => "sqlx",
        Some((
            "tokio" | "tokio_util" | "mio" | "parking_lot" | "parking_lot_core" | "futures_util"
            | "futures_core" | "futures_channel",
            _,
        )) => "runtime (tokio)",
        Some(_) | None => REST,
    }
}
