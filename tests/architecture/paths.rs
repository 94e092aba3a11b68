//! The paths that code names, from the root of the crate.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path of the crate in some code.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// From the root; `*` ends one that takes all there is.
    pub path: Vec<String>,
    /// The line of its first name.
    pub line: usize,
    /// Whether it is imported; otherwise it is used in place.
    pub imported: bool,
}

/// The paths in `tokens` that begin with `crate`, `self` or `super`, or with the name of one of
/// `children`, the modules directly below. `module` is the path of the module that the tokens
/// stand in.
pub fn paths(tokens: &TokenStream, module: &[String], children: &[String]) -> Vec<Named> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut found = Vec::new();
    let mut imports = false;
    let mut at = 0;
    while at < tokens.len() {
        let continues_a_path = at >= 2 && is_separator(&tokens[at - 2..]);
        match &tokens[at] {
            TokenTree::Ident(word) if word == "use" => imports = true,
            TokenTree::Punct(end) if end.as_char() == ';' => imports = false,
            _ => {}
        }
        if !continues_a_path && let Some((base, after)) = base(&tokens[at..], module, children) {
            let named = continued(&tokens[at + after..], &base);
            found.extend(named.into_iter().map(|(path, line)| Named {
                path,
                line,
                imported: imports,
            }));
            at += after.max(1);
            continue;
        }
        if let TokenTree::Group(group) = &tokens[at] {
            // The braces of an import hold names, not code.
            if !imports {
                // `mod name { … }` is one level further down and has no file below it.
                let inline = inline_module(&tokens[..at]);
                let deeper = inline.is_some();
                let inner: Vec<String> = module.iter().cloned().chain(inline).collect();
                let children = if deeper { &[] } else { children };
                found.extend(paths(&group.stream(), &inner, children));
            }
        }
        at += 1;
    }
    found
}

/// The module that a path begins in, and how many tokens name it: `crate ::`, `self ::`,
/// `super ::` any number of times, or none before a child's name and a `::`.
fn base(
    tokens: &[TokenTree],
    module: &[String],
    children: &[String],
) -> Option<(Vec<String>, usize)> {
    let word = |at: usize, expected: &str| {
        matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == expected)
            && tokens.get(at + 1..).is_some_and(is_separator)
    };
    if word(0, "crate") {
        return Some((Vec::new(), 3));
    }
    let start = if word(0, "self") { 3 } else { 0 };
    let supers = (0..).take_while(|i| word(start + 3 * i, "super")).count();
    if start + supers > 0 {
        let above = module.len().saturating_sub(supers);
        return Some((module[..above].to_vec(), start + 3 * supers));
    }
    let child = children.iter().any(|child| word(0, child));
    child.then(|| (module.to_vec(), 0))
}

/// The paths that go on from `base` as `tokens` begin: one, or one for each name in braces.
fn continued(tokens: &[TokenTree], base: &[String]) -> Vec<(Vec<String>, usize)> {
    let with = |name: String| [base, &[name]].concat();
    match tokens.first() {
        Some(TokenTree::Ident(ident)) => {
            let path = match ident.to_string().as_str() {
                "self" => base.to_vec(),
                name => with(name.to_string()),
            };
            let line = ident.span().start().line;
            if !is_separator(&tokens[1..]) {
                return vec![(path, line)];
            }
            let further = continued(&tokens[3..], &path);
            match further.is_empty() {
                // `name::<T>()`
                true => vec![(path, line)],
                false => further,
            }
        }
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let comma = |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.as_char() == ',');
            let parts = inner.split(comma);
            parts.flat_map(|part| continued(part, base)).collect()
        }
        Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
            vec![(with("*".to_string()), star.span().start().line)]
        }
        _ => Vec::new(),
    }
}

fn is_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(a), TokenTree::Punct(b), ..]
        if a.as_char() == ':' && b.as_char() == ':')
}

/// The name in a preceding `mod name`.
fn inline_module(before: &[TokenTree]) -> Option<String> {
    match before {
        [.., TokenTree::Ident(keyword), TokenTree::Ident(name)] if keyword == "mod" => {
            Some(name.to_string())
        }
        _ => None,
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = "
        use crate::graph::patch; // use crate::comment::no;
        use crate::{
            error::Error,
            result::{plane, grid::{self, Grid}},
        };
        use super::super::space;
        use super::sibling::*;
        use child::Inside;
        fn f() { let s = \"crate::string\"; println!(\"{}\", crate::evaluate::x()); }
        fn g(a: other::child::T) { child::h::<T>(self::child::i, b.child) }
        mod tests { use super::super::super::cli; use super::here; use child::not_in_sight; }
    ";
    let module = ["data", "npz"].map(String::from);
    let found = paths(&text.parse().expect("tokens"), &module, &["child".into()]);
    let found: Vec<(String, usize)> = found
        .into_iter()
        .map(|named| (named.path.join("::"), named.line))
        .collect();
    let expected = [
        ("graph::patch", 2),
        ("error::Error", 4),
        ("result::plane", 5),
        ("result::grid", 5),
        ("result::grid::Grid", 5),
        ("space", 7),
        ("data::sibling::*", 8),
        ("data::npz::child::Inside", 9),
        ("evaluate::x", 10),
        ("data::npz::child::h", 11),
        ("data::npz::child::i", 11),
        ("cli", 12),
        ("data::npz::here", 12),
    ];
    assert_eq!(found, expected.map(|(path, line)| (path.to_string(), line)));
}
