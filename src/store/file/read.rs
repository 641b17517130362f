//! Reads a complete file.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::Path,
};

use zeroize::Zeroizing;

/// The maximum size in bytes, a hundred times the usual size.
pub(super) const MAX_LEN: u64 = 1 << 20;

/// The maximum number of attempts while the file changes.
const ATTEMPTS: usize = 5;

pub(super) struct Content {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Whether users other than the owner and the group may read or write the file.
    pub(super) is_open_to_others: bool,
}

/// Reads the file at the path, even if the path is replaced meanwhile. A file that is modified in place during the read
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

/// Returns `None` if the file changed during the read.
fn attempt(path: &Path) -> io::Result<Option<Content>> {
    // Opening a pipe would block until its other end is open.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = File::open(path)?;
    let before = file.metadata()?;
    // Allocate the whole buffer first, because a buffer that grows would leave copies of the secrets in memory.
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
