//! What of a sample is compared: its loss or whether it is wrong.

use super::inference::points::PointValues;
use crate::evaluate::outcomes::Outcomes;
use crate::result::panels::Quantity;

/// The quantity of every sample: its loss in nats, or 1 if it is wrong and 0 if it is right.
pub fn values(quantity: Quantity, outcomes: &Outcomes) -> Vec<f64> {
    match quantity {
        Quantity::Loss => outcomes.losses_f64(),
        Quantity::Error => outcomes.errors(),
    }
}

/// Points at which a quantity, or a difference of it, is compared on `samples` samples. One sample
/// can move an error by 1; how far it can move a loss is not known.
pub fn points(quantity: Quantity, samples: usize) -> PointValues {
    let grain = match quantity {
        Quantity::Loss => None,
        Quantity::Error => Some(1.0),
    };
    PointValues::new(samples, grain)
}
