//! The place in the extensions of a request through which the verifier hands the key that signed to the layer above.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Extensions;

use crate::{
    protocol::{SentRequest, Signer, Timestamp},
    server::non_decreasing_clock::NonDecreasingClock,
};

/// A place for the key that signs the response. Only `SignResponses` puts one into a request, and the verifier takes it out,
/// so that no service gets it. Clones share the place, because a layer in between may send a request several times.
#[derive(Clone)]
pub(in crate::server) struct ResponseSlot(Arc<Mutex<State>>);

enum State {
    Empty,
    /// The signature of the request is valid, and its nonce is not claimed yet.
    Prepared(Box<ResponseSigner>),
    /// The request has passed step 8.
    Open(Box<ResponseSigner>),
}

/// What is needed to sign a response: the key, which is wiped on drop, the signature of the request, and the verifier's clock.
pub(in crate::server) struct ResponseSigner {
    pub(in crate::server) signer: Signer,
    pub(in crate::server) sent: SentRequest,
    pub(in crate::server) clock: Arc<NonDecreasingClock>,
    /// How long the clock does not go back.
    pub(in crate::server) hold: Duration,
}

impl ResponseSigner {
    /// The verifier's time, or `None` if no timestamp can express it.
    pub(super) fn now(&self) -> Option<Timestamp> {
        Timestamp::try_from(self.clock.read(self.hold).now).ok()
    }
}

impl ResponseSlot {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::Empty)))
    }

    /// Takes the slot out of a request that the verifier begins to check, and empties it: an earlier attempt may have filled
    /// it.
    pub(in crate::server) fn take_from(extensions: &mut Extensions) -> Option<Self> {
        let slot = extensions.remove::<Self>();
        Self::clear(slot.as_ref());
        slot
    }

    /// Keeps what signs the response, for after step 8.
    pub(in crate::server) fn prepare(&self, signer: ResponseSigner) {
        *self.lock() = State::Prepared(Box::new(signer));
    }

    /// Lets the response be signed: the request has passed step 8.
    pub(in crate::server) fn open(&self) {
        let mut state = self.lock();
        *state = match mem::replace(&mut *state, State::Empty) {
            State::Prepared(signer) => State::Open(signer),
            other => other,
        };
    }

    /// Empties a slot, so that the response is not signed.
    pub(in crate::server) fn clear(slot: Option<&Self>) {
        if let Some(slot) = slot {
            *slot.lock() = State::Empty;
        }
    }

    /// Takes what signs the response, if the request has passed step 8.
    pub(super) fn take(&self) -> Option<Box<ResponseSigner>> {
        match mem::replace(&mut *self.lock(), State::Empty) {
            State::Open(signer) => Some(signer),
            State::Empty | State::Prepared(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ResponseSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseSlot(..)")
    }
}
