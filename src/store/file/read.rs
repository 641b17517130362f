//! A file's content, whole or not at all.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::Path,
};

use zeroize::Zeroizing;

/// A hundred times what most have.
pub(super) const MAX_LEN: u64 = 1 << 20;

/// How often it is tried while somebody is writing it.
const ATTEMPTS: usize = 5;

pub(super) struct Content {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Whether users who are neither its owner nor of its group may read or write it.
    pub(super) is_open_to_others: bool,
}

/// Reads what the path leads to now, whatever takes its place meanwhile. What is written to in place while it is read
/// is read again.
pub(super) fn read(path: &Path) -> Result<Content, String> {
    for _ in 0..ATTEMPTS {
        if let Some(content) = attempt(path).map_err(|error| format!("it cannot be read: {error}"))? {
            return match content.bytes.len() as u64 {
                0 => Err("it is empty".to_owned()),
                1..=MAX_LEN => Ok(content),
                _ => Err(format!("it is longer than {MAX_LEN} bytes, which is the most that is read")),
            };
        }
    }
    Err("it changes while it is read: write it beside, and rename it into its place".to_owned())
}

/// `None` if it changed meanwhile.
fn attempt(path: &Path) -> io::Result<Option<Content>> {
    // To open a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = File::open(path)?;
    let before = file.metadata()?;
    // All of it at once, so that no copy is left behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(before.len().min(MAX_LEN) as usize + 64));
    (&file).take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    let after = file.metadata()?;
    let is_whole = bytes.len() as u64 == after.len().min(MAX_LEN + 1) && before.len() == after.len();
    let is_same = before.modified().ok() == after.modified().ok();
    let is_open_to_others = is_open_to_others(&after);
    Ok((is_whole && is_same).then_some(Content { bytes, is_open_to_others }))
}

#[cfg(unix)]
fn is_open_to_others(file: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.permissions().mode() & 0o006 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Metadata) -> bool {
    false
}
