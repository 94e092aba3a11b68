//! The Hessian of the loss at a mix: extreme eigenvalues, trace and spectral density.

use super::session::Session;
use super::{Observer, batch_norm};
use crate::analysis::spectrum::{FoundSpectrum, SpectrumPlan, spectrum};
use crate::base::human::size;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::differentiable_loss::{DifferentiableLoss, Reference};
use crate::evaluate::linear_operator::LinearOperator;
use crate::evaluate::onnx::Engine;
use crate::evaluate::onnx::gradient::{AGREEMENT, Curvature, Precision};
use crate::graph::network::Network;
use crate::result::soup::Coefficient;
use crate::result::spectrum::Spectrum;
use crate::space::mix::Mix;
use crate::space::statistics::BatchNorm;

/// Where to compute the Hessian, and which quantities.
#[derive(Debug, Clone)]
pub struct SpectrumSettings {
    /// Weights of the session's checkpoints, `weights[checkpoint]`, which sum to 1; if empty, the
    /// Hessian is at θ0.
    pub weights: Vec<f64>,
    /// The quantities to compute. The seed is replaced by the session's.
    pub plan: SpectrumPlan,
    /// Whether to compute derivatives in float64.
    pub double: bool,
}

impl SpectrumSettings {
    /// Checks the weights against the models of a session.
    fn check(&self, session: &Session) -> Result<()> {
        if !session.settings.every_tensor_moves {
            let problem = "a Hessian is over all tensors: set `every_tensor_moves`";
            return Err(Error::flag("session", problem));
        }
        let (weights, models) = (self.weights.len(), session.members() - 1);
        let sum: f64 = self.weights.iter().sum();
        if weights > 0 && (weights != models || (sum - 1.0).abs() > 1e-6) {
            return Err(Error::flag(
                "weights",
                format!("there are {weights} for {models} models, with the sum {sum}; expected 1"),
            ));
        }
        Ok(())
    }
}

/// Computes the spectrum on the session's first data set. The session must let every tensor move.
///
/// # Errors
/// When an input cannot be used, memory does not suffice, or the run fails or is stopped.
pub fn run(
    session: &Session,
    settings: &SpectrumSettings,
    observer: &dyn Observer,
) -> Result<Spectrum> {
    session.settings.refuse_limits()?;
    session.settings.refuse_recalibration("a Hessian needs")?;
    settings.check(session)?;
    let network = session.network();
    let mut data = session.load_data()?;
    let held_out = data.add_left_out(&session.settings)?;
    if let Some(output) = &session.settings.output {
        output.check()?;
    }
    let engine = session.engine(&network, &data, observer)?;
    let mix = mix(&settings.weights, session.members());
    let aligned = session.aligned();
    let words = ("points", "weights of 0 or more");
    let mixes = std::slice::from_ref(&mix);
    let beyond = batch_norm::beyond(session, &network, mixes, words, |_| String::new());
    let found = measured((session, settings), &engine, &mix, held_out, observer);
    let mut found = found.map_err(Error::nothing_kept)?;
    found
        .warnings
        .extend(of_batch_norm(session, &network, settings));
    found.warnings.extend(beyond);
    let names = session.names();
    found.name = match settings.weights.len() {
        0 => names[0].clone(),
        1 => names[1].clone(),
        _ => "soup".to_string(),
    };
    found.coefficients = coefficients(&mix, &names);
    let of_inputs = [engine.warnings(), &aligned.warnings].concat();
    found.warnings.splice(0..0, of_inputs);
    found.provenance = session.provenance(&data, None);
    session.conclude(engine, true)?;
    Ok(found)
}

/// Warns about batch norm's statistics: averaged in a mix of several models, or θ0's in any.
fn of_batch_norm(
    session: &Session,
    network: &Network<'_>,
    settings: &SpectrumSettings,
) -> Option<String> {
    let warning = batch_norm::averaged(session, network)?;
    match session.settings.batch_norm {
        // No derivative of re-estimated statistics is computed, so there is no cure to name.
        BatchNorm::Interpolate if settings.weights.len() > 1 => {
            Some(batch_norm::AVERAGED.to_string())
        }
        BatchNorm::Origin if !settings.weights.is_empty() => Some(warning),
        _ => None,
    }
}

/// The mix of the checkpoints; θ0 if there are no weights.
fn mix(weights: &[f64], members: usize) -> Mix {
    if weights.is_empty() {
        return Mix::unit(0, members);
    }
    let weights = weights.iter().enumerate();
    let weights: Vec<_> = weights.map(|(k, weight)| (k + 1, *weight)).collect();
    Mix::over(&weights, members)
}

/// The nonzero coefficients of a mix.
fn coefficients(mix: &Mix, names: &[String]) -> Vec<Coefficient> {
    let members = mix.row(0).iter().zip(names);
    let members = members.filter(|(coefficient, _)| **coefficient != 0.0);
    let coefficients = members.map(|(&coefficient, model)| Coefficient {
        model: model.clone(),
        tensor: None,
        coefficient,
    });
    coefficients.collect()
}

/// Computes the spectrum. The caller adds name, coefficients and provenance. `has_held_out` tells
/// whether the second data set holds further samples of the first.
fn measured(
    (session, settings): (&Session, &SpectrumSettings),
    engine: &Engine<'_>,
    mix: &Mix,
    has_held_out: bool,
    observer: &dyn Observer,
) -> Result<Spectrum> {
    let precision = engine.precision(if settings.double {
        Precision::Double
    } else {
        Precision::Own
    });
    let plan = SpectrumPlan {
        seed: session.seed(),
        ..settings.plan.clone()
    };
    let dataset = engine.datasets().swap_remove(0);
    let curvature = engine.curvature(0, mix, (0..dataset.samples).collect(), precision)?;
    check_memory(&plan, curvature.dim(), engine)?;
    let has_held_out = has_held_out && plan.top + plan.bottom > 0;
    let held_out = has_held_out.then(|| {
        let samples = 0..engine.datasets()[1].samples;
        engine.curvature(1, mix, samples.collect(), precision)
    });
    let held_out = held_out.transpose()?;
    observer.note(&format!(
        "{} parameters, {} samples of {}: at most {} Hessian-vector products",
        curvature.dim(),
        dataset.samples,
        dataset.name,
        plan.products(curvature.dim(), has_held_out),
    ));
    let (loss, gradient_norm) = slope(engine, mix, &curvature, precision)?;
    let found = found(&curvature, held_out.as_ref(), &plan, observer)?;
    let mut warnings = found.warnings;
    for curvature in [Some(&curvature), held_out.as_ref()].into_iter().flatten() {
        warnings.extend(by_differences(curvature).filter(|it| !warnings.contains(it)));
    }
    Ok(Spectrum {
        name: String::new(),
        coefficients: Vec::new(),
        held_out_samples: held_out.map_or(0, |_| engine.datasets()[1].samples),
        dataset,
        dimension: curvature.dim(),
        loss,
        gradient_norm,
        eigenvalues: found.eigenvalues,
        trace: found.trace,
        density: found.density,
        products: found.products,
        method: match (curvature.differences(), precision) {
            (Some(_), _) => "differences".to_string(),
            (None, Precision::Own) => "graph".to_string(),
            (None, Precision::Double) => "graph in float64".to_string(),
        },
        seed: plan.seed,
        warnings,
        provenance: Default::default(),
    })
}

/// The loss and the length of its gradient, once the loss is that of the network itself.
fn slope(
    engine: &Engine<'_>,
    mix: &Mix,
    curvature: &Curvature<'_>,
    precision: Precision,
) -> Result<(f64, f64)> {
    let gradients = engine.gradients(0, usize::MAX, precision)?;
    let samples: Vec<usize> = (0..gradients.samples()).collect();
    let gradient = gradients.loss_and_gradient(mix, 1.0, &samples)?;
    let answers = engine.evaluate_one(std::slice::from_ref(mix), 0, &())?;
    Reference::of(&answers, 0, "this point", engine.rounding()).hold(gradient.loss)?;
    let along = curvature.vector(&gradient);
    let norm = along.iter().map(|x| x * x).sum::<f64>().sqrt();
    Ok((gradient.loss, norm))
}

/// Computes the spectrum; the observer counts the products.
fn found(
    curvature: &Curvature<'_>,
    held_out: Option<&Curvature<'_>>,
    plan: &SpectrumPlan,
    observer: &dyn Observer,
) -> Result<FoundSpectrum> {
    let products = plan.products(curvature.dim(), held_out.is_some());
    observer.steps_begin("products", products);
    let held_out = held_out.map(|it| it as &dyn LinearOperator);
    let mut done = 0;
    let found = spectrum(curvature, held_out, plan, &mut |products| {
        observer.steps_done(products - done);
        done = products;
    })?;
    observer.steps_end();
    Ok(found)
}

/// Warns if products are finite differences, and if these did not settle.
fn by_differences(curvature: &Curvature<'_>) -> Option<String> {
    let (why, sides) = (curvature.differences()?, curvature.sides()?);
    let text = format!("products are differences of gradients in float64, not derivatives: {why}");
    if sides.apart == 0 {
        return Some(text);
    }
    Some(format!(
        "{text}; in {} of {} products, the differences ahead and behind are more than {}% apart at every \
         step (up to {:.0}%): the network has a kink there, such as a ReLU at 0, and the spectrum may be \
         wrong",
        sides.apart,
        sides.count,
        100.0 * AGREEMENT,
        100.0 * sides.worst
    ))
}

fn check_memory(plan: &SpectrumPlan, dim: usize, engine: &Engine<'_>) -> Result<()> {
    let (needed, free) = (plan.memory(dim), engine.memory());
    if needed <= free {
        return Ok(());
    }
    Err(Error::flag(
        "--steps",
        format!(
            "{} vectors of {dim} numbers take {}; {} may be taken",
            needed / (8 * dim.max(1) as u64),
            size(needed),
            size(free)
        ),
    )
    .help("reduce --steps or --probe-steps, or allow more with --memory"))
}
