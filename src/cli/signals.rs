//! What ends a run from outside: signals that stop it, and one that is turned into an error.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::atomic;
use crate::error::{Error, Result};

/// Set when the user asks the run to end.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Lets Ctrl-C, a hangup and a request to end stop the run with what is finished kept; a second one
/// ends the program at once.
///
/// What was ignored when the program began stays ignored: `nohup` and the shell of a script say so
/// of runs that are to go on.
///
/// # Errors
/// When the system has no such handlers.
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
    // A file that grows beyond `ulimit -f` is then an error of the write, with the file's name.
    #[cfg(unix)]
    unix::ignore(libc::SIGXFSZ);
    Ok(())
}

#[cfg(unix)]
mod unix {
    use libc::{SIGHUP, SIGINT, SIGTERM, c_int};

    /// Those of the signals that stop a run that are ignored now.
    pub fn ignored() -> Vec<c_int> {
        let is_ignored = |signal: &c_int| {
            // SAFETY: sigaction is plain data, for which zeroes are a value; without a new action
            // the call only writes the one that is in force to `now`.
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
        // SAFETY: SIG_IGN runs no code of ours, so nothing has to be safe within a handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
