//! One request, followed to its outcome.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Uri};

use super::{Decision, Observer, meter::Store};
use crate::{
    clock::SteadyClock,
    protocol::{AppId, Claim, Rejection, RejectionKind, Scheme, Timestamp},
    server::caller::Caller,
    store::{NonceStore, StoreError},
};

/// Follows a request while it is verified. If it is dropped before the outcome was told, the request was cancelled.
///
/// It is empty if nobody wants to know, or the outcome was told. Boxed, since mostly nobody does: what verifies holds a
/// pointer of it then.
pub(in crate::server) struct Witness<'v>(Option<Box<Account<'v>>>);

struct Account<'v> {
    observer: &'v Arc<Observer>,
    clock: &'v SteadyClock,
    started: Duration,
    seen: Seen,
    caller: Option<Caller>,
}

/// What a request says of itself, as far as it was read.
#[derive(Default)]
pub(super) struct Seen {
    claimed: Option<Claimed>,
    skew: Option<i64>,
}

enum Claimed {
    Whole(Claim),
    /// Other fields are missing or malformed.
    AppId(Box<AppId>),
}

impl Observer {
    pub(in crate::server) fn witness<'v>(self: &'v Arc<Self>, clock: &'v SteadyClock) -> Witness<'v> {
        let account = || {
            let (seen, caller) = (Seen::default(), None);
            Box::new(Account { observer: self, clock, started: clock.monotonic(), seen, caller })
        };
        Witness(self.is_curious().then(account))
    }
}

impl Witness<'_> {
    /// The fields were read, at `now` in Unix seconds.
    pub(in crate::server) fn sees(&mut self, claim: &Claim, now: u64) {
        if let Some(account) = &mut self.0 {
            account.seen.claimed = Some(Claimed::Whole(claim.clone()));
            account.seen.skew = Some(skew(claim.timestamp(), now));
        }
    }

    /// The head was refused, and some of it may be read all the same.
    pub(in crate::server) fn glimpses(
        &mut self,
        refused: &Rejection,
        scheme: &Scheme,
        (uri, headers): (&Uri, &HeaderMap),
        now: u64,
    ) {
        // Limits come before work.
        if let Some(account) = self.0.as_mut().filter(|_| refused.kind() != RejectionKind::QueryTooLong) {
            let (app_id, timestamp) = Claim::glimpse(scheme, uri, headers);
            account.seen.claimed = app_id.map(|app_id| Claimed::AppId(Box::new(app_id)));
            account.seen.skew = timestamp.map(|timestamp| skew(timestamp, now));
        }
    }

    /// A store is about to be asked: when that is, where anybody measures it.
    pub(in crate::server) fn asks(&self) -> Option<Duration> {
        let account = self.0.as_ref().filter(|account| account.observer.is_metered())?;
        Some(account.clock.monotonic())
    }

    /// The key store has answered.
    pub(in crate::server) fn hears_of_keys<T>(&self, asked: Option<Duration>, answer: &Result<T, StoreError>) {
        if let Some((account, asked)) = self.0.as_ref().zip(asked) {
            let took = account.since(asked);
            account.observer.measure(|meter| meter.answered(Store::Keys, took, answer.is_err()));
        }
    }

    /// The nonce store has answered.
    pub(in crate::server) fn hears_of_nonce(
        &mut self,
        asked: Option<Duration>,
        store: &impl NonceStore,
        answer: &Result<Caller, Rejection>,
    ) {
        let Some(account) = &mut self.0 else {
            return;
        };
        let refused = answer.as_ref().err().map(Rejection::kind);
        if let Some(asked) = asked {
            let took = account.since(asked);
            account.observer.measure(|meter| {
                meter.answered(Store::Nonces, took, refused == Some(RejectionKind::Unavailable));
                meter.holds(store.occupancy());
            });
        }
        account.caller = answer.as_ref().ok().cloned();
    }

    /// The caller as of later.
    pub(in crate::server) fn hears_of_caller(&mut self, caller: &Caller) {
        if let Some(account) = &mut self.0 {
            account.caller = Some(caller.clone());
        }
    }

    pub(in crate::server) fn tell_bypassed(&mut self) {
        self.tell(Decision::Bypassed);
    }

    /// Tells the outcome, unless that is left to the body.
    pub(in crate::server) fn tell_decided<T>(&mut self, decided: &Result<T, Rejection>) {
        let caller = self.0.as_mut().and_then(|account| account.caller.take());
        match (decided, caller) {
            (Err(rejection), _) => self.tell(Decision::Rejected(rejection)),
            (Ok(_), Some(caller)) => self.tell(Decision::Verified(&caller)),
            // Told already.
            (Ok(_), None) => {}
        }
    }

    /// Leaves it to a body that the service reads.
    pub(in crate::server) fn of_body(&mut self) -> BodyWitness {
        BodyWitness(self.0.take().and_then(|account| {
            let (observer, duration) = (account.observer.clone(), account.since(account.started));
            Some(Box::new(Rest { observer, seen: account.seen, caller: account.caller?, duration }))
        }))
    }

    fn tell(&mut self, decision: Decision<'_>) {
        if let Some(account) = self.0.take() {
            account.observer.tell(decision, &account.seen, account.since(account.started));
        }
    }
}

impl Account<'_> {
    fn since(&self, moment: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(moment)
    }
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        self.tell(Decision::Cancelled);
    }
}

/// Follows a body whose request is verified. If it is dropped before the outcome was told, the body was not read.
#[derive(Default)]
pub(in crate::server) struct BodyWitness(Option<Box<Rest>>);

struct Rest {
    observer: Arc<Observer>,
    seen: Seen,
    caller: Caller,
    duration: Duration,
}

impl BodyWitness {
    pub(in crate::server) fn tell(&mut self, verdict: Result<(), &Rejection>) {
        if let Some(rest) = self.0.take() {
            rest.tell(verdict.map_or_else(Decision::Rejected, |()| Decision::Verified(&rest.caller)));
        }
    }
}

impl Drop for BodyWitness {
    fn drop(&mut self) {
        if let Some(rest) = self.0.take() {
            rest.tell(Decision::BodyNotRead(&rest.caller));
        }
    }
}

impl Rest {
    fn tell(&self, decision: Decision<'_>) {
        self.observer.tell(decision, &self.seen, self.duration);
    }
}

impl Seen {
    pub(super) fn app_id(&self) -> Option<&AppId> {
        self.claimed.as_ref().map(|claimed| match claimed {
            Claimed::Whole(claim) => claim.app_id(),
            Claimed::AppId(app_id) => app_id,
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
