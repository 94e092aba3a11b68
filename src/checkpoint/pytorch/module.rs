//! The state dict of a whole pickled module, gathered as `Module.state_dict` does.

use std::collections::{BTreeMap, HashSet};

use super::heap::{Heap, Object, Value};
use super::outcome::Outcome;

/// How deep modules may be nested.
const DEEPEST: usize = 200;

/// Most modules that are visited: a module may be shared, and then has several names.
const MOST_MODULES: usize = 1 << 17;

/// The attributes of a pickled module, if a value is one. Looking at them is charged to the budget:
/// many objects may share them.
///
/// # Errors
/// When the budget is used up.
pub fn attributes(heap: &mut Heap, value: Value) -> Outcome<Option<Value>> {
    let Some(Object::Instance(instance)) = heap.get(value) else {
        return Ok(None);
    };
    // The state is a dictionary, or a pair of one and another for slots.
    let state = match heap.get(instance.state) {
        Some(Object::Tuple(pair)) => pair.first().copied().unwrap_or(Value::None),
        _ => instance.state,
    };
    heap.charge_references(heap.entries(state).map_or(0, <[_]>::len))?;
    let has = |key: &str| heap.entry(state, key).is_some();
    Ok((has("_parameters") && has("_modules")).then_some(state))
}

/// The parameters and persistent buffers of a module and of those inside, by their names.
///
/// # Errors
/// When modules are nested too deep, are too many, or the budget is used up.
pub fn state_dict(heap: &mut Heap, module: Value) -> Outcome<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![(String::new(), module, 0)];
    let mut visited = 0;
    while let Some((prefix, module, depth)) = waiting.pop() {
        visited += 1;
        if depth > DEEPEST || visited > MOST_MODULES {
            return Err("its modules are nested too deep, or in a circle".to_string());
        }
        let Some(state) = attributes(heap, module)? else {
            continue;
        };
        let passing = passing(heap, state)?;
        for kind in ["_parameters", "_buffers"] {
            let Some(held) = heap.entry(state, kind) else {
                continue;
            };
            for (name, value) in heap.named(held)? {
                let is_kept = kind == "_parameters" || !passing.contains(&name);
                if is_kept && heap.tensor(value).is_some() {
                    heap.charge(prefix.len())?;
                    found.insert(format!("{prefix}{name}"), value);
                }
            }
        }
        let inner = heap.entry(state, "_modules").unwrap_or(Value::None);
        for (name, value) in heap.named(inner)? {
            heap.charge(prefix.len())?;
            waiting.push((format!("{prefix}{name}."), value, depth + 1));
        }
    }
    Ok(found)
}

/// The names of buffers that are no part of the state dict.
fn passing(heap: &mut Heap, state: Value) -> Outcome<HashSet<String>> {
    let names = heap.entry(state, "_non_persistent_buffers_set");
    let names = names.and_then(|names| heap.sequence(names));
    let names = names.unwrap_or_default().to_vec();
    heap.charge_references(names.len())?;
    let mut passing = HashSet::new();
    for name in names {
        if let Some(text) = heap.text(name).map(String::from) {
            heap.charge(text.len())?;
            passing.insert(text);
        }
    }
    Ok(passing)
}
