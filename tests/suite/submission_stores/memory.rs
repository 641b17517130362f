//! The submission store in memory.

use std::time::Duration;

use bytes::Bytes;
use countersign::{
    clock::ManualClock,
    store::{
        EntryState, Fingerprint, Finish, Lease, MemorySubmissionStore, OwnerTag, Reserved, StoredAnswer, SubmissionRef,
        SubmissionStore, WhenLost, conformance,
    },
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::UNIT;
use crate::rig::NOW;

const LEASE: Lease = Lease { id: [1; 16], lasts: Duration::from_secs(60) };
const TTL: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);

fn at(app: &str, n: u32, owner: Option<u8>) -> SubmissionRef {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&n.to_be_bytes());
    SubmissionRef::new(key, app.parse().unwrap(), owner.map(|owner| OwnerTag::from_bytes([owner; 16])))
}

fn place(n: u32) -> SubmissionRef {
    at("demo", n, None)
}

async fn reserve(store: &MemorySubmissionStore, at: &SubmissionRef) -> bool {
    let reserved = store.reserve(at, &LEASE, &Fingerprint::from_bytes([1; 32]), TTL, WhenLost::Unknown).await;
    matches!(reserved, Ok(Reserved::Yes))
}

async fn state(store: &MemorySubmissionStore, at: &SubmissionRef) -> Option<EntryState> {
    store.state(at).await.unwrap().map(|entry| entry.state)
}

fn answer(body: Bytes) -> StoredAnswer {
    let location = Some(HeaderValue::from_static("/orders/17"));
    StoredAnswer::new(StatusCode::CREATED, location).with_replay(HeaderMap::new(), body)
}

async fn finish(store: &MemorySubmissionStore, at: &SubmissionRef, answer: StoredAnswer) {
    assert!(reserve(store, at).await);
    assert!(store.finish(at, &LEASE, &Finish::Done(answer)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_store_keeps_the_contract() {
    let new = || {
        let clock = ManualClock::at(NOW);
        (MemorySubmissionStore::new().with_clock(clock.clone()), async move |time| clock.advance(time))
    };
    conformance::submission_store(new, UNIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_memory_store_keeps_the_contract() {
    let new = |capacity| {
        let clock = ManualClock::at(NOW);
        let store = MemorySubmissionStore::with_capacity(capacity, 1 << 20).with_clock(clock.clone());
        (store, async move |time| clock.advance(time))
    };
    conformance::bounded_submission_store(new, UNIT).await;
}

#[tokio::test]
async fn lease_and_entry_end_at_their_moment() {
    let clock = ManualClock::at(NOW);
    let store = MemorySubmissionStore::new().with_clock(clock.clone());
    assert!(reserve(&store, &place(1)).await);
    clock.advance(LEASE.lasts - MOMENT);
    assert_eq!(state(&store, &place(1)).await, Some(EntryState::InFlight), "the last moment of the lease");
    clock.advance(MOMENT);
    assert_eq!(state(&store, &place(1)).await, Some(EntryState::Unknown), "the end of the lease");
    clock.advance(TTL - MOMENT);
    assert_eq!(store.state(&place(1)).await.unwrap().unwrap().expires_in, MOMENT, "the last moment of the entry");
    clock.advance(MOMENT);
    assert_eq!(state(&store, &place(1)).await, None, "the end of the entry");

    finish(&store, &place(2), answer(Bytes::new())).await;
    clock.advance(TTL - MOMENT);
    assert!(state(&store, &place(2)).await.is_some(), "the last moment of a finished entry");
    clock.advance(MOMENT);
    assert_eq!(state(&store, &place(2)).await, None, "the end of a finished entry");
}

#[tokio::test]
async fn step_of_the_wall_clock_ends_nothing() {
    let clock = ManualClock::at(NOW);
    let store = MemorySubmissionStore::new().with_clock(clock.clone());
    assert!(reserve(&store, &place(1)).await);
    clock.set_wall(NOW + 1_000_000);
    assert_eq!(state(&store, &place(1)).await, Some(EntryState::InFlight));
}

#[tokio::test]
async fn longest_durations_do_not_overflow() {
    let clock = ManualClock::at(NOW);
    let store = MemorySubmissionStore::new().with_clock(clock.clone());
    clock.advance(MOMENT);
    let lease = Lease { lasts: Duration::MAX, ..LEASE };
    let fingerprint = Fingerprint::from_bytes([1; 32]);
    let reserved = store.reserve(&place(1), &lease, &fingerprint, Duration::MAX, WhenLost::Unknown).await;
    assert_eq!(reserved.unwrap(), Reserved::Yes);
    assert!(store.renew(&place(1), &lease).await.unwrap());
    assert!(store.finish(&place(1), &lease, &Finish::Unknown).await.unwrap());
    assert_eq!(state(&store, &place(1)).await, Some(EntryState::Unknown));
}

#[tokio::test]
async fn answer_without_room_stays_done() {
    let clock = ManualClock::at(NOW);
    let store = MemorySubmissionStore::with_capacity(100, 1000).with_clock(clock.clone());
    finish(&store, &place(1), answer(Bytes::from(vec![1; 600]))).await;
    finish(&store, &place(2), answer(Bytes::from(vec![2; 401]))).await;
    let unstored = StoredAnswer::new(StatusCode::CREATED, Some(HeaderValue::from_static("/orders/17")));
    assert_eq!(state(&store, &place(2)).await, Some(EntryState::Done(unstored)), "no room for 401 of 400 bytes");
    assert!(!reserve(&store, &place(2)).await, "a submission without an answer ran again");

    finish(&store, &place(3), answer(Bytes::from(vec![3; 400]))).await;
    assert_eq!(state(&store, &place(3)).await, Some(EntryState::Done(answer(Bytes::from(vec![3; 400])))));
    assert_eq!(store.answer_bytes(), 1000);

    assert!(store.forget(&place(1)).await.unwrap());
    assert_eq!(store.answer_bytes(), 400);
    clock.advance(TTL);
    assert_eq!(state(&store, &place(3)).await, None);
    assert_eq!((store.answer_bytes(), store.len()), (0, 0), "expired answers keep their bytes");
}

#[tokio::test]
async fn app_leaves_answer_bytes_for_others() {
    let store = MemorySubmissionStore::with_capacity(1000, 1000);
    for n in 0..200 {
        finish(&store, &at("greedy", n, None), answer(Bytes::from(vec![1; 10]))).await;
    }
    assert_eq!(store.answer_bytes(), 750, "an app takes three quarters of the bytes");
    finish(&store, &at("other", 1000, None), answer(Bytes::from(vec![2; 100]))).await;
    assert_eq!(store.answer_bytes(), 850, "another app has no room for an answer");
}

#[tokio::test]
async fn header_counts_with_its_place_in_the_map() {
    let store = MemorySubmissionStore::new();
    let headers = HeaderMap::from_iter([("x-a".parse().unwrap(), HeaderValue::from_static("12"))]);
    let answer = StoredAnswer::new(StatusCode::OK, None).with_replay(headers, Bytes::from_static(b"body"));
    finish(&store, &place(1), answer).await;
    assert_eq!(store.answer_bytes(), 128 + 3 + 2 + 4);
}

#[tokio::test]
async fn stored_answer_keeps_no_larger_buffer() {
    let store = MemorySubmissionStore::new();
    let buffer = Bytes::from(vec![b'a'; 1 << 20]);
    let value = HeaderValue::from_maybe_shared(buffer.slice(..10)).unwrap();
    let headers = HeaderMap::from_iter([("x-a".parse().unwrap(), value.clone())]);
    let answer = StoredAnswer::new(StatusCode::OK, Some(value)).with_replay(headers, buffer.slice(10..20));
    finish(&store, &place(1), answer).await;
    assert!(buffer.is_unique(), "the store holds a slice of the buffer");
    let Some(EntryState::Done(answer)) = state(&store, &place(1)).await else { panic!("no answer") };
    assert_eq!(answer.location().unwrap().as_bytes(), b"aaaaaaaaaa");
    assert_eq!(answer.replay().unwrap().1, "aaaaaaaaaa");
}

#[tokio::test]
async fn sensitive_header_stays_sensitive() {
    let store = MemorySubmissionStore::new();
    let mut value = HeaderValue::from_static("secret");
    value.set_sensitive(true);
    let headers = HeaderMap::from_iter([("x-a".parse().unwrap(), value)]);
    finish(&store, &place(1), StoredAnswer::new(StatusCode::OK, None).with_replay(headers, Bytes::new())).await;
    let Some(EntryState::Done(answer)) = state(&store, &place(1)).await else { panic!("no answer") };
    assert!(answer.replay().unwrap().0["x-a"].is_sensitive());
}

#[tokio::test]
async fn call_removes_four_expired_entries() {
    let clock = ManualClock::at(NOW);
    let store = MemorySubmissionStore::new().with_clock(clock.clone());
    for n in 0..10 {
        assert!(reserve(&store, &place(n)).await);
    }
    clock.advance(LEASE.lasts + TTL);
    for left in [6, 2, 0] {
        assert_eq!(state(&store, &place(9)).await, None, "an expired entry that is not removed yet");
        assert_eq!(store.len(), left);
    }
    assert!(store.is_empty());
}

/// The number of submissions that are reserved until the store refuses one.
async fn fill(store: &MemorySubmissionStore, places: impl Iterator<Item = SubmissionRef>) -> usize {
    let mut reserved = 0;
    for at in places {
        if !reserve(store, &at).await {
            break;
        }
        reserved += 1;
    }
    reserved
}

#[tokio::test]
async fn app_leaves_room_for_others() {
    let store = MemorySubmissionStore::with_capacity(1000, 0);
    assert_eq!(fill(&store, (0..1000).map(|n| at("greedy", n, None))).await, 750);
    assert!(fill(&store, (1000..1100).map(|n| at("other", n, None))).await == 100);
    let (at, fingerprint) = (at("greedy", 2000, None), Fingerprint::from_bytes([1; 32]));
    let reserved = store.reserve(&at, &LEASE, &fingerprint, TTL, WhenLost::Unknown).await;
    let error = format!("{:?}", reserved.unwrap_err());
    assert!(error.contains("room for 1000 submissions"), "{error}");
}

#[tokio::test]
async fn user_leaves_room_for_others_of_its_app() {
    let store = MemorySubmissionStore::with_capacity(1000, 0);
    assert!(fill(&store, (0..1000).map(|n| at("demo", n, Some(1)))).await < 750);
    assert!(reserve(&store, &at("demo", 2000, Some(2))).await, "another user");
}

#[tokio::test]
async fn takeover_needs_no_more_room() {
    let clock = ManualClock::at(NOW);
    let store = MemorySubmissionStore::with_capacity(8, 0).with_clock(clock.clone());
    let held = fill(&store, (0..8).map(place)).await as u32;
    clock.advance(LEASE.lasts);
    let lease = Lease { id: [2; 16], ..LEASE };
    for n in 0..held {
        let fingerprint = Fingerprint::from_bytes([1; 32]);
        let reserved = store.reserve(&place(n), &lease, &fingerprint, TTL, WhenLost::TakeOver).await;
        assert_eq!(reserved.unwrap(), Reserved::Yes, "{n}");
    }
    assert_eq!(store.len(), held as usize);
}

#[tokio::test]
async fn debug_shows_no_answer() {
    let store = MemorySubmissionStore::new();
    finish(&store, &place(1), answer(Bytes::from_static(b"a secret"))).await;
    let shown = format!("{store:?} {:?}", store.state(&place(1)).await);
    assert!(!shown.contains("secret") && !shown.contains("orders"), "{shown}");
}
