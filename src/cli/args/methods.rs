//! The methods to run: those of `--methods`, plus any that `--save` needs.

use crate::analysis::recipe::MethodSpec;
use crate::error::{Error, Result};
use crate::result::method::Method;

/// Returns the methods that were asked for, or the default ones, in the order of the table.
///
/// # Errors
/// When a method is unknown, or its number is invalid or not allowed.
pub fn wanted(list: Option<&str>, saved: &[MethodSpec]) -> Result<Vec<MethodSpec>> {
    let mut wanted = match list {
        Some(list) => list
            .split(',')
            .map(|text| parse("--methods", text.trim()))
            .collect::<Result<Vec<_>>>()?,
        None => DEFAULT.map(MethodSpec::plain).to_vec(),
    };
    wanted.extend(saved);
    let number = |wanted: &MethodSpec| wanted.setting.unwrap_or(f64::INFINITY);
    wanted.sort_by(|a, b| {
        let methods = (a.method, a.base).cmp(&(b.method, b.base));
        methods.then(number(a).total_cmp(&number(b)))
    });
    wanted.dedup();
    Ok(wanted)
}

/// The default methods: those of the paper's table, and the best model shortened. An average is
/// shorter than its members, so without that row one cannot tell what averaging does.
const DEFAULT: [Method; 10] = [
    Method::Best,
    Method::Second,
    Method::Uniform,
    Method::Greedy,
    Method::GreedyRandom,
    Method::Learned,
    Method::LearnedByLayer,
    Method::WiseFt,
    Method::Ensemble,
    Method::GreedyEnsemble,
];

/// Parses `NAME` or `NAME:NUMBER`, where WiSE-FT may name the method that makes its model:
/// `wise-ft(greedy):0.8`.
///
/// # Errors
/// When the method is unknown, or its number is invalid or not allowed.
pub fn parse(flag: &str, text: &str) -> Result<MethodSpec> {
    let (name, setting) = match text.split_once(':') {
        Some((name, setting)) => (name, Some(setting)),
        None => (text, None),
    };
    let inside = name
        .split_once('(')
        .and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?)));
    let (name, base) = inside.map_or((name, None), |(name, base)| (name, Some(base)));
    let method = named(flag, name)?;
    let base = base.map(|base| wise_ft_base(flag, method, base));
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
    Ok(MethodSpec {
        method,
        // WiSE-FT of the best model has no base in its name.
        base: base.transpose()?.filter(|base| *base != Method::Best),
        setting,
    })
}

fn named(flag: &str, name: &str) -> Result<Method> {
    let mut methods = Method::ALL.into_iter();
    methods.find(|method| method.name() == name).ok_or_else(|| {
        let all = Method::ALL.map(Method::name).join(", ");
        Error::flag(
            flag,
            format!("there is no method `{name}`; the methods are {all}"),
        )
    })
}

/// The method in the parentheses of `wise-ft(METHOD)`.
fn wise_ft_base(flag: &str, method: Method, base: &str) -> Result<Method> {
    if method != Method::WiseFt {
        let problem = format!("`{}` takes no other method in parentheses", method.name());
        return Err(Error::flag(flag, problem).help("only wise-ft(METHOD) does"));
    }
    let base = named(flag, base)?;
    if base.is_a_base() {
        return Ok(base);
    }
    let bases = Method::ALL.into_iter().filter(|method| method.is_a_base());
    let bases: Vec<&str> = bases.map(Method::name).collect();
    let problem = format!(
        "wise-ft({}) is no model between θ0 and a single one; possible are {}",
        base.name(),
        bases.join(", ")
    );
    Err(Error::flag(flag, problem))
}
