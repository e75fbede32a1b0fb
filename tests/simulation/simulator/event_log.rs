//! The log of a simulation: the newest events for a report of a failure, and a hash of all events, by
//! which two runs can be compared.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex};

use super::time::SimulatedTime;

const KEPT_EVENTS: usize = 80;

#[derive(Debug, Clone)]
pub struct EventLog {
    time: Arc<SimulatedTime>,
    state: Arc<Mutex<LogState>>,
}

#[derive(Debug)]
struct LogState {
    hasher: DefaultHasher,
    newest: VecDeque<String>,
    count: u64,
    /// Whether all events are printed.
    print: bool,
    violations: Vec<String>,
}

impl EventLog {
    pub fn new(time: Arc<SimulatedTime>, print: bool) -> Self {
        let state = LogState {
            hasher: DefaultHasher::new(),
            newest: VecDeque::new(),
            count: 0,
            print,
            violations: Vec::new(),
        };
        Self { time, state: Arc::new(Mutex::new(state)) }
    }

    pub fn event(&self, event: std::fmt::Arguments<'_>) {
        let elapsed = self.time.elapsed();
        let mut state = self.state.lock().expect("no panic while the log is locked");
        let (seconds, ms) = (elapsed.as_secs(), elapsed.subsec_millis());
        let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
        let mut line = String::new();
        write!(
            line,
            "{days}d {hours:02}:{:02}:{:02}.{ms:03} {event}",
            seconds / 60 % 60,
            seconds % 60
        )
        .expect("text is written to a string");
        state.hasher.write(line.as_bytes());
        state.count += 1;
        if state.print {
            println!("{line}");
        }
        // What follows a violation explains little.
        if !state.violations.is_empty() {
            return;
        }
        if state.newest.len() == KEPT_EVENTS {
            state.newest.pop_front();
        }
        state.newest.push_back(line);
    }

    /// Records that a rule of the reference model is broken. The simulation ends soon.
    pub fn violation(&self, violation: String) {
        self.event(format_args!("VIOLATION: {violation}"));
        self.state.lock().expect("no panic while the log is locked").violations.push(violation);
    }

    pub fn has_violations(&self) -> bool {
        !self.state.lock().expect("no panic while the log is locked").violations.is_empty()
    }

    pub fn violations(&self) -> Vec<String> {
        self.state.lock().expect("no panic while the log is locked").violations.clone()
    }

    /// The number of events and their hash.
    pub fn digest(&self) -> (u64, u64) {
        let state = self.state.lock().expect("no panic while the log is locked");
        (state.count, state.hasher.finish())
    }

    pub fn newest(&self) -> Vec<String> {
        self.state
            .lock()
            .expect("no panic while the log is locked")
            .newest
            .iter()
            .cloned()
            .collect()
    }
}
