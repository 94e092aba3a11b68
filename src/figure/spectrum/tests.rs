use super::*;
use crate::result::provenance::Provenance;
use crate::result::score::{DatasetInfo, Role};
use crate::result::soup::Coefficient;
use crate::result::spectrum::{Density, Trace};

/// An exact density: every node is an eigenvalue with multiplicity `counts`.
fn density(nodes: &[f64], counts: &[f64]) -> Density {
    let total: f64 = counts.iter().sum();
    let weights: Vec<f64> = counts.iter().map(|count| count / total).collect();
    let (low, high) = extent(nodes.iter().copied()).unwrap();
    let width = if high > low {
        (high - low) / 250.0
    } else {
        0.004
    };
    let grid = (0..=1000).map(|k| {
        let part = f64::from(k) / 1000.0;
        low - 8.0 * width + part * (high - low + 16.0 * width)
    });
    let grid: Vec<f64> = grid.collect();
    let at = |x: &f64| {
        let pairs = nodes.iter().zip(&weights);
        let terms =
            pairs.map(|(node, weight)| weight * (-0.5 * ((x - node) / width).powi(2)).exp());
        terms.sum::<f64>() / (width * std::f64::consts::TAU.sqrt())
    };
    Density {
        values: grid.iter().map(at).collect(),
        grid,
        width,
        nodes: nodes.to_vec(),
        weights,
        probes: 1,
        steps: nodes.len(),
    }
}

/// A spectrum with three of these ascending eigenvalues at each end, and their density.
fn spectrum(values: &[f64], counts: &[f64]) -> Spectrum {
    let eigenvalue = |end, (index, value): (usize, &f64)| Eigenvalue {
        rank: index + 1,
        end,
        value: *value,
        residual: 1e-9,
        converged: true,
        sampling_se: Some(0.25),
        held_out: None,
    };
    let top = values.iter().rev().take(3).enumerate();
    let top = top.map(|one| eigenvalue(End::Top, one));
    let bottom = values.iter().take(3).enumerate();
    let bottom = bottom.map(|one| eigenvalue(End::Bottom, one));
    Spectrum {
        name: "soup".to_string(),
        coefficients: ["ft_1", "ft_2"]
            .map(|model| Coefficient {
                model: model.to_string(),
                tensor: None,
                coefficient: 0.5,
            })
            .to_vec(),
        dataset: DatasetInfo {
            name: "train".to_string(),
            role: Role::Train,
            samples: 1000,
        },
        held_out_samples: 0,
        dimension: counts.iter().sum::<f64>() as usize,
        loss: 0.25,
        gradient_norm: 0.031_25,
        eigenvalues: top.chain(bottom).collect(),
        trace: Some(Trace {
            value: 81.5,
            se: 0.25,
            sampling_se: None,
        }),
        density: Some(density(values, counts)),
        products: 100,
        method: "graph".to_string(),
        seed: 0,
        warnings: Vec::new(),
        provenance: Provenance::default(),
    }
}

fn ordinary() -> Spectrum {
    let values = [-0.75, -0.5, 0.0, 0.01, 9.0, 22.0, 50.0];
    spectrum(&values, &[1.0, 1.0, 50_000.0, 50_000.0, 1.0, 1.0, 1.0])
}

fn svg(spectrum: &Spectrum) -> String {
    draw(spectrum).unwrap().unwrap().svg
}

#[test]
fn the_figure_tells_the_mix_the_loss_the_trace_and_the_ends() {
    let drawing = draw(&ordinary()).unwrap().unwrap();
    for words in [
        "Hessian of the train loss",
        "θ = soup = 0.5 ft_1 + 0.5 ft_2",
        "train loss 0.25 over 1000 samples, gradient norm 0.0312; 100005 parameters",
        "trace 81.5 ± 0.25, mean eigenvalue 8.15e−4",
        ">\ndensity of all\n<",
        ">\n3 largest: 50 to 9\n<",
        ">\n3 smallest: −0.75 to 0\n<",
        ">\neigenvalue\n<",
        ">\ndensity\n<",
    ] {
        assert_eq!(drawing.svg.matches(words).count(), 1, "{words}");
    }
    assert!(!drawing.svg.contains("not converged") && !drawing.svg.contains("bars:"));
    assert!(drawing.svg.len() < 300_000);
    assert!(drawing.png.starts_with(b"\x89PNG"));
}

#[test]
fn markers_and_the_density_lie_inside_and_apart() {
    let spectrum = ordinary();
    let figure = SpectrumFigure::of(&spectrum).unwrap();
    let axes = figure.axes(figure.sheet().corner(0));
    let curve = figure.curve.as_ref().unwrap();
    let (_, above) = axes.place((0.0, curve.y.1));
    let rows = figure.rows().len() as f64;
    assert!((above - axes.top - rows * END_ROW_HEIGHT).abs() < 1e-9);
    for of in &spectrum.eigenvalues {
        let (x, y) = figure.place(&axes, of);
        assert!(x - MARKER_SIZE > axes.left && x + MARKER_SIZE < axes.right());
        assert!(y - MARKER_SIZE > axes.top && y + MARKER_SIZE < above);
    }
    for (x, y) in curve.pieces().into_iter().flatten() {
        assert!(axes.holds((x, y)) && y < curve.y.1);
    }
    // Single eigenvalues among a hundred thousand are visible; those near 0 merge with it.
    assert_eq!(curve.pieces().len(), 4);
}

#[test]
fn what_has_not_converged_is_told_and_shows_its_residual() {
    let mut spectrum = ordinary();
    spectrum.eigenvalues[1].residual = 8.0;
    spectrum.eigenvalues[1].converged = false;
    let drawn = svg(&spectrum);
    assert!(drawn.contains("not converged") && drawn.contains("bars: λ ± ‖Hv − λv‖"));
    spectrum.eigenvalues[1].residual = 1e9;
    let figure = SpectrumFigure::of(&spectrum).unwrap();
    let axes = figure.axes(figure.sheet().corner(0));
    let bar = figure.bar(&axes, &spectrum.eigenvalues[1]);
    assert_eq!(bar, [axes.left, axes.right()]);
}

#[test]
fn an_outlier_hundreds_of_times_the_others_makes_the_axis_logarithmic() {
    let values = [-0.8, -0.5, -0.05, 0.0, 2.0, 30.0, 40_000.0];
    let spectrum = spectrum(&values, &[1.0, 1.0, 2000.0, 2000.0, 1.0, 1.0, 1.0]);
    let drawn = svg(&spectrum);
    assert!(drawn.contains("eigenvalue (logarithmic on both sides of 0)"));
    assert!(drawn.contains("density per decade"));
    assert!(drawn.contains(">\n−1\n<") || drawn.contains(">\n−0.1\n<"));
    assert!(drawn.contains(">\n1e4\n<"));
}

#[test]
fn odd_spectra_are_drawn_without_panic() {
    let alone: [&[f64]; 7] = [
        &[0.0],
        &[7.0],
        &[-3.0],
        &[1e-300, 2e-300],
        &[-1e12, 1e-12, 1e12],
        &[2.0, 2.0 + 1e-9],
        &[-22.0, -14.0, -9.0, 0.0],
    ];
    for values in alone {
        let whole = spectrum(values, &vec![1.0; values.len()]);
        assert!(svg(&whole).contains("<svg"), "{values:?}");
        let mut part = whole.clone();
        part.density = None;
        part.trace = None;
        assert!(!svg(&part).contains("density"), "{values:?}");
        let mut part = whole;
        part.eigenvalues.clear();
        part.loss = f64::NAN;
        part.coefficients.clear();
        assert!(svg(&part).contains("train loss NaN"), "{values:?}");
        part.density = None;
        assert!(draw(&part).unwrap().is_none());
    }
}

#[test]
fn a_model_alone_is_told_by_its_name_and_many_by_the_first() {
    let mut spectrum = ordinary();
    spectrum.name = "ft_1".to_string();
    spectrum.coefficients.truncate(1);
    assert!(svg(&spectrum).contains("\nθ = ft_1\n"));
    let one = spectrum.coefficients[0].clone();
    spectrum.coefficients = vec![one; 16];
    spectrum.coefficients[1].coefficient = -0.5;
    assert!(svg(&spectrum).contains("0.5 ft_1 − 0.5 ft_1 + 0.5"));
    assert!(svg(&spectrum).contains("(12 more)"));
}
