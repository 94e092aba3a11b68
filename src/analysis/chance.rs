//! Checks whether the models are better than guessing, and whether the labels and the network use
//! the same classes. If not, the data are probably not what the network was trained on.

use crate::result::score::{DatasetInfo, Score};

/// Minimum number of samples for a verdict: with fewer, chance minus two standard errors is far
/// from chance.
const SAMPLES: usize = 100;

/// Minimum number of classes for a warning that labels cover too few.
const CLASSES: usize = 10;

/// How many of the network's classes occur among the labels of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelCoverage {
    /// Number of classes of the network.
    pub classes: usize,
    /// Number of classes that occur among the labels.
    pub named: usize,
}

impl LabelCoverage {
    /// The error rate of guessing, 1 − 1/C.
    pub fn chance(&self) -> f64 {
        1.0 - 1.0 / self.classes as f64
    }

    /// Whether an error rate on `samples` samples fails to beat chance by more than two of its
    /// standard errors. Labels of a single class say nothing about that.
    pub fn is_chance(&self, samples: usize, error: f64) -> bool {
        let chance = self.chance();
        let se = (chance * (1.0 - chance) / samples as f64).sqrt();
        samples >= SAMPLES && self.named > 1 && error >= chance - 2.0 * se
    }

    /// Whether the labels cover at most half of the classes expected from equally many labels drawn
    /// uniformly from all classes.
    fn is_subset(&self, samples: usize) -> bool {
        let (classes, samples) = (self.classes as f64, samples as f64);
        let expected = classes * (1.0 - (-samples / classes).exp());
        self.classes >= CLASSES
            && self.named > 1
            && samples >= 2.0 * classes
            && self.named as f64 <= 0.5 * expected
    }
}

/// Warnings about data sets on which no model is better than chance, and about those whose labels
/// cover few of the network's classes. The scores are `scores[model][data set]`.
pub fn warnings(
    datasets: &[DatasetInfo],
    labels: &[LabelCoverage],
    scores: &[Vec<Score>],
) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut at_chance = Vec::new();
    for (set, (data, labels)) in datasets.iter().zip(labels).enumerate() {
        let LabelCoverage { classes, named } = *labels;
        let (name, samples) = (&data.name, data.samples);
        let is_subset = labels.is_subset(samples);
        if is_subset {
            warnings.push(format!(
                "labels of {name} name {named} of the network's {classes} classes, and every class \
                 counts as a possible answer. To allow only those of the set, as for ImageNet-A \
                 and -R, export logits[:, classes] and renumber the labels"
            ));
        }
        let errors = scores.iter().map(|sets| sets[set].error);
        let best = errors.fold(f64::INFINITY, f64::min);
        if best.is_finite() && labels.is_chance(samples, best) {
            at_chance.push(format!(
                "{name} (best error {:.1} % of {samples} samples, chance {:.1} %)",
                100.0 * best,
                100.0 * labels.chance()
            ));
        }
    }
    if !at_chance.is_empty() {
        warnings.push(format!(
            "no model is significantly better than chance on {}. Are the preprocessing, the labels \
             and their order, and the order of the axes those that the network was trained with?",
            at_chance.join(", ")
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{score, test_set};

    fn told(classes: usize, named: usize, samples: usize, errors: &[f64]) -> Vec<String> {
        let scores = errors.iter().map(|error| vec![score(1.0, *error)]);
        let scores: Vec<Vec<Score>> = scores.collect();
        let labels = [LabelCoverage { classes, named }];
        warnings(&[test_set(samples)], &labels, &scores)
    }

    #[test]
    fn chance_is_told_where_no_model_is_better() {
        let text = &told(10, 10, 1000, &[0.95, 0.885])[0];
        assert!(
            text.contains("test (best error 88.5 % of 1000 samples, chance 90.0 %)"),
            "{text}"
        );
        // 0.9 minus two standard errors of 0.0095.
        assert_eq!(told(10, 10, 1000, &[0.95, 0.88]), Vec::<String>::new());
        // Too few samples, and labels of one class.
        assert_eq!(told(10, 9, 99, &[1.0]), Vec::<String>::new());
        assert_eq!(told(2, 1, 1000, &[1.0]), Vec::<String>::new());
    }

    #[test]
    fn labels_of_few_classes_are_told_but_not_those_of_few_samples() {
        let text = &told(1000, 200, 7500, &[0.5])[0];
        assert!(
            text.contains("name 200 of the network's 1000 classes"),
            "{text}"
        );
        assert_eq!(told(1000, 250, 300, &[0.5]), Vec::<String>::new());
        assert_eq!(told(4, 2, 300, &[0.2]), Vec::<String>::new());
        assert_eq!(told(10, 6, 300, &[0.2]), Vec::<String>::new());
    }
}
