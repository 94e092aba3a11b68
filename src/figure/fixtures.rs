//! Made-up results for testing figures: a plane of three models, and sixteen fine-tuned models, two
//! of which lie in basins of their own.

use indexmap::IndexMap;

use crate::result::combine::Combine;
use crate::result::grid::{Grid, linspace};
use crate::result::learned::{
    Ended, Epoch, Layers, Learning, LearningSettings, Length, Optimizer, Row, Start,
};
use crate::result::method::Method;
use crate::result::models::Individual;
use crate::result::pairs::{Correlation, LayerAngle, Pair, PairRow, Pairs, TheoryPoint};
use crate::result::plane::{Geometry, PlacedModel, Plane, PlaneSummary};
use crate::result::provenance::Provenance;
use crate::result::score::{DatasetInfo, Role, Score};
use crate::result::soup::{Evaluations, MethodResult, RayPoint, Soups};

/// A pseudo-random number between 0 and 1, determined by `k`.
fn noise(k: usize) -> f64 {
    (k as f64 * 0.618_033_988_749 + 0.37 * (k * k) as f64).fract()
}

fn datasets() -> Vec<DatasetInfo> {
    let roles = [Role::Val, Role::Test, Role::Shift, Role::Shift];
    let sets = ["val", "test", "sketch", "rendition"]
        .into_iter()
        .zip(roles);
    let info = |(name, role): (&str, Role)| DatasetInfo {
        name: name.to_string(),
        role,
        samples: 1000,
    };
    sets.map(info).collect()
}

/// Scores with these accuracies in percent; the validation set has the accuracy of the test set.
pub fn scores(test: f64, shifts: f64) -> Vec<Score> {
    let score = |accuracy: f64| Score {
        loss: 0.1,
        loss_se: 0.01,
        error: 1.0 - accuracy / 100.0,
        error_se: 0.004,
        nonfinite: 0,
    };
    [test, test, shifts - 1.0, shifts + 1.0].map(score).to_vec()
}

/// A model with these accuracies in percent.
pub fn individual(name: &str, test: f64, shifts: f64) -> Individual {
    Individual {
        name: name.to_string(),
        path: format!("{name}.onnx"),
        hyperparameters: IndexMap::new(),
        scores: scores(test, shifts),
        calibration: None,
    }
}

/// A method's result with these accuracies in percent.
pub fn result(method: Method, setting: Option<f64>, test: f64, shifts: f64) -> MethodResult {
    MethodResult {
        method,
        base: None,
        setting,
        seed: None,
        members: Vec::new(),
        coefficients: Vec::new(),
        combine: Combine::Logits,
        beta: None,
        val_in_sample: method.selects(),
        scores: scores(test, shifts),
        calibration: None,
    }
}

/// Sixteen models; θ0 and the average of all are far from them.
pub fn soups() -> Soups {
    let model = |k: usize| {
        let test = 92.0 + 6.8 * noise(k).sqrt();
        individual(&format!("ft{}", k + 1), test, 63.0 + 21.0 * noise(k + 40))
    };
    let mut methods = vec![
        result(Method::Best, None, 98.7, 82.0),
        result(Method::Uniform, None, 48.7, 36.2),
        result(Method::Greedy, None, 99.0, 84.5),
        result(Method::Learned, None, 98.9, 83.6),
        result(Method::LearnedByLayer, None, 99.3, 83.8),
        result(Method::ModelStock, None, 97.2, 83.9),
        result(Method::Slerp, None, 98.8, 83.1),
        result(Method::TaskArithmetic, Some(0.4), 61.0, 55.0),
        result(Method::Ensemble, None, 98.9, 82.2),
        result(Method::GreedyEnsemble, None, 99.2, 83.2),
    ];
    for k in 0..3 {
        let shifts = 83.0 + 1.2 * noise(k);
        methods.push(result(
            Method::GreedyRandom,
            None,
            98.5 + 0.5 * noise(k + 3),
            shifts,
        ));
    }
    for k in 0..=10 {
        let alpha = f64::from(k) / 10.0;
        let test = 80.5 + 30.0 * alpha - 61.8 * alpha * alpha;
        let shifts = 80.3 + 20.0 * alpha - 64.1 * alpha * alpha;
        methods.push(result(Method::WiseFt, Some(alpha), test, shifts));
    }
    Soups {
        datasets: datasets(),
        origin: individual("zs", 80.5, 80.3),
        models: (0..16).map(model).collect(),
        methods,
        rays: Vec::new(),
        resampling: None,
        comparisons: Vec::new(),
        origin_comparisons: Vec::new(),
        may_be_highest: Default::default(),
        decisions: Vec::new(),
        learned: Vec::new(),
        saved: Vec::new(),
        evaluations: Evaluations::default(),
        warnings: Vec::new(),
        provenance: Provenance::default(),
    }
}

/// A mix on a ray with these accuracies in percent.
pub fn ray_point(alpha: f64, test: f64, shifts: f64) -> RayPoint {
    RayPoint {
        alpha,
        scores: scores(test, shifts),
        minus_best: Vec::new(),
    }
}

/// The learning of a soup by layer with these numbers of rows and models; each model is good at
/// some depth.
pub fn learning(layers: Layers, rows: usize, models: usize) -> Learning {
    let parts = [
        "attn.qkv.weight",
        "attn.proj.bias",
        "norm.weight",
        "mlp.fc1.weight",
    ];
    let row = |row: usize| match layers {
        Layers::Tensor => format!("visual.blocks.{}.{}", row / 4, parts[row % 4]),
        _ => format!("visual.blocks.{row}"),
    };
    let alpha = |row: usize| {
        let depth = row as f64 / rows as f64;
        let weight = |model: usize| {
            let near = 1.0 - (depth - noise(model)).abs();
            (2.5 * near * near + 1.2 * noise(row * models + model)).exp()
        };
        let weights: Vec<f64> = (0..models).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    };
    let epoch = |epoch: usize, alpha: Vec<Vec<f64>>| Epoch {
        epoch,
        step: 4 * epoch,
        selection_loss: 0.2 - 0.05 * epoch as f64,
        selection_error: 0.04,
        gain: None,
        gain_se: None,
        beta: 1.0 + 0.1 * epoch as f64,
        alpha,
    };
    Learning {
        method: Method::LearnedByLayer,
        settings: LearningSettings {
            layers,
            optimizer: Optimizer::AdamW,
            length: Length::Epochs(1),
            learning_rate: 0.05,
            weight_decay: 0.0,
            batch: 256,
            softmax: true,
            learns_beta: true,
            holdout: None,
            patience: 2,
            seed: 0,
        },
        start: Start::Uniform,
        samples: [1000, 0],
        rows: (0..rows)
            .map(|of| Row {
                name: row(of),
                tensors: vec![row(of)],
            })
            .collect(),
        steps: Vec::new(),
        epochs: vec![
            epoch(0, vec![vec![1.0 / models as f64; models]; rows]),
            epoch(1, (0..rows).map(alpha).collect()),
        ],
        best: 1,
        ended: Ended::Done,
    }
}

/// A plane of three models over a grid of `nx` × `ny` points, with this loss at (x, y) on all data
/// sets.
pub fn plane(nx: usize, ny: usize, loss: impl Fn(f64, f64) -> f64) -> Plane {
    let grid = Grid {
        xs: linspace(-1.5, 6.5, nx),
        ys: linspace(-1.5, 4.5, ny),
    };
    let score = |(x, y): (f64, f64)| {
        let loss = loss(x, y);
        Score {
            loss,
            loss_se: 0.01,
            error: (loss / (1.0 + loss)).clamp(0.0, 1.0),
            error_se: 0.003,
            nonfinite: usize::from(!loss.is_finite()),
        }
    };
    let scores: Vec<Score> = grid.points().map(score).collect();
    let mut datasets = datasets();
    datasets[0] = DatasetInfo {
        name: "train".to_string(),
        role: Role::Train,
        samples: 1000,
    };
    Plane {
        betas: Vec::new(),
        measured: vec![true; grid.len()],
        coefficients: vec![[0.0; 3]; grid.len()],
        datasets,
        scores: vec![scores; 4],
        summary: summary(),
        grid,
    }
}

/// Three models and a soup.
fn summary() -> PlaneSummary {
    let point = |name: &str, x, y| PlacedModel {
        name: name.into(),
        x,
        y,
        beta: None,
        scores: Vec::new(),
    };
    PlaneSummary {
        calibration: None,
        geometry: Geometry {
            norm_a: 5.0,
            norm_b: 5.0,
            angle_deg: 37.0,
            cosine: 0.8,
            a: [5.0, 0.0],
            b: [4.0, 3.0],
        },
        checkpoints: vec![
            point("zs", 0.0, 0.0),
            point("ft1", 5.0, 0.0),
            point("ft2 with a name that goes on and on and on", 4.0, 3.0),
            point("soup", 4.5, 1.5),
        ],
        marks: Vec::new(),
        arrows: Vec::new(),
        minimum: Vec::new(),
        comparisons: Vec::new(),
        checks: Vec::new(),
        warnings: Vec::new(),
        provenance: Provenance::default(),
    }
}

/// A loss with its minimum at (4, 1).
pub fn bowl(x: f64, y: f64) -> f64 {
    0.1 + 0.05 * ((x - 4.0).powi(2) + (y - 1.0).powi(2))
}

/// All pairs of sixteen models, with their angles per tensor and the comparison of section 4.
pub fn pairs() -> Pairs {
    let models = soups().models;
    let mut pairs = Vec::new();
    for a in 0..models.len() {
        for b in a + 1..models.len() {
            pairs.push(pair(pairs.len(), &models, a, b));
        }
    }
    let of = |value: f64| Correlation {
        value,
        low: value - 0.21,
        high: value + 0.16,
        pairs: pairs.len(),
        p: 0.02,
        residual: value / 2.0,
        residual_low: value / 2.0 - 0.3,
        residual_high: value / 2.0 + 0.3,
        residual_p: 0.2,
    };
    Pairs {
        angle_advantage_zoom: Some(of(0.33)),
        summaries: Vec::new(),
        datasets: datasets(),
        models: models.clone(),
        hyperparameters: Vec::new(),
        angle_advantage: of(0.62),
        soup_ensemble_test: of(-0.02),
        soup_ensemble_shifts: of(0.811),
        theory: theory(&pairs),
        theory_agreement: Vec::new(),
        layers: layers(&pairs),
        groups: Vec::new(),
        angles_of: None,
        pairs,
        warnings: Vec::new(),
        provenance: Provenance::default(),
    }
}

/// Pair number `k`; it has a barrier if a model lies in a basin of its own.
fn pair(k: usize, models: &[Individual], a: usize, b: usize) -> Pair {
    const DIFFER: [&[&str]; 9] = [
        &["seed"],
        &["seed", "lr"],
        &["lr"],
        &["lr", "epochs", "mixup", "augmentation", "weight decay"],
        &["augmentation"],
        &["epochs"],
        &[],
        &["mixup"],
        &["label smoothing"],
    ];
    let far = a == 3 || b == 3 || b == 15;
    let differ = DIFFER[((noise(k) * noise(k + 7)) * 9.0) as usize];
    let angle = if far {
        75.0 + 20.0 * noise(k)
    } else {
        30.0 + 45.0 * noise(k)
    };
    let advantage = if far {
        -50.0 * noise(k + 11)
    } else {
        -0.3 + 0.6 * angle / 75.0 - 0.3 * noise(k + 5)
    };
    let ensemble = [97.0 + 2.2 * noise(k + 2), 75.0 + 9.0 * noise(k + 3)];
    let row = |name: &str, role: &str, ensemble: f64| PairRow {
        dataset: name.to_string(),
        role: role.to_string(),
        samples: 1000,
        accuracy_a: 0.97,
        accuracy_b: 0.96,
        accuracy_soup: (ensemble + advantage - 0.1) / 100.0,
        accuracy_ensemble: ensemble / 100.0,
        advantage: advantage / 100.0,
        advantage_se: 0.002,
        advantage_z: advantage / 0.2,
        advantage_best: (advantage - 0.5) / 100.0,
        advantage_best_se: 0.002,
        advantage_best_z: (advantage - 0.5) / 0.2,
        disagreement: 0.03,
        error_correlation: 0.4,
    };
    Pair {
        a: models[a].name.clone(),
        b: models[b].name.clone(),
        angle_deg: angle,
        norm_a: 1.0,
        norm_b: 1.2,
        rounding: None,
        differ: differ.iter().map(|name| (*name).to_string()).collect(),
        rows: vec![
            row("test", "test", ensemble[0]),
            row("sketch", "shift", ensemble[1]),
            row("rendition", "shift", ensemble[1]),
            row("shifts", "mean", ensemble[1]),
            row("all", "mean", ensemble[1]),
        ],
    }
}

fn theory(pairs: &[Pair]) -> Vec<TheoryPoint> {
    let mut points = Vec::new();
    for pair in pairs {
        for (calibrated, step) in [
            (true, 1),
            (true, 3),
            (true, 2),
            (false, 1),
            (false, 2),
            (false, 3),
        ] {
            let k = points.len();
            let alpha = f64::from(step) / 4.0;
            let barrier = pair.rows[0].advantage < -0.02;
            let scale = if barrier { 4.0 } else { 0.02 };
            let truth = scale * (noise(k) - 0.4) * alpha * (1.0 - alpha);
            points.push(TheoryPoint {
                a: pair.a.clone(),
                b: pair.b.clone(),
                dataset: "test".to_string(),
                alpha,
                beta: if calibrated { 1.4 } else { 1.0 },
                calibrated,
                error_soup: 0.03 + 0.3 * truth,
                error_ensemble: 0.03 - 0.002 * noise(k + 9),
                loss_soup: 0.2 + truth,
                loss_ensemble: 0.2,
                approximation: truth * (0.6 + 0.6 * noise(k + 4)),
                approximation_path: truth * (0.8 + 0.4 * noise(k + 5)),
                step: 1.0 / 32.0,
                loss_difference_se: 0.001,
                error_difference_se: 0.0005,
                approximation_se: 0.003,
                approximation_path_se: 0.003,
                residual_se: 0.003,
                residual_path_se: 0.003,
                rise: if barrier { 0.5 } else { -0.01 },
                rise_se: 0.01,
                barrier,
            });
        }
    }
    points
}

fn layers(pairs: &[Pair]) -> Vec<LayerAngle> {
    let blocks = (0..6).flat_map(|block| {
        let parts = [
            "attn.in_proj.weight",
            "attn.out_proj.weight",
            "mlp.fc1.weight",
            "mlp.fc2.bias",
        ];
        parts.map(|part| format!("model.visual.blocks_{block}.{part}"))
    });
    let tensors: Vec<String> = blocks.chain(["model.visual.head".to_string()]).collect();
    let mut angles = Vec::new();
    for pair in pairs {
        for (row, tensor) in tensors.iter().enumerate() {
            let k = angles.len();
            let angle = pair.angle_deg + 0.8 * row as f64 - 10.0 + 10.0 * noise(k);
            angles.push(LayerAngle {
                a: pair.a.clone(),
                b: pair.b.clone(),
                tensor: tensor.clone(),
                angle_deg: if row == 3 && k % 7 == 0 {
                    f64::NAN
                } else {
                    angle
                },
                norm_a: 0.1,
                norm_b: 0.1,
            });
        }
    }
    angles
}
