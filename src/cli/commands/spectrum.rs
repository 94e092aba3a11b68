//! `landscape spectrum`.

use crate::cli::args::SpectrumArgs;
use crate::cli::progress::Progress;
use crate::cli::report::{SpectrumReport, finish};
use crate::error::Result;
use crate::experiment::session::Session;
use crate::experiment::spectrum;

/// Computes the spectrum and draws it.
pub fn run(arguments: &SpectrumArgs) -> Result<()> {
    let (session, settings) = arguments.plan()?;
    let progress = Progress::default();
    let session = Session::open(session, &progress)?;
    let spectrum = spectrum::run(&session, &settings, &progress)?;
    let report = SpectrumReport {
        spectrum: &spectrum,
        averages: session.aligned().averages.as_deref(),
    };
    finish(&report, &session, &progress, arguments.run.output.json)?;
    session.forget();
    Ok(())
}
