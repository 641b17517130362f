//! Stores with configurable faults that record their answers.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use countersign::{
    App, AppId, StaticKeys,
    store::{KeyStore, MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, Retention, StoreError},
};

/// The current faults, the last answer of the nonce store, and the time at which it may have removed expired nonces.
#[derive(Default)]
pub struct Faults {
    pub keys: bool,
    pub nonces: Fault,
    pub answer: Option<Answer>,
    pub purged_at: u64,
}

/// The fault of the nonce store, before or after its work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    None,
    ErrsBefore,
    ErrsAfter,
    HangsBefore,
    HangsAfter,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    First,
    Repeated,
    Full,
}

pub struct Keys(pub Arc<StaticKeys>, pub Arc<Mutex<Faults>>);

impl KeyStore for Keys {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        let is_broken = self.1.lock().unwrap().keys;
        if is_broken { Err(StoreError::new("broken")) } else { self.0.keys(app).await }
    }
}

pub struct Nonces {
    pub store: Arc<MemoryNonceStore>,
    pub faults: Arc<Mutex<Faults>>,
    pub is_persistent: bool,
}

impl NonceStore for Nonces {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        let fault = self.faults.lock().unwrap().nonces;
        match fault {
            Fault::ErrsBefore => return Err(StoreError::new("broken")),
            Fault::HangsBefore => pending().await,
            _ => {}
        }
        let result = self.store.claim(claim, retention).await;
        self.faults.lock().unwrap().purged_at = retention.now();
        self.faults.lock().unwrap().answer = Some(match &result {
            Ok(NonceStatus::New) => Answer::First,
            Ok(NonceStatus::Replayed) => Answer::Repeated,
            Ok(other) => panic!("{other:?} for a request that was timely before"),
            Err(_) => Answer::Full,
        });
        match fault {
            Fault::ErrsAfter => Err(StoreError::new("broken")),
            Fault::HangsAfter => pending().await,
            _ => result,
        }
    }

    fn is_persistent(&self) -> bool {
        self.is_persistent
    }
}
