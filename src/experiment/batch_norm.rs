//! Warnings about batch norm's running statistics, which are averaged as if they were weights.

use crate::graph::network::Network;
use crate::space::matching::Aligned;
use crate::space::mix::Mix;
use crate::space::variance::{Negative, negative, variances};

/// Both warnings about mixes: those of [`averaged`] and of [`beyond`].
pub fn warnings(
    network: &Network<'_>,
    aligned: &Aligned,
    mixes: &[Mix],
    words: (&str, &str),
    place: impl Fn(usize) -> String,
) -> Vec<String> {
    let averaged = averaged(network, aligned).into_iter();
    averaged
        .chain(beyond(network, aligned, mixes, words, place))
        .collect()
}

/// Warns that the statistics are averaged, if the network has some that differ between the models.
pub fn averaged(network: &Network<'_>, aligned: &Aligned) -> Option<String> {
    let has_some = !variances(network, aligned).is_empty();
    has_some.then(|| {
        "batch norm's running statistics were averaged, not re-estimated: a barrier or a \
         soup's loss may come from stale statistics (REPAIR, Jordan et al. 2023)"
            .to_string()
    })
}

/// Warns that a variance is negative in some of the mixes. `points` is what the mixes are called,
/// `place` says where one stands (not called for a single mix), and `hull` where none is negative.
pub fn beyond(
    network: &Network<'_>,
    aligned: &Aligned,
    mixes: &[Mix],
    (points, hull): (&str, &str),
    place: impl Fn(usize) -> String,
) -> Option<String> {
    let variances = variances(network, aligned);
    let Negative {
        name,
        least,
        others,
        mixes: found,
    } = negative(&aligned.pool, &variances, mixes)?;
    let others = match others {
        0 => String::new(),
        1 => ", and another variance with it,".to_string(),
        others => format!(", and {others} other variances with it,"),
    };
    let least = if least > -1e-3 {
        format!("{least:.1e}")
    } else {
        format!("{least:.3}")
    };
    let at = match mixes.len() {
        1 => String::new(),
        all => {
            let (count, first) = (found.len(), place(found[0]));
            format!(" at {count} of {all} {points}, first at {first}")
        }
    };
    Some(format!(
        "`{name}` becomes negative ({least}){others}{at}: batch norm has no meaning there, and values \
         are NaN or wrong; keep to {hull}"
    ))
}
