//! The client with a daemon of an earlier version, which still runs after an update.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use crate::support::daemon::{DaemonHome, utf8};

#[test]
fn the_answer_of_an_earlier_daemon_to_rejected_jobs_is_understood() {
    let home = DaemonHome::without_config();
    std::fs::create_dir(home.path("run")).expect("a directory");
    let listener = UnixListener::bind(home.socket()).expect("a socket");
    let earlier_daemon = std::thread::spawn(move || {
        // The first connection only tests whether a daemon listens.
        for mut connection in listener.incoming().map(|connection| connection.expect("a client")) {
            let mut request = [0; 4096];
            if connection.read(&mut request).expect("a request") == 0 {
                continue;
            }
            let entry = |id: &str, name: &str, rest: &str| {
                format!(r#"{{"id":{id},"provider":"dune","remote_id":"{name}",{rest}}}"#)
            };
            let added = entry("7", "01WELL", r#""state":"registered","outcome":"added""#);
            let rejected =
                entry("null", "x y", r#""state":null,"outcome":"rejected","error":"not an id""#);
            let body = format!(r#"{{"jobs":[{added},{rejected}]}}"#);
            let head = "HTTP/1.1 422 Unprocessable Entity\r\nConnection: close\r\nContent-Length";
            let response = format!("{head}: {}\r\n\r\n{body}", body.len());
            connection.write_all(response.as_bytes()).expect("a response");
            return;
        }
    });
    let added = home.run_client(&["add", "dune", "01WELL", "x y"]);
    assert_eq!(utf8(&added.stdout), "7 dune/01WELL added\n");
    assert_eq!(utf8(&added.stderr), "- dune/x y rejected: not an id\n");
    assert_eq!(added.status.code(), Some(1));
    earlier_daemon.join().expect("the request arrived");
}
