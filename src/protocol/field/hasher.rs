//! The digest of a body that is not in memory at once.

use std::{fmt, io};

use sha2::{Digest, Sha256};

use crate::protocol::field::digest::BodyDigest;

/// Hashes a body piece by piece: a file, say, whose request is then signed by
/// [`Payload::Digest`](crate::protocol::Payload::Digest).
///
/// ```
/// # use countersign::{BodyDigest, BodyHasher};
/// let mut hasher = BodyHasher::new();
/// let mut file = &b"a large file"[..]; // std::fs::File::open(path)?
/// std::io::copy(&mut file, &mut hasher)?;
/// assert_eq!(hasher.finish(), BodyDigest::of(b"a large file"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct BodyHasher(Sha256);

impl BodyHasher {
    /// Has seen no byte yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes that come next.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn finish(self) -> BodyDigest {
        BodyDigest::from(<[u8; 32]>::from(self.0.finalize()))
    }
}

/// For [`io::copy`]; it never fails.
impl io::Write for BodyHasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for BodyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyHasher(..)")
    }
}
