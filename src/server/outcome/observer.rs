//! The receivers of outcomes.

use std::{sync::Arc, time::Duration};

use super::{Decision, Outcome, event, facts::RequestFacts, metrics::Metrics};
use crate::event::{call_closure, catch_panics};

/// All receivers of outcomes. There are none without a hook and without features.
pub(in crate::server) struct Observer {
    hook: Option<Arc<Hook>>,
    metrics: Metrics,
    is_enforced: bool,
}

type Hook = dyn Fn(&Outcome<'_>) + Send + Sync;

impl Observer {
    pub(in crate::server) fn new() -> Self {
        Self { hook: None, metrics: Metrics::new(true), is_enforced: true }
    }

    pub(in crate::server) fn with_hook(&self, hook: impl Fn(&Outcome<'_>) + Send + Sync + 'static) -> Self {
        Self { hook: Some(Arc::new(hook)), metrics: Metrics::new(self.is_enforced), ..*self }
    }

    /// Makes an observer for a layer that only reports.
    pub(in crate::server) fn reporting(&self) -> Self {
        Self { hook: self.hook.clone(), metrics: Metrics::new(false), is_enforced: false }
    }

    /// Whether rejections keep requests from the service.
    #[cfg(feature = "tokens")]
    pub(in crate::server) fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// Whether any receiver is enabled.
    pub(super) fn is_enabled(&self) -> bool {
        self.has_metrics() || self.has_hook() || catch_panics(event::is_enabled).unwrap_or(false)
    }

    /// Whether a metrics recorder is installed.
    pub(super) fn has_metrics(&self) -> bool {
        self.metrics.is_enabled()
    }

    /// Whether a closure of the service gets outcomes.
    pub(super) fn has_hook(&self) -> bool {
        self.hook.is_some()
    }

    /// Records a measurement.
    pub(super) fn measure(&self, tell: impl FnOnce(&Metrics)) {
        catch_panics(|| tell(&self.metrics));
    }

    pub(super) fn tell(&self, decision: Decision<'_>, facts: &RequestFacts, duration: Duration) {
        let (claimed_app_id, skew) = (facts.app_id(), facts.skew());
        let outcome = Outcome { decision, claimed_app_id, skew, duration, is_enforced: self.is_enforced };
        // A panic in one receiver does not affect the others.
        catch_panics(|| {
            event::outcome(&outcome);
        });
        catch_panics(|| self.metrics.record(&outcome));
        if let Some(hook) = &self.hook {
            call_closure("observer", || hook(&outcome));
        }
    }
}
