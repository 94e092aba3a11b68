//! `landscape line`.

use crate::cli::args::LineArgs;
use crate::cli::progress::Progress;
use crate::cli::report::{LineReport, finish};
use crate::error::Result;
use crate::experiment::line;
use crate::experiment::session::Session;

/// Measures the path and draws it.
pub fn run(arguments: &LineArgs) -> Result<()> {
    let plan = arguments.plan()?;
    let progress = Progress::default();
    let session = Session::open(plan.session, &progress)?;
    let line = line::run(&session, &plan.line, &progress)?;
    let report = LineReport {
        line: &line,
        panels: plan.panels,
        averages: session.aligned().averages.as_deref(),
    };
    finish(&report, &session, &progress, arguments.run.output.json)?;
    session.forget();
    Ok(())
}
