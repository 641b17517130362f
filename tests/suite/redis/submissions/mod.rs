//! The submission store in Redis.

mod contract;
mod crash;
mod layout;
mod outages;
mod races;
mod same;
mod verbs;

use std::time::Duration;

use countersign::store::{
    Entry, EntryState, Fingerprint, Finish, Lease, RedisSubmissionStore, Reserved, StoredAnswer, SubmissionRef,
    SubmissionStore, WhenLost, redis::Connect,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn submission_store(server: &RedisServer) -> RedisSubmissionStore {
    RedisSubmissionStore::new(server.client())
}

/// The place with this number.
fn place(n: u64) -> SubmissionRef {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&n.to_be_bytes());
    SubmissionRef::new(key, "demo".parse().unwrap(), None)
}

/// A lease of a minute.
fn lease(n: u8) -> Lease {
    Lease { id: [n; 16], lasts: MINUTE }
}

/// A lease that ends at once.
fn lost(n: u8) -> Lease {
    Lease { id: [n; 16], lasts: Duration::ZERO }
}

fn fingerprint(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 32])
}

/// Reserves a place for a day.
async fn reserve(
    store: &impl SubmissionStore,
    at: &SubmissionRef,
    lease: &Lease,
    when_lost: WhenLost,
) -> Result<Reserved, StoreError> {
    store.reserve(at, lease, &fingerprint(1), DAY, when_lost).await
}

async fn state(store: &impl SubmissionStore, at: &SubmissionRef) -> Option<EntryState> {
    store.state(at).await.unwrap().map(|entry| entry.state)
}

/// An answer with headers of one name, a header without a value, and a body with all bytes.
fn answer() -> StoredAnswer {
    let mut headers = HeaderMap::new();
    headers.append("link", HeaderValue::from_static("</a>; rel=next"));
    headers.append("link", HeaderValue::from_static("</b>: \"x\""));
    headers.insert("x-empty", HeaderValue::from_static(""));
    headers.insert("x-bytes", HeaderValue::from_bytes(&[b'a', b'\t', 0x80, 0xff]).unwrap());
    let body: Vec<u8> = (0..=255).collect();
    StoredAnswer::new(StatusCode::CREATED, Some(HeaderValue::from_static("/payments/17")))
        .with_replay(headers, body.into())
}

/// The key of the only entry.
fn only_key(server: &RedisServer) -> String {
    let keys: Vec<String> = server.command(&["KEYS", "*"]);
    assert_eq!(keys.len(), 1, "{keys:?}");
    keys.into_iter().next().unwrap()
}

/// The milliseconds until the only entry expires.
fn pttl(server: &RedisServer) -> u64 {
    server.command(&["PTTL", &only_key(server)])
}

/// Lets the only entry expire after this time. A running lease ends when a day is left.
fn set_pttl(server: &RedisServer, left: Duration) {
    assert!(server.command::<bool>(&["PEXPIRE", &only_key(server), &left.as_millis().to_string()]));
}
