//! Records the outcome of one request.

use std::{sync::Arc, time::Duration};

use super::{Decision, Observer, facts::RequestFacts, metrics::Store};
use crate::{
    protocol::{Claim, Rejection, RejectionKind, UnreadableClaim},
    server::{caller::Caller, non_decreasing_clock::NonDecreasingClock},
    store::{NonceStore, StoreError},
};

/// Follows a request while it is verified. If it is dropped before the outcome is reported, the request was cancelled.
///
/// It is empty if no receiver is enabled, or after the outcome is reported. The state is boxed, because usually no
/// receiver is enabled, and the verifying future then holds only a pointer.
pub(in crate::server) struct OutcomeRecorder<'v>(Option<Box<RecorderState<'v>>>);

struct RecorderState<'v> {
    observer: &'v Arc<Observer>,
    clock: &'v NonDecreasingClock,
    started: Duration,
    facts: RequestFacts,
    caller: Option<Caller>,
}

impl Observer {
    pub(in crate::server) fn recorder<'v>(self: &'v Arc<Self>, clock: &'v NonDecreasingClock) -> OutcomeRecorder<'v> {
        let state = || {
            let (facts, caller) = (RequestFacts::default(), None);
            Box::new(RecorderState { observer: self, clock, started: clock.monotonic(), facts, caller })
        };
        OutcomeRecorder(self.is_enabled().then(state))
    }
}

impl OutcomeRecorder<'_> {
    /// Records the fields, read at `now` in Unix seconds.
    pub(in crate::server) fn record_claim(&mut self, claim: &Claim, now: u64) {
        if let Some(state) = &mut self.0 {
            state.facts = RequestFacts::of(claim, now);
        }
    }

    /// Records the fields that can be read of a rejected head.
    pub(in crate::server) fn record_partial_claim(&mut self, claim: &UnreadableClaim, now: u64) {
        if let Some(state) = &mut self.0 {
            state.facts = RequestFacts::partial(claim.app_id.clone(), claim.timestamp, now);
        }
    }

    /// Whether a closure of the service gets the outcome.
    pub(in crate::server) fn has_hook(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.observer.has_hook())
    }

    /// Returns the current time before a store call, if a metrics recorder is installed.
    pub(in crate::server) fn start_timer(&self) -> Option<Duration> {
        let state = self.0.as_ref().filter(|state| state.observer.has_metrics())?;
        Some(state.clock.monotonic())
    }

    /// Records the result of a key store lookup.
    pub(in crate::server) fn record_key_lookup<T>(&self, timer: Option<Duration>, answer: &Result<T, StoreError>) {
        self.record_call(Store::Keys, timer, answer);
    }

    /// Records the result of a token store call.
    #[cfg(feature = "tokens")]
    pub(in crate::server) fn record_token_call<T>(&self, timer: Option<Duration>, answer: &Result<T, StoreError>) {
        self.record_call(Store::Tokens, timer, answer);
    }

    /// Records the result of a token store call that ended at the time `until`.
    #[cfg(feature = "tokens")]
    pub(in crate::server) fn record_token_call_until<T>(
        &self,
        timer: Option<Duration>,
        until: Option<Duration>,
        answer: &Result<T, StoreError>,
    ) {
        self.record_call_until(Store::Tokens, timer, until, answer);
    }

    fn record_call<T>(&self, store: Store, timer: Option<Duration>, answer: &Result<T, StoreError>) {
        let until = self.0.as_ref().filter(|_| timer.is_some()).map(|state| state.clock.monotonic());
        self.record_call_until(store, timer, until, answer);
    }

    fn record_call_until<T>(
        &self,
        store: Store,
        timer: Option<Duration>,
        until: Option<Duration>,
        answer: &Result<T, StoreError>,
    ) {
        if let (Some(state), Some((timer, until))) = (self.0.as_ref(), timer.zip(until)) {
            let took = until.saturating_sub(timer);
            state.observer.measure(|metrics| metrics.record_store_call(store, took, answer.is_err()));
        }
    }

    /// Records the result of a nonce claim.
    pub(in crate::server) fn record_nonce_claim(
        &mut self,
        timer: Option<Duration>,
        store: &impl NonceStore,
        answer: &Result<Caller, Rejection>,
    ) {
        let Some(state) = &mut self.0 else {
            return;
        };
        let refused = answer.as_ref().err().map(Rejection::kind);
        if let Some(timer) = timer {
            let took = state.since(timer);
            state.observer.measure(|metrics| {
                metrics.record_store_call(Store::Nonces, took, refused == Some(RejectionKind::Unavailable));
                metrics.record_occupancy(store.occupancy());
            });
        }
        state.caller = answer.as_ref().ok().cloned();
    }

    /// Replaces the caller after a later lookup.
    pub(in crate::server) fn record_caller(&mut self, caller: &Caller) {
        if let Some(state) = &mut self.0 {
            state.caller = Some(caller.clone());
        }
    }

    pub(in crate::server) fn finish_bypassed(&mut self) {
        self.tell(Decision::Bypassed);
    }

    /// Reports the outcome, unless the body's recorder reports it.
    pub(in crate::server) fn finish(&mut self, rejection: Option<&Rejection>) {
        let caller = self.0.as_mut().and_then(|state| state.caller.take());
        match (rejection, caller) {
            (Some(rejection), _) => self.tell(Decision::Rejected(rejection)),
            (None, Some(caller)) => self.tell(Decision::Verified(&caller)),
            // Already reported.
            (None, None) => {}
        }
    }

    /// Moves the report to a body that the service reads.
    pub(in crate::server) fn of_body(&mut self) -> BodyOutcomeRecorder {
        BodyOutcomeRecorder(self.0.take().and_then(|state| {
            let (observer, duration) = (state.observer.clone(), state.since(state.started));
            Some(Box::new(PendingOutcome { observer, facts: state.facts, caller: state.caller?, duration }))
        }))
    }

    fn tell(&mut self, decision: Decision<'_>) {
        if let Some(state) = self.0.take() {
            state.observer.tell(decision, &state.facts, state.since(state.started));
        }
    }
}

impl RecorderState<'_> {
    fn since(&self, moment: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(moment)
    }
}

impl Drop for OutcomeRecorder<'_> {
    fn drop(&mut self) {
        self.tell(Decision::Cancelled);
    }
}

/// Follows a body whose request is verified. If it is dropped before the outcome is reported, the body was not read.
#[derive(Default)]
pub(in crate::server) struct BodyOutcomeRecorder(Option<Box<PendingOutcome>>);

struct PendingOutcome {
    observer: Arc<Observer>,
    facts: RequestFacts,
    caller: Caller,
    duration: Duration,
}

impl BodyOutcomeRecorder {
    pub(in crate::server) fn tell(&mut self, verdict: Result<(), &Rejection>) {
        if let Some(rest) = self.0.take() {
            rest.tell(verdict.map_or_else(Decision::Rejected, |()| Decision::Verified(&rest.caller)));
        }
    }
}

impl Drop for BodyOutcomeRecorder {
    fn drop(&mut self) {
        if let Some(rest) = self.0.take() {
            rest.tell(Decision::BodyNotRead(&rest.caller));
        }
    }
}

impl PendingOutcome {
    fn tell(&self, decision: Decision<'_>) {
        self.observer.tell(decision, &self.facts, self.duration);
    }
}
