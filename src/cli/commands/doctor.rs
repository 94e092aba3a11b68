//! `landscape doctor`.

use crate::cli::args::DoctorArgs;
use crate::cli::terminal::print_lines;
use crate::evaluate::doctor;

/// Prints what is there; the status is 1 when no runtime can be used.
pub fn run(arguments: &DoctorArgs) -> u8 {
    let (report, usable) = doctor::report(arguments.onnxruntime.as_deref());
    print_lines(report.trim_end());
    u8::from(!usable)
}
