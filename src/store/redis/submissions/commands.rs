//! The commands of the submission store in Redis, one for each call.

use std::time::Duration;

use redis::{Value, from_redis_value};

use super::{
    super::{connect::Connect, error::CommandError},
    layout::{decode, encode_end, encode_reserved, milliseconds},
    scripts,
    store::RedisSubmissionStore,
};
use crate::store::{Entry, Fingerprint, Finish, Lease, Reserved, StoreError, SubmissionRef, SubmissionStore, WhenLost};

impl<C: Connect> SubmissionStore for RedisSubmissionStore<C> {
    async fn reserve(
        &self,
        at: &SubmissionRef,
        lease: &Lease,
        fingerprint: &Fingerprint,
        ttl: Duration,
        when_lost: WhenLost,
    ) -> Result<Reserved, StoreError> {
        let takes_over: &[u8] = match when_lost {
            WhenLost::Unknown => b"0",
            WhenLost::TakeOver => b"1",
        };
        let (lasts, reserved) = (milliseconds(lease.lasts), encode_reserved(fingerprint, ttl));
        match self.run(&scripts::RESERVE, at, &[&lease.id, &lasts, &reserved, takes_over]).await? {
            Value::Int(1) => Ok(Reserved::Yes),
            answer => Ok(Reserved::No(entry(answer)?)),
        }
    }

    async fn renew(&self, at: &SubmissionRef, lease: &Lease) -> Result<bool, StoreError> {
        is_done(self.run(&scripts::RENEW, at, &[&lease.id, &milliseconds(lease.lasts)]).await?)
    }

    async fn finish(&self, at: &SubmissionRef, lease: &Lease, end: &Finish) -> Result<bool, StoreError> {
        is_done(self.run(&scripts::FINISH, at, &[&lease.id, &encode_end(end)]).await?)
    }

    async fn state(&self, at: &SubmissionRef) -> Result<Option<Entry>, StoreError> {
        match self.run(&scripts::STATE, at, &[]).await? {
            Value::Nil => Ok(None),
            answer => entry(answer).map(Some),
        }
    }

    async fn settle(&self, at: &SubmissionRef, end: &Finish) -> Result<bool, StoreError> {
        is_done(self.run(&scripts::SETTLE, at, &[&encode_end(end)]).await?)
    }

    async fn forget(&self, at: &SubmissionRef) -> Result<bool, StoreError> {
        is_done(self.run(&scripts::FORGET, at, &[]).await?)
    }
}

/// The entry that a script has returned: its value, and the milliseconds until it expires.
fn entry(answer: Value) -> Result<Entry, StoreError> {
    let (value, left): (Vec<u8>, u64) = from_redis_value(answer).map_err(StoreError::new)?;
    Ok(decode(value, left)?)
}

/// Whether a script has changed something.
fn is_done(answer: Value) -> Result<bool, StoreError> {
    match answer {
        Value::Int(0) => Ok(false),
        Value::Int(1) => Ok(true),
        _ => Err(CommandError::Unexpected.into()),
    }
}
