//! Ctrl-C, SIGTERM and a closed terminal clean up too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use meshnode_tests::World;
use tokio::signal::unix::{SignalKind, signal};

use crate::doors::Doors;

/// Whether a signal has ended the demo.
pub(crate) struct Cleaning(Arc<AtomicBool>);

impl Cleaning {
    pub(crate) fn is_under_way(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// From now on such a signal removes the world and ends the process with 130, as a shell expects.
pub(crate) fn clean_up_on_signals(world: Arc<World>) -> Result<Cleaning> {
    let flag = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = {
        let _within = runtime.enter();
        [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .map(signal)
    };
    let seen = flag.clone();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let [Ok(interrupt), Ok(terminate), Ok(hangup)] = &mut signals else {
                return;
            };
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} _ = hangup.recv() => {} }
            seen.store(true, Ordering::SeqCst);
            eprintln!("\n removing the namespaces");
            world.tear_down();
            Doors::close();
            std::process::exit(130);
        });
    });
    Ok(Cleaning(flag))
}

/// The signal's thread ends the process; the main one must not do so before.
pub(crate) fn leave_it_to_the_cleaner() {
    loop {
        std::thread::park();
    }
}
