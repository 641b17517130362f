//! Sets of ASCII characters as lookup tables. Every byte of every field is checked against one.

/// A set of ASCII characters.
pub(crate) struct Charset([bool; 256]);

impl Charset {
    pub(crate) const fn alphanumeric_and(signs: &[u8]) -> Self {
        Self::digits().with_range(b'A', b'Z').with_range(b'a', b'z').with(signs)
    }

    /// `a` to `z`, `0` to `9` and these signs.
    #[cfg(feature = "tokens")]
    pub(crate) const fn lowercase_alphanumeric_and(signs: &[u8]) -> Self {
        Self::digits().with_range(b'a', b'z').with(signs)
    }

    /// The visible ASCII characters, `!` to `~`.
    #[cfg(feature = "tokens")]
    pub(crate) const fn visible() -> Self {
        Self::empty().with_range(b'!', b'~')
    }

    /// The printable ASCII characters, space to `~`, without these signs.
    #[cfg(feature = "submissions")]
    pub(crate) const fn printable_except(signs: &[u8]) -> Self {
        let mut set = Self::empty().with_range(b' ', b'~');
        let mut i = 0;
        while i < signs.len() {
            set.0[signs[i] as usize] = false;
            i += 1;
        }
        set
    }

    /// `0` to `9`.
    pub(crate) const fn digits() -> Self {
        Self::empty().with_range(b'0', b'9')
    }

    /// `0` to `9` and `a` to `f`.
    pub(crate) const fn lowercase_hex() -> Self {
        Self::digits().with_range(b'a', b'f')
    }

    const fn empty() -> Self {
        Self([false; 256])
    }

    /// Adds the characters from `first` to `last`.
    const fn with_range(mut self, first: u8, last: u8) -> Self {
        let mut byte = first;
        while byte <= last {
            self.0[byte as usize] = true;
            byte += 1;
        }
        self
    }

    const fn with(mut self, signs: &[u8]) -> Self {
        let mut i = 0;
        while i < signs.len() {
            self.0[signs[i] as usize] = true;
            i += 1;
        }
        self
    }

    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    /// Returns the number of leading bytes that are in the set.
    pub(crate) fn count_first(&self, text: &[u8]) -> usize {
        text.iter().position(|&byte| !self.has(byte)).unwrap_or(text.len())
    }

    pub(crate) fn has_all(&self, text: &[u8]) -> bool {
        // Check every byte without stopping early, which is faster for short text.
        text.iter().fold(true, |all, &byte| all & self.has(byte))
    }
}
