//! No two files of a folder use each other, nor do two folders, by whatever detour.
//!
//! A folder's own `mod.rs` and what stands beside it in the folder are one unit: children name
//! types of their parent, which calls its children. What tests alone use does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::paths::{Named, paths};
use crate::sources::{Source, sources};

#[test]
fn nothing_uses_what_uses_it() {
    let mut wrong = String::new();
    for (folder, circle) in circles(&arrows(&sources())) {
        let _ = writeln!(wrong, "src/{folder}: {}", circle.join(" ↔ "));
    }
    assert!(wrong.is_empty(), "circles:\n{wrong}");
}

/// A module's path from the root.
type Module = Vec<String>;

/// Which file's module uses which.
fn arrows(sources: &[Source]) -> BTreeSet<(Module, Module)> {
    let modules: BTreeSet<Module> = sources.iter().map(|source| source.module.clone()).collect();
    let named: Vec<(&Module, Vec<Named>)> = sources
        .iter()
        .map(|source| {
            let children = children(&modules, &source.module);
            let named = paths(&source.code, &source.module, &children);
            (&source.module, named)
        })
        .collect();
    let imports = imports(&named);
    let mut arrows = BTreeSet::new();
    for (module, named) in &named {
        for named in named {
            let target = target(&modules, &imports, &named.path, 8);
            // An import from a child in a `mod.rs` is most often a re-export.
            let hands_on = named.imported && is_above(module, &target);
            if target != **module && !hands_on {
                arrows.insert(((*module).clone(), target));
            }
        }
    }
    arrows
}

fn is_above(module: &Module, other: &Module) -> bool {
    other.len() > module.len() && other.starts_with(module)
}

/// Names of the modules directly below one.
fn children(modules: &BTreeSet<Module>, above: &Module) -> Vec<String> {
    let below = modules
        .iter()
        .filter(|module| module.len() == above.len() + 1 && is_above(above, module));
    below.filter_map(|module| module.last().cloned()).collect()
}

/// What each module's name of something imported stands for.
type Imports = BTreeMap<(Module, String), Module>;

fn imports(named: &[(&Module, Vec<Named>)]) -> Imports {
    let all = named.iter().flat_map(|(module, named)| {
        let imported = named.iter().filter(|named| named.imported);
        imported.filter_map(|named| {
            let name = named.path.last()?.clone();
            Some((((*module).clone(), name), named.path.clone()))
        })
    });
    all.collect()
}

/// The module of the file in which a path's item stands, also where another hands it on.
fn target(modules: &BTreeSet<Module>, imports: &Imports, path: &Module, patience: usize) -> Module {
    let known = (0..=path.len())
        .rev()
        .find(|len| modules.contains(&path[..*len]));
    let module = path[..known.unwrap_or(0)].to_vec();
    let Some(name) = path.get(module.len()) else {
        return module;
    };
    match imports.get(&(module.clone(), name.clone())) {
        Some(origin) if patience > 0 && origin != path => {
            target(modules, imports, origin, patience - 1)
        }
        _ => module,
    }
}

/// The circles in each folder: its path, and the names of what stands in one circle.
fn circles(arrows: &BTreeSet<(Module, Module)>) -> Vec<(String, Vec<String>)> {
    // Whatever is used inside a folder's child is used by the child.
    let mut folders: BTreeMap<Module, BTreeSet<(String, String)>> = BTreeMap::new();
    for (from, to) in arrows {
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
            let folder = folders.entry(from[..common].to_vec()).or_default();
            folder.insert((a.clone(), b.clone()));
        }
    }
    let circles = folders.iter().flat_map(|(folder, arrows)| {
        let found = knots(arrows).into_iter();
        found.map(move |circle| (folder.join("/"), circle))
    });
    circles.collect()
}

/// The sets of two or more of which each reaches each other.
fn knots(arrows: &BTreeSet<(String, String)>) -> Vec<Vec<String>> {
    let reach = |from: &String| -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            for (_, to) in arrows.iter().filter(|(source, _)| source == at) {
                if reached.insert(to.clone()) {
                    open.push(to);
                }
            }
        }
        reached
    };
    let names: BTreeSet<&String> = arrows.iter().map(|(from, _)| from).collect();
    let reached: BTreeMap<&String, _> = names.iter().map(|name| (*name, reach(name))).collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (name, reached_by_it) in &reached {
        let both =
            |other: &&String| reached_by_it.contains(*other) && reached[*other].contains(*name);
        let circle: Vec<String> = names.iter().copied().filter(both).cloned().collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[test]
fn circles_are_found_between_files_and_between_folders_also_through_what_is_handed_on() {
    let source = |module: &str, code: &str| Source {
        file: String::new(),
        module: module.split("::").map(String::from).collect(),
        tokens: code.parse().expect("tokens"),
        code: code.parse().expect("tokens"),
        code_lines: 0,
    };
    let sources = [
        source(
            "a",
            "mod b; mod c; pub use self::b::B; use c::f; fn g() { c::f(); }",
        ),
        source("a::b", "use super::c::d::D; fn h() { super::g(); }"),
        source("a::c", "mod d; mod e;"),
        source("a::c::d", "use super::e::E;"),
        source("a::c::e", "use crate::a::B;"),
        source("f", "use crate::a::B;"),
    ];
    let found = circles(&arrows(&sources));
    let circle = ["b", "c"].map(String::from).to_vec();
    assert_eq!(found, [("a".to_string(), circle)]);
}
