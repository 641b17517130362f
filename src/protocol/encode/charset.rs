//! Sets of ASCII characters as lookup tables. Every byte of every field is checked against one.

/// The set of letters, digits and the given signs.
pub(crate) struct Charset([bool; 256]);

impl Charset {
    pub(crate) const fn alphanumeric_and(signs: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut i = 0;
        while i < signs.len() {
            table[signs[i] as usize] = true;
            i += 1;
        }
        Self(table)
    }

    /// Exactly these characters.
    #[cfg(feature = "tokens")]
    pub(crate) const fn of(characters: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut i = 0;
        while i < characters.len() {
            table[characters[i] as usize] = true;
            i += 1;
        }
        Self(table)
    }

    /// The visible ASCII characters, `!` to `~`.
    #[cfg(feature = "tokens")]
    pub(crate) const fn visible() -> Self {
        let mut table = [false; 256];
        let mut byte = b'!';
        while byte <= b'~' {
            table[byte as usize] = true;
            byte += 1;
        }
        Self(table)
    }

    /// `0` to `9`.
    pub(crate) const fn digits() -> Self {
        let mut table = [false; 256];
        let mut byte = b'0';
        while byte <= b'9' {
            table[byte as usize] = true;
            byte += 1;
        }
        Self(table)
    }

    /// `0` to `9` and `a` to `f`.
    pub(crate) const fn lowercase_hex() -> Self {
        let mut charset = Self::digits();
        let mut byte = b'a';
        while byte <= b'f' {
            charset.0[byte as usize] = true;
            byte += 1;
        }
        charset
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
