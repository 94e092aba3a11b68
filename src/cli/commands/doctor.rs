//! `landscape doctor`.

use crate::cli::args::DoctorArgs;
use crate::cli::terminal::print_lines;
use crate::evaluate::doctor;

/// Prints what was found; the exit status is 1 if no runtime can be used.
pub fn run(arguments: &DoctorArgs) -> u8 {
    let (report, usable) = doctor::report(arguments.onnxruntime.as_deref());
    print_lines(report.trim_end());
    u8::from(!usable)
}
