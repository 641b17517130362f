//! The fields that a request claims.

use crate::protocol::{AppId, Claim, Timestamp};

/// The fields that a request claims, as far as they were read.
#[derive(Default)]
pub(super) struct RequestFacts {
    claimed: Option<ClaimedFields>,
    skew: Option<i64>,
}

enum ClaimedFields {
    Whole(Claim),
    /// Only the app id. Other fields are missing or malformed.
    AppId(Box<AppId>),
}

impl RequestFacts {
    /// Stores all fields, read at `now` in Unix seconds.
    pub(super) fn of(claim: &Claim, now: u64) -> Self {
        Self { skew: Some(skew(claim.timestamp(), now)), claimed: Some(ClaimedFields::Whole(claim.clone())) }
    }

    /// Stores the fields that could be read, at `now` in Unix seconds.
    pub(super) fn partial(app_id: Option<AppId>, timestamp: Option<Timestamp>, now: u64) -> Self {
        let claimed = app_id.map(|app_id| ClaimedFields::AppId(Box::new(app_id)));
        Self { claimed, skew: timestamp.map(|timestamp| skew(timestamp, now)) }
    }

    pub(super) fn app_id(&self) -> Option<&AppId> {
        self.claimed.as_ref().map(|claimed| match claimed {
            ClaimedFields::Whole(claim) => claim.app_id(),
            ClaimedFields::AppId(app_id) => app_id,
        })
    }

    pub(super) fn skew(&self) -> Option<i64> {
        self.skew
    }
}

fn skew(timestamp: Timestamp, now: u64) -> i64 {
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    signed(timestamp.unix_seconds()).saturating_sub(signed(now))
}
