//! Applies adapters: a base and an adapter make a checkpoint with the base's names.
//!
//! What is mixed are products: the average of two adapters is that of their W + s·B·A. Averaging A
//! and B by themselves gives other weights. Tensors that an adapter leaves alone are the base's own,
//! without a copy.

mod held;
mod naming;
mod product;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;

use self::naming::{Naming, Unnamed};
use self::product::Layout;
use crate::base::scratch::Scratch;
use crate::checkpoint::adapter::{Adapter, MERGE, Update};
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result};
use crate::graph::network::Network;

/// Most names that an error lists.
const LISTED: usize = 5;

/// The model that adapters change.
pub struct Base<'a> {
    /// Its tensors by name.
    pub tensors: &'a BTreeMap<String, Tensor>,
    /// The file that holds them.
    pub path: &'a Path,
    /// Whether they are the network's, whose exporter may have renamed some.
    pub is_network: bool,
    /// The network that reads them, if there is one.
    pub network: Option<&'a Network<'a>>,
}

/// What an adapter does to its base, worked out before anything is computed.
pub struct Plan<'a> {
    adapter: &'a Adapter,
    whole: BTreeMap<String, &'a Tensor>,
    products: Vec<Planned<'a>>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// A tensor to be computed: its name in the base, what it was, and how it changes.
struct Planned<'a> {
    name: String,
    base: &'a Tensor,
    update: &'a Update,
    /// `None` for the bias of the layer.
    layout: Option<Layout>,
    /// Whether the network shows the layout.
    is_shown: bool,
}

impl<'a> Plan<'a> {
    /// Finds the tensors of the base that an adapter changes, and checks their shapes.
    ///
    /// # Errors
    /// When a tensor of the adapter fits none of the base, or could fit several.
    pub fn new(adapter: &'a Adapter, base: &Base<'a>) -> Result<Self> {
        let names: BTreeSet<&str> = base.tensors.keys().map(String::as_str).collect();
        let naming = naming(adapter, base, &names)?;
        let refuse = |problem: String| Error::input(&adapter.path, problem);
        let mut whole = BTreeMap::new();
        for (name, tensor) in &adapter.whole {
            let name = resolved(&naming, name, &names);
            let theirs = &base.tensors[&name];
            if theirs.shape != tensor.shape {
                return Err(refuse(format!(
                    "replaces `{name}` by a tensor of shape {:?}; the base's is {:?}",
                    tensor.shape, theirs.shape
                ))
                .help("the base is that which the adapter was trained on: is its head or vocabulary of another size?"));
            }
            whole.insert(name, tensor);
        }
        let mut products = Vec::new();
        for update in &adapter.updates {
            let name = resolved(&naming, &weight_name(update), &names);
            let tensor = whole.get(&name).copied().unwrap_or(&base.tensors[&name]);
            let held = base.network.filter(|_| is_square(&base.tensors[&name]));
            let held = held.and_then(|it| held::layout(it, &base.tensors[&name]));
            let layout = layout(adapter, (update, tensor), held).map_err(|problem| {
                refuse(format!("cannot update `{name}`: {problem}")).help(MERGE)
            })?;
            products.push(Planned {
                is_shown: held.is_some(),
                ..planned(name, tensor, update, Some(layout))
            });
            if let Some(bias) = &update.bias {
                let name = resolved(&naming, &bias_name(update), &names);
                let tensor = whole.get(&name).copied().unwrap_or(&base.tensors[&name]);
                if tensor.shape != bias.shape || !tensor.dtype.is_float() {
                    return Err(refuse(format!(
                        "cannot update `{name}` of shape {:?} by a bias of shape {:?}",
                        tensor.shape, bias.shape
                    )));
                }
                products.push(planned(name, tensor, update, None));
            }
        }
        refuse_mixed_layouts(adapter, &products)?;
        let mut warnings = tied(adapter, &products, base);
        warnings.extend(assumed(adapter, &products));
        Ok(Self {
            warnings,
            adapter,
            whole,
            products,
        })
    }

    /// Number of bytes that [`Plan::apply`] makes.
    pub fn bytes(&self) -> u64 {
        let len = |planned: &Planned<'_>| {
            let size = product::dtype(planned.base).size().unwrap_or(4);
            (planned.base.len() * size) as u64
        };
        self.products.iter().map(len).sum()
    }

    /// Computes the changed tensors, in order.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn compute(&self, scratch: &mut Scratch) -> Result<()> {
        self.products.iter().try_for_each(|planned| {
            let Planned { base, update, .. } = planned;
            let made = match (planned.layout, &update.bias) {
                (Some(layout), _) => product::updated(base, update, layout),
                (None, Some(bias)) => product::updated_bias(base, bias, update.scaling),
                (None, None) => Vec::new(),
            };
            scratch.push(made)
        })
    }

    /// Makes the checkpoint, from what [`Plan::compute`] made.
    pub fn apply(&self, base: &Base<'_>, made: &mut impl Iterator<Item = Bytes>) -> Checkpoint {
        let mut tensors = base.tensors.clone();
        let whole = self.whole.iter();
        tensors.extend(whole.map(|(name, tensor)| (name.clone(), (*tensor).clone())));
        let products = self.products.iter().zip(made);
        tensors.extend(products.map(|(planned, bytes)| {
            let tensor = Tensor {
                dtype: product::dtype(planned.base),
                shape: planned.base.shape.clone(),
                bytes,
            };
            (planned.name.clone(), tensor)
        }));
        Checkpoint {
            name: self.adapter.name.clone(),
            source: self.adapter.source.clone(),
            path: self.adapter.path.clone(),
            files: self.adapter.files.clone(),
            dictionary: None,
            notes: Vec::new(),
            content: Content::StateDict(tensors),
        }
    }
}

fn planned<'a>(
    name: String,
    base: &'a Tensor,
    update: &'a Update,
    layout: Option<Layout>,
) -> Planned<'a> {
    Planned {
        name,
        base,
        update,
        layout,
        is_shown: false,
    }
}

fn is_square(tensor: &Tensor) -> bool {
    tensor.shape.len() == 2 && tensor.shape[0] == tensor.shape[1]
}

fn weight_name(update: &Update) -> String {
    format!("{}.weight", update.module)
}

fn bias_name(update: &Update) -> String {
    format!("{}.bias", update.module)
}

/// The name in the base; `naming` has checked that there is one.
fn resolved(naming: &Naming, name: &str, base: &BTreeSet<&str>) -> String {
    naming.resolve(name, base).unwrap_or_default()
}

/// Finds how the adapter's names lead to the base's.
fn naming(adapter: &Adapter, base: &Base<'_>, names: &BTreeSet<&str>) -> Result<Naming> {
    let updates = adapter.updates.iter();
    let updated = updates.flat_map(|update| {
        let bias = update.bias.as_ref().map(|_| bias_name(update));
        std::iter::once(weight_name(update)).chain(bias)
    });
    let whole = adapter.whole.keys().cloned();
    let wanted: Vec<String> = updated.chain(whole).collect();
    Naming::find(&wanted, names).map_err(|unnamed| match unnamed {
        Unnamed::Missing(missing) => {
            let of = base.path.display();
            let more = missing.len().saturating_sub(LISTED);
            let mut lines: Vec<String> = missing.into_iter().take(LISTED).collect();
            lines.extend((more > 0).then(|| format!("and {more} more")));
            let problem = format!("changes tensors that are not in its base, {of}:");
            let error = Error::input(&adapter.path, problem).lines(lines);
            if base.is_network {
                error.help(
                    "an exporter renames tensors: give the base's own state dict with \
                     --origin-weights FILE, or export with optimize=False",
                )
            } else {
                error.help("was the adapter trained on another base?")
            }
        }
        Unnamed::Several(name, meant) => Error::input(
            &adapter.path,
            format!("changes `{name}`, which could mean {}", meant.join(" or ")),
        )
        .help(MERGE),
    })
}

/// How the base holds the matrix of an update; `held` is what the network shows of it. An error is why
/// it cannot be.
fn layout(
    adapter: &Adapter,
    (update, base): (&Update, &Tensor),
    held: Option<Layout>,
) -> std::result::Result<Layout, String> {
    if !base.dtype.is_float() {
        return Err(format!(
            "the base's is of type {}, as quantized weights are",
            base.dtype.name()
        ));
    }
    let mut outputs = vec![update.outputs()];
    outputs.extend(&update.a.shape[1..]);
    let is_matrix = outputs.len() == 2;
    let inputs: Vec<usize> = outputs.iter().rev().copied().collect();
    let fits = |layout: Layout| match layout {
        Layout::Outputs => !update.is_embedding && base.shape == outputs,
        Layout::Inputs => is_matrix && base.shape == inputs,
    };
    match (fits(Layout::Outputs), fits(Layout::Inputs)) {
        (true, false) => Ok(Layout::Outputs),
        (false, true) => Ok(Layout::Inputs),
        // A square matrix fits either way. PEFT updates a layer by what it is, whatever the
        // configuration says of others.
        (true, true) => Ok(held.unwrap_or(match adapter.fan_in_fan_out {
            true => Layout::Inputs,
            false => Layout::Outputs,
        })),
        (false, false) => {
            let grouped = !is_matrix && base.shape.len() == outputs.len();
            let hint = if grouped {
                " (a convolution in groups has no such product)"
            } else {
                ""
            };
            Err(format!(
                "factors of shape {:?} and {:?} do not fit the base's shape {:?}{hint}",
                update.a.shape, update.b.shape, base.shape
            ))
        }
    }
}

/// Refuses a square matrix whose layout only the configuration tells, where another layer shows
/// that the configuration does not speak for all.
fn refuse_mixed_layouts(adapter: &Adapter, products: &[Planned<'_>]) -> Result<()> {
    let said = if adapter.fan_in_fan_out {
        Layout::Inputs
    } else {
        Layout::Outputs
    };
    let matrices = products
        .iter()
        .filter(|it| it.layout.is_some() && !it.update.is_embedding && it.base.shape.len() == 2);
    let matrices: Vec<&Planned<'_>> = matrices.collect();
    let (unknown, known): (Vec<&Planned<'_>>, Vec<&Planned<'_>>) = matrices
        .into_iter()
        .partition(|it| is_square(it.base) && !it.is_shown);
    let square = unknown.first();
    let other = known.iter().find(|it| it.layout != Some(said));
    match (square, other) {
        (Some(square), Some(other)) => Err(Error::input(
            &adapter.path,
            format!(
                "updates the square matrix `{}`, which may be held [in, out] or [out, in]: \
                 `fan_in_fan_out` is {}, but `{}` is held the other way",
                square.name, adapter.fan_in_fan_out, other.name
            ),
        )
        .help(MERGE)),
        _ => Ok(()),
    }
}

/// Warns of square matrices whose layout only the configuration tells: PEFT's may speak of another
/// layer.
fn assumed(adapter: &Adapter, products: &[Planned<'_>]) -> Option<String> {
    let mut matrices = products.iter().filter(|it| it.layout.is_some());
    let square =
        matrices.find(|it| is_square(it.base) && !it.is_shown && !it.update.is_embedding)?;
    Some(format!(
        "{}: `{}` is square, and the network does not show whether it is held [in, out] or [out, in]; \
         `fan_in_fan_out` of the adapter's configuration ({}) decided. To be sure, {MERGE}",
        adapter.name, square.name, adapter.fan_in_fan_out
    ))
}

/// Warns of updated matrices that are tied to others in the base. PEFT's layers change only the
/// one, but its merging changes what both share.
fn tied(adapter: &Adapter, products: &[Planned<'_>], base: &Base<'_>) -> Vec<String> {
    let targets: BTreeSet<&str> = products.iter().map(|it| it.name.as_str()).collect();
    let warning = |planned: &Planned<'_>| {
        let twin = base.tensors.iter().find(|(name, tensor)| {
            let is_other = !targets.contains(name.as_str());
            is_other && *tensor == planned.base
        })?;
        Some(format!(
            "{}: `{}` and `{}` are equal in the base; if they are tied, the adapter as it runs \
             changes the first alone, as it is taken here, but PEFT's merge_and_unload changes both",
            adapter.name, planned.name, twin.0
        ))
    };
    let matrices = products.iter().filter(|it| it.base.shape.len() == 2);
    matrices.filter_map(warning).collect()
}

#[cfg(test)]
mod tests;
