//! The user's options for matching.

/// The user's options for matching.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of tensors to leave out on either side; `*` matches anything.
    pub ignore: Vec<String>,
    /// Whether tensors are left out whose modules have nothing in the graph, and that no exporter
    /// can have folded into others.
    pub ignore_unused: bool,
}

impl Options {
    /// Whether tensors of this name are left out.
    pub fn ignores(&self, name: &str) -> bool {
        self.ignore.iter().any(|pattern| fits(name, pattern))
    }
}

/// Whether a name matches a pattern, in which `*` stands for any characters or none. The time
/// grows with the length of the name, not with the number of ways to divide it among the stars.
pub(super) fn fits(name: &str, pattern: &str) -> bool {
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
    use super::fits;

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
