//! What a download leaves in place of a file: a pointer to it, or a web page.

use std::path::Path;

use crate::error::Error;

/// Refuses what a download left in place of a file, by the first bytes.
///
/// # Errors
/// When it is a pointer of Git LFS, or a web page.
pub fn refuse_failed(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if bytes.starts_with(b"version https://git-lfs") {
        let what = "is a pointer of Git LFS: the file itself was not downloaded";
        return Err(Error::input(path, what).help("run: git lfs pull"));
    }
    if is_page(bytes) {
        return Err(
            Error::input(path, "is a web page, as a failed download leaves it")
                .help("download the file itself; a token may be needed"),
        );
    }
    Ok(())
}

/// Whether a file is HTML or XML.
fn is_page(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let start = text.get(..9).unwrap_or(text).to_ascii_lowercase();
    [&b"<!doctype"[..], b"<html", b"<?xml", b"<head"]
        .iter()
        .any(|tag| start.starts_with(tag))
}
