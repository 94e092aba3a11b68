//! The titles of panels.

use super::text::short;
use crate::result::panels::Panel;
use crate::result::score::DatasetInfo;

/// The title of a panel: the data set, the quantity and its unit.
pub fn title(panel: &Panel, datasets: &[DatasetInfo]) -> String {
    let quantity = panel.words();
    let unit = panel.quantity.unit();
    match panel.datasets.as_slice() {
        [one] => format!("{} {quantity} ({unit})", short(&datasets[*one].name)),
        many => format!("mean {quantity} over {} shifts ({unit})", many.len()),
    }
}
