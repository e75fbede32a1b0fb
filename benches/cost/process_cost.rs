//! What a process has cost so far, read from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::ops::{Add, Sub};
use std::path::Path;

/// CPU time and context switches.
#[derive(Clone, Copy, Default)]
pub struct CpuCost {
    pub nanoseconds: u64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
}

/// Adds up the costs of all threads of a process, of those that have ended too: the last values that were
/// read of them count.
pub struct ProcessCost {
    pid: u32,
    threads: HashMap<String, CpuCost>,
}

impl ProcessCost {
    pub fn new(pid: u32) -> Self {
        Self { pid, threads: HashMap::new() }
    }

    /// Reads the counters of the threads; call it often, since a thread that ends takes its counters along.
    pub fn read(&mut self) -> CpuCost {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("the process runs");
        for task in tasks {
            let path = task.expect("a directory entry").path();
            let id = path.file_name().expect("a thread id").to_string_lossy().into_owned();
            if let Some(cost) = thread_cost(&path) {
                self.threads.insert(id, cost);
            }
        }
        self.threads.values().fold(CpuCost::default(), |sum, &thread| sum + thread)
    }

    /// The resident memory in MiB.
    pub fn resident_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it runs");
        status_field(&status, "VmRSS:").expect("a field of every process") as f64 / 1024.0
    }
}

/// None for a thread that has ended meanwhile.
fn thread_cost(task: &Path) -> Option<CpuCost> {
    let schedule = fs::read_to_string(task.join("schedstat")).ok()?;
    let status = fs::read_to_string(task.join("status")).ok()?;
    Some(CpuCost {
        nanoseconds: schedule.split_whitespace().next()?.parse().ok()?,
        voluntary_switches: status_field(&status, "voluntary_ctxt_switches:")?,
        involuntary_switches: status_field(&status, "nonvoluntary_ctxt_switches:")?,
    })
}

fn status_field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

impl Add for CpuCost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            nanoseconds: self.nanoseconds + other.nanoseconds,
            voluntary_switches: self.voluntary_switches + other.voluntary_switches,
            involuntary_switches: self.involuntary_switches + other.involuntary_switches,
        }
    }
}

impl Sub for CpuCost {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            nanoseconds: self.nanoseconds - earlier.nanoseconds,
            voluntary_switches: self.voluntary_switches - earlier.voluntary_switches,
            involuntary_switches: self.involuntary_switches - earlier.involuntary_switches,
        }
    }
}
