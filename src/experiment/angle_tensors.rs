//! Which tensors norms and angles are of.

use crate::error::{Error, Result};
use crate::graph::groups::{Group, groups};
use crate::graph::network::Network;
use crate::space::matching::{Aligned, fits};
use crate::space::pool::Pool;

/// Patterns of tensors: those that norms and angles are of, and those that they leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AngleTensors {
    /// Names to take; none takes all.
    pub of: Vec<String>,
    /// Names to leave out.
    pub not: Vec<String>,
}

/// The tensors that norms and angles are of.
pub struct Chosen {
    /// `parameters[parameter]`.
    pub parameters: Vec<bool>,
    /// Describes the choice; `None` if all tensors count.
    pub said: Option<String>,
}

impl AngleTensors {
    /// Chooses among the parameters that count, by their names.
    ///
    /// # Errors
    /// When a pattern matches none of them, or nothing is left.
    pub fn chosen(&self, pool: &Pool) -> Result<Chosen> {
        let counted = pool.parameters.iter().filter(|one| one.counts());
        let flags = [("--angle-of", &self.of), ("--angle-not", &self.not)];
        for (flag, patterns) in flags {
            for pattern in patterns {
                if !counted.clone().any(|one| fits(&one.name, pattern)) {
                    let problem = format!("`{pattern}` matches no tensor that counts in angles");
                    return Err(Error::flag(flag, problem)
                        .help("`landscape inspect` lists the names; `*` matches anything"));
                }
            }
        }
        let matches = |name: &str, patterns: &[String]| patterns.iter().any(|it| fits(name, it));
        let is_chosen = |name: &str| {
            (self.of.is_empty() || matches(name, &self.of)) && !matches(name, &self.not)
        };
        let parameters = pool.parameters.iter();
        let parameters: Vec<bool> = parameters
            .map(|one| one.counts() && is_chosen(&one.name))
            .collect();
        let count = parameters.iter().filter(|chosen| **chosen).count();
        if count == 0 {
            return Err(Error::flag(
                "--angle-not",
                "leaves no tensor for norms and angles",
            ));
        }
        let given = flags.iter().flat_map(|(flag, patterns)| {
            let patterns = patterns.iter();
            patterns.map(move |pattern| format!("{flag} '{pattern}'"))
        });
        let given: Vec<String> = given.collect();
        let said = (!given.is_empty()).then(|| {
            let all = counted.count();
            format!("{count} of {all} tensors ({})", given.join(" "))
        });
        Ok(Chosen { parameters, said })
    }
}

/// The group of each parameter of an aligned network. `output` names the logits; by default they
/// are the first output.
pub fn parameter_groups(
    network: &Network<'_>,
    aligned: &Aligned,
    output: Option<&str>,
) -> Vec<Group> {
    let outputs = &network.model.graph().output;
    let first = outputs.first().map_or("", |output| output.name());
    groups(network, &aligned.places, output.unwrap_or(first))
}

/// The parameters of each group that are among the chosen, in the order of tables, without empty
/// groups.
pub fn members_of_groups(groups: &[Group], chosen: &[bool]) -> Vec<(Group, Vec<bool>)> {
    let of = |group: Group| {
        let both = groups.iter().zip(chosen);
        let parameters: Vec<bool> = both.map(|(of, chosen)| *of == group && *chosen).collect();
        (group, parameters)
    };
    let all = Group::ALL.into_iter().map(of);
    all.filter(|(_, parameters)| parameters.contains(&true))
        .collect()
}
