//! The rules about modules that the compiler does not know: which may use which, and who prints.
//!
//! Sources are read as Rust tokens, so that comments, strings and line breaks do not matter and
//! code inside macros does.

// The helpers are test code too, which clippy sees only inside test functions.
#![allow(clippy::expect_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// What each module may use besides itself. Tests inside a module are held to the same.
const MAY_USE: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("files", &["error"]),
    ("result", &["error", "files"]),
    ("onnx", &["error"]),
    ("checkpoint", &["error", "files", "onnx"]),
    ("data", &["error", "files", "result"]),
    ("graph", &["error", "onnx", "checkpoint"]),
    ("space", &["error", "onnx", "checkpoint", "graph", "result"]),
    (
        "evaluate",
        &[
            "error",
            "files",
            "result",
            "onnx",
            "checkpoint",
            "data",
            "graph",
            "space",
        ],
    ),
    ("analysis", &["error", "result", "space", "evaluate"]),
    ("figure", &["error", "result"]),
    ("report", &["error", "result", "figure"]),
    (
        "cli",
        &[
            "error",
            "files",
            "result",
            "onnx",
            "checkpoint",
            "data",
            "graph",
            "space",
            "evaluate",
            "analysis",
            "figure",
            "report",
        ],
    ),
];

/// Macros and functions of the standard library that reach the terminal.
const PRINTING_MACROS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];
const PRINTING_FUNCTIONS: &[&str] = &["stdout", "stderr"];

#[test]
fn modules_use_only_the_layers_below_them() {
    let mut wrong = String::new();
    for source in sources() {
        let Some(module) = source.module.first() else {
            continue; // lib.rs and main.rs stand above all modules
        };
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| name == module) else {
            let _ = writeln!(wrong, "{}: module {module} is not in MAY_USE", source.file);
            continue;
        };
        for (target, line) in crate_references(&source.tokens, &source.module) {
            if target != *module && !allowed.contains(&target.as_str()) {
                let _ = writeln!(wrong, "{}:{line}: {module} -> {target}", source.file);
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point upward:\n{wrong}");
}

#[test]
fn only_the_command_line_prints() {
    let mut wrong = String::new();
    for source in sources() {
        if source.module.first().is_some_and(|module| module == "cli")
            || source.file == "src/main.rs"
        {
            continue;
        }
        for (what, line) in prints(&source.tokens) {
            let _ = writeln!(wrong, "{}:{line}: {what}", source.file);
        }
    }
    assert!(
        wrong.is_empty(),
        "printing outside src/cli and src/main.rs:\n{wrong}"
    );
}

/// A source file of the package.
struct Source {
    /// Relative to the package, for messages.
    file: String,
    /// Module path below the crate's root; empty for `lib.rs` and `main.rs`.
    module: Vec<String>,
    tokens: TokenStream,
}

fn sources() -> Vec<Source> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect_rust_files(&package.join("src"), &mut files);
    assert!(files.len() > 3, "the sources were not found");
    let read = |path: PathBuf| {
        let inside = path
            .strip_prefix(package)
            .expect("src is inside the package");
        let text = std::fs::read_to_string(&path).expect("a source file is readable");
        Source {
            file: inside.display().to_string(),
            module: module_path(inside),
            tokens: text
                .parse()
                .unwrap_or_else(|error| panic!("{}: {error}", inside.display())),
        }
    };
    files.into_iter().map(read).collect()
}

fn collect_rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).expect("the source folder is readable");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect_rust_files(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// `src/evaluate/runtime/mod.rs` → `[evaluate, runtime]`.
fn module_path(file: &Path) -> Vec<String> {
    let inside = file
        .strip_prefix("src")
        .expect("a file of src")
        .with_extension("");
    let mut parts: Vec<String> = inside
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if matches!(&parts[..], [root] if root == "lib" || root == "main")
        || parts.last().is_some_and(|last| last == "mod")
    {
        parts.pop();
    }
    parts
}

/// Top-level modules named in `tokens` through `crate::` or enough `super::`, with their lines.
/// `module` is the path of the module that the tokens stand in.
fn crate_references(tokens: &TokenStream, module: &[String]) -> Vec<(String, usize)> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let TokenTree::Group(group) = &tokens[at] {
            // `mod name { … }` is one level further down.
            let inline = inline_module(&tokens[..at]).map(Ident::to_string);
            let inner: Vec<String> = module.iter().cloned().chain(inline).collect();
            found.extend(crate_references(&group.stream(), &inner));
        }
        let continues_a_path = at >= 2 && is_path_separator(&tokens[at - 2..]);
        if let Some(after) = root_prefix(&tokens[at..], module.len())
            && !continues_a_path
        {
            found.extend(heads(&tokens[at + after..]));
            at += after;
            continue;
        }
        at += 1;
    }
    found
}

/// The name in a preceding `mod name`.
fn inline_module(before: &[TokenTree]) -> Option<&Ident> {
    match before {
        [.., TokenTree::Ident(keyword), TokenTree::Ident(name)] if keyword == "mod" => Some(name),
        _ => None,
    }
}

/// How many tokens a prefix takes that leads to the crate's root from `depth` levels below it:
/// `crate ::`, or `super ::` that many times (after `self ::`, if any).
fn root_prefix(tokens: &[TokenTree], depth: usize) -> Option<usize> {
    let word = |at: usize, expected: &str| {
        matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == expected)
            && tokens.get(at + 1..).is_some_and(is_path_separator)
    };
    if word(0, "crate") {
        return Some(3);
    }
    let start = if word(0, "self") { 3 } else { 0 };
    let supers = (0..).take_while(|i| word(start + 3 * i, "super")).count();
    (supers > 0 && supers >= depth).then_some(start + 3 * supers)
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(a), TokenTree::Punct(b), ..]
        if a.as_char() == ':' && b.as_char() == ':')
}

/// The first names of the path, or of each path of the `{…}` group, that `tokens` start with.
fn heads(tokens: &[TokenTree]) -> Vec<(String, usize)> {
    match tokens.first() {
        Some(TokenTree::Ident(ident)) => vec![(ident.to_string(), ident.span().start().line)],
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let comma = |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.as_char() == ',');
            inner.split(comma).flat_map(heads).collect()
        }
        Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
            vec![("*".to_string(), star.span().start().line)]
        }
        _ => Vec::new(),
    }
}

/// Calls that reach the terminal, with their lines.
fn prints(tokens: &TokenStream) -> Vec<(String, usize)> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => found.extend(prints(&group.stream())),
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                let line = ident.span().start().line;
                if is_macro_call(&tokens[at + 1..]) && PRINTING_MACROS.contains(&name.as_str()) {
                    found.push((format!("{name}!"), line));
                }
                let method = at > 0 && is_dot(&tokens[at - 1]);
                let called = is_call_without_arguments(&tokens[at + 1..]);
                if called && !method && PRINTING_FUNCTIONS.contains(&name.as_str()) {
                    found.push((format!("{name}()"), line));
                }
            }
            _ => {}
        }
    }
    found
}

fn is_macro_call(after: &[TokenTree]) -> bool {
    matches!(after, [TokenTree::Punct(bang), TokenTree::Group(_), ..] if bang.as_char() == '!')
}

fn is_dot(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(dot) if dot.as_char() == '.')
}

fn is_call_without_arguments(after: &[TokenTree]) -> bool {
    matches!(after.first(), Some(TokenTree::Group(arguments))
        if arguments.delimiter() == Delimiter::Parenthesis && arguments.stream().is_empty())
}

#[test]
fn references_are_found_however_they_are_written() {
    let text = "
        use crate::graph::patch; // use crate::comment::no;
        use crate::{
            error::Error,
            result::{plane, grid},
        };
        use super::super::space;
        use super::sibling;
        fn f() { let s = \"crate::string\"; println!(\"{}\", crate::evaluate::x()); }
        mod tests { use super::super::super::cli; use super::super::not_yet_the_root; }
    ";
    let module = ["data".to_string(), "npz".to_string()];
    let found = crate_references(&text.parse().expect("tokens"), &module);
    let expected = [
        ("graph", 2),
        ("error", 4),
        ("result", 5),
        ("space", 7),
        ("evaluate", 9),
        ("cli", 10),
    ];
    let expected = expected.map(|(name, line)| (name.to_string(), line));
    assert_eq!(found, expected);
}

#[test]
fn printing_is_found_and_other_uses_of_the_words_are_not() {
    let text = "
        fn f() { if x { println!(\"a\"); } command.stdout(y).stderr(); output.stdout; }
        fn g() { std::io::stderr().lock(); writeln!(f, \"print!\"); }
    ";
    let found = prints(&text.parse().expect("tokens"));
    let expected = [("println!", 2), ("stderr()", 3)].map(|(name, line)| (name.to_string(), line));
    assert_eq!(found, expected);
}

#[test]
fn files_name_their_modules() {
    let module = |file: &str| module_path(Path::new(file)).join("::");
    assert_eq!(module("src/evaluate/runtime/mod.rs"), "evaluate::runtime");
    assert_eq!(module("src/error.rs"), "error");
    assert_eq!(module("src/lib.rs"), "");
}
