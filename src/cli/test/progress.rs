//! How far a long run is, on stderr only: at once on a terminal, and in a file or a pipe only when the
//! run takes so long that somebody may wonder.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::clock::SystemClock;
use crate::domain::Timestamp;
use crate::ports::Clock as _;

/// In a file or a pipe nothing is said before this, and not more often.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// On a terminal, often enough to look alive.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Of a terminal's line.
const WIDTH: usize = 76;

pub(super) struct Progress {
    shown: Shown,
    files: usize,
    file: usize,
    tests: usize,
    said_at: Timestamp,
    /// A line of ours stands on the terminal.
    drawn: bool,
}

enum Shown {
    Never,
    /// One line that is overwritten.
    Terminal,
    /// Line after line.
    Log,
}

impl Progress {
    pub(super) fn new(quiet: bool, files: usize) -> Self {
        let shown = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Shown::Never,
            (false, true) => Shown::Terminal,
            (false, false) => Shown::Log,
        };
        Self { shown, files, file: 0, tests: 0, said_at: SystemClock.now(), drawn: false }
    }

    pub(super) fn next_file(&mut self) {
        self.file += 1;
    }

    /// This test is being played from now on.
    pub(super) fn begins(&mut self, path: &str, test: &str) {
        self.tests += 1;
        let now = SystemClock.now();
        let every = match self.shown {
            Shown::Never => return,
            Shown::Terminal => DRAW_EVERY,
            Shown::Log => LOG_EVERY,
        };
        if now.since(self.said_at) < every {
            return;
        }
        self.said_at = now;
        let (file, files, tests) = (self.file, self.files, self.tests);
        let words = format!("file {file} of {files}, test {tests}: {path}: {test}");
        let mut stderr = std::io::stderr();
        // Whoever closed stderr does not want to know.
        let _ = match self.shown {
            Shown::Terminal => {
                self.drawn = true;
                let line: String = words.chars().take(WIDTH).collect();
                write!(stderr, "\r{line:WIDTH$}").and_then(|()| stderr.flush())
            }
            Shown::Log => writeln!(stderr, "{words}"),
            Shown::Never => Ok(()),
        };
    }

    /// The line on the terminal makes room for what is printed next.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "\r{:WIDTH$}\r", "").and_then(|()| stderr.flush());
        }
    }
}
