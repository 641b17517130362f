//! Computes the digest of a body that is not in memory as a whole.

use std::{fmt, io};

use sha2::{Digest, Sha256};

use crate::protocol::field::digest::BodyDigest;

/// Hashes a body in pieces, for example a file. Sign its request with
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
    /// Makes a hasher for an empty body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes.
    #[must_use]
    pub fn finish(self) -> BodyDigest {
        BodyDigest::from(<[u8; 32]>::from(self.0.finalize()))
    }
}

/// Supports [`io::copy`]. It never fails.
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
