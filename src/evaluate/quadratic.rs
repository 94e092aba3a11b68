//! An exact quadratic loss, whose surface has a closed form: an evaluator for testing analyses.

use super::differentiable_loss::{CoefficientGradient, DifferentiableLoss};
use super::linear_operator::LinearOperator;
use super::metrics::Outcome;
use super::outcomes::Outcomes;
use super::{Answers, EvaluationObserver, Evaluator};
use crate::error::Result;
use crate::result::score::{DatasetInfo, Role, Score};
use crate::space::decode;
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// L(θ) = ½ Σₖ hₖ (θₖ − θ*ₖ)² + c over the pool's counted elements; the "error" is
/// L/(1 + L), which grows with L and stays in [0, 1).
pub struct Quadratic {
    members: Vec<Vec<f64>>,
    /// The parameter of each element.
    parameter: Vec<usize>,
    names: Vec<String>,
    minimum: Vec<f64>,
    curvature: Vec<f64>,
    floor: f64,
    datasets: Vec<DatasetInfo>,
}

impl Quadratic {
    /// A loss with its minimum `floor` at `minimum` and the diagonal Hessian `curvature`; both
    /// vectors have the length of all counted elements.
    pub fn new(pool: &Pool, minimum: Vec<f64>, curvature: Vec<f64>, floor: f64) -> Self {
        let flat = |member: usize| {
            let counted = pool.parameters.iter().enumerate();
            let counted = counted.filter(|(_, parameter)| parameter.counts());
            let sources = &pool.members[member].sources;
            counted
                .flat_map(|(index, _)| decode::values(&sources[index]))
                .collect()
        };
        let counted = pool.parameters.iter().enumerate();
        let counted = counted.filter(|(_, parameter)| parameter.counts());
        let parameter = counted
            .flat_map(|(index, parameter)| std::iter::repeat_n(index, parameter.len()))
            .collect();
        let names = pool.parameters.iter();
        Self {
            members: (0..pool.members.len()).map(flat).collect(),
            parameter,
            names: names.map(|parameter| parameter.name.clone()).collect(),
            minimum,
            curvature,
            floor,
            datasets: vec![DatasetInfo {
                name: "test".to_string(),
                role: Role::Test,
                samples: 1,
            }],
        }
    }

    /// The weights θ of a mix.
    pub fn theta(&self, mix: &Mix) -> Vec<f64> {
        (0..self.minimum.len())
            .map(|k| self.element(mix, k))
            .collect()
    }

    fn element(&self, mix: &Mix, k: usize) -> f64 {
        let members = self.members.iter().zip(mix.row(self.parameter[k]));
        members.map(|(member, c)| c * member[k]).sum()
    }

    /// θₖ − θ*ₖ.
    fn distance(&self, mix: &Mix, k: usize) -> f64 {
        self.element(mix, k) - self.minimum[k]
    }

    fn loss(&self, mix: &Mix) -> f64 {
        let term = |k: usize| 0.5 * self.curvature[k] * self.distance(mix, k).powi(2);
        (0..self.minimum.len()).map(term).sum::<f64>() + self.floor
    }
}

/// One sample. Its best β is 1: the loss grows by ½(β − 1)².
impl DifferentiableLoss for Quadratic {
    fn parameters(&self) -> Vec<(usize, String)> {
        self.names.iter().cloned().enumerate().collect()
    }

    fn samples(&self) -> usize {
        1
    }

    fn coefficient_gradient(
        &self,
        mix: &Mix,
        beta: f64,
        _samples: &[usize],
    ) -> Result<CoefficientGradient> {
        let mut rows = vec![vec![0.0; self.members.len()]; self.names.len()];
        for k in 0..self.minimum.len() {
            let slope = self.curvature[k] * self.distance(mix, k);
            let row = rows[self.parameter[k]].iter_mut();
            for (sum, member) in row.zip(&self.members) {
                *sum += slope * member[k];
            }
        }
        Ok(CoefficientGradient {
            fit: self.fit(mix, beta, &[0])?,
            rows,
            beta: beta - 1.0,
        })
    }

    fn outcomes(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Vec<Outcome>> {
        let one = Outcome {
            loss: self.loss(mix) + 0.5 * (beta - 1.0).powi(2),
            correct: true,
        };
        Ok(vec![one; samples.len()])
    }
}

/// The Hessian, which is the same everywhere.
impl LinearOperator for Quadratic {
    fn dim(&self) -> usize {
        self.curvature.len()
    }

    fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
        let terms = self.curvature.iter().zip(v);
        Ok(terms.map(|(h, v)| h * v).collect())
    }
}

impl Evaluator for Quadratic {
    fn outcomes(&self, mix: &Mix, _set: usize, samples: usize) -> Result<Option<Outcomes>> {
        let one = Outcome {
            loss: self.loss(mix),
            correct: true,
        };
        Ok((samples <= 1).then(|| std::iter::repeat_n(one, samples).collect()))
    }

    fn datasets(&self) -> Vec<DatasetInfo> {
        self.datasets.clone()
    }

    fn evaluate_on(
        &self,
        mixes: &[Mix],
        _wanted: &[bool],
        observer: &dyn EvaluationObserver,
    ) -> Result<Answers> {
        let score = |mix: &Mix| {
            let loss = self.loss(mix);
            observer.progress(1, 1);
            vec![Score {
                loss,
                loss_se: 0.0,
                error: loss / (1.0 + loss),
                error_se: 0.0,
                nonfinite: 0,
            }]
        };
        Ok(Answers {
            betas: Vec::new(),
            datasets: self.datasets.clone(),
            scores: mixes.iter().map(score).collect(),
            originals: Vec::new(),
        })
    }
}
