//! Outcomes as `tracing` events.

#[cfg(not(feature = "tracing"))]
pub(super) use self::noop::*;
#[cfg(feature = "tracing")]
pub(super) use self::tracing::*;

#[cfg(feature = "tracing")]
mod tracing {
    use std::error::Error;

    use ::tracing::{Level, enabled, event};

    use crate::{
        event::TARGET,
        protocol::{AppId, RejectionKind, SignatureError},
        server::outcome::Outcome,
    };

    /// Whether a subscriber is installed.
    pub(in super::super) fn is_enabled() -> bool {
        enabled!(target: TARGET, Level::ERROR)
    }

    /// Emits the outcome of a request. The level is `DEBUG` if the caller is at fault for a rejection.
    pub(in super::super) fn outcome(outcome: &Outcome<'_>) {
        let (code, skew, is_enforced) = (outcome.code(), outcome.skew(), outcome.is_enforced());
        let (app_id, seconds) = (outcome.claimed_app_id().map(AppId::as_str), outcome.duration().as_secs_f64());
        let reason = outcome.signature_error().map(SignatureError::as_str);
        macro_rules! tell {
            ($level:expr, $($more:tt)*) => {
                event!(target: TARGET, $level, code, reason, app_id, skew, seconds, is_enforced, $($more)*)
            };
        }
        let Some(rejection) = outcome.rejection() else {
            return tell!(Level::TRACE, "decided");
        };
        match rejection.kind() {
            RejectionKind::Unavailable => {
                tell!(Level::WARN, error = rejection.source(), "the request could not be checked")
            }
            RejectionKind::Misconfigured => tell!(Level::ERROR, "{}", rejection.detail()),
            _ => tell!(Level::DEBUG, "{}", rejection.detail()),
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod noop {
    use crate::server::outcome::Outcome;

    pub(in super::super) fn is_enabled() -> bool {
        false
    }

    pub(in super::super) fn outcome(_: &Outcome<'_>) {}
}
