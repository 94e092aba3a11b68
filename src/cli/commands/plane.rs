//! `landscape plane`.

use crate::cli::args::PlaneArgs;
use crate::cli::progress::Progress;
use crate::cli::report::{PlaneReport, finish, write_partial};
use crate::error::Result;
use crate::experiment::output::Output;
use crate::experiment::plane;
use crate::experiment::session::Session;
use crate::result::plane::Plane;

/// Measures the plane and draws it; partial results are drawn on the way.
pub fn run(arguments: &PlaneArgs) -> Result<()> {
    let plan = arguments.plan("plane")?;
    let panels = plan.panels;
    let partial = plan.session.output.as_ref().map(Output::partial);
    let write = |plane: &Plane| match &partial {
        Some(output) => write_partial(plane, panels, output),
        None => Ok(()),
    };
    let progress = Progress::showing(&write);
    let session = Session::open(plan.session, &progress)?;
    let plane = plane::run(&session, &plan.plane, &progress)?;
    let report = PlaneReport {
        plane: &plane,
        panels,
        averages: session.aligned().averages.as_deref(),
    };
    finish(&report, &session, &progress, arguments.run.output.json)?;
    partial.iter().for_each(Output::remove);
    session.forget();
    Ok(())
}
