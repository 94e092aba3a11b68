//! The sources of the package, as Rust tokens: comments, strings and line breaks do not matter,
//! and code inside macros does.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A source file of the package.
pub struct Source {
    /// Relative to the package, for messages.
    pub file: String,
    /// Module path below the crate's root; empty for `lib.rs` and `main.rs`.
    pub module: Vec<String>,
    /// All of it.
    pub tokens: TokenStream,
    /// Without what is there for tests alone.
    pub code: TokenStream,
    /// Lines of `code`, with its comments and blank lines.
    pub code_lines: usize,
}

/// All sources; files that are there for tests alone have no code.
pub fn sources() -> Vec<Source> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect_rust_files(&package.join("src"), &mut files);
    assert!(files.len() > 3, "the sources were not found");
    let read = |path: &PathBuf| {
        let inside = path
            .strip_prefix(package)
            .expect("src is inside the package");
        let text = std::fs::read_to_string(path).expect("a source file is readable");
        let tokens: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", inside.display()));
        let tests = Tests::of(&tokens);
        let source = Source {
            file: inside.display().to_string(),
            module: module_path(inside),
            code_lines: text.lines().count() - tests.lines,
            tokens,
            code: tests.rest.into_iter().collect(),
        };
        let folder = path.parent().expect("a file has a folder");
        let stem = path.file_stem().expect("a file has a name");
        let below = match stem.to_str() {
            Some("mod" | "lib" | "main") => folder.to_path_buf(),
            _ => folder.join(stem),
        };
        let beside = |name: &String| [folder.join(name), below.join(name)];
        (source, tests.files.iter().flat_map(beside).collect())
    };
    let read: Vec<(Source, Vec<PathBuf>)> = files.iter().map(read).collect();
    let for_tests: BTreeSet<PathBuf> = read.iter().flat_map(|(_, tests)| tests.clone()).collect();
    let empty = |(path, (mut source, _)): (&PathBuf, (Source, _))| {
        if for_tests.contains(path) {
            source.code = TokenStream::new();
            source.code_lines = 0;
        }
        source
    };
    files.iter().zip(read).map(empty).collect()
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
pub fn module_path(file: &Path) -> Vec<String> {
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

/// The items of a file that `#[cfg(test)]` marks.
#[derive(Default)]
pub struct Tests {
    /// Lines that they take.
    pub lines: usize,
    /// Files that `mod name;` names, with or without a `#[path]`.
    pub files: Vec<String>,
    /// The other tokens.
    pub rest: Vec<TokenTree>,
}

impl Tests {
    /// Parts the tokens of a file.
    pub fn of(tokens: &TokenStream) -> Self {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let mut tests = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            if is_attribute(&tokens[at..], "cfg(test)") {
                let item = item(&tokens[at..]);
                let lines = lines(item);
                tests.lines += 1 + lines.end() - lines.start();
                tests.files.extend(file_named(item));
                at += item.len();
            } else {
                tests.rest.push(tokens[at].clone());
                at += 1;
            }
        }
        tests
    }
}

/// Lines from the first to the last token.
fn lines(tokens: &[TokenTree]) -> RangeInclusive<usize> {
    let first = tokens.first().map_or(0, |token| token.span().start().line);
    let last = tokens.last().map_or(0, |token| token.span().end().line);
    first..=last
}

/// Whether `#[what]` comes next; white space does not matter.
fn is_attribute(tokens: &[TokenTree], what: &str) -> bool {
    let text = |group: &TokenStream| group.to_string().replace(' ', "");
    matches!(tokens, [TokenTree::Punct(hash), TokenTree::Group(group), ..]
        if hash.as_char() == '#' && text(&group.stream()) == what)
}

/// The tokens of the item at the beginning of `tokens`: to its braces or its semicolon.
fn item(tokens: &[TokenTree]) -> &[TokenTree] {
    let end = tokens.iter().position(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    });
    &tokens[..end.map_or(tokens.len(), |end| end + 1)]
}

/// The file of `mod name;`, or that of a `#[path = "file"]` before it.
fn file_named(item: &[TokenTree]) -> Option<String> {
    let [
        ..,
        TokenTree::Ident(keyword),
        TokenTree::Ident(name),
        TokenTree::Punct(_),
    ] = item
    else {
        return None;
    };
    let path = item.iter().find_map(|token| match token {
        TokenTree::Group(attribute) => {
            let text = attribute.stream().to_string();
            let quoted = text.strip_prefix("path")?.trim().strip_prefix('=')?;
            Some(quoted.trim().trim_matches('"').to_string())
        }
        _ => None,
    });
    (keyword == "mod").then(|| path.unwrap_or(format!("{name}.rs")))
}

#[test]
fn files_name_their_modules() {
    let module = |file: &str| module_path(Path::new(file)).join("::");
    assert_eq!(module("src/evaluate/runtime/mod.rs"), "evaluate::runtime");
    assert_eq!(module("src/error.rs"), "error");
    assert_eq!(module("src/lib.rs"), "");
}

#[test]
fn code_for_tests_is_parted_from_other_code() {
    let text = "
        mod a;
        #[cfg(test)] mod b;
        #[cfg(test)]
        #[path = \"c_tests.rs\"]
        mod c;
        fn f() {}
        #[cfg(test)]
        #[cfg(unix)]
        mod tests {
            fn g() {}
        }
    ";
    let tests = Tests::of(&text.parse().expect("tokens"));
    assert_eq!(
        (tests.files, tests.lines),
        (vec!["b.rs".into(), "c_tests.rs".into()], 9)
    );
    let rest: TokenStream = tests.rest.into_iter().collect();
    assert_eq!(rest.to_string(), "mod a ; fn f () { }");
}
