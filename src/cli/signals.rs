//! Signals: some stop a run, and one is turned into an ordinary error.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::atomic;
use crate::error::{Error, Result};

/// Set when the user asks the run to end.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Installs the handlers: Ctrl-C, a hangup or a termination request stops the run and keeps what is
/// finished; a second one ends the program at once.
///
/// Signals that were ignored when the program started stay ignored: `nohup` and non-interactive
/// shells do this for runs that should continue.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn handle() -> Result<()> {
    #[cfg(unix)]
    let ignored = unix::ignored();
    let handler = || {
        if STOP.swap(true, Ordering::Relaxed) {
            atomic::remove_unfinished();
            std::process::exit(1);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Error::runtime("signal handler", error))?;
    #[cfg(unix)]
    ignored.into_iter().for_each(unix::ignore);
    // A file that grows beyond `ulimit -f` then fails with a write error that names the file.
    #[cfg(unix)]
    unix::ignore(libc::SIGXFSZ);
    Ok(())
}

#[cfg(unix)]
mod unix {
    use libc::{SIGHUP, SIGINT, SIGTERM, c_int};

    /// The stop signals that are currently ignored.
    pub fn ignored() -> Vec<c_int> {
        let is_ignored = |signal: &c_int| {
            // SAFETY: sigaction is plain data, so all zeroes is a valid value; without a new action
            // the call only writes the current one to `now`.
            let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
            let asked = unsafe { libc::sigaction(*signal, std::ptr::null(), &raw mut now) };
            asked == 0 && now.sa_sigaction == libc::SIG_IGN
        };
        [SIGHUP, SIGINT, SIGTERM]
            .into_iter()
            .filter(is_ignored)
            .collect()
    }

    /// Ignores a signal from now on.
    pub fn ignore(signal: c_int) {
        // SAFETY: SIG_IGN runs none of our code, so nothing has to be async-signal-safe.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
