//! What fits on a page is read as a whole: lengths of functions and files, tests aside.

use std::fmt::Write as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::sources::sources;

/// Most lines of a function, from its signature to its closing brace.
const FUNCTION: usize = 60;

/// Most lines of a file.
const FILE: usize = 450;

/// Files that are longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[
    (
        "src/checkpoint/onnx/proto.rs",
        "a list of the messages of one format",
    ),
    (
        "src/graph/gradient/tape.rs",
        "one structure whose invariants all its methods share",
    ),
];

#[test]
fn files_are_short() {
    let mut wrong = String::new();
    for source in sources() {
        let file = source.file.as_str();
        let excepted = LONG_FILES.iter().any(|(long, _)| *long == file);
        if source.code_lines > FILE && !excepted {
            let _ = writeln!(wrong, "{file}: {} lines", source.code_lines);
        }
    }
    assert!(
        wrong.is_empty(),
        "files of more than {FILE} lines:\n{wrong}"
    );
}

#[test]
fn functions_are_short() {
    let mut wrong = String::new();
    for source in sources() {
        for (name, lines) in functions(&source.code) {
            if lines > FUNCTION {
                let _ = writeln!(wrong, "{}: {name} has {lines} lines", source.file);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "functions of more than {FUNCTION} lines:\n{wrong}"
    );
}

/// All functions with a body, also those inside others: name and number of lines.
fn functions(tokens: &TokenStream) -> Vec<(String, usize)> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            found.extend(functions(&group.stream()));
        }
        let [TokenTree::Ident(keyword), TokenTree::Ident(name), ..] = &tokens[at..] else {
            continue;
        };
        if keyword != "fn" {
            continue;
        }
        let end = tokens[at..].iter().find(|token| match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(punct) => punct.as_char() == ';',
            _ => false,
        });
        if let Some(TokenTree::Group(body)) = end {
            let lines = body.span_close().end().line - keyword.span().start().line + 1;
            found.push((name.to_string(), lines));
        }
    }
    found
}

#[test]
fn lines_are_counted_from_signature_to_brace() {
    let text = "
        trait T { fn none(&self) -> u8; }
        impl T for U {
            /// Words.
            pub fn two(f: fn(u8) -> u8)
            where U: V { f(1); }
        }
        fn outer() {
            fn inner() {}
        }
    ";
    let found = functions(&text.parse().expect("tokens"));
    let expected = [("two", 2), ("inner", 1), ("outer", 3)];
    let mut expected = expected
        .map(|(name, lines)| (name.to_string(), lines))
        .to_vec();
    let mut found = found;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}
