//! The signals that stop the daemon. Installed before anything else, so that none of them kills the
//! process in the middle of its start.

use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
    /// A handler for SIGXFSZ turns a write beyond the file-size limit into an error of that write.
    /// Without a handler the signal kills the process.
    _file_size_exceeded: Signal,
}

impl ShutdownSignals {
    pub(super) fn new() -> std::io::Result<Self> {
        const SIGXFSZ: i32 = 25;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size_exceeded: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub(super) async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
