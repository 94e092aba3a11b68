//! How the layouts of the work compare on this network and machine.

use super::Observer;
use super::session::Session;
use crate::error::{Cause, Result};
use crate::evaluate::onnx::{Layout, Timing};

/// Rates of the layouts that the settings leave open.
pub struct LayoutRates {
    /// Evaluation.
    pub evaluation: Vec<(Layout, Timing)>,
    /// Gradients and Hessian products: what is computed, how, and samples per second; or why the
    /// network has no derivative.
    pub gradients: std::result::Result<Vec<(&'static str, Layout, f64)>, String>,
}

/// Times the layouts on the first data set.
///
/// # Errors
/// When an input cannot be used or the network cannot be run.
pub fn run(session: &Session, observer: &dyn Observer) -> Result<LayoutRates> {
    let network = session.network();
    let data = session.load_data()?;
    let files = session.untouched(&network);
    let engine = session.engine(&network, &data, observer)?.with_files(files);
    let evaluation = engine.compare()?;
    let gradients = match engine.compare_gradients() {
        Ok(rates) => Ok(rates),
        Err(error) if matches!(error.cause(), Cause::NoDerivative) => Err(error.first_line()),
        Err(error) => return Err(error),
    };
    Ok(LayoutRates {
        evaluation,
        gradients,
    })
}
