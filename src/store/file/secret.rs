//! A secret as it is written in a file: as text, in hex or in base64, and it says which.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use crate::protocol::Secret;

/// The error repeats nothing of the secret.
pub(super) fn decode(written: &str) -> Result<Secret, String> {
    let bytes = match written.split_once(':') {
        Some(("text", text)) => Zeroizing::new(text.as_bytes().to_vec()),
        Some(("hex", digits)) => hex(digits).ok_or("after hex: an even number of hex digits is expected")?,
        Some(("base64", digits)) => base64(digits).ok_or(
            "after base64: the standard alphabet (with + and /) is expected, and = at the end where it is due",
        )?,
        _ => return Err("a secret begins with text:, hex: or base64:, which says how it is written".to_owned()),
    };
    Secret::new(bytes.as_slice()).map_err(|error| error.to_string())
}

fn hex(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; digits.len() / 2]);
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

fn base64(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; digits.len() / 4 * 3]);
    let len = Base64::decode(digits, &mut bytes).ok()?.len();
    bytes.truncate(len);
    Some(bytes)
}
