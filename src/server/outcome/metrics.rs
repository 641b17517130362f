//! The metrics of a verifier, which need the feature `metrics`.

#[cfg(not(feature = "metrics"))]
pub(super) use self::noop::Metrics;
#[cfg(feature = "metrics")]
pub(super) use self::recorded::Metrics;

/// A store that a verifier calls.
#[derive(Clone, Copy)]
pub(super) enum Store {
    Keys,
    Nonces,
    #[cfg(feature = "tokens")]
    Tokens,
}

#[cfg(feature = "metrics")]
mod recorded {
    use std::{
        cell::Cell,
        collections::HashMap,
        sync::{OnceLock, PoisonError, RwLock},
        time::Duration,
    };

    use ::metrics::{
        Counter, Gauge, Histogram, IntoF64, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
        histogram, with_recorder,
    };

    use super::Store;
    use crate::{
        event::{CLOSURE_PANICS, CLOSURES, catch_panics},
        protocol::{AppId, RejectionKind, SignatureError},
        server::{Caller, Decision, Outcome},
        store::Occupancy,
    };

    const REQUESTS: &str = "countersign_requests_total";
    const SKEW: &str = "countersign_skew_seconds";
    const VERIFY: &str = "countersign_verify_seconds";
    const STORE: &str = "countersign_store_seconds";
    const STORE_ERRORS: &str = "countersign_store_errors_total";
    const HELD: &str = "countersign_nonces_held";
    const CAPACITY: &str = "countersign_nonces_capacity";
    const KEY_USES: &str = "countersign_key_uses_total";

    fn describe() {
        describe_counter!(REQUESTS, Unit::Count, "Requests by what became of them, and whether a refusal was enforced");
        describe_histogram!(SKEW, Unit::Seconds, "Timestamp minus the verifier's clock, by verdict");
        describe_histogram!(VERIFY, Unit::Seconds, "Time that verifying took, waiting included, by verdict");
        describe_histogram!(STORE, Unit::Seconds, "Time that a store took to answer");
        describe_counter!(STORE_ERRORS, Unit::Count, "Questions that a store could not answer");
        describe_gauge!(HELD, Unit::Count, "Nonces that the memory store holds, as of the last claim");
        describe_gauge!(CAPACITY, Unit::Count, "Nonces that the memory store can hold");
        describe_counter!(CLOSURE_PANICS, Unit::Count, "Panics of closures that the service has given");
        describe_counter!(KEY_USES, Unit::Count, "Verified requests by app and by which of its keys signed");
    }

    /// The metrics of the recorder that is installed when the first value is recorded.
    pub(in super::super) struct Metrics {
        is_enforced: bool,
        /// `None` if no recorder is installed, or if it panicked.
        handles: OnceLock<Option<Handles>>,
    }

    struct Handles {
        verified: Counter,
        bypassed: Counter,
        body_not_read: Counter,
        cancelled: Counter,
        /// In the order of [`RejectionKind`].
        refused: [Option<Counter>; RejectionKind::ALL.len()],
        /// In the order of [`SignatureError`].
        invalid_signature: [Counter; SignatureError::ALL.len()],
        of_verified: OfVerdict,
        of_refused: OfVerdict,
        keys: OfStore,
        nonces: OfStore,
        /// Registered with the first call. A verifier without a token store has none.
        #[cfg(feature = "tokens")]
        tokens: OnceLock<OfStore>,
        /// Registered when a store first reports its occupancy. A store that reports none has no gauges.
        occupancy: OnceLock<(Gauge, Gauge)>,
        key_uses: KeyUses,
    }

    impl Metrics {
        pub(in super::super) fn new(is_enforced: bool) -> Self {
            Self { is_enforced, handles: OnceLock::new() }
        }

        /// Whether a recorder is installed. Without one nothing is counted and no time is measured.
        pub(in super::super) fn is_enabled(&self) -> bool {
            self.handles().is_some()
        }

        pub(in super::super) fn record(&self, outcome: &Outcome<'_>) {
            let Some(handles) = self.handles() else {
                return;
            };
            match outcome.decision() {
                Decision::Verified(caller) => {
                    handles.verified.increment(1);
                    handles.key_uses.count(caller);
                    handles.of_verified.record(outcome);
                }
                Decision::BodyNotRead(caller) => {
                    handles.body_not_read.increment(1);
                    handles.key_uses.count(caller);
                    handles.of_verified.record(outcome);
                }
                Decision::Rejected(rejection) => {
                    let counter = match outcome.signature_error() {
                        Some(error) => handles.invalid_signature.get(error as usize),
                        None => handles.refused.get(rejection.kind() as usize).and_then(Option::as_ref),
                    };
                    if let Some(counter) = counter {
                        counter.increment(1);
                    }
                    handles.of_refused.record(outcome);
                }
                Decision::Bypassed => handles.bypassed.increment(1),
                Decision::Cancelled => handles.cancelled.increment(1),
            }
        }

        pub(in super::super) fn record_store_call(&self, store: Store, took: Duration, is_error: bool) {
            let Some(handles) = self.handles() else {
                return;
            };
            let store = match store {
                Store::Keys => &handles.keys,
                Store::Nonces => &handles.nonces,
                #[cfg(feature = "tokens")]
                Store::Tokens => handles.tokens.get_or_init(|| OfStore::new("tokens")),
            };
            store.seconds.record(took);
            if is_error {
                store.errors.increment(1);
            }
        }

        pub(in super::super) fn record_occupancy(&self, occupancy: Option<Occupancy>) {
            if let Some((Occupancy { held, capacity }, handles)) = occupancy.zip(self.handles()) {
                let (held_gauge, capacity_gauge) = handles.occupancy.get_or_init(|| (gauge!(HELD), gauge!(CAPACITY)));
                held_gauge.set(held as f64);
                capacity_gauge.set(capacity as f64);
            }
        }

        fn handles(&self) -> Option<&Handles> {
            let handles = || Some(Handles::new(self.is_enforced)).filter(Handles::is_installed);
            self.handles.get_or_init(|| catch_panics(handles).flatten()).as_ref()
        }
    }

    impl Handles {
        fn new(is_enforced: bool) -> Self {
            describe();
            // Set the counters to 0, so that they are exported.
            for closure in CLOSURES {
                counter!(CLOSURE_PANICS, "closure" => closure).absolute(0);
            }
            let enforced = if is_enforced { "true" } else { "false" };
            let requests = |code: &'static str| counter!(REQUESTS, "code" => code, "enforced" => enforced);
            Self {
                verified: requests("verified"),
                bypassed: requests("bypassed"),
                body_not_read: requests("body_not_read"),
                cancelled: requests("cancelled"),
                refused: RejectionKind::ALL
                    .map(|kind| (kind != RejectionKind::InvalidSignature).then(|| requests(kind.code()))),
                invalid_signature: SignatureError::ALL.map(|error| {
                    let code = RejectionKind::InvalidSignature.code();
                    counter!(REQUESTS, "code" => code, "enforced" => enforced, "reason" => error.as_str())
                }),
                of_verified: OfVerdict::new("verified"),
                of_refused: OfVerdict::new("refused"),
                keys: OfStore::new("keys"),
                nonces: OfStore::new("nonces"),
                #[cfg(feature = "tokens")]
                tokens: OnceLock::new(),
                occupancy: OnceLock::new(),
                key_uses: KeyUses::default(),
            }
        }
    }

    impl Handles {
        /// Whether a recorder is installed. The no-op recorder is zero-sized and ignores values. A zero-sized recorder
        /// that records only counters is treated as no recorder.
        fn is_installed(&self) -> bool {
            if with_recorder(|recorder| size_of_val(recorder)) > 0 {
                return true;
            }
            let is_heard = Cell::new(false);
            // Record zero samples and add zero, so that neither metric changes.
            self.keys.seconds.record_many(Probe(&is_heard), 0);
            if !is_heard.get() {
                gauge!(HELD).increment(Probe(&is_heard));
            }
            is_heard.get()
        }
    }

    /// A zero value that notices whether a recorder reads it.
    struct Probe<'a>(&'a Cell<bool>);

    impl IntoF64 for Probe<'_> {
        fn into_f64(self) -> f64 {
            self.0.set(true);
            0.0
        }
    }

    const A_DAY: i64 = 86_400;

    struct OfVerdict {
        skew: Histogram,
        seconds: Histogram,
    }

    impl OfVerdict {
        fn new(verdict: &'static str) -> Self {
            Self { skew: histogram!(SKEW, "verdict" => verdict), seconds: histogram!(VERIFY, "verdict" => verdict) }
        }

        fn record(&self, outcome: &Outcome<'_>) {
            if let Some(skew) = outcome.skew() {
                // Clamp the value, because a huge skew from a forged timestamp would hide all later ones in the sum.
                self.skew.record(skew.clamp(-A_DAY, A_DAY) as f64);
            }
            self.seconds.record(outcome.duration());
        }
    }

    struct OfStore {
        seconds: Histogram,
        errors: Counter,
    }

    impl OfStore {
        fn new(store: &'static str) -> Self {
            Self { seconds: histogram!(STORE, "store" => store), errors: counter!(STORE_ERRORS, "store" => store) }
        }
    }

    /// Counters by app and key. Only apps that have authenticated have entries.
    #[derive(Default)]
    struct KeyUses(RwLock<HashMap<AppId, Vec<(String, Counter)>>>);

    /// Returns the label of a key: its name, or its index in the ring if it has none.
    fn key_of(caller: &Caller) -> &str {
        caller.key_name().unwrap_or_else(|| ["#0", "#1", "#2", "#3"].get(caller.key_index()).unwrap_or(&"more"))
    }

    impl KeyUses {
        fn count(&self, caller: &Caller) {
            let (app, key) = (caller.app_id(), key_of(caller));
            let find = |counters: &Vec<(String, Counter)>| {
                counters.iter().find(|(of, _)| *of == key).map(|(_, counter)| counter.increment(1))
            };
            let is_counted = self.0.read().unwrap_or_else(PoisonError::into_inner).get(app).and_then(find).is_some();
            if !is_counted {
                let counter = counter!(KEY_USES, "app" => app.to_string(), "key" => key.to_owned());
                counter.increment(1);
                // Two tasks may both register the counter. The recorder treats them as one.
                let mut apps = self.0.write().unwrap_or_else(PoisonError::into_inner);
                apps.entry(app.clone()).or_default().push((key.to_owned(), counter));
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod noop {
    use std::time::Duration;

    use super::Store;
    use crate::{server::Outcome, store::Occupancy};

    pub(in super::super) struct Metrics;

    impl Metrics {
        pub(in super::super) fn new(_: bool) -> Self {
            Self
        }

        pub(in super::super) fn is_enabled(&self) -> bool {
            false
        }

        pub(in super::super) fn record(&self, _: &Outcome<'_>) {}

        pub(in super::super) fn record_store_call(&self, _: Store, _: Duration, _: bool) {}

        pub(in super::super) fn record_occupancy(&self, _: Option<Occupancy>) {}
    }
}
