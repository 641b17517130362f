//! The value of a submission in Redis.
//!
//! Each submission is one string. The scripts read the same format. Numbers have 8 bytes, the highest first. Times are in
//! milliseconds. Offsets begin at 0:
//!
//! | tag | 1 | 2 | 10 | 42 and further |
//! | --- | --- | --- | --- | --- |
//! | `R`, reserved | version 1 | TTL after the end | fingerprint | id of the lease, 16 bytes |
//! | `U`, unknown | version 1 | TTL after the end | fingerprint | |
//! | `D`, done | version 1 | TTL after the end | fingerprint | length of the rest, then an answer |
//!
//! The key of a reserved submission expires when its lease has ended and the TTL has passed. So the lease lasts while the
//! key lives longer than the TTL.
//!
//! An answer is its status in 2 bytes, flags in 1, and then, as the flags say: the location and a line feed; the headers, each
//! as a name, a colon, the value and a line feed; an empty line; the body. No name or value has a line feed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::error::CommandError;
use crate::store::{Entry, EntryState, Fingerprint, Finish, StoredAnswer};

const VERSION: u8 = 1;

const HAS_LOCATION: u8 = 1;
const HAS_REPLAY: u8 = 2;

/// The longest duration: 3,000 years. Redis and Lua add durations without an overflow.
const LONGEST: u64 = 100_000_000_000_000;

/// Encodes a duration. A part of a millisecond counts as a whole one.
pub(super) fn milliseconds(duration: Duration) -> [u8; 8] {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(LONGEST).min(LONGEST).to_be_bytes()
}

/// Encodes a reserved submission, without its lease.
pub(super) fn encode_reserved(fingerprint: &Fingerprint, ttl: Duration) -> Vec<u8> {
    [&[b'R', VERSION][..], &milliseconds(ttl), fingerprint.as_bytes()].concat()
}

/// Encodes an end: its tag, and what follows the fingerprint. Empty if the place is free again.
pub(super) fn encode_end(end: &Finish) -> Vec<u8> {
    match end {
        Finish::Release => Vec::new(),
        Finish::Unknown => vec![b'U'],
        Finish::Done(answer) => {
            let answer = encode_answer(answer);
            [&b"D"[..], &(answer.len() as u64).to_be_bytes(), &answer].concat()
        }
    }
}

fn encode_answer(answer: &StoredAnswer) -> Vec<u8> {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags = flag(answer.location().is_some(), HAS_LOCATION) | flag(answer.replay().is_some(), HAS_REPLAY);
    let mut bytes = Vec::with_capacity(answer.replay().map_or(128, |(_, body)| 1024 + body.len()));
    bytes.extend(answer.status().as_u16().to_be_bytes());
    bytes.push(flags);
    if let Some(location) = answer.location() {
        bytes.extend([location.as_bytes(), b"\n"].concat());
    }
    if let Some((headers, body)) = answer.replay() {
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"] {
                bytes.extend(part);
            }
        }
        bytes.push(b'\n');
        bytes.extend(body);
    }
    bytes
}

/// Decodes a value, which expires after this many milliseconds.
pub(super) fn decode(value: Vec<u8>, left: u64) -> Result<Entry, CommandError> {
    read(Bytes::from(value), left).ok_or(CommandError::Unreadable)
}

fn read(value: Bytes, left: u64) -> Option<Entry> {
    let mut rest = Rest(value);
    let [tag, VERSION] = rest.array()? else { return None };
    let ttl = u64::from_be_bytes(rest.array()?);
    let fingerprint = Fingerprint::from_bytes(rest.array()?);
    let state = match tag {
        b'R' => {
            let _lease: [u8; 16] = rest.array()?;
            if left > ttl { EntryState::InFlight } else { EntryState::Unknown }
        }
        b'U' => EntryState::Unknown,
        b'D' => {
            let length = u64::from_be_bytes(rest.array()?);
            if length != rest.0.len() as u64 {
                return None;
            }
            EntryState::Done(rest.answer()?)
        }
        _ => return None,
    };
    rest.0.is_empty().then(|| Entry::new(fingerprint, state, Duration::from_millis(left)))
}

/// The rest of a value. It shares its memory with the body of an answer.
struct Rest(Bytes);

impl Rest {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.0.first_chunk()?;
        self.0 = self.0.slice(N..);
        Some(array)
    }

    /// Returns the bytes before the next line feed.
    fn line(&mut self) -> Option<Bytes> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let line = self.0.slice(..end);
        self.0 = self.0.slice(end + 1..);
        Some(line)
    }

    fn answer(&mut self) -> Option<StoredAnswer> {
        let status = StatusCode::from_u16(u16::from_be_bytes(self.array()?)).ok()?;
        let [flags @ 0..=3] = self.array()? else { return None };
        let has = |flag| flags & flag != 0;
        let location = if has(HAS_LOCATION) { Some(HeaderValue::from_maybe_shared(self.line()?).ok()?) } else { None };
        let answer = StoredAnswer::new(status, location);
        if !has(HAS_REPLAY) {
            return Some(answer);
        }
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line.slice(..colon)).ok()?;
            headers.append(name, HeaderValue::from_maybe_shared(line.slice(colon + 1..)).ok()?);
        }
        Some(answer.with_replay(headers, std::mem::take(&mut self.0)))
    }
}
