//! "What travels" of PROTOCOL.md: reads the fields, or finds the errors in them.

use super::{
    ExpectedRejection,
    parameters::{decode, field, split},
    string::{is_one_of, sha256},
    trim,
};

/// The settings that client and server share.
#[derive(Debug)]
pub struct Settings<'a> {
    /// Whether fields are read from headers, and from the query.
    pub accepts: (bool, bool),
    /// The lowercase header names of the five fields and the body digest.
    pub headers: [&'a str; 6],
    pub parameters: [&'a str; 5],
    pub place: Place<'a>,
    /// Lowercase and in ascending order.
    pub signed_headers: &'a [&'a str],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place<'a> {
    Field,
    Bearer,
    Cookie(&'a str),
}

/// The head of a request as received.
#[derive(Debug)]
pub struct Head<'a> {
    /// Names are lowercase.
    pub headers: &'a [(String, Vec<u8>)],
    pub query: &'a [u8],
}

/// The fields of a request.
#[derive(Debug)]
pub struct Claim {
    pub app: Vec<u8>,
    pub timestamp: Vec<u8>,
    pub nonce: Vec<u8>,
    pub token: Option<Vec<u8>>,
    pub sign: Vec<u8>,
    pub digest: Option<Vec<u8>>,
    /// A line for each signed header.
    pub headers: Vec<Vec<u8>>,
}

impl Claim {
    pub fn token_line(&self, place: Place<'_>) -> Vec<u8> {
        match (&self.token, place) {
            (Some(token), Place::Cookie(_)) => {
                format!("cookie:{}", sha256(&[b"CS1-COOKIE\n", &**token].concat())).into_bytes()
            }
            (token, _) => token.clone().unwrap_or_default(),
        }
    }
}

/// Reads the fields. Returns all errors, because the order of the checks is not specified.
pub fn read(settings: &Settings<'_>, head: &Head<'_>) -> Result<Claim, Vec<ExpectedRejection>> {
    let mut rejections: Vec<ExpectedRejection> = Vec::new();
    let mut malformed = |name: &str| rejections.push(("malformed_field", name.to_owned()));
    let all = |name: &str| -> Vec<&[u8]> {
        head.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value).collect()
    };
    // A token in another location is not a field.
    let is_field = |index: usize| index != TOKEN || settings.place == Place::Field;

    let mut in_query: [Vec<Option<Vec<u8>>>; 5] = Default::default();
    if settings.accepts.1 {
        for piece in head.query.split(|&b| b == b'&') {
            let Some(name) = field(piece, &settings.parameters) else { continue };
            let index = settings.parameters.iter().position(|&other| other == name).unwrap();
            if is_field(index) {
                in_query[index].push(decode(split(piece).1));
            }
        }
    }
    let is_query = in_query.iter().any(|values| !values.is_empty()) || !settings.accepts.0;
    if in_query.iter().any(|values| !values.is_empty()) {
        // A field in each location: either may be reported.
        let mixed: Vec<usize> = (0..5).filter(|&i| is_field(i) && !all(settings.headers[i]).is_empty()).collect();
        for index in mixed {
            malformed(settings.headers[index]);
        }
    }

    // No field in any of the locations that are read: the only error is `unsigned`.
    let required = [0, 1, 2, 4];
    let is_present = |index: usize| {
        settings.accepts.0 && !all(settings.headers[index]).is_empty()
            || settings.accepts.1 && !in_query[index].is_empty()
    };
    if !required.into_iter().any(is_present) {
        return Err(vec![("unsigned", String::new())]);
    }

    let mut values: [Option<Vec<u8>>; 6] = Default::default();
    let mut missing = Vec::new();
    for (index, value) in values.iter_mut().enumerate() {
        let of_query = is_query && index != DIGEST;
        let name = if of_query { settings.parameters[index] } else { settings.headers[index] };
        let found: Vec<Option<Vec<u8>>> = match of_query {
            _ if !is_field(index) => continue,
            true => in_query[index].clone(),
            false => all(name).into_iter().map(|value| Some(value.to_vec())).collect(),
        };
        match &found[..] {
            [] if [TOKEN, DIGEST].contains(&index) => {}
            [] => missing.push(("missing_field", name.to_owned())),
            [Some(text)] if is_well_formed(index, text) => *value = Some(text.clone()),
            _ => malformed(name),
        }
    }

    match settings.place {
        Place::Field => {}
        Place::Bearer => match bearer(&all("authorization")) {
            Ok(token) => values[TOKEN] = token,
            Err(()) => malformed("authorization"),
        },
        Place::Cookie(name) => match cookie(&all("cookie"), name) {
            Ok(token) => values[TOKEN] = token,
            Err(()) => malformed("cookie"),
        },
    }

    for option in all("connection").iter().flat_map(|value| value.split(|&b| b == b',')) {
        let option = trim(option).to_ascii_lowercase();
        let others = ["content-type", "authorization", "cookie"];
        let mut bound = settings.headers.iter().chain(settings.signed_headers).chain(&others);
        if let Some(name) = bound.find(|name| name.as_bytes() == option) {
            malformed(name);
        }
    }

    let mut lines = Vec::new();
    for name in settings.signed_headers {
        match all(name)[..] {
            [] => lines.push(name.as_bytes().to_vec()),
            [value] => lines.push([name.as_bytes(), b":", trim(value)].concat()),
            _ => malformed(name),
        }
    }

    rejections.append(&mut missing);
    if !rejections.is_empty() {
        return Err(rejections);
    }
    let [app, timestamp, nonce, token, sign, digest] = values;
    let [app, timestamp, nonce, sign] = [app, timestamp, nonce, sign].map(Option::unwrap_or_default);
    Ok(Claim { app, timestamp, nonce, token, sign, digest, headers: lines })
}

const TOKEN: usize = 3;
const DIGEST: usize = 5;

/// Checks the format of a field. The indices are: app id, timestamp, nonce, token, sign, body digest.
pub(super) fn is_well_formed(field: usize, text: &[u8]) -> bool {
    let has = |lengths: std::ops::RangeInclusive<usize>, signs: &str| {
        lengths.contains(&text.len()) && text.iter().all(|&b| is_one_of(b, signs))
    };
    match field {
        0 => has(1..=64, "._-"),
        1 => {
            let is_number = text.iter().all(u8::is_ascii_digit) && (1..=19).contains(&text.len());
            is_number && text[0] != b'0' && ![13, 16, 19].contains(&text.len())
        }
        2 => has(6..=128, "._~-"),
        TOKEN => has(1..=512, "._~+/=-"),
        _ => text.len() == 64 && text.iter().all(|b| b"0123456789abcdef".contains(b)),
    }
}

/// The token of `Authorization: Bearer TOKEN`. Spaces separate the two, and there is at most one such header.
fn bearer(values: &[&[u8]]) -> Result<Option<Vec<u8>>, ()> {
    let value = match values {
        [] => return Ok(None),
        [value] => trim(value),
        _ => return Err(()),
    };
    let Some((word, rest)) = value.split_at_checked(6).filter(|(word, _)| word.eq_ignore_ascii_case(b"bearer")) else {
        return Ok(None);
    };
    debug_assert_eq!(word.len(), 6);
    match rest.first() {
        // A longer word is another scheme.
        Some(&byte) if is_one_of(byte, "!#$%&'*+-.^_`|~") => Ok(None),
        Some(b' ') => {
            let token: Vec<u8> = rest.iter().copied().skip_while(|&b| b == b' ').collect();
            if is_well_formed(TOKEN, &token) { Ok(Some(token)) } else { Err(()) }
        }
        _ => Err(()),
    }
}

/// The value of the scheme's cookie, which may occur once in all `Cookie` headers, without quotes.
fn cookie(values: &[&[u8]], name: &str) -> Result<Option<Vec<u8>>, ()> {
    let pairs = values.iter().flat_map(|value| value.split(|&b| b == b';')).map(split);
    let found: Vec<&[u8]> =
        pairs.filter(|(key, _)| trim(key) == name.as_bytes()).map(|(_, value)| trim(value)).collect();
    match found[..] {
        [] => Ok(None),
        [token] if is_well_formed(TOKEN, token) => Ok(Some(token.to_vec())),
        _ => Err(()),
    }
}
