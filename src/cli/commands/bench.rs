//! `landscape bench`.

use crate::cli::args::PlaneArgs;
use crate::cli::progress::Progress;
use crate::cli::terminal::{note, print};
use crate::error::Result;
use crate::experiment::layouts;
use crate::experiment::session::Session;

/// Prints how fast each layout evaluates a plane on this machine.
pub fn run(arguments: &PlaneArgs) -> Result<()> {
    let plan = arguments.plan("plane")?;
    let progress = Progress::default();
    let session = Session::open(plan.session, &progress)?;
    let rates = layouts::run(&session, &progress)?;
    let row = |first: &str, second: &str, layout: &str| {
        print(&format!("{first:>12}  {second:>12}  {layout}"));
    };
    row("samples/s", "ms a model", "layout");
    for (layout, timing) in rates.evaluation {
        let rate = format!("{:.1}", timing.rate);
        let each = format!("{:.2}", 1e3 * timing.each);
        row(&rate, &each, &layout.to_string());
    }
    match rates.gradients {
        Ok(rates) => {
            for (what, layout, rate) in rates {
                row(&format!("{rate:.1}"), "", &format!("{layout}: {what}"));
            }
        }
        Err(why) => note(&format!("no gradients: {why}")),
    }
    Ok(())
}
