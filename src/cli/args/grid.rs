//! Which part of the plane is drawn, and how finely.

use super::args::{PanelsArg, PlaneArgs};
use super::config::Config;
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::result::grid::{Grid, linspace};
use crate::space::plane::PlaneBasis;

/// Most points of a grid: beyond it nobody could wait, nor open the CSV.
const POINTS: usize = 1_000_000;

/// Most margin, in sides of the box: beyond it the box is a point.
const MARGIN: f64 = 1000.0;

/// The grid and the panels that were asked for.
pub struct Window {
    /// Panels of the figure.
    pub panels: PanelsArg,
    steps: usize,
    margin: f64,
    ranges: Option<(Vec<f64>, Vec<f64>)>,
}

impl Window {
    /// Checks what was typed and configured.
    ///
    /// # Errors
    /// When a value is impossible.
    pub fn new(arguments: &PlaneArgs, plan: &Plan, config: &Config) -> Result<Self> {
        let steps = arguments.steps.or(config.plane.steps).unwrap_or(21);
        let margin = arguments.margin.or(config.plane.margin).unwrap_or(0.25);
        check_steps(steps)?;
        if !(0.0..=MARGIN).contains(&margin) {
            return Err(Error::flag(
                "--margin",
                format!("is {margin:?}; 0 to {MARGIN} is possible"),
            ));
        }
        let typed = arguments.steps.is_some() || arguments.margin.is_some();
        let configured = |value: &Option<String>| value.clone().filter(|_| !typed);
        let x = arguments.x.clone().or_else(|| configured(&config.plane.x));
        let y = arguments.y.clone().or_else(|| configured(&config.plane.y));
        let ranges = match (x, y) {
            (Some(x), Some(y)) => Some((range("--x", &x)?, range("--y", &y)?)),
            (None, None) => None,
            _ => return Err(Error::flag("--x, --y", "set both or none")),
        };
        let request = &plan.request;
        if arguments.adaptive && (request.max_time.is_some() || request.tolerance.is_some()) {
            return Err(Error::flag(
                "--adaptive",
                "cannot go with --max-time or --tolerance: points refined later would have other \
                 samples",
            ));
        }
        Ok(Self {
            panels: panels(arguments, config)?,
            steps,
            margin,
            ranges,
        })
    }

    /// The grid over a plane.
    ///
    /// # Errors
    /// When it has more points than anybody could wait for.
    pub fn grid(&self, basis: &PlaneBasis) -> Result<Grid> {
        let grid = match &self.ranges {
            Some((xs, ys)) => Grid {
                xs: xs.clone(),
                ys: ys.clone(),
            },
            None => basis.grid(self.steps, self.margin),
        };
        if grid.len() > POINTS {
            let (nx, ny) = (grid.xs.len(), grid.ys.len());
            return Err(Error::flag(
                "grid",
                format!("has {nx}×{ny} points; at most {POINTS} are possible"),
            ));
        }
        Ok(grid)
    }
}

/// Refuses numbers of points along a side that nobody wants.
///
/// # Errors
/// When there are fewer than 2 or more than 10000.
pub fn check_steps(steps: usize) -> Result<()> {
    if (2..=10_000).contains(&steps) {
        return Ok(());
    }
    Err(Error::flag(
        "--steps",
        format!("is {steps}; 2 to 10000 are possible"),
    ))
}

fn panels(arguments: &PlaneArgs, config: &Config) -> Result<PanelsArg> {
    match (arguments.panels, config.plane.panels.as_deref()) {
        (Some(panels), _) => Ok(panels),
        (None, None | Some("paper")) => Ok(PanelsArg::Paper),
        (None, Some("all")) => Ok(PanelsArg::All),
        (None, Some(other)) => Err(Error::flag(
            "panels",
            format!("is `{other}`; `paper` or `all`"),
        )),
    }
}

/// `MIN:MAX:N`, ends included.
pub fn range(flag: &str, text: &str) -> Result<Vec<f64>> {
    let fault = || {
        Error::flag(
            flag,
            format!("is `{text}`; MIN:MAX:N with MIN < MAX and N from 2 on is needed"),
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
    // Far beyond any weights; larger ones would overflow on the way.
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
