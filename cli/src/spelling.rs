//! Finds out how a client spells a key wrongly, by trying the usual mistakes.

use base64ct::{Base64, Encoding};
use countersign::Explanation;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::key::KeyText;

/// Returns the mistake, if one of the usual ones makes this signature. `token` is the token's line.
pub(crate) fn mistake(string: &Explanation, token: &str, key: &KeyText, sign: &str) -> Option<String> {
    // An escaped or cut string is not the one that was signed.
    if string.as_str().contains(['\\', '…']) {
        return None;
    }
    let (text, bytes) = key.text_and_bytes();
    let token = format!("\n{token}\n");
    let string = string.as_str().replace("\ncookie:{token}\n", &token).replace("\n{token}\n", &token);
    let (before, after) = string.split_once("\n{key}\n")?;
    let signed = |mac_key: &[u8], line: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(mac_key).ok()?;
        [before.as_bytes(), b"\n", line, b"\n", after.as_bytes()].into_iter().for_each(|part| mac.update(part));
        Some(hex::encode(mac.finalize().into_bytes()))
    };
    let is_signed =
        |mac_key: &[u8], line: &[u8]| signed(mac_key, line).is_some_and(|made| made.eq_ignore_ascii_case(sign));
    let spellings = spellings(text, &bytes);
    for (name, spelling) in &spellings {
        if is_signed(spelling, spelling) {
            return Some(format!("the client uses the key {name}"));
        }
        if is_signed(spelling, &bytes) {
            return Some(format!("the client uses the key {name} for the HMAC, and as it was issued in the string"));
        }
        if is_signed(&bytes, spelling) {
            return Some(format!("the client uses the key {name} in the string, and as it was issued for the HMAC"));
        }
    }
    for (name, line) in [("leaves the line of the key empty", ""), ("writes {key} into the line of the key", "{key}")] {
        if is_signed(&bytes, line.as_bytes()) {
            return Some(format!("the client {name}: the key itself stands there"));
        }
    }
    let plain = Sha256::new()
        .chain_update(before)
        .chain_update("\n")
        .chain_update(&bytes)
        .chain_update("\n")
        .chain_update(after);
    let is_plain = hex::encode(plain.finalize()).eq_ignore_ascii_case(sign);
    is_plain.then(|| "the client signs with SHA-256 alone: expected HMAC-SHA256 with the key".to_owned())
}

/// The wrong spellings of a key, by what a client does with it.
fn spellings(text: &str, bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut spellings = vec![
        ("as text, although it is issued as hex: or base64:", text.as_bytes().to_vec()),
        ("with a line end after it", [bytes, b"\n"].concat()),
        ("with a carriage return and a line end after it", [bytes, b"\r\n"].concat()),
        ("with a space after it", [bytes, b" "].concat()),
        ("in capital letters", text.to_uppercase().into_bytes()),
        ("in small letters", text.to_lowercase().into_bytes()),
        ("in hex digits", hex::encode(bytes).into_bytes()),
        ("in base64", Base64::encode_string(bytes).into_bytes()),
        ("with its prefix text:", [b"text:", bytes].concat()),
        ("with the prefix hex:", format!("hex:{text}").into_bytes()),
        ("in quotes", format!("\"{text}\"").into_bytes()),
    ];
    spellings.extend(hex::decode(text).ok().map(|decoded| ("decoded from hex digits", decoded)));
    spellings.extend(Base64::decode_vec(text).ok().map(|decoded| ("decoded from base64", decoded)));
    spellings.retain(|(_, spelling)| spelling != bytes);
    spellings
}
