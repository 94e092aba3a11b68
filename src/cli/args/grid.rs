//! Grids and ranges: parsing and checks.

use super::options::PlaneOptions;
use crate::error::{Error, Result};
use crate::experiment::plane::{DEFAULT_MARGIN, DEFAULT_STEPS, GridSpec};
use crate::result::grid::linspace;

/// Largest margin, in sides of the box; beyond it the box shrinks to a point.
const MOST_MARGIN: f64 = 1000.0;

/// Returns the part of the plane that was asked for.
///
/// # Errors
/// When a value is out of range.
pub fn spec(options: &PlaneOptions) -> Result<GridSpec> {
    let steps = options.steps.unwrap_or(DEFAULT_STEPS);
    let margin = options.margin.unwrap_or(DEFAULT_MARGIN);
    check_steps(steps)?;
    if !(0.0..=MOST_MARGIN).contains(&margin) {
        return Err(Error::flag(
            "--margin",
            format!("is {margin:?}; expected 0 to {MOST_MARGIN}"),
        ));
    }
    match (&options.x, &options.y) {
        (Some(x), Some(y)) => Ok(GridSpec::Axes {
            xs: range("--x", x)?,
            ys: range("--y", y)?,
        }),
        (None, None) => Ok(GridSpec::Box { steps, margin }),
        _ => Err(Error::flag("--x, --y", "set both or none")),
    }
}

/// Checks the number of points along a side.
///
/// # Errors
/// When there are fewer than 2 or more than 10000.
pub fn check_steps(steps: usize) -> Result<()> {
    if (2..=10_000).contains(&steps) {
        return Ok(());
    }
    Err(Error::flag(
        "--steps",
        format!("is {steps}; expected 2 to 10000"),
    ))
}

/// Parses `MIN:MAX:N`, both ends included.
pub fn range(flag: &str, text: &str) -> Result<Vec<f64>> {
    let fault = || {
        Error::flag(
            flag,
            format!("is `{text}`; expected MIN:MAX:N with MIN < MAX and N at least 2"),
        )
    };
    let parts: Vec<&str> = text.split(':').collect();
    let [min, max, n] = parts.as_slice() else {
        return Err(fault());
    };
    let (Ok(min), Ok(max), Ok(n)) = (min.parse::<f64>(), max.parse::<f64>(), n.parse::<usize>())
    else {
        return Err(fault());
    };
    // Far beyond any weights; larger values would overflow later.
    let possible = -1e100..=1e100;
    let is_possible = possible.contains(&min) && possible.contains(&max) && min < max;
    if !is_possible || !(2..=10_000).contains(&n) {
        return Err(fault());
    }
    let values = linspace(min, max, n);
    let apart = values.windows(2).all(|pair| pair[0] < pair[1]);
    if !apart || max - min < 1e-100 {
        return Err(Error::flag(
            flag,
            format!("is `{text}`; {n} numbers between {min:?} and {max:?} cannot be told apart"),
        ));
    }
    Ok(values)
}
