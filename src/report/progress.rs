//! Progress of long work: a bar with ETA on a terminal, elsewhere a line every few seconds.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Seconds between progress lines when stderr is a file.
const LINE_EVERY_S: u64 = 5;

/// The bar on the terminal, if one is shown: log lines must be printed above it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints a line on stderr without tearing the progress bar. A log on a full disk or with nobody to read it ends no job.
pub fn tell(line: &str) {
    let print = || drop(writeln!(std::io::stderr(), "{line}"));
    match BAR.lock().ok().and_then(|bar| bar.clone()) {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// Work under way. Silent on ranks other than 0.
pub struct Progress {
    shown: Shown,
    what: String,
    total: u64,
    done: u64,
    started: Instant,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { next: Duration },
}

impl Progress {
    pub(super) fn start(root: bool, what: &str, total: u64) -> Self {
        let shown = if !root {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            Shown::Bar(show_bar(what, total))
        } else {
            Shown::Lines { next: Duration::from_secs(LINE_EVERY_S) }
        };
        Self { shown, what: what.into(), total, done: 0, started: Instant::now() }
    }

    /// `n` more units are done.
    pub fn advance(&mut self, n: u64) {
        self.done += n;
        let elapsed = self.started.elapsed();
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.inc(n),
            Shown::Lines { next } if elapsed >= *next && self.done < self.total => {
                *next = elapsed + Duration::from_secs(LINE_EVERY_S);
                tell(&line(&self.what, self.done, self.total, elapsed.as_secs_f64()));
            }
            Shown::Lines { .. } => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
            if let Ok(mut shown) = BAR.lock() {
                *shown = None;
            }
        }
    }
}

fn show_bar(what: &str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len}  {elapsed} elapsed, {eta} left");
    let bar = ProgressBar::new(total).with_message(what.to_string());
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    if let Ok(mut shown) = BAR.lock() {
        *shown = Some(bar.clone());
    }
    bar
}

fn line(what: &str, done: u64, total: u64, elapsed_s: f64) -> String {
    let left_s = elapsed_s * (total - done) as f64 / done.max(1) as f64;
    let percent = 100.0 * done as f64 / total.max(1) as f64;
    format!("            {what}: {percent:.0}% ({done}/{total}), {elapsed_s:.0} s elapsed, {left_s:.0} s left")
}

#[cfg(test)]
mod tests {
    #[test]
    fn line_states_percent_and_time_left() {
        let text = super::line("training epochs", 5, 20, 10.0);
        assert!(text.contains("25% (5/20)") && text.contains("30 s left"), "{text}");
    }
}
