//! The JSON of every result if no number is finite.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{line, pairs, plane, soup, spectrum};

/// Reads `written` as a `T` and compares its JSON with `written`. This fails for a field that is
/// not read, is read differently, or is missing here.
fn round_trip<T: Serialize + DeserializeOwned>(written: &Value) {
    let read: T = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), *written);
    // Also through text, as in files.
    let read: T = serde_json::from_str(&written.to_string()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), *written);
}

fn score() -> Value {
    json!({"loss": "NaN", "loss_se": "inf", "error": "NaN", "error_se": "-inf", "nonfinite": 3})
}

fn named_score() -> Value {
    let mut named = json!({"dataset": "test", "role": "test", "samples": 9});
    let mut score = score();
    let (named_fields, fields) = (named.as_object_mut(), score.as_object_mut());
    named_fields.unwrap().append(fields.unwrap());
    named
}

fn dataset() -> Value {
    json!({"name": "val", "role": "val", "samples": 9})
}

fn individual() -> Value {
    json!({"name": "a", "path": "a.onnx", "hyperparameters": {"lr": "0.1"}, "scores": [score()]})
}

fn check() -> Value {
    json!({
        "name": "a", "dataset": "val", "loss_file": "NaN", "loss_plane": "inf",
        "error_difference": 0, "agrees": false,
    })
}

fn provenance() -> Value {
    json!({
        "command": ["landscape"], "version": "0", "files": {"a": "b"}, "settings": {"c": "d"},
        "onnxruntime": "1", "provider": "CPU", "verified": {"a": "file"}, "wall_seconds": "NaN",
    })
}

#[test]
fn a_plane_without_a_finite_number_is_read_back() {
    let value = || json!({"i": 0, "j": 1, "x": "NaN", "y": "NaN", "value": "NaN"});
    round_trip::<plane::PlaneSummary>(&json!({
        "geometry": {
            "norm_a": "NaN", "norm_b": "NaN", "angle_deg": "NaN", "cosine": "NaN",
            "a": ["NaN", "inf"], "b": ["NaN", "-inf"],
        },
        "checkpoints": [{"name": "a", "x": "NaN", "y": "NaN", "scores": [named_score()]}],
        "marks": [
            {"name": "a", "x": "NaN", "y": "NaN", "distance": "NaN", "scores": [named_score()]},
        ],
        "arrows": [{
            "x": "NaN", "y": "NaN", "dataset": "val", "role": "val", "samples": 9, "loss": "NaN",
            "dloss_dx": "NaN", "dloss_dy": "NaN",
        }],
        "minimum": [{
            "dataset": "val", "loss": value(), "error": value(), "lowest_loss": null,
            "lowest_error": {
                "value_se": "NaN", "cross_fitted": "NaN", "cross_fitted_se": "inf", "tied": [1],
                "not_separated": [1, 2],
                "below": [{"model": "ft1", "delta": "NaN", "delta_se": "NaN"}],
            },
        }],
        "comparisons": [],
        "checks": [check()],
        "warnings": ["w"],
        "provenance": provenance(),
    }));
}

#[test]
fn a_line_without_a_finite_number_is_read_back() {
    round_trip::<line::LineSummary>(&json!({
        "checkpoints": [{"name": "a", "origin": true, "alpha": "NaN", "scores": [named_score()]}],
        "barriers": [{
            "dataset": "val", "role": "val", "samples": 9,
            "barrier_loss": "NaN", "barrier_loss_se": "NaN", "barrier_loss_low": "NaN",
            "barrier_loss_high": "NaN", "barrier_loss_verdict": "undecided", "argmax_alpha": "NaN",
            "barrier_error": "NaN", "barrier_error_se": "NaN", "barrier_error_low": "NaN",
            "barrier_error_high": "NaN", "barrier_error_verdict": "none-larger",
            "argmax_alpha_error": "NaN",
            "frankle_barrier_error": "NaN", "frankle_barrier_error_se": "NaN",
            "frankle_barrier_error_low": "NaN", "frankle_barrier_error_high": "NaN",
            "argmax_alpha_frankle": "NaN", "frankle_at_end": true,
        }],
        "checks": [check()],
        "warnings": ["w"],
        "provenance": provenance(),
    }));
}

#[test]
fn soups_without_a_finite_number_are_read_back() {
    round_trip::<soup::Soups>(&json!({
        "datasets": [dataset()],
        "origin": individual(),
        "models": [individual()],
        "methods": [{
            "method": "wise-ft", "base": "greedy", "setting": "NaN", "seed": 1, "members": ["a"],
            "coefficients": [{"model": "a", "tensor": "w", "coefficient": "NaN"}],
            "combine": "probabilities", "beta": "NaN", "val_in_sample": true, "scores": [score()],
            "calibration": {
                "beta": "NaN",
                "plain": [{"loss": "NaN", "ece": "inf", "brier": "NaN"}],
                "calibrated": [],
            },
        }],
        "rays": [{
            "method": "slerp", "setting": "NaN", "seed": null,
            "points": [{"alpha": "NaN", "scores": [score()]}],
        }],
        "resampling": {
            "resamples": 40, "seed": 1, "soups": 2, "published": "NaN", "evaluated": 3,
            "models": [{"model": "a", "frequency": "NaN"}],
            "test": {"sd": "NaN", "low": "-inf", "high": "inf"}, "shifts": null,
        },
        "decisions": [{
            "method": "greedy-ensemble", "combine": "probabilities", "seed": null, "step": 1, "model": "a", "val_accuracy": "NaN",
            "added": false, "members": 0, "gained": 1, "lost": 2, "mcnemar_p": "NaN",
        }],
        "origin_comparisons": [],
        "may_be_highest": {"test": ["greedy"]},
        "comparisons": [{
            "method": "wise-ft:0.9", "seed": null, "reference": "a", "dataset": "shifts",
            "role": "mean", "samples": 9, "delta_accuracy": "NaN", "delta_accuracy_se": "inf",
            "only_method": null, "only_reference": 1, "mcnemar_p": "NaN", "delta_loss": "NaN",
            "delta_loss_se": "NaN", "without_one_low": "NaN", "without_one_high": "NaN",
        }],
        "learned": [{
            "method": "learned",
            "settings": {
                "layers": "tensor", "optimizer": "lbfgs", "epochs": 1, "learning_rate": "NaN", "weight_decay": "NaN",
                "batch": 1, "softmax": true, "learns_beta": true, "holdout": "NaN", "patience": 1,
                "seed": 0,
            },
            "start": "greedy",
            "samples": [1, 2],
            "rows": [{"name": "w", "tensors": ["w"]}],
            "steps": [
                {"step": 1, "epoch": 1, "batch_loss": "NaN", "batch_error": "NaN", "beta": "NaN"},
            ],
            "epochs": [{
                "epoch": 0, "step": 0, "selection_loss": "NaN", "selection_error": "NaN", "gain": "NaN", "gain_se": "inf",
                "beta": "NaN", "alpha": [["NaN", "inf"]],
            }],
            "best": 0,
            "ended": "not-finite",
        }],
        "saved": [{
            "method": "greedy", "path": "soup.safetensors", "dtype": "graph", "dataset": "val",
            "score": score(), "table": score(), "unchecked": null,
        }],
        "evaluations": {"logits": 1, "soups": 2, "remembered": 3, "samples": 4, "learning": 5},
        "warnings": ["w"],
        "provenance": provenance(),
    }));
}

#[test]
fn pairs_without_a_finite_number_are_read_back() {
    let correlation = || {
        json!({
            "value": "NaN", "low": "NaN", "high": "NaN", "pairs": 0, "p": "NaN", "residual": "NaN",
            "residual_low": "NaN", "residual_high": "NaN", "residual_p": "NaN",
        })
    };
    let advantage = || json!({"mean": "NaN", "low": "NaN", "high": "inf", "gain": 1, "lose": 2});
    round_trip::<pairs::Pairs>(&json!({
        "datasets": [dataset()],
        "models": [individual()],
        "hyperparameters": ["lr"],
        "pairs": [{
            "a": "a", "b": "b", "angle_deg": "NaN", "norm_a": "NaN", "norm_b": "NaN",
            "rounding": {
                "angle_deg": "NaN", "share": "NaN", "norm_a": "NaN", "norm_b": "NaN",
                "floors_a": "inf", "floors_b": "NaN",
            },
            "differ": ["lr"],
            "rows": [{
                "dataset": "all", "role": "mean", "samples": 9, "accuracy_a": "NaN",
                "accuracy_b": "NaN", "accuracy_soup": "NaN", "accuracy_ensemble": "NaN",
                "advantage": "NaN", "advantage_se": "NaN", "advantage_z": "NaN",
                "advantage_best": "NaN", "advantage_best_se": "NaN", "advantage_best_z": "inf",
                "disagreement": "NaN", "error_correlation": "NaN",
            }],
        }],
        "angle_advantage": correlation(),
        "angle_advantage_zoom": correlation(),
        "summaries": [{
            "dataset": "all", "pairs": 1, "advantage": advantage(), "advantage_best": advantage(),
            "soup_above": 3, "ensemble_above": 4, "sides_p": "NaN",
        }],
        "soup_ensemble_test": correlation(),
        "soup_ensemble_shifts": correlation(),
        "theory": [{
            "a": "a", "b": "b", "dataset": "val", "alpha": "NaN", "beta": "NaN",
            "calibrated": true, "error_soup": "NaN", "error_ensemble": "NaN", "loss_soup": "NaN",
            "loss_ensemble": "NaN", "approximation": "NaN", "approximation_path": "NaN",
            "step": "NaN", "loss_difference_se": "NaN", "error_difference_se": "NaN",
            "approximation_se": "NaN", "approximation_path_se": "NaN", "residual_se": "NaN",
            "residual_path_se": "NaN", "rise": "NaN", "rise_se": "NaN", "barrier": false,
        }],
        "theory_agreement": [{
            "step": "NaN", "calibrated": true, "barrier": false, "points": 1, "rank": correlation(),
            "rank_path": correlation(), "signs": 0, "same_sign": 0, "same_sign_path": 0,
        }],
        "layers": [
            {"a": "a", "b": "b", "tensor": "w", "angle_deg": "NaN", "norm_a": "NaN", "norm_b": "NaN"},
        ],
        "groups": [{
            "a": "a", "b": "b", "group": "head", "tensors": 2, "angle_deg": "NaN", "norm_a": "NaN",
            "norm_b": "NaN",
        }],
        "angles_of": "2 of 10 tensors",
        "warnings": ["w"],
        "provenance": provenance(),
    }));
}

#[test]
fn a_spectrum_without_a_finite_number_is_read_back() {
    round_trip::<spectrum::Spectrum>(&json!({
        "name": "soup",
        "coefficients": [{"model": "a", "tensor": null, "coefficient": "NaN"}],
        "dataset": dataset(),
        "held_out_samples": 0,
        "dimension": 3,
        "loss": "NaN",
        "gradient_norm": "NaN",
        "eigenvalues": [
            {
                "rank": 1, "end": "top", "value": "NaN", "residual": "NaN", "converged": false,
                "sampling_se": "NaN", "held_out": {"value": "NaN", "se": "NaN"},
            },
        ],
        "trace": {"value": "NaN", "se": "NaN", "sampling_se": "NaN"},
        "density": {
            "grid": ["NaN"], "values": ["NaN"], "width": "NaN", "nodes": ["NaN"],
            "weights": ["NaN"], "probes": 1, "steps": 1,
        },
        "products": 1,
        "method": "graph",
        "seed": 0,
        "warnings": ["w"],
        "provenance": provenance(),
    }));
}
