//! L-BFGS (Liu and Nocedal 1989) with the line search of Moré and Thuente (1994), as argmin has
//! them, one iteration at a time.

use std::cell::RefCell;
use std::rc::Rc;

use argmin::core::{CostFunction, Gradient, IterState, Problem, Solver, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

use crate::error::{Error, Result};
use crate::evaluate::differentiable_loss::Fit;

/// Number of earlier steps that the curvature is estimated from.
const MEMORY: usize = 10;

/// Number of evaluations after which a line search is given up. A few are usual; near the minimum,
/// rounding may leave it nothing to find.
const EVALUATIONS: usize = 20;

/// The fraction of the loss that an iteration of L-BFGS must gain; below it, L-BFGS begins anew, and
/// ends if that gains less than ten times as much. On the example, this leaves about 1 % of the gain.
pub const LEAST_GAIN: f64 = 1e-4;

/// The fraction of the loss that slopes must promise for L-BFGS to begin anew.
pub const LEAST_PROMISE: f64 = 1e-3;

/// A loss and its gradient in the free variables.
pub type Slope<'s> = dyn Fn(&[f64]) -> Result<(Fit, Vec<f64>)> + 's;

/// A place, and what was computed there.
#[derive(Clone)]
pub struct Place {
    pub free: Vec<f64>,
    pub fit: Fit,
    gradient: Vec<f64>,
}

/// What an iteration led to.
pub enum Advance {
    /// The next place.
    To(Place),
    /// No step that lowers the loss was found.
    Nowhere,
    /// A loss or a gradient was NaN or infinite.
    NotFinite,
}

/// What the solver and its owner both see.
#[derive(Default)]
struct Seen {
    /// The last two places, since a line search returns to the best one.
    places: Vec<Place>,
    /// Evaluations in this iteration.
    evaluations: usize,
    /// What stopped an evaluation.
    error: Option<Error>,
    /// Whether a loss or a gradient was NaN or infinite.
    is_broken: bool,
}

struct Objective<'s> {
    slope: &'s Slope<'s>,
    seen: Rc<RefCell<Seen>>,
}

type Line = MoreThuenteLineSearch<Vec<f64>, Vec<f64>, f64>;
type Iteration = IterState<Vec<f64>, Vec<f64>, (), (), (), f64>;

/// The method, between two iterations.
pub struct Lbfgs<'s> {
    problem: Problem<Objective<'s>>,
    solver: LBFGS<Line, Vec<f64>, Vec<f64>, f64>,
    state: Option<Iteration>,
    seen: Rc<RefCell<Seen>>,
}

impl<'s> Lbfgs<'s> {
    /// Begins at some values of the free variables. Nothing is computed yet.
    pub fn new(slope: &'s Slope<'s>, free: Vec<f64>) -> Self {
        let seen = Rc::new(RefCell::new(Seen::default()));
        let objective = Objective {
            slope,
            seen: Rc::clone(&seen),
        };
        Self {
            problem: Problem::new(objective),
            solver: LBFGS::new(MoreThuenteLineSearch::new(), MEMORY),
            state: Some(IterState::new().param(free)),
            seen,
        }
    }

    /// Takes one iteration.
    ///
    /// # Errors
    /// Returns the errors of the loss.
    pub fn advance(&mut self) -> Result<Advance> {
        let Some(mut state) = self.state.take() else {
            return Ok(Advance::Nowhere);
        };
        self.seen.borrow_mut().evaluations = 0;
        if state.get_gradient().is_none() {
            match self.solver.init(&mut self.problem, state) {
                Ok((begun, _)) => state = begun,
                Err(_) => return self.stopped(),
            }
        }
        let before = state.get_cost();
        let next = self.solver.next_iter(&mut self.problem, state);
        let Ok((mut state, _)) = next else {
            return self.stopped();
        };
        // The solver forgets its oldest step once this exceeds what it remembers.
        state.increment_iter();
        let Some(free) = state.get_param().cloned() else {
            // A failed line search ends the solver without a place.
            return self.stopped();
        };
        let place = self.seen.borrow().known(&free).cloned();
        match place {
            Some(place) if place.fit.loss < before => {
                self.state = Some(state);
                Ok(Advance::To(place))
            }
            _ => self.stopped(),
        }
    }

    fn stopped(&self) -> Result<Advance> {
        let mut seen = self.seen.borrow_mut();
        match seen.error.take() {
            Some(error) => Err(error),
            None if seen.is_broken => Ok(Advance::NotFinite),
            None => Ok(Advance::Nowhere),
        }
    }
}

impl Seen {
    fn known(&self, free: &[f64]) -> Option<&Place> {
        self.places.iter().find(|place| place.free == free)
    }
}

impl Objective<'_> {
    /// Computes loss and gradient together: one pass gives both.
    fn at(&self, free: &[f64]) -> std::result::Result<Place, argmin::core::Error> {
        if let Some(place) = self.seen.borrow().known(free) {
            return Ok(place.clone());
        }
        let give_up = |why: &str| Err(argmin::core::Error::msg(why.to_string()));
        if self.seen.borrow().evaluations >= EVALUATIONS {
            return give_up("too many evaluations");
        }
        let computed = (self.slope)(free);
        let mut seen = self.seen.borrow_mut();
        seen.evaluations += 1;
        let (fit, gradient) = match computed {
            Ok(computed) => computed,
            Err(error) => {
                seen.error = Some(error);
                return give_up("the loss cannot be computed");
            }
        };
        let place = Place {
            free: free.to_vec(),
            fit,
            gradient,
        };
        let is_finite = place.gradient.iter().all(|slope| slope.is_finite());
        if !fit.loss.is_finite() || !is_finite {
            seen.is_broken = true;
            return give_up("not finite");
        }
        seen.places.push(place.clone());
        if seen.places.len() > EVALUATIONS + 1 {
            seen.places.remove(0);
        }
        Ok(place)
    }
}

impl CostFunction for Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, free: &Vec<f64>) -> std::result::Result<f64, argmin::core::Error> {
        Ok(self.at(free)?.fit.loss)
    }
}

impl Gradient for Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, free: &Vec<f64>) -> std::result::Result<Vec<f64>, argmin::core::Error> {
        Ok(self.at(free)?.gradient)
    }
}
