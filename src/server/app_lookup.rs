//! The result of an app lookup in the key store.

use std::time::Duration;

use crate::{
    protocol::{KeyLabel, KeyRing, Rejection, SignatureError},
    server::{caller::Caller, non_decreasing_clock::Time},
    store::{App, AppData},
};

/// The result of a key store lookup, and the time of the lookup.
pub(super) struct LookedUp {
    pub(super) app: Option<App>,
    pub(super) at: Time,
}

/// The maximum age of a lookup. A retired key is accepted for at most this long.
pub(super) const MAX_AGE: Duration = Duration::from_secs(5);

impl LookedUp {
    pub(super) fn is_old(&self, now: Time) -> bool {
        now.since(&self.at) > MAX_AGE
    }

    pub(super) fn keys(&self) -> Option<&KeyRing> {
        self.app.as_ref().map(App::keys)
    }

    pub(super) fn data(&self) -> Option<AppData> {
        self.app.as_ref().and_then(App::shared_data)
    }

    /// Returns the caller with the data of this lookup. Fails if the key that signed, which `earlier` holds, is not
    /// active any more.
    pub(super) fn with_current_app(&self, caller: Caller, earlier: &Self) -> Result<Caller, Rejection> {
        let ring = self.keys().ok_or_else(|| Rejection::invalid_signature(SignatureError::UnknownApp))?;
        let signer = earlier.keys().and_then(|ring| ring.get(caller.key_index()));
        let label = signer.and_then(|key| ring.active_label_of(key, self.at.now));
        let label = label.ok_or_else(|| Rejection::invalid_signature(SignatureError::NoActiveKey))?;
        let label = KeyLabel { signed_by: caller.signed_by(), ..label };
        Ok(caller.with_app(label, self.data()))
    }
}
