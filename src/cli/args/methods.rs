//! The methods to run: those of `--methods`, plus any that `--save` needs.

use crate::analysis::recipe::MethodSpec;
use crate::error::{Error, Result};
use crate::result::method::Method;

/// Returns the methods that were asked for, or those of the paper, in the order of the table.
///
/// # Errors
/// When a method is unknown, or its number is invalid or not allowed.
pub fn wanted(list: Option<&str>, saved: &[MethodSpec]) -> Result<Vec<MethodSpec>> {
    let mut wanted = match list {
        Some(list) => list
            .split(',')
            .map(|text| parse("--methods", text.trim()))
            .collect::<Result<Vec<_>>>()?,
        None => PAPER.map(MethodSpec::plain).to_vec(),
    };
    wanted.extend(saved);
    let number = |wanted: &MethodSpec| wanted.setting.unwrap_or(f64::INFINITY);
    wanted.sort_by(|a, b| {
        let methods = a.method.cmp(&b.method);
        methods.then(number(a).total_cmp(&number(b)))
    });
    wanted.dedup();
    Ok(wanted)
}

/// The default methods: those of the paper's table.
const PAPER: [Method; 9] = [
    Method::Best,
    Method::Second,
    Method::Uniform,
    Method::Greedy,
    Method::GreedyRandom,
    Method::Learned,
    Method::LearnedByLayer,
    Method::Ensemble,
    Method::GreedyEnsemble,
];

/// Parses `NAME` or `NAME:NUMBER`.
///
/// # Errors
/// When the method is unknown, or its number is invalid or not allowed.
pub fn parse(flag: &str, text: &str) -> Result<MethodSpec> {
    let (name, setting) = match text.split_once(':') {
        Some((name, setting)) => (name, Some(setting)),
        None => (text, None),
    };
    let mut methods = Method::ALL.into_iter();
    let Some(method) = methods.find(|method| method.name() == name) else {
        let all = Method::ALL.map(Method::name).join(", ");
        return Err(Error::flag(
            flag,
            format!("there is no method `{name}`; the methods are {all}"),
        ));
    };
    let fault = |problem: &str| Error::flag(flag, format!("`{text}`: {problem}"));
    let setting = match setting {
        None => None,
        Some(_) if !method.has_setting() => {
            return Err(fault("this method takes no number"));
        }
        Some(setting) => Some(
            setting
                .parse::<f64>()
                .ok()
                .filter(|setting| setting.abs() <= 1e6)
                .ok_or_else(|| fault("expected a number after the colon"))?,
        ),
    };
    Ok(MethodSpec { method, setting })
}
