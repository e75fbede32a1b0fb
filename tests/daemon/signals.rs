//! Every signal that can be caught either ends the daemon cleanly, reloads its config, or does nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::daemon::DaemonHome;
use crate::support::{EVENT_TIMEOUT, db, timed};
use rustix::process::Signal;

#[test]
fn every_signal_that_means_an_end_stops_the_daemon_cleanly() {
    let signals = [
        Signal::TERM,
        Signal::INT,
        Signal::QUIT,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::XCPU,
        Signal::POWER,
    ];
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    for signal in signals {
        let daemon = home.start();
        daemon.signal(signal);
        assert!(daemon.wait_for_exit().success(), "{signal:?}");
        assert!(!home.socket().exists(), "{signal:?}");
        let clean_shutdowns = "SELECT count(*) FROM last_event WHERE name = 'clean_shutdown'";
        assert_eq!(db::query_value(&home.database(), clean_shutdowns), "1", "{signal:?}");
    }
    for name in ["SIGTERM", "SIGQUIT", "SIGALRM", "SIGXCPU", "SIGPWR"] {
        assert!(home.log().contains(&format!("{name} received: shutting down")), "{name}");
    }
}

#[test]
fn signals_without_a_meaning_are_ignored() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    let named =
        [Signal::USR1, Signal::USR2, Signal::IO, Signal::STKFLT, Signal::XFSZ, Signal::PIPE];
    for signal in named {
        daemon.signal(signal);
    }
    let pid = daemon.pid().to_string();
    for number in 34..=64 {
        let killed =
            std::process::Command::new("kill").args([format!("-{number}"), pid.clone()]).status();
        assert!(killed.expect("kill is installed").success(), "{number}");
    }
    home.run_client_ok(&["status"]);
    assert!(daemon.stop().success());
}

#[test]
fn fault_13_reloads_under_a_systemd_that_does_not_read_leave_nothing_behind() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    daemon.fill_notification_queue();
    for reload in 1..=4 {
        daemon.signal(Signal::HUP);
        home.wait_for_log("config reloaded", reload);
    }
    home.run_client_ok(&["status"]);
    let names = daemon.thread_names();
    assert_eq!(names.iter().filter(|name| *name == "notify").count(), 1, "{names:?}");
    assert!(home.log().contains("it does not read notifications"));

    // Read again, the socket gets the latest state.
    daemon.wait_for_notification("READY=1", &home);
    daemon.signal(Signal::HUP);
    daemon.wait_for_notification("RELOADING=1", &home);
    daemon.wait_for_notification("READY=1", &home);
    assert!(daemon.stop().success());
}

#[test]
fn fault_06_a_second_signal_exits_at_once() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    // Without a second signal, the shutdown waits three seconds for this unfinished request.
    let stop = |second: Option<Signal>| {
        let daemon = home.start();
        let mut unfinished = UnixStream::connect(home.socket()).expect("the daemon listens");
        unfinished
            .write_all(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
            .expect("half a request");
        home.run_client_ok(&["status"]);
        daemon.signal(Signal::TERM);
        daemon.wait_for_notification("STOPPING=1", &home);
        if let Some(signal) = second {
            daemon.signal(signal);
        }
        let (status, took) = timed(|| daemon.wait_for_exit());
        assert!(status.success(), "{second:?}: {status}");
        took
    };
    let patient = stop(None);
    assert!(patient >= Duration::from_secs(2), "nothing was waited for: {patient:?}");
    for second in [Signal::INT, Signal::TERM, Signal::QUIT] {
        let took = stop(Some(second));
        assert!(took < Duration::from_secs(2), "{second:?}: {took:?}");
    }
}

/// Stops a daemon that has an idle connection, and sends a request over this connection. Returns the head of the response,
/// if there is one, and the time since the signal.
fn request_during_shutdown() -> (std::io::Result<String>, Duration) {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    let connect = || {
        let stream = UnixStream::connect(home.socket()).expect("the daemon listens");
        stream.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
        BufReader::new(stream)
    };
    let request = |reader: &mut BufReader<UnixStream>, path: &str| {
        let request = format!("GET /v1/{path} HTTP/1.1\r\nHost: x\r\n\r\n");
        reader.get_mut().write_all(request.as_bytes())?;
        read_response(reader)
    };
    let (mut kept, mut events) = (connect(), connect());
    let first = request(&mut kept, "jobs").expect("a response");
    assert!(first.starts_with("HTTP/1.1 200") && !first.contains("close"), "{first}");
    request(&mut events, "events").expect("a response");
    let (second, took) = timed(|| {
        daemon.signal(Signal::TERM);
        // The end of this stream shows that the connections know of the shutdown.
        std::io::copy(&mut events, &mut std::io::sink()).expect("the stream ends");
        request(&mut kept, "jobs")
    });
    assert!(daemon.wait_for_exit().success());
    (second, took)
}

#[test]
fn a_request_that_was_on_its_way_at_a_shutdown_is_answered() {
    // An idle connection is closed after a second. A slow machine may need longer, then the test is repeated.
    let head = loop {
        match request_during_shutdown() {
            (Ok(head), _) => break head,
            (Err(error), took) => assert!(took > Duration::from_millis(900), "{error}: {took:?}"),
        }
    };
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("connection: close"), "{head}");
}

/// Reads the next response and returns its head. The body of a stream remains.
fn read_response(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: u64 = length.map_or(0, |length| length.parse().expect("a number"));
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(head)
}
