//! How the layouts of the work compare on this network and machine.

use super::Observer;
use super::session::Session;
use crate::error::Result;
use crate::evaluate::onnx::{Layout, Timing};

/// Rates of the layouts that the settings leave open.
pub struct LayoutRates {
    /// Evaluation.
    pub evaluation: Vec<(Layout, Timing)>,
    /// Gradients and Hessian products: what is computed, how, and samples a second; or why there
    /// are none.
    pub gradients: Result<Vec<(&'static str, Layout, f64)>>,
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
    Ok(LayoutRates {
        evaluation: engine.compare()?,
        gradients: engine.compare_gradients(),
    })
}
