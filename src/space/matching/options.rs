//! The user's options for matching.

use crate::graph::network::Use;

/// The user's options for matching.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of tensors to leave out on either side; `*` matches anything.
    pub ignore: Vec<String>,
    /// Whether tensors are left out whose modules have nothing in the graph, and that no exporter
    /// can have folded into others.
    pub ignore_unused: bool,
    /// Tensors that are taken from one model for all mixes.
    pub fixed: Vec<Fixed>,
    /// Whether a pattern may match nothing: a file that was written with them may hold none of what
    /// they left out.
    pub may_be_idle: bool,
}

/// Tensors that are taken from one model for all mixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// Names of the tensors; `*` matches anything.
    pub pattern: String,
    /// Name of the model, or `origin`.
    pub model: String,
}

impl Fixed {
    /// Reads `PATTERN=MODEL`; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (pattern, model) = text.split_once('=')?;
        let is_whole = !pattern.is_empty() && !model.is_empty();
        is_whole.then(|| Self {
            pattern: pattern.to_string(),
            model: model.to_string(),
        })
    }

    /// Whether the tensors are θ0's.
    pub fn is_of_origin(&self, origin_name: &str) -> bool {
        [ORIGIN, origin_name].contains(&self.model.as_str())
    }

    /// Whether the pattern names a use in the graph.
    pub(super) fn names(&self, r#use: &Use) -> bool {
        fits(&r#use.initializer, &self.pattern) || fits(&r#use.alias, &self.pattern)
    }
}

/// What θ0 is called in [`Fixed`].
const ORIGIN: &str = "origin";

impl Options {
    /// Whether tensors of this name are left out of a model: ignored, or fixed to another model's.
    pub fn ignores(&self, name: &str) -> bool {
        self.ignore.iter().any(|pattern| fits(name, pattern)) || self.fixing(&[name]).is_some()
    }

    /// Whether nothing is left out.
    pub fn keep_all(&self) -> bool {
        self.ignore.is_empty() && self.fixed.is_empty()
    }

    /// The request that fixes a tensor of one of these names.
    pub fn fixing(&self, names: &[&str]) -> Option<&Fixed> {
        let named = |fixed: &&Fixed| names.iter().any(|name| fits(name, &fixed.pattern));
        self.fixed.iter().find(named)
    }
}

/// Whether a name matches a pattern, in which `*` stands for any characters or none. The time
/// grows with the length of the name, not with the number of ways to divide it among the stars.
pub fn fits(name: &str, pattern: &str) -> bool {
    let Some((head, pattern)) = pattern.split_once('*') else {
        return name == pattern;
    };
    let (middle, tail) = pattern.rsplit_once('*').unwrap_or(("", pattern));
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    // Take each part at its first position: a later one leaves no more room for the others.
    for part in middle.split('*') {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::{Fixed, fits};

    #[test]
    fn fixed_tensors_have_a_pattern_and_a_model() {
        let fixed = Fixed::parse("fc.*=ft=1").unwrap();
        assert_eq!((&*fixed.pattern, &*fixed.model), ("fc.*", "ft=1"));
        for text in ["fc.*", "=ft1", "fc.*=", ""] {
            assert_eq!(Fixed::parse(text), None, "{text}");
        }
    }

    #[test]
    fn patterns() {
        assert!(fits("h.0.attn.bias", "h.*.attn.bias"));
        assert!(fits("inv_freq", "*"));
        assert!(!fits("h.0.attn.bias_k", "h.*.attn.bias"));
        assert!(!fits("a", "b"));
        assert!(fits("ab", "a*b") && fits("ab", "*a**b*") && !fits("a", "a*a"));
        assert!(fits("aXbXc", "a*X*c") && !fits("aXbXcd", "a*X*c"));
        assert!(fits("ä.ß", "*.*ß") && !fits("x.y.x", "*.z.*"));
        // Exponential if every position of a star were tried.
        assert!(!fits(&"a".repeat(10_000), "*a*a*a*a*a*a*b"));
        assert!(fits(&("a".repeat(10_000) + "b"), "*a*a*a*a*a*a*b"));
        assert!(!fits(&"a".repeat(10_000), &("*a".repeat(3_000) + "b")));
    }
}
