//! The headers whose values are secret.

use http::HeaderName;

/// A set of names of headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecretHeaders {
    names: Vec<HeaderName>,
    /// A bit for each length of a name. For most headers the length alone rules out a match.
    lengths: u64,
}

impl SecretHeaders {
    pub(crate) fn new(names: impl Iterator<Item = HeaderName>) -> Self {
        let names: Vec<HeaderName> = names.collect();
        let lengths = names.iter().fold(0, |lengths, name| lengths | bit(name));
        Self { names, lengths }
    }

    #[cfg(feature = "server")]
    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        self.lengths & bit(name) != 0 && self.names.contains(name)
    }
}

/// Names of 63 bytes or more share one bit.
fn bit(name: &HeaderName) -> u64 {
    1 << name.as_str().len().min(63)
}
