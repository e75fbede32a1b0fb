//! Tests over HTTP and sockets: the real `jobtrackd` and `jobtrack` against the fake server, the
//! provider clients against the fake server, and the fake server itself.

mod all_providers;
mod audit;
mod auto_price;
mod backup;
mod bad_answers;
mod blocked_log;
mod cancel;
mod client;
mod client_paths;
mod config_check;
mod config_example;
mod control_access;
mod control_socket;
mod daemon_lifecycle;
mod damaged_answers;
mod docs;
mod echoed_secrets;
mod end_to_end;
mod fake_server;
mod far_clocks;
mod job_price;
mod learned_durations;
mod list_polling;
mod maintenance;
mod many_jobs;
mod poll_forecast;
mod provider_contract;
mod provider_rename;
mod readme;
mod request_bodies;
mod request_bursts;
mod secrets;
mod signals;
mod stalled_loop;
#[path = "../support/mod.rs"]
mod support;
mod system_faults;
mod tables;
mod thread_limits;
mod tls;
mod unknown_states;
mod untrusted_text;
