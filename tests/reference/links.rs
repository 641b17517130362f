//! "Share links" of PROTOCOL.md: whether a request is a link, and what the verifier answers.

use super::{
    ExpectedRejection,
    fields::is_well_formed,
    parameters::{FIELDS, decode, field, read, split},
    string::{StringToSign, is_one_of},
};

/// The settings of a verifier that takes links.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The audience for links.
    pub audience: &'a str,
    pub expires: &'a str,
    pub grant: &'a str,
    /// Parameters that are not signed.
    pub without: &'a [&'a str],
    /// Whether requests can have their fields in the query.
    pub takes_query: bool,
    /// Whether the nonce store outlives the process.
    pub is_persistent: bool,
    pub policy: Policy,
    /// Apps and their keys.
    pub keys: &'a [(&'a str, &'a str)],
    /// Live grants, and their apps.
    pub grants: &'a [(&'a str, &'a str)],
}

/// What the service gets of the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    Stripped,
    Signed,
    RefuseEmpty,
}

/// A request without a body.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a [u8],
    /// Whether a header has the app id, the timestamp, the nonce or the signature.
    pub has_field_header: bool,
    pub is_prefetch: bool,
    pub now: u64,
}

#[derive(Debug)]
pub enum Verdict {
    /// The request is checked as any other.
    NoLink,
    /// Each of these answers is permitted.
    Rejected(Vec<ExpectedRejection>),
    /// The service gets this query.
    Opened { query: Vec<u8>, app: Vec<u8>, ends: u64 },
}

pub fn judge(settings: &Settings<'_>, opening: &Opening<'_>) -> Verdict {
    match is_link(settings, opening) {
        true => open(settings, opening).unwrap_or_else(Verdict::Rejected),
        false => Verdict::NoLink,
    }
}

/// The names that only the protocol reads.
fn names<'a>(settings: &Settings<'a>) -> [&'a str; 7] {
    let [app, timestamp, nonce, token, sign] = FIELDS;
    [app, timestamp, nonce, token, sign, settings.expires, settings.grant]
}

const TOKEN: usize = 3;
const SIGN: usize = 4;
const EXPIRES: usize = 5;
const GRANT: usize = 6;

/// The index of the piece's name, and whether the name was escaped twice.
fn own(settings: &Settings<'_>, piece: &[u8]) -> Option<(usize, bool)> {
    let name = decode(split(piece).0)?;
    let (name, is_escaped_twice) = match name.strip_prefix(b"amp;") {
        Some(name) => (name, true),
        None => (&*name, false),
    };
    let index = names(settings).iter().position(|own| own.as_bytes() == name)?;
    Some((index, is_escaped_twice))
}

/// "What is a link."
fn is_link(settings: &Settings<'_>, opening: &Opening<'_>) -> bool {
    let found: Vec<usize> =
        opening.query.split(|&b| b == b'&').filter_map(|piece| own(settings, piece)).map(|(index, _)| index).collect();
    let is_there = |index| found.contains(&index);
    let has_another = found.iter().any(|index| ![SIGN, EXPIRES].contains(index));
    match (is_there(EXPIRES), is_there(SIGN)) {
        _ if opening.has_field_header => false,
        (true, true) => true,
        (true, false) => has_another,
        (false, true) => has_another && !settings.takes_query,
        (false, false) => false,
    }
}

fn open(settings: &Settings<'_>, opening: &Opening<'_>) -> Result<Verdict, Vec<ExpectedRejection>> {
    let only = |code| Err(vec![(code, String::new())]);
    // 1
    let [app, timestamp, nonce, _, sign, expires, grant] = fields(settings, opening)?;
    let [app, timestamp, sign, expires] = [app, timestamp, sign, expires].map(Option::unwrap_or_default);
    let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap();
    // 2
    let (from, ends) = (number(&timestamp), number(&timestamp).saturating_add(number(&expires)));
    if from > opening.now + 300 {
        return only("stale_timestamp");
    }
    if opening.now >= ends {
        return only("expired_link");
    }
    // 3
    let own = [&FIELDS[..], settings.without].concat();
    let Ok(line) = read(opening.query, &own, 256) else { return only("malformed_parameters") };
    if line.had_empty && settings.policy == Policy::RefuseEmpty {
        return only("malformed_parameters");
    }
    // 4, 6
    let string = StringToSign {
        method: "GET",
        audience: settings.audience,
        path: opening.path,
        query: &line.line,
        form: b"",
        content_type: b"",
        digest: b"",
        headers: &[],
        app: &app,
        token: b"",
        timestamp: &timestamp,
        nonce: nonce.as_deref().unwrap_or_default(),
    };
    let key = settings.keys.iter().find(|(id, _)| id.as_bytes() == app);
    if key.is_none_or(|(_, key)| string.sign_link(key).as_bytes() != sign) {
        return only("invalid_signature");
    }
    // 7
    if let Some(grant) = grant {
        let is_live = |(text, of): &(&str, &str)| text.as_bytes() == grant && of.as_bytes() == app;
        if !settings.grants.iter().any(is_live) {
            return only("invalid_token");
        }
    }
    // 8
    if nonce.is_some() {
        if opening.method != "GET" || opening.is_prefetch {
            return only("method_not_allowed");
        }
        if !settings.is_persistent {
            return only("misconfigured");
        }
    }
    let left = read(opening.query, &[&own[..], &[settings.expires, settings.grant]].concat(), 256).unwrap();
    let query = if settings.policy == Policy::Signed { left.line } else { left.stripped };
    Ok(Verdict::Opened { query, app, ends })
}

/// Step 1: the values, in the order of [`names`], or all errors.
fn fields(settings: &Settings<'_>, opening: &Opening<'_>) -> Result<[Option<Vec<u8>>; 7], Vec<ExpectedRejection>> {
    let mut rejections = Vec::new();
    if !["GET", "HEAD"].contains(&opening.method) {
        rejections.push(("method_not_allowed", String::new()));
    }
    let mut values: [Option<Vec<u8>>; 7] = Default::default();
    for (index, name) in names(settings).into_iter().enumerate() {
        let pieces = opening.query.split(|&b| b == b'&').filter(|piece| field(piece, &[name]).is_some());
        let found: Vec<Option<Vec<u8>>> = pieces.map(|piece| decode(split(piece).1)).collect();
        match &found[..] {
            [] if [2, TOKEN, GRANT].contains(&index) => {}
            [] => rejections.push(("missing_field", name.to_owned())),
            [Some(text)] if is_valid(index, text) => values[index] = Some(text.clone()),
            _ => rejections.push(("malformed_field", name.to_owned())),
        }
    }
    if rejections.is_empty() { Ok(values) } else { Err(rejections) }
}

fn is_valid(index: usize, text: &[u8]) -> bool {
    match index {
        // A link has no token.
        TOKEN => false,
        EXPIRES => {
            let digits = text.iter().all(u8::is_ascii_digit) && (1..=6).contains(&text.len()) && text[0] != b'0';
            digits && std::str::from_utf8(text).unwrap().parse::<u64>().unwrap() <= 604_800
        }
        GRANT => is_grant(text),
        index => is_well_formed(index, text),
    }
}

/// `cs1g_`, 22 characters, `_`, 43 characters. The last of the 22 stands for two bits, and four that are 0.
fn is_grant(text: &[u8]) -> bool {
    let is_text = |part: &[u8]| part.iter().all(|&b| is_one_of(b, "-_"));
    text.len() == 71
        && text.starts_with(b"cs1g_")
        && is_text(&text[5..27])
        && b"AQgw".contains(&text[26])
        && text[27] == b'_'
        && is_text(&text[28..])
}
