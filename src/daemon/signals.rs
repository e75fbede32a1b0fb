//! The signals that the daemon handles. Installed after the config is read and the log is set up, before
//! any secret or the database is touched, so that none of them kills the process in between.
//!
//! Every other signal that can be caught and whose default action ends the process is listed here:
//! either it stops the daemon cleanly, or it is ignored. `serve` handles SIGHUP, the reload.

use std::task::Poll;

use rustix::process::Signal as SignalNumber;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that stop the daemon, with their names. A timer signal comes from whoever started the daemon
/// with a time limit, SIGXCPU from a limit of CPU time.
const STOPPING: [(&str, SignalNumber); 8] = [
    ("SIGTERM", SignalNumber::TERM),
    ("SIGINT", SignalNumber::INT),
    ("SIGQUIT", SignalNumber::QUIT),
    ("SIGALRM", SignalNumber::ALARM),
    ("SIGVTALRM", SignalNumber::VTALARM),
    ("SIGPROF", SignalNumber::PROF),
    ("SIGXCPU", SignalNumber::XCPU),
    ("SIGPWR", SignalNumber::POWER),
];

/// Signals that have no effect. With a handler, SIGXFSZ becomes an error of the write that exceeds the
/// limit of the file size.
const IGNORED: [SignalNumber; 5] = [
    SignalNumber::USR1,
    SignalNumber::USR2,
    SignalNumber::IO,
    SignalNumber::STKFLT,
    SignalNumber::XFSZ,
];
/// `SIGRTMIN` to `SIGRTMAX`, which have no effect either. The C library uses those from 32 on itself: glibc two,
/// musl three.
const REALTIME: std::ops::RangeInclusive<i32> =
    if cfg!(target_env = "musl") { 35..=64 } else { 34..=64 };

pub(super) struct ShutdownSignals {
    stopping: Vec<(&'static str, Signal)>,
    /// tokio's handlers stay installed; a signal that nobody waits for has no effect.
    _ignored: Vec<Signal>,
}

impl ShutdownSignals {
    pub(super) fn new() -> std::io::Result<Self> {
        let install = |number: i32| signal(SignalKind::from_raw(number));
        let stopping =
            STOPPING.into_iter().map(|(name, number)| Ok((name, install(number.as_raw())?)));
        let ignored = IGNORED.into_iter().map(SignalNumber::as_raw).chain(REALTIME).map(install);
        Ok(Self {
            stopping: stopping.collect::<std::io::Result<_>>()?,
            _ignored: ignored.collect::<std::io::Result<_>>()?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub(super) async fn recv(&mut self) -> &'static str {
        std::future::poll_fn(|context| {
            for (name, signal) in &mut self.stopping {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*name);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The result of `work`, which may wait for files; `None` if a signal to stop comes first.
    pub(super) async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            signal = self.recv() => {
                tracing::info!("{signal} received: shutting down");
                None
            }
            result = work => Some(result),
        }
    }
}
