//! The report of pairs: the extremes and the correlations.

use std::path::{Path, PathBuf};

use super::columns::aligned;
use super::{Report, effort, figures};
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::result::pairs::{Correlation, MeanAdvantage, PairSummary, Pairs, TheoryAgreement, file};
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
use crate::result::score::Role;

/// Pairs of models and how to present them.
pub struct PairsReport<'r> {
    /// The pairs.
    pub pairs: &'r Pairs,
    /// What soups are, if not averages of the models' parameters.
    pub averages: Option<&'r str>,
}

impl Report for PairsReport<'_> {
    fn warnings(&self) -> &[String] {
        &self.pairs.warnings
    }

    fn provenance(&self) -> &Provenance {
        &self.pairs.provenance
    }

    fn datasets(&self) -> &[DatasetInfo] {
        &self.pairs.datasets
    }

    fn write(&self, csv: &Path) -> Result<()> {
        file::write(self.pairs, csv)
    }

    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        figures::pairs(self.pairs, folder, name)
    }

    fn print_json(&self) -> Result<()> {
        print_json(self.pairs)
    }

    fn result(&self) -> Vec<String> {
        let averages = self.averages.iter();
        let said = averages.map(|it| format!("every soup is {it}"));
        let of = self.pairs.angles_of.iter();
        let of = of.map(|it| format!("norms and angles are of {it}"));
        said.chain(of)
            .chain(extremes(self.pairs))
            .chain(summary(self.pairs))
            .collect()
    }

    fn remarks(&self, rate: f64) -> Vec<String> {
        let pairs = self.pairs;
        let seconds = pairs.provenance.wall_seconds;
        let zoom = pairs.angle_advantage_zoom.as_ref();
        let zoom =
            zoom.map(|zoom| format!("  pairs that lose little: {}", described(zoom, "pairs")));
        let mut lines = vec![format!(
            "angle and advantage: Spearman {}",
            described(&pairs.angle_advantage, "pairs")
        )];
        lines.extend(zoom);
        let on = [
            (Role::Test, "test", &pairs.soup_ensemble_test),
            (Role::Shift, "the shifts", &pairs.soup_ensemble_shifts),
        ];
        let has = |role: Role| pairs.datasets.iter().any(|set| set.role == role);
        let on = on.iter().filter(|(role, ..)| has(*role));
        let on = on.map(|(_, name, of)| format!("{} on {name}", described(of, "pairs")));
        let on: Vec<String> = on.collect();
        if !on.is_empty() {
            lines.push(format!("soup and ensemble: Pearson {}", on.join(", ")));
        }
        let has_test = |of: &Correlation| !of.p.is_nan();
        if has_test(&pairs.angle_advantage) || has_test(&pairs.soup_ensemble_test) {
            lines.push(MANTEL.to_string());
        }
        lines.extend(pairs.theory_agreement.iter().map(agreement));
        lines.push(effort(rate, seconds));
        lines
    }
}

/// What the words beside a correlation mean.
const MANTEL: &str = "intervals resample models; Mantel: the share of permutations of the models with a correlation as \
                      strong; model effects: what each model adds to all its pairs";

/// Number of pairs shown at each end.
const SHOWN: usize = 3;

/// Describes the pairs that gain most by interpolation, and those that lose most.
fn extremes(pairs: &Pairs) -> Vec<String> {
    let mut rows: Vec<_> = pairs
        .pairs
        .iter()
        .filter_map(|pair| Some((pair, pair.main()?)))
        .collect();
    rows.sort_by(|a, b| b.1.advantage.total_cmp(&a.1.advantage));
    let of = rows.first().map_or("", |(_, row)| row.dataset.as_str());
    let of = match of {
        "all" => "mean of test and shifts",
        name => name,
    };
    let header = [
        "pair",
        "angle",
        "soup (%)",
        "ensemble (%)",
        "over the mean of the ends",
        "over the better end",
    ];
    let mut table = vec![header.map(String::from).to_vec()];
    let ends = rows.len().saturating_sub(SHOWN).max(SHOWN);
    for (index, (pair, row)) in rows.iter().enumerate() {
        if index >= SHOWN && index < ends {
            continue;
        }
        if index == ends && ends > SHOWN {
            table.push(vec!["…".to_string()]);
        }
        table.push(vec![
            format!("{} {}", pair.a, pair.b),
            format!("{:.1}°", pair.angle_deg),
            format!("{:.2}", 100.0 * row.accuracy_soup),
            format!("{:.2}", 100.0 * row.accuracy_ensemble),
            points(row.advantage, row.advantage_se),
            points(row.advantage_best, row.advantage_best_se),
        ]);
    }
    let mut lines = vec![format!(
        "accuracies: {of}; ±: paired standard error over samples"
    )];
    lines.extend(aligned(&table, &[0], "   "));
    lines
}

/// A difference in points, with its standard error.
fn points(value: f64, se: f64) -> String {
    format!("{:+.2} ± {:.2}", 100.0 * value, 100.0 * se)
}

/// What all pairs together say on the test set and in the means; on the first data set without
/// these.
fn summary(pairs: &Pairs) -> Vec<String> {
    let roles = [Role::Test, Role::Shift].map(Role::name);
    let has_shifts = pairs.datasets.iter().any(|set| set.role == Role::Shift);
    let is_told = |of: &&PairSummary| {
        let mut sets = pairs.datasets.iter();
        match sets.find(|set| set.name == of.dataset) {
            Some(set) => roles.contains(&set.role.name()),
            // A mean, which without shifts is that of the test set alone.
            None => has_shifts,
        }
    };
    let mut told: Vec<&PairSummary> = pairs.summaries.iter().filter(is_told).collect();
    if told.is_empty() {
        told.extend(pairs.summaries.first());
    }
    if told.is_empty() {
        return Vec::new();
    }
    let cells = |of: &MeanAdvantage| {
        let [mean, low, high] = [of.mean, of.low, of.high].map(|value| 100.0 * value);
        [
            format!("{mean:+.2} ({low:+.2} to {high:+.2})"),
            format!("{} / {}", of.gain, of.lose),
        ]
    };
    let line = |of: &PairSummary| {
        let [[mean, count], [best, count_best]] = [&of.advantage, &of.advantage_best].map(cells);
        let p = match of.sides_p {
            p if p.is_nan() => "–".to_string(),
            p if p < 0.001 => "< 0.001".to_string(),
            p => format!("{p:.3}"),
        };
        format!(
            "{:12}  {mean:>25}  {count:>11}  {best:>25}  {count_best:>11}  {:>18}  {p:>7}",
            of.dataset,
            format!("{} / {}", of.soup_above, of.ensemble_above)
        )
    };
    let mut lines = vec![
        String::new(),
        format!(
            "{:12}  {:>25}  {:>11}  {:>25}  {:>11}  {:>18}  {:>7}",
            "all pairs",
            "over the mean of the ends",
            "gain / lose",
            "over the better end",
            "gain / lose",
            "soup > ens. / < ens.",
            "p"
        ),
    ];
    lines.extend(told.into_iter().map(line));
    lines.push(
        "points; intervals and p over models, which pairs share; gain, lose: pairs beyond noise, at a false discovery \
         rate of 5 %"
            .to_string(),
    );
    lines
}

/// Describes how well section 4 predicts the difference between soup and ensemble.
fn agreement(of: &TheoryAgreement) -> String {
    let beta = if of.calibrated {
        "calibrated β"
    } else {
        "β = 1"
    };
    let pairs = if of.barrier {
        "behind a barrier"
    } else {
        "without a barrier"
    };
    format!(
        "section 4, {beta}, h = {}, pairs {pairs}: Spearman {}; sign right in {} of {} ({} with ∂f/∂α)",
        of.step,
        described(&of.rank, "points"),
        of.same_sign,
        of.signs,
        of.same_sign_path
    )
}

/// Describes a correlation over `what` with its interval.
fn described(correlation: &Correlation, what: &str) -> String {
    let Correlation {
        value,
        low,
        high,
        pairs,
        p,
        residual,
        residual_p,
        ..
    } = correlation;
    let mantel = |p: f64| match p {
        p if p < 0.001 => "p < 0.001".to_string(),
        p => format!("p = {p:.3}"),
    };
    let mut text = match (value.is_nan(), low.is_nan() || high.is_nan()) {
        (true, _) => return format!("undefined ({what}: {pairs})"),
        (false, true) => format!("{value:.2} ({what}: {pairs}"),
        (false, false) => format!("{value:.2} ({low:.2} to {high:.2}, {pairs} {what}"),
    };
    if !p.is_nan() {
        text.push_str(&format!(", Mantel {}", mantel(*p)));
    }
    text.push(')');
    if !residual.is_nan() {
        let p = mantel(*residual_p);
        text.push_str(&format!(", {residual:.2} with model effects removed ({p})"));
    }
    text
}
