//! "Parameters" of PROTOCOL.md. The numbers are those of the steps there.

use super::string::is_one_of;

/// The default names of the fields in a query.
pub const FIELDS: [&str; 5] = ["appId", "timestamp", "nonce", "token", "sign"];

/// The parsed parameters of a query or a form.
#[derive(Debug)]
pub struct Parameters {
    /// Line 5 or 6.
    pub line: Vec<u8>,
    /// The text as sent, without the unsigned parameters.
    pub stripped: Vec<u8>,
    /// Whether a name or a value was empty.
    pub had_empty: bool,
}

/// An escape without two hex digits, or more than `most` parameters. Both are `malformed_parameters`.
#[derive(Debug)]
pub struct Malformed;

/// Parses raw bytes. `fields` are names that do not count as parameters.
pub fn read(raw: &[u8], fields: &[&str], most: usize) -> Result<Parameters, Malformed> {
    // 1
    let pieces: Vec<&[u8]> = if raw.is_empty() { Vec::new() } else { raw.split(|&b| b == b'&').collect() };
    let pieces: Vec<&[u8]> = pieces.into_iter().filter(|piece| field(piece, fields).is_none()).collect();
    if pieces.len() > most {
        return Err(Malformed);
    }
    let mut encoded: Vec<(String, String)> = Vec::new();
    let mut stripped: Vec<&[u8]> = Vec::new();
    for &piece in &pieces {
        let (name, value) = split(piece);
        // 2
        let (name, value) = (decode(name).ok_or(Malformed)?, decode(value).ok_or(Malformed)?);
        // 3
        if name.is_empty() || value.is_empty() {
            continue;
        }
        stripped.push(piece);
        // 4
        encoded.push((encode(&name), encode(&value)));
    }
    // 5
    encoded.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    // 6
    let line: Vec<String> = encoded.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(Parameters {
        line: line.join("&").into_bytes(),
        had_empty: stripped.len() < pieces.len(),
        stripped: stripped.join(&b'&'),
    })
}

/// The field of this name, if the piece is one of `fields`.
pub fn field<'f>(piece: &[u8], fields: &[&'f str]) -> Option<&'f str> {
    let name = decode(split(piece).0)?;
    fields.iter().find(|field| field.as_bytes() == name).copied()
}

/// Splits a piece into a name and a value.
pub fn split(piece: &[u8]) -> (&[u8], &[u8]) {
    match piece.iter().position(|&b| b == b'=') {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, b""),
    }
}

/// Returns `None` if two hex digits do not follow a `%`.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = text.get(at + 1..at + 3)?;
                decoded.push(hex::decode(digits).ok()?[0]);
                at += 2;
            }
            byte => decoded.push(byte),
        }
        at += 1;
    }
    Some(decoded)
}

pub fn encode(bytes: &[u8]) -> String {
    let one = |&b: &u8| if is_one_of(b, "-._~") { char::from(b).to_string() } else { format!("%{b:02X}") };
    bytes.iter().map(one).collect()
}
