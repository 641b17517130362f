//! The configuration of the layer.

use std::{fmt, sync::Arc, time::Duration};

use http::request::Parts;

use super::{
    ending::{End, Ending},
    running::Running,
};
use crate::{
    event::call_closure,
    protocol::{Rejection, RejectionKind},
    store::{WhenLost, submission::contract::DynSubmissionStore},
};

type Scope = dyn Fn(&Parts) -> String + Send + Sync;
type Rule = dyn Fn(Ending) -> Option<End> + Send + Sync;

#[derive(Clone)]
pub(super) struct Options {
    pub(super) mode: Mode,
    pub(super) store: Arc<dyn DynSubmissionStore>,
    /// The TTL of submissions with a key.
    pub(super) key_ttl: Duration,
    pub(super) lease: Duration,
    pub(super) wait: Duration,
    /// The most bytes of a stored body. `None` if no answer is stored.
    pub(super) max_stored: Option<usize>,
    pub(super) scope: Option<Arc<Scope>>,
    pub(super) rule: Option<Arc<Rule>>,
    pub(super) running: Running,
}

/// What makes two requests the same submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Key { is_optional: bool },
    Fingerprint { ttl: Duration },
}

impl Options {
    /// What the end of a run means.
    pub(super) fn end(&self, ending: Ending) -> End {
        let by_rule = self.rule.as_ref().and_then(|rule| call_closure("end_as", || rule(ending)).flatten());
        by_rule.unwrap_or_else(|| ending.default_end())
    }

    pub(super) fn when_lost(&self) -> WhenLost {
        match self.end(Ending::Lost) {
            End::Release => WhenLost::TakeOver,
            End::Done | End::Unknown => WhenLost::Unknown,
        }
    }

    /// The service's part of the scope, or an empty text.
    pub(super) fn extra(&self, parts: &Parts) -> Result<String, Rejection> {
        let Some(scope) = &self.scope else {
            return Ok(String::new());
        };
        call_closure("scope", || scope(parts)).ok_or_else(|| {
            // Without its scope, the submission could meet that of another caller.
            Rejection::new(RejectionKind::Misconfigured, "the closure of SubmitOnceLayer::with_scope panicked")
        })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("mode", &self.mode)
            .field("key_ttl", &self.key_ttl)
            .field("lease", &self.lease)
            .field("wait", &self.wait)
            .field("max_stored", &self.max_stored)
            .finish_non_exhaustive()
    }
}
