//! Warnings about batch norm's running statistics: what became of them in the mixes.

use super::session::Session;
use crate::graph::network::Network;
use crate::space::mix::Mix;
use crate::space::statistics::{self, BatchNorm};
use crate::space::variance::{Negative, negative, variances};

/// Both warnings about mixes: those of [`averaged`] and of [`beyond`].
pub fn warnings(
    session: &Session,
    network: &Network<'_>,
    mixes: &[Mix],
    words: (&str, &str),
    place: impl Fn(usize) -> String,
) -> Vec<String> {
    let averaged = averaged(session, network).into_iter();
    averaged
        .chain(beyond(session, network, mixes, words, place))
        .collect()
}

/// Warns that the statistics are averaged, if the network has some that differ between the models,
/// or that they are θ0's in every model.
pub fn averaged(session: &Session, network: &Network<'_>) -> Option<String> {
    let aligned = session.aligned();
    match session.settings.batch_norm {
        BatchNorm::Interpolate => {
            let has_some = !variances(network, aligned).is_empty();
            has_some.then(|| {
                format!("{AVERAGED}; --bn recalibrate=N re-estimates them from N training samples")
            })
        }
        policy @ BatchNorm::Origin => statistics::matters(policy, network, aligned).then(|| {
            "batch norm has θ0's running statistics in every model, also in the single ones, which \
             are not what their files are"
                .to_string()
        }),
        BatchNorm::Recalibrate { .. } => None,
    }
}

/// The warning for statistics that are averaged.
pub const AVERAGED: &str = "batch norm's running statistics were averaged, not re-estimated: a \
                            barrier or a soup's loss may come from stale statistics (REPAIR, \
                            Jordan et al. 2023)";

/// Warns that the average of a variance is negative in some of the mixes, and what is taken instead.
/// `points` is what the mixes are called, `place` says where one stands (not called for a single
/// mix), and `hull` where none is negative.
pub fn beyond(
    session: &Session,
    network: &Network<'_>,
    mixes: &[Mix],
    (points, hull): (&str, &str),
    place: impl Fn(usize) -> String,
) -> Option<String> {
    if session.settings.batch_norm.is_recalibrated() {
        return None;
    }
    let aligned = session.aligned();
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
        "the average of `{name}` is negative ({least}){others}{at}: outside the models' hull batch \
         norm's variances are averaged in the logarithm instead, and values there rest on that \
         choice; inside it ({hull}) they do not"
    ))
}
