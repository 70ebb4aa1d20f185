//! Signals of the process.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals this close together are one request.
const ECHO: Duration = Duration::from_millis(250);

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals that a node understands.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    /// From now on these signals do not kill the process.
    pub fn catch() -> std::io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.term.recv() => Request::Stop,
            _ = self.int.recv() => Request::Stop,
            _ = self.hup.recv() => Request::Reload,
        }
    }

    /// One that asks to stop a second time; echoes of the first, sent to the process and to its group, are none.
    pub async fn stop_again(&mut self) {
        let echoes = async {
            loop {
                self.stop().await;
            }
        };
        // Elapses always: the loop has no end of its own.
        let _elapsed: Result<(), _> = tokio::time::timeout(ECHO, echoes).await;
        self.stop().await;
    }

    /// The next one that asks to stop.
    pub async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}
