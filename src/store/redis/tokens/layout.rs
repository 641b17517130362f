//! The values of a token or a grant in Redis.
//!
//! Each owner has one hash for tokens and one for grants. Its fields are the SHA-256 of tokens, and `n`, the sequence of the owner. The scripts read the
//! same format. Numbers have 8 bytes, the highest first. A text has its length before it, in one byte. Offsets begin at 0:
//!
//! | tag | 1 | 2 | 10 | 18 and further |
//! | --- | --- | --- | --- | --- |
//! | `S`, a live token | version 1 | sequence | end | expires, session expires, idle until, seen, issued; at 58 flags, kind, number of earlier tokens, session id; at 77 app id, device, owner, data; the fields of earlier tokens of the session that may be in their overlap |
//! | `R`, a renewed one | version 1 | sequence | end | overlap, then of the offer: seen, idle until, seed, field of the successor; at 106 the `S` that it was, without earlier tokens |
//! | `K`, an ended one | version 1 | sequence | until | reason `r` or `v`, app id |

use super::super::error::CommandError;
use crate::{
    protocol::{
        AppId,
        token::{Owner, RenewalSeed},
    },
    store::token::record::{EndReason, Found, Record, SessionId, TokenKind},
};

const VERSION: u8 = 1;

const HAS_IDLE_END: u8 = 1;
const HAS_DATA: u8 = 2;
const IS_OF_USER: u8 = 4;
const IS_UNUSED_SUCCESSOR: u8 = 8;

/// A token as it is stored.
pub(super) enum Stored {
    Live(Live),
    Renewed(Renewal),
    Ended { app_id: AppId, reason: EndReason, until: u64 },
}

pub(super) struct Live {
    pub(super) record: Record,
    /// The place in the order of the owner.
    pub(super) sequence: u64,
    is_unused_successor: bool,
}

pub(super) struct Renewal {
    record: Record,
    until: u64,
    pub(super) seed: RenewalSeed,
    seen_at: u64,
    idle_until: u64,
}

/// Encodes a record. The script that stores it sets the sequence.
pub(super) fn encode(record: &Record, is_successor: bool) -> Vec<u8> {
    let data = record.data.as_deref();
    let mut value = Vec::with_capacity(256 + data.map_or(0, str::len));
    value.extend([b'S', VERSION]);
    let idle = record.idle_until.unwrap_or(u64::MAX);
    let numbers =
        [0, record.end(), record.expires_at, record.session_expires_at, idle, record.seen_at, record.issued_at];
    numbers.iter().for_each(|number| value.extend(number.to_be_bytes()));
    let (owner_flag, owner) = match &record.owner {
        Owner::App(app) => (0, app.as_str()),
        Owner::User(user) => (IS_OF_USER, user.as_str()),
    };
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags = owner_flag
        | flag(record.idle_until.is_some(), HAS_IDLE_END)
        | flag(data.is_some(), HAS_DATA)
        | flag(is_successor, IS_UNUSED_SUCCESSOR);
    value.extend([flags, code(record.kind), 0]);
    value.extend(record.id.as_bytes());
    let device = record.device.as_ref().map_or("", |device| device.as_str());
    for text in [record.app_id.as_str(), device, owner] {
        // None is longer than 128.
        value.push(text.len() as u8);
        value.extend(text.as_bytes());
    }
    value.extend(data.unwrap_or_default().as_bytes());
    value
}

/// The code of a kind. The scripts know those of sessions and of tokens that are accepted once.
fn code(kind: TokenKind) -> u8 {
    match kind {
        TokenKind::Session => 1,
        TokenKind::Api => 2,
        TokenKind::OneTime => 3,
        TokenKind::Bearer => 4,
        TokenKind::Grant => 5,
    }
}

impl Stored {
    pub(super) fn decode(value: &[u8]) -> Result<Self, CommandError> {
        Self::read(value).ok_or(CommandError::Unreadable)
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Fields(value);
        let [tag, VERSION] = fields.array()? else { return None };
        match tag {
            b'S' => read_live(value).map(Self::Live),
            b'R' => {
                let [_, until, _, seen_at, idle_until] = fields.numbers()?;
                let (seed, _) = (RenewalSeed::from_bytes(fields.array()?), fields.array::<32>()?);
                let Live { record, .. } = read_live(fields.0)?;
                Some(Self::Renewed(Renewal { record, until, seed, seen_at, idle_until }))
            }
            b'K' => {
                let [_, until] = fields.numbers()?;
                let reason = match fields.array()? {
                    [b'r'] => EndReason::Replaced,
                    [b'v'] => EndReason::Revoked,
                    _ => return None,
                };
                Some(Self::Ended { app_id: AppId::parse(fields.0).ok()?, reason, until })
            }
            _ => None,
        }
    }

    pub(super) fn found(self, now: u64) -> Found {
        match self {
            Self::Live(Live { record, is_unused_successor, .. }) if record.is_live(now) => {
                Found::Live { record: record.into(), seed: None, is_unused_successor }
            }
            Self::Renewed(Renewal { record, until, seed, .. }) if record.is_live(now) && now < until => {
                Found::Live { record: record.into(), seed: Some(seed), is_unused_successor: false }
            }
            Self::Ended { app_id, reason, until } if now < until => Found::Ended { app_id, reason },
            _ => Found::Unknown,
        }
    }
}

impl Renewal {
    /// The record that was offered, from the successor as it is now.
    pub(super) fn offered(&self, successor: Stored) -> Result<Record, CommandError> {
        let record = match successor {
            Stored::Live(Live { record, .. }) | Stored::Renewed(Self { record, .. }) => record,
            Stored::Ended { .. } => return Err(CommandError::Unexpected),
        };
        let idle_until = record.idle_until.map(|_| self.idle_until);
        Ok(Record { seen_at: self.seen_at, idle_until, ..record })
    }
}

fn read_live(value: &[u8]) -> Option<Live> {
    let mut fields = Fields(value);
    let [b'S', VERSION] = fields.array()? else { return None };
    let [sequence, _, expires_at, session_expires_at, idle, seen_at, issued_at] = fields.numbers()?;
    let [flags, kind, earlier] = fields.array()?;
    let has = |flag| flags & flag != 0;
    let id = SessionId::from_bytes(fields.array()?);
    let (app_id, device, owner) = (fields.text()?, fields.text()?, fields.text()?);
    let data = fields.0.split_at_checked(fields.0.len().checked_sub(32 * usize::from(earlier))?)?.0;
    let record = Record {
        id,
        owner: if has(IS_OF_USER) { Owner::User(owner.parse().ok()?) } else { Owner::App(owner.parse().ok()?) },
        app_id: app_id.parse().ok()?,
        kind: [TokenKind::Session, TokenKind::Api, TokenKind::OneTime, TokenKind::Bearer, TokenKind::Grant]
            .into_iter()
            .find(|known| code(*known) == kind)?,
        device: if device.is_empty() { None } else { Some(device.parse().ok()?) },
        issued_at,
        seen_at,
        expires_at,
        session_expires_at,
        idle_until: has(HAS_IDLE_END).then_some(idle),
        data: if has(HAS_DATA) { Some(std::str::from_utf8(data).ok()?.into()) } else { None },
    };
    Some(Live { record, sequence, is_unused_successor: has(IS_UNUSED_SUCCESSOR) })
}

/// The rest of a value.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn numbers<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = u64::from_be_bytes(self.array()?);
        }
        Some(numbers)
    }

    fn text(&mut self) -> Option<&'a str> {
        let [length] = self.array()?;
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}
