//! The text of `inspect`: a network's parameters, and how checkpoints match them.

use std::fmt::Write as _;

use crate::checkpoint::tensor::Tensor;
use crate::experiment::angle_tensors::members_of_groups;
use crate::experiment::inspection::InspectedNetwork;
use crate::space::matching::Verified;

/// Describes a tensor of a state dict: name, shape, type, norm.
pub fn tensor(name: &str, tensor: &Tensor, norm: Option<f64>) -> String {
    let norm = norm.map_or("-".to_string(), |norm| format!("{norm:.6}"));
    let shape = format!("{:?}", tensor.shape);
    let dtype = tensor.dtype.name();
    format!("{name:<44} {shape:<18} {dtype:<5} {norm:>12}")
}

/// Describes a network: its parameters, then its checkpoints.
pub fn network(of: &InspectedNetwork) -> Vec<String> {
    let members = &of.aligned.pool.members[1..];
    let mut header = format!(
        "{:<44} {:<18} {:<5} {:>12}",
        "parameter", "shape", "dtype", "‖θ0‖"
    );
    for member in members {
        let _ = write!(header, "  ‖δ {}‖ (found by)", member.name);
    }
    let mut lines = vec![header];
    let parameters = 0..of.aligned.pool.parameters.len();
    lines.extend(parameters.map(|index| parameter(of, index)));
    if let Some(said) = &of.chosen.said {
        lines.push(format!("norms and angles are of {said}"));
    }
    lines.push(format!("‖θ0‖ = {:.6}", of.angles.norm_origin()));
    if !members.is_empty() {
        lines.push(frozen(of));
    }
    lines.extend((0..members.len()).map(|k| checkpoint(of, k)));
    lines.extend(groups(of));
    lines.extend(angles(of));
    if !of.aligned.constants.is_empty() {
        let constants = of.aligned.constants.join(", ");
        lines.push(format!("constants of the network: {constants}"));
    }
    lines.extend(unfolded(of));
    for (member, renaming) in members.iter().zip(&of.aligned.renamed) {
        let told = renaming.told();
        lines.extend(told.map(|told| format!("{}: {told}", member.name)));
    }
    for (member, ignored) in members.iter().zip(&of.aligned.passed_over) {
        if !ignored.is_empty() {
            lines.push(format!("{}: ignored: {}", member.name, ignored.join(", ")));
        }
    }
    lines
}

/// Describes the groups of tensors: their sizes, ‖θ0‖, and ‖δ‖ of each checkpoint.
fn groups(of: &InspectedNetwork) -> Vec<String> {
    let members = &of.aligned.pool.members[1..];
    let mut header = format!("{:<10} {:>7} {:>12}", "group", "tensors", "‖θ0‖");
    for member in members {
        let _ = write!(header, "  ‖δ {}‖", member.name);
    }
    let mut lines = vec![header];
    for (group, parameters) in members_of_groups(&of.groups, &of.chosen.parameters) {
        let gram = of.gram.over(&parameters);
        let count = parameters.iter().filter(|chosen| **chosen).count();
        let (name, origin) = (group.name(), gram.norm_origin());
        let mut line = format!("{name:<10} {count:>7} {origin:>12.6}");
        for k in 0..members.len() {
            let _ = write!(line, "  {:.6}", gram.norm(k));
        }
        lines.push(line);
    }
    lines
}

/// Number of checkpoints up to which the angle of every pair is shown.
const SHOWN: usize = 8;

/// Describes the angle of every two checkpoints, as a whole and by group.
fn angles(of: &InspectedNetwork) -> Vec<String> {
    let members = &of.aligned.pool.members[1..];
    if members.len() > SHOWN {
        let told = "angles of more than 8 checkpoints: `landscape pairs --by-layer` lists them";
        return vec![told.to_string()];
    }
    let groups: Vec<_> = members_of_groups(&of.groups, &of.chosen.parameters)
        .into_iter()
        .map(|(group, parameters)| (group, of.gram.over(&parameters)))
        .collect();
    let angle = |a: usize, b: usize| {
        let parts = groups.iter().map(|(group, gram)| {
            let name = group.name();
            format!("{name} {}", degrees(gram.angle(a, b)))
        });
        let parts: Vec<String> = parts.collect();
        let mut line = format!(
            "angle of {} and {}: φ = {} ({})",
            members[a].name,
            members[b].name,
            degrees(of.angles.angle(a, b)),
            parts.join(", ")
        );
        if let Some(rounding) = &of.rounding {
            let found = rounding.angle(a, b);
            let _ = write!(
                line,
                "; without rounding {}, by {:.0} % of the elements",
                degrees(found.angle_deg),
                100.0 * found.share
            );
        }
        line
    };
    let pairs = (0..members.len()).flat_map(|a| (a + 1..members.len()).map(move |b| (a, b)));
    pairs.map(|(a, b)| angle(a, b)).collect()
}

/// An angle; a dash if one of the two did not move.
fn degrees(angle: f64) -> String {
    if angle.is_nan() {
        return "–".to_string();
    }
    format!("{angle:.2}°")
}

/// Describes a parameter: name, shape, type, norm in θ0, and for each checkpoint the distance from
/// θ0 and how its tensor was found.
fn parameter(of: &InspectedNetwork, index: usize) -> String {
    let (aligned, pool) = (&of.aligned, &of.aligned.pool);
    let parameter = &pool.parameters[index];
    let mut line = format!(
        "{:<44} {:<18} {:<5} {:>12.6}",
        parameter.name,
        format!("{:?}", parameter.shape),
        parameter.dtype.name(),
        of.gram.squared_origin[index].sqrt()
    );
    for (k, method) in aligned.methods[index].iter().enumerate() {
        let source = &pool.members[k + 1].sources[index];
        let norm = of.gram.parameter_norm(index, k);
        let _ = write!(line, "  {norm:.6} ({}", method.name());
        if source.name != parameter.name {
            let _ = write!(line, " {}", source.name);
        }
        line.push_str(if source.transposed {
            ", transposed)"
        } else {
            ")"
        });
    }
    if parameter.is_buffer() {
        line.push_str("  running statistic: moves with the mix, not part of norms");
    }
    if let Some(other) = parameter.tied_to {
        let _ = write!(line, "  tied to {}", pool.parameters[other].name);
    }
    if parameter.frozen && !aligned.methods[index].is_empty() {
        line.push_str("  frozen");
    }
    line
}

/// Tells how the tensors that the exporter computed are computed from the state dict's.
fn unfolded(of: &InspectedNetwork) -> Vec<String> {
    let explained = &of.unfolding.explained;
    if explained.is_empty() {
        return Vec::new();
    }
    let title = "computed by the exporter, and now for each mix from the checkpoints' tensors:";
    let entry = |(name, how): (&String, &String)| format!("  `{name}` = {how}");
    let entries = explained.iter().map(entry);
    std::iter::once(title.to_string()).chain(entries).collect()
}

/// Describes how much of the network is unchanged in all checkpoints.
fn frozen(of: &InspectedNetwork) -> String {
    let parameters = &of.aligned.pool.parameters;
    let (frozen, all) = of.frozen_nodes;
    format!(
        "frozen: {} of {} parameters; {frozen} of {all} nodes depend on frozen parameters only and run once",
        parameters.iter().filter(|one| one.frozen).count(),
        parameters.len()
    )
}

/// Describes a checkpoint: its distance from θ0, and how its match was verified.
fn checkpoint(of: &InspectedNetwork, k: usize) -> String {
    let (norm, origin) = (of.angles.norm(k), of.angles.norm_origin());
    let verified = match of.aligned.verified[k] {
        Verified::Value => "verified by value: θ0's state dict holds the values of the graph",
        Verified::Graph => "verified by its graph, which is the origin's node by node",
        Verified::Name => "matched by name only, not verified",
    };
    let mut line = format!(
        "{}: ‖δ‖ = {norm:.6}, ‖δ‖/‖θ0‖ = {:.4}; {verified}",
        of.aligned.pool.members[k + 1].name,
        norm / origin
    );
    if let Some(rounding) = &of.rounding {
        let _ = write!(
            line,
            "; 16 bits: ‖δ‖/ε = {:.1}, ‖δ‖ without rounding {:.6}",
            rounding.ratio(k),
            rounding.norm(k)
        );
    }
    line
}
