//! Compares two lines of parameters, and two paths.

use super::Cause;
use crate::protocol::decoded;

/// The cause why a client signed `signed`, and the verifier signed `verified` in the line of the query or the form.
pub(super) fn cause(signed: &str, verified: &str) -> Cause {
    let (own, theirs) = (pairs(signed), pairs(verified));
    let sorted = |pairs: &[(String, String)]| {
        let mut pairs = pairs.to_vec();
        pairs.sort();
        pairs
    };
    if sorted(&own) == sorted(&theirs) {
        let names = |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        return if names(&own) == names(&theirs) { Cause::RepeatedParameters } else { Cause::ParameterOrder };
    }
    let without_empty: Vec<_> =
        own.iter().filter(|(name, value)| !name.is_empty() && !value.is_empty()).cloned().collect();
    if without_empty != own && sorted(&without_empty) == sorted(&theirs) {
        return Cause::EmptyParameters;
    }
    let all_decoded = |pairs: &[(String, String)], decode: fn(&str) -> Vec<u8>| {
        let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| (decode(name), decode(value))).collect();
        pairs.sort();
        pairs
    };
    let spaces = |line: &str| sorted(&pairs(&line.replace('+', "%20").replace("%2B", "%20").replace("%2b", "%20")));
    if spaces(signed) == spaces(verified) {
        return Cause::PlusAndSpace;
    }
    if all_decoded(&own, decode) == all_decoded(&theirs, decode) {
        return Cause::ParameterEncoding;
    }
    let twice: fn(&str) -> Vec<u8> = |text| decode(&String::from_utf8_lossy(&decode(text)));
    if all_decoded(&own, twice) == all_decoded(&theirs, decode)
        || all_decoded(&own, decode) == all_decoded(&theirs, twice)
    {
        return Cause::EncodedTwice;
    }
    let has = |pairs: &[(String, String)], name: &str| pairs.iter().any(|(other, _)| other == name);
    match () {
        () if theirs.iter().any(|(name, _)| !has(&own, name)) => Cause::ParameterAdded,
        () if own.iter().any(|(name, _)| !has(&theirs, name)) => Cause::ParameterRemoved,
        () if own.len() < theirs.len() => Cause::ParameterAdded,
        () if own.len() > theirs.len() => Cause::ParameterRemoved,
        () => Cause::ParameterChanged,
    }
}

/// The cause why a client signed the path `signed`, and the verifier signed `verified`.
pub(super) fn path_cause(signed: &str, verified: &str) -> Cause {
    let (plain, normalized) = (decode(signed) == decode(verified), normalize(signed) == normalize(verified));
    match () {
        () if signed.contains('?') || signed.contains("://") => Cause::PathWithMore,
        () if plain => Cause::PathEncoding,
        () if normalized => Cause::PathNormalized,
        () if signed.ends_with(verified) => Cause::PrefixRemoved,
        () if verified.ends_with(signed) => Cause::PrefixAdded,
        () => Cause::PathRewritten,
    }
}

fn pairs(line: &str) -> Vec<(String, String)> {
    let segments = line.split('&').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| segment.split_once('=').unwrap_or((segment, "")))
        .map(|(a, b)| (a.into(), b.into()))
        .collect()
}

/// Decodes the escapes of a URL, and those of the printable form.
fn decode(text: &str) -> Vec<u8> {
    let bytes = decoded(text.as_bytes()).into_owned();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = &bytes[..];
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.strip_prefix(b"x").and_then(|after| after.get(..2)).filter(|_| byte == b'\\');
        let mut escaped = [0];
        match digits.map(|digits| hex::decode_to_slice(digits, &mut escaped)) {
            Some(Ok(())) => {
                plain.push(escaped[0]);
                rest = &after[3..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

/// Resolves dot segments and repeated slashes, as proxies do.
fn normalize(path: &str) -> Vec<String> {
    let mut segments: Vec<String> = Vec::new();
    for segment in String::from_utf8_lossy(&decode(path)).split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment.to_owned()),
        }
    }
    segments
}
