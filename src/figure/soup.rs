//! Figure 1 of "Model soups": test accuracy against the mean accuracy over the shifts.

use std::collections::BTreeSet;

use plotters::prelude::*;

use super::axes::{Xy, extent};
use super::canvas::Size;
use super::marks::{Dot, DotShape, Mark};
use super::plot::{Path, PathStyle, Plot, Point, Series};
use super::scatter::{Scatter, accuracy_names};
use super::text::short;
use super::theme;
use super::ticks::{AxisScale, Interval};
use crate::result::method::Method;
use crate::result::models::{Accuracies, Individual};
use crate::result::score::{DatasetInfo, Score};
use crate::result::soup::{MethodResult, Ray, Soups};

/// Width and height of the axes in layout pixels.
const AXES_SIZE: Size = (1000.0, 720.0);

/// Minimum range of accuracies that the axes magnify, in percentage points.
const SMALLEST_SPREAD: f64 = 1.0;

/// Plots every model and every method, in percent. `None` without a test set or without shifts.
///
/// The axes show the models that lie close together; a soup that failed is drawn at the frame.
pub fn scatter(soups: &Soups) -> Option<Scatter> {
    let names = accuracy_names(&soups.datasets, AxisScale::Linear)?;
    let (paths, series) = drawn(soups);
    let models = soups.models.iter();
    let individuals: Vec<Xy> = models
        .map(|model| place(&soups.datasets, &model.scores))
        .collect();
    let methods = paths.iter().flat_map(|path| path.points.clone());
    let points = series.iter().flat_map(|series| &series.points);
    let all: Vec<Xy> = methods.chain(points.map(|point| point.at)).collect();
    Some(Scatter {
        panels: vec![Plot {
            names,
            window: window(&individuals, &all),
            paths,
            series,
            ..Plot::default()
        }],
        columns: 1,
        size: AXES_SIZE,
        captions: Vec::new(),
    })
}

/// Rays and methods that have several settings as paths; models and other methods as series. A sweep
/// of WiSE-FT lies on its model's ray: of it, only the points in the table are shown.
fn drawn(soups: &Soups) -> (Vec<Path>, Vec<Series>) {
    let at = |scores: &[Score]| place(&soups.datasets, scores);
    let single = |model: &Individual| Point {
        name: short(&model.name),
        ..Point::from(at(&model.scores))
    };
    // θ0's marker is larger; on top it would hide a model.
    let mut series = vec![
        Series {
            name: format!("θ_0 {}", short(&soups.origin.name)),
            mark: dot(DotShape::Hexagon, theme::SLATE, 15.0),
            points: vec![single(&soups.origin)],
        },
        Series {
            name: "individual models".to_string(),
            mark: dot(DotShape::Diamond, theme::INDIVIDUAL, 13.0),
            points: soups.models.iter().map(single).collect(),
        },
    ];
    let mut paths = rays(soups);
    let rows = soups.rows();
    let shown = rows
        .iter()
        .filter_map(|row| Some(&soups.methods[row.single()?]));
    for method in ORDER {
        let results = soups.methods.iter().filter(|of| of.method == method);
        let bases: BTreeSet<Option<Method>> = results.clone().map(|of| of.base).collect();
        for base in bases {
            let is_this = |of: &&MethodResult| (of.method, of.base) == (method, base);
            let results: Vec<&MethodResult> = match method {
                Method::WiseFt if has_ray(soups, base) => shown.clone().filter(is_this).collect(),
                _ => results.clone().filter(is_this).collect(),
            };
            let places = results.iter().map(|result| at(&result.scores));
            if results.len() > 1 && results.iter().all(|result| result.setting.is_some()) {
                paths.push(path(&results, places.collect()));
                continue;
            }
            series.push(Series {
                name: results[0].label(),
                mark: mark(method),
                points: places.zip(&results).map(|(at, of)| named(at, of)).collect(),
            });
        }
    }
    (paths, series)
}

fn has_ray(soups: &Soups, base: Option<Method>) -> bool {
    let model = base.unwrap_or(Method::Best);
    soups.rays.iter().any(|ray| ray.method == model)
}

/// The rays: that of the best model, with which the others are to be compared, is the strongest.
fn rays(soups: &Soups) -> Vec<Path> {
    let path = |ray: &Ray| {
        let is_best = ray.method == Method::Best;
        let points = ray.points.iter();
        Path {
            name: if is_best {
                "θ_0 to the best model".to_string()
            } else {
                "θ_0 to each soup, in its colour".to_string()
            },
            color: color(ray.method),
            style: if is_best {
                PathStyle::Plain
            } else {
                PathStyle::Thin
            },
            points: points
                .map(|it| place(&soups.datasets, &it.scores))
                .collect(),
        }
    };
    let (best, others): (Vec<&Ray>, Vec<&Ray>) = soups
        .rays
        .iter()
        .partition(|ray| ray.method == Method::Best);
    // The last is drawn on top.
    others.into_iter().chain(best).map(path).collect()
}

/// Methods in the order of drawing, the last on top. The second-best model is missing because it
/// already has its diamond.
const ORDER: [Method; 13] = [
    Method::WiseFt,
    Method::Slerp,
    Method::SlerpTasks,
    Method::TaskArithmetic,
    Method::ModelStock,
    Method::Ensemble,
    Method::GreedyEnsemble,
    Method::Uniform,
    Method::GreedyRandom,
    Method::Learned,
    Method::LearnedByLayer,
    Method::Greedy,
    Method::Best,
];

/// The colours and shapes of the paper's released script, if it has the method.
fn mark(method: Method) -> Mark {
    match method {
        Method::Best | Method::Second => open(DotShape::Circle, theme::INK, 23.0),
        Method::Uniform => dot(DotShape::Circle, theme::UNIFORM, 17.0),
        Method::Greedy => dot(DotShape::Star, theme::GREEDY, 21.0),
        Method::GreedyRandom => dot(DotShape::Star, theme::PALE, 12.0),
        Method::Learned => dot(DotShape::Plus, theme::LEARNED, 17.0),
        Method::LearnedByLayer => dot(DotShape::Spark, theme::LEARNED, 17.0),
        Method::Ensemble => dot(DotShape::Square, theme::RED, 16.0),
        Method::GreedyEnsemble => open(DotShape::Square, theme::RED, 18.0),
        Method::WiseFt => dot(DotShape::Up, color(method), 15.0),
        Method::ModelStock => dot(DotShape::Cross, color(method), 15.0),
        Method::Slerp | Method::SlerpTasks => dot(DotShape::Down, color(method), 15.0),
        Method::TaskArithmetic => dot(DotShape::Hexagon, color(method), 13.0),
    }
}

/// The colour of a line: that of a method with several settings, or of the model to which a ray
/// leads or that WiSE-FT shortens.
fn color(method: Method) -> RGBColor {
    match method {
        Method::Best => theme::INK,
        Method::WiseFt => theme::GROUPS[5],
        Method::Slerp => theme::GROUPS[4],
        Method::SlerpTasks => theme::GROUPS[2],
        Method::Uniform => theme::UNIFORM,
        Method::Greedy => theme::GREEDY,
        Method::GreedyRandom => theme::PALE,
        Method::Learned | Method::LearnedByLayer => theme::LEARNED,
        Method::TaskArithmetic => theme::GROUPS[1],
        Method::ModelStock => theme::GROUPS[3],
        _ => theme::OTHER,
    }
}

fn dot(shape: DotShape, color: RGBColor, size: f64) -> Mark {
    Mark::Dot(Dot::new(shape, color, size))
}

fn open(shape: DotShape, color: RGBColor, size: f64) -> Mark {
    Mark::Dot(Dot {
        open: true,
        ..Dot::new(shape, color, size)
    })
}

/// A method's settings, in order, as a path; there is at least one.
fn path(results: &[&MethodResult], places: Vec<Xy>) -> Path {
    let settings = results.iter().map(|result| result.setting);
    let mut points: Vec<(Option<f64>, Xy)> = settings.zip(places).collect();
    let key = |setting: Option<f64>| setting.unwrap_or(f64::NAN);
    points.sort_by(|a, b| key(a.0).total_cmp(&key(b.0)));
    Path {
        name: results[0].label(),
        color: color(results[0].base.unwrap_or(results[0].method)),
        style: PathStyle::Marked,
        points: points.into_iter().map(|(_, place)| place).collect(),
    }
}

fn named(at: Xy, result: &MethodResult) -> Point {
    let label = result.label();
    let name = match result.setting {
        Some(setting) => format!("{label} {setting}"),
        None => label,
    };
    Point {
        name,
        ..Point::from(at)
    }
}

/// Test accuracy and mean shift accuracy in percent.
fn place(datasets: &[DatasetInfo], scores: &[Score]) -> Xy {
    let accuracies = Accuracies::of(datasets, scores);
    (100.0 * accuracies.test, 100.0 * accuracies.shift)
}

/// The ranges of the axes: everything within one spread of the ordinary models, so that these take
/// at least a third of each axis.
fn window(individuals: &[Xy], all: &[Xy]) -> Option<[Interval; 2]> {
    let reach = |of: fn(&Xy) -> f64| {
        let (low, high) = ordinary(individuals.iter().map(of))?;
        let spread = (high - low).max(SMALLEST_SPREAD);
        Some(low - spread..=high + spread)
    };
    let (across, up) = reach(|place| place.0).zip(reach(|place| place.1))?;
    let near = |place: &&Xy| across.contains(&place.0) && up.contains(&place.1);
    let near: Vec<&Xy> = all.iter().filter(near).collect();
    let x = extent(near.iter().map(|place| place.0))?;
    Some([x, extent(near.iter().map(|place| place.1))?])
}

/// The range of the accuracies without those far below the others. The better half determines it,
/// since fewer than half of the models have failed: the lower limit is eight times as far below the
/// median as the upper quartile is above it.
fn ordinary(values: impl Iterator<Item = f64>) -> Option<Interval> {
    let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let (median, quartile) = (sorted[last.div_ceil(2)], sorted[last - last / 4]);
    let floor = median - 8.0 * (quartile - median).max(SMALLEST_SPREAD / 2.0);
    extent(sorted.into_iter().filter(|value| *value >= floor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::fixtures;
    use crate::figure::scatter::draw;
    use crate::result::score::Role;

    fn svg(soups: &Soups) -> String {
        draw(&scatter(soups).unwrap()).unwrap().svg
    }

    #[test]
    fn only_methods_that_are_there_are_listed() {
        let mut soups = fixtures::soups();
        assert!(svg(&soups).contains("\nSLERP of the two best\n"));
        soups.methods.retain(|of| of.method == Method::Greedy);
        let svg = svg(&soups);
        assert!(svg.contains("\ngreedy soup\n") && svg.contains("\nindividual models\n"));
        for absent in ["SLERP", "ensemble", "uniform", "random order", "best"] {
            assert!(!svg.contains(absent), "{absent}");
        }
    }

    #[test]
    fn a_failed_soup_squashes_nothing_and_is_told_with_its_values() {
        let soups = fixtures::soups();
        let figure = scatter(&soups).unwrap();
        let [x, y] = figure.panels[0].window.unwrap();
        assert!(
            x.0 > 85.0 && x.1 > 99.0 && y.0 > 60.0 && y.1 > 84.0,
            "{x:?} {y:?}"
        );
        assert!(svg(&soups).contains("uniform soup (48.7, 36.2)"));
    }

    #[test]
    fn failed_models_are_no_measure_of_the_others() {
        let mut soups = fixtures::soups();
        for k in 0..7 {
            let name = format!("a_name_that_goes_on_and_on_{k}");
            soups.models[k] = fixtures::individual(&name, 10.0, 12.0);
        }
        let [x, _] = scatter(&soups).unwrap().panels[0].window.unwrap();
        assert!(x.0 > 80.0, "{x:?}");
        // Every failed model is named, if need be below the axes.
        let names: usize = (0..7)
            .map(|k| svg(&soups).matches(&format!("{k} (10.0, 12.0)")).count())
            .sum();
        assert_eq!(names, 7);
    }

    #[test]
    fn models_that_are_close_are_all_shown() {
        let mut soups = fixtures::soups();
        soups
            .methods
            .retain(|of| matches!(of.method, Method::Greedy | Method::Best));
        soups.origin = fixtures::individual("zs", 90.0, 79.0);
        let [x, _] = scatter(&soups).unwrap().panels[0].window.unwrap();
        assert!(x.0 == 90.0 && x.1 == 99.0, "{x:?}");
    }

    #[test]
    fn models_stand_on_top_of_the_origin() {
        let mut soups = fixtures::soups();
        soups.origin.scores = soups.models[0].scores.clone();
        let figure = scatter(&soups).unwrap();
        let names: Vec<&str> = figure.panels[0].series.iter().map(|of| &*of.name).collect();
        assert_eq!(names[..2], ["θ_0 zs", "individual models"]);
    }

    #[test]
    fn several_settings_are_a_line_in_their_order() {
        let mut soups = fixtures::soups();
        soups.methods.reverse();
        let figure = scatter(&soups).unwrap();
        let path = &figure.panels[0].paths[0].points;
        assert_eq!(path.len(), 11);
        assert!((path[0].0 - 80.5).abs() < 1e-9 && (path[10].0 - 48.7).abs() < 1e-9);
    }

    #[test]
    fn rays_are_lines_and_a_sweep_that_lies_on_one_is_the_point_of_its_row() {
        let mut soups = fixtures::soups();
        let ray = |method, test: f64| Ray {
            method,
            setting: None,
            seed: None,
            points: vec![
                fixtures::ray_point(0.0, 80.5, 80.3),
                fixtures::ray_point(1.0, test, 83.0),
            ],
        };
        soups.rays = vec![ray(Method::Best, 98.7), ray(Method::Greedy, 99.0)];
        soups.rays.push(ray(Method::Learned, 98.9));
        let figure = scatter(&soups).unwrap();
        let styles: Vec<_> = figure.panels[0].paths.iter().map(|it| it.style).collect();
        assert_eq!(styles, [PathStyle::Thin, PathStyle::Thin, PathStyle::Plain]);
        let ends = figure.panels[0].paths.iter().map(|path| path.points[1].0);
        let expected = [99.0, 98.9, 98.7];
        assert!(ends.zip(expected).all(|(end, at)| (end - at).abs() < 1e-9));
        // Of the sweep, validation accuracy chose α = 0.2: 80.5 + 30α − 61.8α², of 1000 samples.
        let mut series = figure.panels[0].series.iter();
        let sweep = series.find(|series| series.name == Method::WiseFt.label());
        let points = &sweep.unwrap().points;
        assert!(points.len() == 1 && (points[0].at.0 - 84.0).abs() < 1e-9);
        let svg = svg(&soups);
        assert_eq!(svg.matches("to each soup, in its colour").count(), 1);
        assert!(svg.contains("to the best model"));
    }

    #[test]
    fn odd_pools_are_drawn_and_none_without_its_axes() {
        let mut equal = fixtures::soups();
        for model in &mut equal.models {
            model.scores = fixtures::scores(97.0, 80.0);
        }
        svg(&equal);
        let mut single = fixtures::soups();
        single.models.truncate(1);
        svg(&single);
        single.models.clear();
        svg(&single);
        for score in single.methods.iter_mut().flat_map(|of| &mut of.scores) {
            score.error = f64::NAN;
        }
        svg(&single);
        for role in [Role::Test, Role::Shift] {
            let mut soups = fixtures::soups();
            for set in soups.datasets.iter_mut().filter(|set| set.role == role) {
                set.role = Role::Train;
            }
            assert!(scatter(&soups).is_none());
        }
    }
}
