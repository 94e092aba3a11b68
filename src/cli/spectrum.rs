//! `landscape spectrum`: the Hessian's eigenvalues at a mix.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::args::SpectrumArgs;
use super::prepare::{Inputs, Material};
use super::progress::Steps;
use super::{draw, note, print, print_json, statistics, warn};
use crate::analysis::spectrum::{Plan, Quadrature, spectrum};
use crate::checkpoint::{self, Checkpoint};
use crate::error::{Cause, Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::onnx::gradient::{Curvature, Precision};
use crate::evaluate::onnx::{Engine, size};
use crate::evaluate::slope::{Reference, Slopes};
use crate::result::atomic;
use crate::result::soup::Coefficient;
use crate::result::spectrum::{Eigenvalue, End, Spectrum};
use crate::result::spectrum_file;
use crate::space::mix::Mix;

/// Runs the command.
pub fn run(arguments: &SpectrumArgs) -> Result<()> {
    let start = Instant::now();
    check(arguments)?;
    let parts = parts(&arguments.at)?;
    let paths: Vec<&Path> = parts.iter().map(|(path, _)| path.as_path()).collect();
    let mut inputs = Inputs::open(&arguments.common, &arguments.run, &paths)?;
    if parts.is_empty() {
        // The origin beside itself: what its file names as constants is no part of θ.
        let origin = Checkpoint::open(&inputs.plan.origin)?;
        inputs.checkpoints.push(origin);
    }
    inputs.rename_left_out()?;
    inputs.plan.keep_one(arguments.on.as_deref())?;
    let network = inputs.network();
    let (mut aligned, _) = inputs.align(&network)?;
    aligned.pool.mark_moving();
    let material = Material::read(&inputs, &network)?;
    let csv = inputs.plan.csv(&arguments.name);
    atomic::probe(&csv)?;
    atomic::probe(&inputs.plan.plots().join(&arguments.name))?;
    let engine = material.engine(&inputs, &network, &aligned)?;
    let mix = mix(&parts, aligned.pool.members.len());
    let names = inputs.names();
    let words = ("points", "weights of 0 or more");
    let mixes = std::slice::from_ref(&mix);
    let beyond = statistics::beyond(&network, &aligned, mixes, words, |_| String::new());
    let found = measured(arguments, &inputs, &engine, &mix);
    let found = found.map_err(|error| match &beyond {
        Some(why) if matches!(error.cause(), Cause::Runtime) => error.help(why),
        _ => error.nothing_kept(),
    });
    let mut found = found?;
    if parts.len() > 1 {
        let averaged = statistics::averaged(&network, &aligned);
        found.warnings.extend(averaged);
    }
    found.warnings.extend(beyond);
    found.name = match parts.as_slice() {
        [] => names[0].clone(),
        [_] => names[1].clone(),
        _ => "soup".to_string(),
    };
    let members = mix.row(0).iter().zip(&names);
    found.coefficients = members
        .filter(|(coefficient, _)| **coefficient != 0.0)
        .map(|(&coefficient, model)| Coefficient {
            model: model.clone(),
            tensor: None,
            coefficient,
        })
        .collect();
    found
        .warnings
        .splice(0..0, [engine.warnings(), &aligned.warnings].concat());
    found.provenance = material.provenance(&inputs, &aligned);
    found.provenance.wall_seconds = start.elapsed().as_secs_f64();
    material.unchanged(&inputs, &engine)?;
    write(arguments, &inputs, &found, &csv)
}

/// A checkpoint with its weight.
type Part = (PathBuf, f64);

/// `CKPT` or `CKPT:WEIGHT`; without weights all have the same.
fn parts(at: &[String]) -> Result<Vec<Part>> {
    let part = |text: &String| {
        let is_file = checkpoint::find(Path::new(text)).is_ok_and(|path| path.is_file());
        match text.rsplit_once(':') {
            Some((path, weight)) if !is_file => match weight.parse::<f64>() {
                Ok(weight) if weight.abs() <= 1e6 => Ok((PathBuf::from(path), Some(weight))),
                _ => Err(Error::flag(
                    "--at",
                    format!("`{text}`: a number is needed behind the colon"),
                )),
            },
            _ => Ok((PathBuf::from(text), None)),
        }
    };
    let parts = at.iter().map(part).collect::<Result<Vec<_>>>()?;
    let given = parts.iter().filter(|(_, weight)| weight.is_some()).count();
    let sum: f64 = parts.iter().filter_map(|(_, weight)| *weight).sum();
    if given > 0 && (given < parts.len() || (sum - 1.0).abs() > 1e-6) {
        return Err(Error::flag(
            "--at",
            format!(
                "{given} of {} weights sum to {sum}; all must be given and sum to 1",
                parts.len()
            ),
        )
        .help("for a point between θ0 and a checkpoint name the origin's file as one of them"));
    }
    let each = 1.0 / parts.len().max(1) as f64;
    let weight = |weight: Option<f64>| weight.map_or(each, |weight| weight / sum);
    Ok(parts
        .into_iter()
        .map(|(path, given)| (path, weight(given)))
        .collect())
}

/// The mix of the parts: θ0 without any.
fn mix(parts: &[Part], members: usize) -> Mix {
    if parts.is_empty() {
        return Mix::unit(0, members);
    }
    let weights = parts
        .iter()
        .enumerate()
        .map(|(k, (_, weight))| (k + 1, *weight));
    Mix::over(&weights.collect::<Vec<_>>(), members)
}

/// Most of anything that is counted: nobody could wait for more.
const COUNT: usize = 1_000_000;

/// Whether something is asked for that can be had. What a configuration says of limits is for
/// planes.
fn check(arguments: &SpectrumArgs) -> Result<()> {
    let limits = [
        ("--max-time", &arguments.run.max_time),
        ("--tolerance", &arguments.run.tolerance),
    ];
    // Or they are products with different Hessians.
    if let Some((flag, _)) = limits.iter().find(|(_, limit)| limit.is_some()) {
        return Err(
            Error::flag(flag, "every product is over the same samples, all of them")
                .help("--limit N takes so many of the data set"),
        );
    }
    let accuracy = arguments.accuracy;
    if !(accuracy > 0.0 && accuracy.is_finite()) {
        let problem = format!("is {accuracy}; a number above 0 is needed");
        return Err(Error::flag("--accuracy", problem));
    }
    let SpectrumArgs {
        top,
        bottom,
        trace,
        probes,
        ..
    } = arguments;
    let counts = [
        ("--top", top),
        ("--bottom", bottom),
        ("--trace", trace),
        ("--probes", probes),
    ];
    if let Some((flag, count)) = counts.iter().find(|(_, count)| **count > COUNT) {
        return Err(Error::flag(
            flag,
            format!("is {count}; at most {COUNT} are possible"),
        ));
    }
    if counts.iter().all(|(_, count)| **count == 0) {
        let flags = "--top, --bottom, --trace, --probes";
        return Err(Error::flag(flags, "are all 0: nothing is left to find"));
    }
    Ok(())
}

/// Finds the spectrum.
fn measured(
    arguments: &SpectrumArgs,
    inputs: &Inputs,
    engine: &Engine<'_>,
    mix: &Mix,
) -> Result<Spectrum> {
    let precision = engine.precision(match arguments.double {
        true => Precision::Double,
        false => Precision::Own,
    });
    let plan = Plan {
        top: arguments.top,
        bottom: arguments.bottom,
        steps: arguments.steps as usize,
        tolerance: arguments.accuracy,
        trace: arguments.trace,
        density: (arguments.probes > 0).then(|| Quadrature {
            probes: arguments.probes,
            steps: arguments.probe_steps as usize,
            ..Quadrature::default()
        }),
        seed: inputs.plan.seed,
    };
    let gradients = engine.gradients(0, usize::MAX, precision)?;
    let dataset = gradients.dataset();
    let samples: Vec<usize> = (0..gradients.samples()).collect();
    let curvature = engine.curvature(0, mix, samples.clone(), precision)?;
    check_memory(&plan, curvature.dim(), engine)?;
    let products = plan.products(curvature.dim());
    note(&format!(
        "{} parameters, {} samples of {}: {products} products with the Hessian at most",
        curvature.dim(),
        samples.len(),
        dataset.name
    ));
    let gradient = gradients.loss_and_gradient(mix, 1.0, &samples)?;
    let evaluated = engine.evaluate(std::slice::from_ref(mix), &())?;
    let reference = Reference {
        what: "this point".to_string(),
        dataset: dataset.name.clone(),
        loss: evaluated.scores[0][0].loss,
        samples: samples.len(),
        rounding: engine.rounding(),
    };
    reference.hold(gradient.loss)?;
    let along = curvature.vector(&gradient);
    drop(gradients);
    let steps = Steps::new(products, "products");
    let mut done = 0;
    let found = spectrum(&curvature, &plan, &mut |products| {
        steps.advance(products - done, "");
        done = products;
    })?;
    steps.finish();
    let mut warnings = found.warnings;
    warnings.extend(doubts(&curvature));
    Ok(Spectrum {
        name: String::new(),
        coefficients: Vec::new(),
        dataset,
        dimension: curvature.dim(),
        loss: gradient.loss,
        gradient_norm: along.iter().map(|x| x * x).sum::<f64>().sqrt(),
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

/// What is to be said of the products.
fn doubts(curvature: &Curvature<'_>) -> Option<String> {
    let why = curvature.differences()?;
    let why = why.lines().next().unwrap_or_default();
    Some(format!(
        "products are differences of gradients in float64, not derivatives: {why}"
    ))
}

fn check_memory(plan: &Plan, dim: usize, engine: &Engine<'_>) -> Result<()> {
    let (needed, free) = (plan.memory(dim), engine.memory());
    if needed <= free {
        return Ok(());
    }
    Err(Error::flag(
        "--steps",
        format!(
            "{} vectors of {dim} numbers take {}; {} may be taken",
            plan.steps,
            size(needed),
            size(free)
        ),
    )
    .help("fewer --steps and --probe-steps need less, --memory allows more"))
}

fn write(arguments: &SpectrumArgs, inputs: &Inputs, found: &Spectrum, csv: &Path) -> Result<()> {
    spectrum_file::write(found, csv)?;
    let drawn = draw::spectrum_figures(found, &inputs.plan.plots(), &arguments.name)?;
    for warning in &found.warnings {
        warn(warning);
    }
    if arguments.common.json {
        return print_json(found);
    }
    print(&format!(
        "{} on {} samples of {}: loss {:.4} nats, ‖gradient‖ {:.4}",
        found.name, found.dataset.samples, found.dataset.name, found.loss, found.gradient_norm
    ));
    for (end, title) in [(End::Top, "largest"), (End::Bottom, "smallest")] {
        let of = found.eigenvalues.iter().filter(|value| value.end == end);
        let words: Vec<String> = of.map(eigenvalue).collect();
        if !words.is_empty() {
            print(&format!("{title:9} {}", words.join("  ")));
        }
    }
    if let Some(trace) = &found.trace {
        // The error of an estimate from one vector is not known.
        let error = match trace.se.is_finite() {
            true => format!(" ± {:.4}", trace.se),
            false => String::new(),
        };
        print(&format!("trace     {:.4}{error}", trace.value));
    }
    let (products, seconds) = (found.products, found.provenance.wall_seconds);
    print(&format!("{products} products, {seconds:.1} s"));
    print(&format!("data    {}", csv.display()));
    for figure in drawn {
        print(&format!("figure  {}", figure.display()));
    }
    Ok(())
}

/// A value, with its error where it is no rounding.
fn eigenvalue(of: &Eigenvalue) -> String {
    match of.converged {
        true => format!("{:.4}", of.value),
        false => format!("{:.4} (± {:.1e})", of.value, of.residual),
    }
}
