//! The lifetime of a share link.

use std::time::Duration;

use crate::protocol::{encode::charset::Charset, field::error::FieldError};

/// The lifetime of a share link: 1 to 604,800 seconds, which are seven days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkLifetime(u32);

impl LinkLifetime {
    const MAX: u32 = 7 * 24 * 60 * 60;
    const NAME: &str = "lifetime";
    const EXPECTED: &str = "1 to 604800 seconds (7 days), without sign or leading zero";

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FieldError> {
        static DIGITS: Charset = Charset::digits();
        if !matches!(bytes, [b'1'..=b'9', rest @ ..] if rest.len() < 6 && rest.iter().all(u8::is_ascii_digit)) {
            return Err(match bytes {
                [b'0', ..] => FieldError::other(Self::NAME, Self::EXPECTED, "a leading zero"),
                _ => FieldError::new(Self::NAME, Self::EXPECTED, bytes, &DIGITS),
            });
        }
        Self::new(bytes.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    }

    /// Makes a lifetime from whole seconds.
    pub(crate) fn new(seconds: u64) -> Result<Self, FieldError> {
        let lifetime = u32::try_from(seconds).ok().filter(|seconds| (1..=Self::MAX).contains(seconds));
        let found = if seconds == 0 { "less than a second" } else { "a longer time" };
        lifetime.map(Self).ok_or_else(|| FieldError::other(Self::NAME, Self::EXPECTED, found))
    }

    pub(crate) fn seconds(self) -> u64 {
        u64::from(self.0)
    }
}

impl TryFrom<Duration> for LinkLifetime {
    type Error = FieldError;

    /// Drops a fraction of a second.
    fn try_from(lifetime: Duration) -> Result<Self, FieldError> {
        Self::new(lifetime.as_secs())
    }
}
