//! Compares the layouts of an evaluation on this network and machine.

use super::Observer;
use super::session::Session;
use crate::error::{Cause, Result};
use crate::evaluate::onnx::{Layout, Timing};

/// Measured rates of the layouts that the settings leave open.
pub struct LayoutRates {
    /// Layouts of the evaluation and their timings.
    pub evaluation: Vec<(Layout, Timing)>,
    /// Layouts of gradients and Hessian products: what is computed, the layout, and samples per
    /// second. An error says why the network has no derivative.
    pub gradients: std::result::Result<Vec<(&'static str, Layout, f64)>, String>,
}

/// Times the layouts on the first data set.
///
/// # Errors
/// When an input cannot be used or the network cannot be run.
pub fn run(session: &Session, observer: &dyn Observer) -> Result<LayoutRates> {
    let network = session.network();
    let data = session.load_data()?;
    let files = session.originals(&network);
    let engine = session
        .engine(&network, &data, observer)?
        .with_originals(files);
    let evaluation = engine.compare()?;
    let gradients = match engine.compare_gradients() {
        Err(error) if matches!(error.cause(), Cause::Interrupted) => return Err(error),
        rates => rates.map_err(|error| error.first_line()),
    };
    Ok(LayoutRates {
        evaluation,
        gradients,
    })
}
