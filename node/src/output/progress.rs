//! A spinner for what takes longer than a moment; only where a person watches.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long something may take in silence.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits for `work`; after a second a spinner with `message` stands on stderr, if that is a terminal.
pub async fn during<T>(message: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let spinner = spinner(message);
    let result = work.await;
    spinner.finish_and_clear();
    result
}

fn spinner(message: &str) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}") {
        bar.set_style(style);
    }
    bar.set_message(message.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
