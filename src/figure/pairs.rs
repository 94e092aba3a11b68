//! Figures 3 and 4 of "Model soups": what pairs of checkpoints gain by averaging.

use super::axes::{Xy, extent};
use super::canvas::Size;
use super::marks::{Dot, DotShape, Mark};
use super::numbers::fixed;
use super::plot::{Plot, Series};
use super::scatter::Scatter;
use super::theme;
use crate::base::human;
use crate::result::pairs::{Correlation, Pair, Pairs, SMALLEST_GAIN, WORTH_MAGNIFYING};
use crate::result::score::Role;

/// Width and height of a panel's axes in layout pixels.
const ADVANTAGE_SIZE: Size = (640.0, 540.0);
const ACCURACY_SIZE: Size = (600.0, 600.0);

/// Figure 3: the interpolation advantage against the angle at θ0. `None` if no pair has both.
///
/// Pairs with a barrier may lose fifty points while others gain a tenth of a point; then a second
/// panel shows only the pairs that lose little.
pub fn angle_advantage(pairs: &Pairs) -> Option<Scatter> {
    let row = |pair: &Pair| pair.main().map(|row| 100.0 * row.advantage);
    let point = |pair: &Pair| Some((pair.angle_deg, row(pair)?));
    let groups = Groups::of(pairs);
    let series = groups.series(point);
    extent(places(&series).map(|place| place.1))?;
    let plot = |title: String, series: Vec<Series>| Plot {
        title,
        names: [
            "angle φ at θ_0 (degrees)".to_string(),
            "interpolation advantage (points)".to_string(),
        ],
        zero: [false, true],
        series,
        ..Plot::default()
    };
    let mut panels = vec![plot(advantage_title(pairs), series.clone())];
    if let Some(floor) = pairs.zoom() {
        let near = kept(&series, |place| place.1 >= floor);
        let (few, all) = (places(&near).count(), places(&series).count());
        let floor = fixed(floor, decimals(floor));
        let title = format!("zoom: {few} of {all} pairs, {floor} and above");
        panels.push(plot(title, near));
    }
    let zoomed = pairs.angle_advantage_zoom.filter(|_| panels.len() > 1);
    let zoomed = zoomed.map(|zoomed| correlation("zoom: Spearman ρ", zoomed));
    let text = correlation("Spearman ρ", pairs.angle_advantage);
    let of = pairs.angles_of.iter();
    let of = of.map(|of| format!("angles are of {of}"));
    Some(Scatter {
        columns: panels.len(),
        panels,
        size: ADVANTAGE_SIZE,
        captions: std::iter::once(text).chain(zoomed).chain(of).collect(),
    })
}

/// Figure 4: the accuracy of a pair's soup against that of its ensemble, on the test set and on the
/// shifts. `None` if there is neither.
///
/// If some soups fail while their ensembles do not, a second row shows the pairs whose soups come
/// close to the ensembles.
pub fn soup_ensemble(pairs: &Pairs) -> Option<Scatter> {
    let groups = Groups::of(pairs);
    let of = |role: Role| pairs.datasets.iter().filter(move |set| set.role == role);
    let test = of(Role::Test).next().map(|set| set.name.as_str());
    let shifts = match of(Role::Shift).count() {
        1 => of(Role::Shift)
            .next()
            .map_or(String::new(), |set| set.name.clone()),
        count => format!("mean over {count} shifts"),
    };
    let sides = [
        (test, "test".to_string(), pairs.soup_ensemble_test),
        (Some("shifts"), shifts, pairs.soup_ensemble_shifts),
    ];
    let place = |pair: &Pair, row: Option<&str>| {
        let row = pair.row(row?)?;
        Some((100.0 * row.accuracy_soup, 100.0 * row.accuracy_ensemble))
    };
    let floors = sides.each_ref().map(|(row, ..)| {
        let series = groups.series(|pair| place(pair, *row));
        worst_ensemble(&series)
    });
    // Both sides show the same pairs.
    let is_near = |pair: &Pair| {
        let mut sides = sides.iter().zip(floors);
        sides.all(|((row, ..), floor)| place(pair, *row).is_none_or(|place| place.0 >= floor))
    };
    let (mut full, mut near, mut captions) = (Vec::new(), Vec::new(), Vec::new());
    let mut zoomed = false;
    for ((row, title, pearson), floor) in sides.iter().zip(floors) {
        let series = groups.series(|pair| place(pair, *row));
        let Some((worst, _)) = extent(places(&series).map(|place| place.0)) else {
            continue;
        };
        captions.push(correlation(&format!("{title}: Pearson r"), *pearson));
        let close = groups.series(|pair| place(pair, *row).filter(|_| is_near(pair)));
        let (few, all) = (places(&close).count(), places(&series).count());
        let best = places(&series).fold(floor, |best, place| best.max(place.0).max(place.1));
        zoomed |= few > 0 && few < all && best - worst > WORTH_MAGNIFYING * (best - floor);
        let near_title = format!("{title}, zoom: {few} of {all} pairs");
        full.push(panel(title.clone(), series));
        near.push(panel(near_title, close));
    }
    let columns = full.len();
    if zoomed {
        full.append(&mut near);
    }
    (columns > 0).then_some(Scatter {
        panels: full,
        columns,
        size: ACCURACY_SIZE,
        captions,
    })
}

fn panel(title: String, series: Vec<Series>) -> Plot {
    Plot {
        title,
        names: [
            "accuracy of the soup (%)".to_string(),
            "accuracy of the ensemble (%)".to_string(),
        ],
        diagonal: true,
        series,
        ..Plot::default()
    }
}

/// The accuracy from which a soup counts as close to the ensembles: below the worst of them by
/// their spread, which is at least a quarter of a point.
fn worst_ensemble(series: &[Series]) -> f64 {
    let range = extent(places(series).map(|place| place.1));
    let (low, high) = range.unwrap_or_default();
    low - (high - low).max(SMALLEST_GAIN)
}

/// The title that names the data of the advantage.
fn advantage_title(pairs: &Pairs) -> String {
    let row = pairs.pairs.first().and_then(Pair::main);
    match row.map(|row| row.dataset.as_str()) {
        Some("all") => "mean over test and shifts".to_string(),
        Some(name) => name.to_string(),
        None => String::new(),
    }
}

/// Describes a correlation in words.
fn correlation(name: &str, of: Correlation) -> String {
    let pairs = match of.pairs {
        1 => "1 pair".to_string(),
        count => format!("{count} pairs"),
    };
    let digits = |value: f64| fixed((100.0 * value).round() / 100.0, 2);
    if !of.value.is_finite() {
        return format!("{name}: not defined, {pairs}");
    }
    let value = digits(of.value);
    if !(of.low.is_finite() && of.high.is_finite()) {
        return format!("{name} = {value}, {pairs}");
    }
    let (low, high) = (digits(of.low), digits(of.high));
    format!("{name} = {value} (95 % of bootstraps over models: {low} to {high}), {pairs}")
}

/// The number of decimals of a round number.
fn decimals(value: f64) -> usize {
    (-value.abs().log10().floor()).max(0.0) as usize
}

fn places(series: &[Series]) -> impl Iterator<Item = Xy> {
    let points = series.iter().flat_map(|series| &series.points);
    points.map(|point| point.at)
}

/// The points that satisfy a condition.
fn kept(series: &[Series], holds: impl Fn(Xy) -> bool) -> Vec<Series> {
    let mut series = series.to_vec();
    for one in &mut series {
        one.points.retain(|point| holds(point.at));
    }
    series
}

/// Pairs grouped by the hyperparameters that differ within them, the largest group first.
struct Groups<'a> {
    groups: Vec<(&'a [String], Vec<&'a Pair>)>,
}

impl<'a> Groups<'a> {
    fn of(pairs: &'a Pairs) -> Self {
        let mut groups: Vec<(&[String], Vec<&Pair>)> = Vec::new();
        for pair in &pairs.pairs {
            let differ = pair.differ.as_slice();
            match groups.iter_mut().find(|(other, _)| *other == differ) {
                Some((_, members)) => members.push(pair),
                None => groups.push((differ, vec![pair])),
            }
        }
        // A stable sort: of equal groups, the earlier one comes first.
        groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
        Self { groups }
    }

    /// The finite points of each group in its own colour; those of small groups are grey and drawn
    /// below the others.
    fn series(&self, point: impl Fn(&Pair) -> Option<Xy>) -> Vec<Series> {
        let size = match self.groups.iter().map(|group| group.1.len()).sum::<usize>() {
            0..=150 => 8.0,
            151..=600 => 6.5,
            _ => 5.0,
        };
        let mut other = Vec::new();
        let mut series = Vec::new();
        for (index, (differ, pairs)) in self.groups.iter().enumerate() {
            let places = pairs.iter().filter_map(|pair| point(pair));
            let finite = places.filter(|(x, y)| x.is_finite() && y.is_finite());
            let points = finite.map(Into::into);
            match theme::GROUPS.get(index) {
                Some(color) => series.push(Series {
                    name: differing(differ),
                    mark: Mark::Dot(Dot::new(DotShape::Circle, *color, size)),
                    points: points.collect(),
                }),
                None => other.extend(points),
            }
        }
        if !other.is_empty() {
            series.push(Series {
                name: "other".to_string(),
                mark: Mark::Dot(Dot::new(DotShape::Circle, theme::OTHER, size)),
                points: other,
            });
        }
        series
    }
}

/// The names of the hyperparameters that differ, as many as fit into a legend.
fn differing(names: &[String]) -> String {
    const MOST_LETTERS: usize = 40;
    if names.is_empty() {
        return "nothing differs".to_string();
    }
    let whole = names.join(", ");
    if whole.chars().count() <= MOST_LETTERS {
        return whole;
    }
    let mut shown = names.to_vec();
    shown[0] = super::text::short(&names[0]);
    let fits = |most: &usize| {
        let head = shown[..*most].join(", ");
        head.chars().count() + " and 9 more".len() <= MOST_LETTERS
    };
    let most = (2..=shown.len()).take_while(fits).last().unwrap_or(1);
    human::list(&shown, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::fixtures;
    use crate::figure::scatter::draw;

    #[test]
    fn barriers_have_a_panel_and_the_others_one_of_their_own() {
        let pairs = fixtures::pairs();
        let figure = angle_advantage(&pairs).unwrap();
        assert_eq!(figure.panels.len(), 2);
        let counts = figure
            .panels
            .iter()
            .map(|panel| places(&panel.series).count());
        assert_eq!(counts.collect::<Vec<_>>(), [120, 91]);
        let svg = draw(&figure).unwrap().svg;
        for words in [
            "zoom: 91 of 120 pairs, −1 and above",
            "Spearman ρ = 0.62 (95 % of bootstraps over models: 0.41 to 0.78), 120 pairs",
            "lr, epochs, mixup and 2 more",
        ] {
            assert_eq!(svg.matches(words).count(), 1, "{words}");
        }
    }

    #[test]
    fn pairs_alike_need_no_second_look() {
        let mut pairs = fixtures::pairs();
        pairs.pairs.retain(|pair| pair.rows[0].advantage > -0.01);
        assert_eq!(angle_advantage(&pairs).unwrap().panels.len(), 1);
        assert_eq!(soup_ensemble(&pairs).unwrap().panels.len(), 2);
        // Barriers alone cause no zoom either.
        let mut pairs = fixtures::pairs();
        pairs.pairs.retain(|pair| pair.rows[0].advantage < -0.1);
        assert_eq!(angle_advantage(&pairs).unwrap().panels.len(), 1);
    }

    #[test]
    fn soups_and_ensembles_stand_on_square_axes() {
        let figure = soup_ensemble(&fixtures::pairs()).unwrap();
        assert_eq!((figure.panels.len(), figure.columns), (4, 2));
        assert!(figure.panels.iter().all(|panel| panel.diagonal));
        assert_eq!(figure.size.0, figure.size.1);
        assert!(figure.captions[1].starts_with("mean over 2 shifts: Pearson r = 0.81 "));
    }

    #[test]
    fn groups_beyond_the_colours_are_other() {
        let pairs = fixtures::pairs();
        let series = Groups::of(&pairs).series(|_| Some((1.0, 1.0)));
        assert_eq!(series.len(), 7);
        assert_eq!(series[6].name, "other");
        assert_eq!(places(&series).count(), 120);
        let sizes: Vec<usize> = series[..6].iter().map(|one| one.points.len()).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    }

    #[test]
    fn names_of_groups_have_an_end() {
        let differ =
            |names: &[&str]| differing(&names.iter().map(|s| (*s).to_string()).collect::<Vec<_>>());
        assert_eq!(differ(&[]), "nothing differs");
        assert_eq!(differ(&["lr", "seed"]), "lr, seed");
        assert_eq!(differ(&["lr"; 12]), "lr, lr, lr, lr, lr, lr, lr and 5 more");
        let long = "x".repeat(500);
        assert!(differ(&[&long, "lr"]).chars().count() < 50);
    }

    #[test]
    fn correlations_that_are_not_defined_say_so() {
        let of = |value, low, pairs| Correlation {
            value,
            low,
            high: 0.5,
            ..Correlation::undefined(pairs)
        };
        let nan = f64::NAN;
        assert_eq!(correlation("r", of(nan, nan, 1)), "r: not defined, 1 pair");
        assert_eq!(correlation("r", of(-0.001, nan, 4)), "r = 0.00, 4 pairs");
        assert!(correlation("r", of(-0.3, -0.9, 4)).starts_with("r = −0.30 (95 % of"));
    }

    #[test]
    fn nothing_to_draw_is_no_figure_and_odd_pairs_are_drawn() {
        let mut pairs = fixtures::pairs();
        pairs.pairs[0].angle_deg = f64::NAN;
        let figure = angle_advantage(&pairs).unwrap();
        assert_eq!(places(&figure.panels[0].series).count(), 119);
        pairs.pairs.truncate(2);
        pairs.pairs[1].differ = vec!["y".repeat(300)];
        draw(&angle_advantage(&pairs).unwrap()).unwrap();
        draw(&soup_ensemble(&pairs).unwrap()).unwrap();
        for pair in &mut pairs.pairs {
            pair.rows.retain(|row| row.dataset == "test");
        }
        let figure = angle_advantage(&pairs).unwrap();
        assert_eq!(figure.panels[0].title, "test");
        assert_eq!(soup_ensemble(&pairs).unwrap().panels.len(), 1);
        pairs.pairs[1].angle_deg = f64::NAN;
        assert!(angle_advantage(&pairs).is_none());
        pairs.pairs.clear();
        assert!(angle_advantage(&pairs).is_none() && soup_ensemble(&pairs).is_none());
    }
}
