//! "What travels" of PROTOCOL.md: the fields, read from their carrier, or what is wrong with them.

use super::{
    Due,
    parameters::{decode, field, split},
    string::{is_one_of, sha256},
    trim,
};

/// What both ends have agreed on.
#[derive(Debug)]
pub struct Agreed<'a> {
    /// Whether fields are taken from headers, and from the query.
    pub takes: (bool, bool),
    /// Of the five fields and the body digest, lowercase.
    pub headers: [&'a str; 6],
    pub parameters: [&'a str; 5],
    pub place: Place<'a>,
    /// Lowercase, in ascending order.
    pub signed_headers: &'a [&'a str],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place<'a> {
    Field,
    Bearer,
    Cookie(&'a str),
}

/// A request's head, as it came.
#[derive(Debug)]
pub struct Head<'a> {
    /// Names are lowercase.
    pub headers: &'a [(String, Vec<u8>)],
    pub query: &'a [u8],
}

/// What a request says of itself.
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

/// Whatever is wrong with the head's fields; in which order that is found is nobody's business.
pub fn read(agreed: &Agreed<'_>, head: &Head<'_>) -> Result<Claim, Vec<Due>> {
    let mut due: Vec<Due> = Vec::new();
    let mut malformed = |name: &str| due.push(("malformed_field", name.to_owned()));
    let all = |name: &str| -> Vec<&[u8]> {
        head.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value).collect()
    };
    // A token anywhere else is no field.
    let is_field = |index: usize| index != TOKEN || agreed.place == Place::Field;

    let mut in_query: [Vec<Option<Vec<u8>>>; 5] = Default::default();
    if agreed.takes.1 {
        for piece in head.query.split(|&b| b == b'&') {
            let Some(name) = field(piece, &agreed.parameters) else { continue };
            let index = agreed.parameters.iter().position(|&other| other == name).unwrap();
            if is_field(index) {
                in_query[index].push(decode(split(piece).1));
            }
        }
    }
    let is_query = in_query.iter().any(|values| !values.is_empty()) || !agreed.takes.0;
    if in_query.iter().any(|values| !values.is_empty()) {
        // One in each place: either may be told.
        let mixed: Vec<usize> = (0..5).filter(|&i| is_field(i) && !all(agreed.headers[i]).is_empty()).collect();
        for index in mixed {
            malformed(agreed.headers[index]);
        }
    }

    // None of them at all, in the places that are read: nothing else is wrong then.
    let required = [0, 1, 2, 4];
    let is_there = |index: usize| {
        agreed.takes.0 && !all(agreed.headers[index]).is_empty() || agreed.takes.1 && !in_query[index].is_empty()
    };
    if !required.into_iter().any(is_there) {
        return Err(vec![("unsigned", String::new())]);
    }

    let mut values: [Option<Vec<u8>>; 6] = Default::default();
    let mut missing = Vec::new();
    for (index, value) in values.iter_mut().enumerate() {
        let of_query = is_query && index != DIGEST;
        let name = if of_query { agreed.parameters[index] } else { agreed.headers[index] };
        let found: Vec<Option<Vec<u8>>> = match of_query {
            _ if !is_field(index) => continue,
            true => in_query[index].clone(),
            false => all(name).into_iter().map(|value| Some(value.to_vec())).collect(),
        };
        match &found[..] {
            [] if [TOKEN, DIGEST].contains(&index) => {}
            [] => missing.push(("missing_field", name.to_owned())),
            [Some(text)] if is_of_its_form(index, text) => *value = Some(text.clone()),
            _ => malformed(name),
        }
    }

    match agreed.place {
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
        let mut bound = agreed.headers.iter().chain(agreed.signed_headers).chain(&others);
        if let Some(name) = bound.find(|name| name.as_bytes() == option) {
            malformed(name);
        }
    }

    let mut lines = Vec::new();
    for name in agreed.signed_headers {
        match all(name)[..] {
            [] => lines.push(name.as_bytes().to_vec()),
            [value] => lines.push([name.as_bytes(), b":", trim(value)].concat()),
            _ => malformed(name),
        }
    }

    due.append(&mut missing);
    if !due.is_empty() {
        return Err(due);
    }
    let [app, timestamp, nonce, token, sign, digest] = values;
    let [app, timestamp, nonce, sign] = [app, timestamp, nonce, sign].map(Option::unwrap_or_default);
    Ok(Claim { app, timestamp, nonce, token, sign, digest, headers: lines })
}

const TOKEN: usize = 3;
const DIGEST: usize = 5;

/// The table of fields: app id, timestamp, nonce, token, sign, body digest.
fn is_of_its_form(field: usize, text: &[u8]) -> bool {
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

/// `Authorization: Bearer TOKEN`, spaces between the two, one such header.
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
            if is_of_its_form(TOKEN, &token) { Ok(Some(token)) } else { Err(()) }
        }
        _ => Err(()),
    }
}

/// The cookie that the scheme names, once over all `Cookie` headers, its value without quotes.
fn cookie(values: &[&[u8]], name: &str) -> Result<Option<Vec<u8>>, ()> {
    let pairs = values.iter().flat_map(|value| value.split(|&b| b == b';')).map(split);
    let found: Vec<&[u8]> =
        pairs.filter(|(key, _)| trim(key) == name.as_bytes()).map(|(_, value)| trim(value)).collect();
    match found[..] {
        [] => Ok(None),
        [token] if is_of_its_form(TOKEN, token) => Ok(Some(token.to_vec())),
        _ => Err(()),
    }
}
