//! Opening files that others wrote, and files of our own beside theirs, without surprises.
//!
//! A folder that was cloned or unpacked holds whatever its author put there: a link where our own
//! file would stand, a FIFO that never ends where an input is read. Both are looked at before
//! anything is read or written.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// Most bytes of a configuration file.
pub const CONFIGURATION: u64 = 1 << 20;

/// Most bytes of a list (of models, of pairs).
pub const LIST: u64 = 1 << 26;

/// Most bytes of a result: those of a thousand models in all pairs have several hundred MB.
pub const RESULT: u64 = 1 << 32;

/// Opens an input, which links may lead to: a regular file and nothing else.
///
/// # Errors
/// When there is no such file, it may not be read, or it is a folder, a FIFO or a device, which
/// might never end.
pub fn open(path: &Path) -> Result<File> {
    let fail = |error: io::Error| Error::read(path, &error);
    regular(path, &fs::metadata(path).map_err(fail)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // What took its place meanwhile is not waited for either.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(fail)?;
    regular(path, &file.metadata().map_err(fail)?)?;
    Ok(file)
}

/// The same to be read from its beginning, as far as `most` bytes.
///
/// # Errors
/// As [`open`]; also when the file is larger.
pub fn reader(path: &Path, most: u64) -> Result<impl Read + use<>> {
    let file = open(path)?;
    let len = file.metadata().map_err(|error| Error::read(path, &error))?;
    if len.len() > most {
        return Err(Error::input(
            path,
            format!("has {} bytes; at most {most} are read", len.len()),
        ));
    }
    // A file that grows meanwhile is cut there.
    Ok(file.take(most))
}

/// The text of a file of at most `most` bytes.
///
/// # Errors
/// As [`reader`]; also when it is not UTF-8.
pub fn text(path: &Path, most: u64) -> Result<String> {
    let mut text = String::new();
    let read = reader(path, most)?.read_to_string(&mut text);
    read.map_err(|error| Error::read(path, &error))?;
    Ok(text)
}

/// Refuses what is no regular file.
fn regular(path: &Path, metadata: &Metadata) -> Result<()> {
    if metadata.is_dir() {
        return Err(Error::input(path, "is a folder; a file is needed"));
    }
    match metadata.is_file() {
        true => Ok(()),
        false => Err(Error::input(
            path,
            "is a FIFO, a socket or a device; a regular file is needed",
        )),
    }
}

/// What tells whether an input was changed in place while it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: (u64, u64),
}

impl Stamp {
    /// The stamp of a file as it is now; `None` where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            path: path.to_path_buf(),
            len: found.len(),
            modified: found.modified().ok(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (found.dev(), found.ino())
            },
        })
    }

    /// Whether the file was written to since. Another file in its place, or none, does no harm: what
    /// is mapped is the old one.
    ///
    /// # Errors
    /// When it was.
    pub fn check(&self) -> Result<()> {
        let now = Self::of(&self.path);
        #[cfg(unix)]
        let now = now.filter(|now| now.inode == self.inode);
        if now.is_none_or(|now| now == *self) {
            return Ok(());
        }
        Err(Error::runtime(
            self.path.display(),
            "changed while the run read it, so its values belong to no single file; no result is kept",
        )
        .help("repeat the run; a training run that writes a new file and renames it does no harm"))
    }
}

/// Opens a file of our own to be read and written, or begins it; it is not cut.
///
/// Neither the file nor one of its folders below `root` may be a symbolic link, and the file may
/// have no other name: whoever made the folder could have had another file written through it.
///
/// # Errors
/// When it is such a link or no regular file, or cannot be opened.
pub fn own(root: &Path, path: &Path) -> io::Result<File> {
    let folders = path.ancestors().skip(1);
    for folder in folders.take_while(|folder| *folder != root) {
        let linked = fs::symlink_metadata(folder).is_ok_and(|found| found.is_symlink());
        if linked {
            let folder = folder.display();
            return Err(io::Error::other(format!(
                "{folder} is a symbolic link, which is not followed; remove it"
            )));
        }
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        libc::O_NOFOLLOW | libc::O_NONBLOCK,
    );
    let file = options.open(path).map_err(|error| {
        match fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            true => io::Error::other("it is a symbolic link, which is not followed; remove it"),
            false => error,
        }
    })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file; remove it"));
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&metadata) > 1 {
        return Err(io::Error::other(
            "it is a hard link to another file; remove it",
        ));
    }
    Ok(file)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn own_files_are_reached_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let victim = root.join("victim");
        fs::write(&victim, "precious").unwrap();
        let opened = |name: &str| own(root, &root.join(name));
        fs::create_dir(root.join("a")).unwrap();
        symlink("../victim", root.join("a/soft")).unwrap();
        symlink("nowhere", root.join("a/dangling")).unwrap();
        fs::hard_link(&victim, root.join("a/hard")).unwrap();
        symlink("a", root.join("b")).unwrap();
        for (name, words) in [
            ("a/soft", "it is a symbolic link"),
            ("a/dangling", "it is a symbolic link"),
            ("a/hard", "it is a hard link"),
            ("b/new", "b is a symbolic link"),
            ("b/c/new", "b is a symbolic link"),
        ] {
            let error = opened(name).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
        assert!(!root.join("a/new").exists() && !root.join("a/c").exists());
        opened("d/e").unwrap().write_all(b"ours").unwrap();
        assert_eq!(text(&root.join("d/e"), 10).unwrap(), "ours");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn what_never_ends_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| text(path, 4).unwrap_err().to_string();
        assert!(message(Path::new("/dev/zero")).contains("a regular file is needed"));
        assert!(message(folder.path()).contains("is a folder; a file is needed"));
        let long = folder.path().join("long");
        fs::write(&long, "12345").unwrap();
        assert!(message(&long).ends_with("has 5 bytes; at most 4 are read"));
        // A link to a regular file is an ordinary input.
        let link = folder.path().join("link");
        symlink("long", &link).unwrap();
        assert_eq!(text(&link, 5).unwrap(), "12345");
    }
}
