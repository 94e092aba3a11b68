//! The text of `inspect`: a network's parameters, and how checkpoints match them.

use std::fmt::Write as _;

use super::columns::aligned;
use crate::checkpoint::tensor::Tensor;
use crate::experiment::angle_tensors::members_of_groups;
use crate::experiment::inspection::InspectedNetwork;
use crate::space::matching::Verified;

/// Describes the tensors of a state dict: name, shape, type, norm.
pub fn tensors(held: &[(String, Tensor, Option<f64>)]) -> Vec<String> {
    let row = |(name, tensor, norm): &(String, Tensor, Option<f64>)| {
        vec![
            name.clone(),
            format!("{:?}", tensor.shape),
            tensor.dtype.name().to_string(),
            norm.map_or(NONE.to_string(), |norm| format!("{norm:.6}")),
        ]
    };
    let rows: Vec<Vec<String>> = held.iter().map(row).collect();
    aligned(&rows, &[0, 1, 2], "  ")
}

/// What stands in the place of a norm that there is none of.
const NONE: &str = "–";

/// Describes a network: its parameters, then its checkpoints.
pub fn network(of: &InspectedNetwork) -> Vec<String> {
    let members = &of.aligned.pool.members[1..];
    let mut lines = parameters(of);
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

/// Describes the parameters, one a line.
fn parameters(of: &InspectedNetwork) -> Vec<String> {
    let members = &of.aligned.pool.members[1..];
    let header = ["parameter", "shape", "dtype", "‖θ0‖"].map(String::from);
    let distances = members
        .iter()
        .map(|it| format!("‖δ {}‖ (found by)", it.name));
    let mut rows: Vec<Vec<String>> = vec![header.into_iter().chain(distances).collect()];
    let parameters = 0..of.aligned.pool.parameters.len();
    rows.extend(parameters.map(|index| parameter(of, index)));
    // Remarks stand behind the last column.
    let left = (0..=rows[0].len()).filter(|column| *column != 3);
    aligned(&rows, &left.collect::<Vec<_>>(), "  ")
}

/// Describes the groups of tensors: their sizes, ‖θ0‖, and ‖δ‖ of each checkpoint.
fn groups(of: &InspectedNetwork) -> Vec<String> {
    let members = &of.aligned.pool.members[1..];
    let header = ["group", "tensors", "‖θ0‖"].map(String::from);
    let distances = members.iter().map(|it| format!("‖δ {}‖", it.name));
    let mut rows: Vec<Vec<String>> = vec![header.into_iter().chain(distances).collect()];
    for (group, parameters) in members_of_groups(&of.groups, &of.chosen.parameters) {
        let gram = of.gram.over(&parameters);
        let count = parameters.iter().filter(|chosen| **chosen).count();
        let norms = (0..members.len()).map(|k| gram.norm(k));
        let norms = std::iter::once(gram.norm_origin()).chain(norms);
        let norms = norms.map(|norm| format!("{norm:.6}"));
        let cells = [group.name().to_string(), count.to_string()];
        rows.push(cells.into_iter().chain(norms).collect());
    }
    aligned(&rows, &[0], "  ")
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

/// The cells of a parameter: name, shape, type, norm in θ0, and for each checkpoint the distance from
/// θ0 and how its tensor was found.
fn parameter(of: &InspectedNetwork, index: usize) -> Vec<String> {
    let (aligned, pool) = (&of.aligned, &of.aligned.pool);
    let parameter = &pool.parameters[index];
    let norm = match parameter.is_buffer() {
        true => NONE.to_string(),
        false => format!("{:.6}", of.gram.squared_origin[index].sqrt()),
    };
    let mut row = vec![
        parameter.name.clone(),
        format!("{:?}", parameter.shape),
        parameter.dtype.name().to_string(),
        norm,
    ];
    for (k, method) in aligned.methods[index].iter().enumerate() {
        let source = &pool.members[k + 1].sources[index];
        let mut found = method.name().to_string();
        if source.name != parameter.name {
            let _ = write!(found, " {}", source.name);
        }
        if source.transposed {
            found.push_str(", transposed");
        }
        let norm = of.gram.parameter_norm(index, k);
        if let Some(floor) = of.rounding.as_ref().map(|it| it.floors[index][k].sqrt())
            && floor > 0.0
        {
            let _ = write!(found, ", ‖δ‖/ε = {:.1}", norm / floor);
        }
        row.push(match parameter.is_buffer() {
            true => format!("{NONE} ({found})"),
            false => format!("{norm:.6} ({found})"),
        });
    }
    let mut remarks = Vec::new();
    if parameter.is_buffer() {
        remarks.push("running statistic: moves with the mix, not part of norms".to_string());
    }
    if let Some(other) = parameter.tied_to {
        remarks.push(format!("tied to {}", pool.parameters[other].name));
    }
    if parameter.frozen && !aligned.methods[index].is_empty() {
        remarks.push("frozen".to_string());
    }
    row.extend((!remarks.is_empty()).then(|| remarks.join(", ")));
    row
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
