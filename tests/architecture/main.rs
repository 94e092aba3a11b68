//! The rules about modules that the compiler does not know: which may use which, who prints, what
//! words stay at the door, and how long a file may be.

// The helpers are test code too, which clippy sees only inside test functions.
#![allow(clippy::expect_used)]

mod circles;
mod paths;
mod sizes;
mod sources;

use std::fmt::Write as _;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use self::paths::paths;
use self::sources::sources;

/// Layers that use less than all below them.
const USE_LESS: &[(&str, &[&str])] = &[
    ("checkpoint", &["error", "base"]),
    ("graph", &["error", "base", "checkpoint"]),
    (
        "analysis",
        &["error", "base", "result", "space", "evaluate"],
    ),
    ("figure", &["error", "base", "result"]),
];

/// Macros and functions of the standard library that reach the terminal.
const PRINTING_MACROS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];
const PRINTING_FUNCTIONS: &[&str] = &["stdout", "stderr"];

#[test]
fn modules_use_only_the_layers_below_them() {
    let layers = layers();
    let layer = |module: &str| {
        let mut all = layers.iter();
        all.position(|layer| layer.iter().any(|name| name == module))
    };
    let mut wrong = String::new();
    for source in sources() {
        let Some(module) = source.module.first() else {
            continue; // lib.rs and main.rs stand above all modules
        };
        let Some(own) = layer(module) else {
            let _ = writeln!(wrong, "{}: {module} is not in src/lib.rs", source.file);
            continue;
        };
        let less = USE_LESS.iter().find(|(name, _)| name == module);
        for named in paths(&source.tokens, &source.module, &[]) {
            let Some(target) = named.path.first() else {
                continue;
            };
            let below = layer(target).is_some_and(|target| target < own);
            let listed = less.is_none_or(|(_, names)| names.contains(&target.as_str()));
            if target != module && !(below && listed) {
                let _ = writeln!(
                    wrong,
                    "{}:{}: {module} -> {target}",
                    source.file, named.line
                );
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point upward:\n{wrong}");
}

#[test]
fn every_layer_that_uses_less_is_there() {
    let modules = layers().concat();
    for (module, names) in USE_LESS {
        for name in std::iter::once(module).chain(*names) {
            assert!(
                modules.iter().any(|known| known == name),
                "no module {name}"
            );
        }
    }
}

/// The modules of `src/lib.rs`, lowest first: blank lines part the layers.
fn layers() -> Vec<Vec<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = std::fs::read_to_string(file).expect("lib.rs is readable");
    let layers = text.split("\n\n").map(|layer| {
        let names = layer.lines().filter_map(|line| {
            let line = line.strip_prefix("pub ").unwrap_or(line);
            line.strip_prefix("mod ")?.strip_suffix(';')
        });
        names.map(String::from).collect::<Vec<String>>()
    });
    layers.filter(|layer| !layer.is_empty()).collect()
}

#[test]
fn only_the_command_line_prints() {
    let mut wrong = String::new();
    for source in sources() {
        if is_command_line(&source) {
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

#[test]
fn arguments_stay_at_the_command_line() {
    let mut wrong = String::new();
    for source in sources() {
        if is_command_line(&source) {
            continue;
        }
        for (word, line) in words(&source.tokens) {
            if word.ends_with("Args") {
                let _ = writeln!(wrong, "{}:{line}: {word}", source.file);
            }
        }
    }
    assert!(wrong.is_empty(), "arguments below src/cli:\n{wrong}");
}

fn is_command_line(source: &sources::Source) -> bool {
    source.file == "src/main.rs" || source.module.first().is_some_and(|module| module == "cli")
}

/// All words of the code, with their lines.
fn words(tokens: &TokenStream) -> Vec<(String, usize)> {
    let tokens = tokens.clone().into_iter();
    let words = tokens.flat_map(|token| match token {
        TokenTree::Group(group) => words(&group.stream()),
        TokenTree::Ident(word) => vec![(word.to_string(), word.span().start().line)],
        _ => Vec::new(),
    });
    words.collect()
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
fn printing_is_found_and_other_uses_of_the_words_are_not() {
    let text = "
        fn f() { if x { println!(\"a\"); } command.stdout(y).stderr(); output.stdout; }
        fn g() { std::io::stderr().lock(); writeln!(f, \"print!\"); }
    ";
    let found = prints(&text.parse().expect("tokens"));
    let expected = [("println!", 2), ("stderr()", 3)].map(|(name, line)| (name.to_string(), line));
    assert_eq!(found, expected);
}
