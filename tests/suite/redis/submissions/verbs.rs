//! Each call does what the contract says. The lease ends by the clock of Redis.

use super::*;

#[tokio::test]
async fn first_lease_runs_and_others_wait() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    assert_eq!(state(&store, &at).await, None);
    assert_eq!(reserve(&store, &at, &lease(1), WhenLost::TakeOver).await.unwrap(), Reserved::Yes);
    assert_eq!(reserve(&store, &at, &lease(1), WhenLost::Unknown).await.unwrap(), Reserved::Yes, "a lost answer");
    let other = store.reserve(&at, &lease(2), &fingerprint(2), DAY, WhenLost::TakeOver).await.unwrap();
    let Reserved::No(Entry { fingerprint: kept, state: EntryState::InFlight, expires_in, .. }) = other else {
        panic!("{other:?}");
    };
    assert_eq!(kept, fingerprint(1));
    assert!(expires_in <= DAY + MINUTE && expires_in > DAY + MINUTE - Duration::from_secs(10), "{expires_in:?}");
    assert!(!store.forget(&at).await.unwrap(), "it runs");
    assert!(!store.settle(&at, &Finish::Unknown).await.unwrap(), "it runs");
    assert_eq!(reserve(&store, &place(2), &lease(2), WhenLost::Unknown).await.unwrap(), Reserved::Yes);
}

#[tokio::test]
async fn only_its_lease_renews_and_finishes() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    reserve(&store, &at, &lease(1), WhenLost::Unknown).await.unwrap();
    assert!(!store.renew(&at, &lease(2)).await.unwrap());
    assert!(!store.finish(&at, &lease(2), &Finish::Release).await.unwrap());
    set_pttl(&server, DAY + Duration::from_secs(5));
    assert!(store.renew(&at, &lease(1)).await.unwrap());
    let day_and_more = (DAY + Duration::from_secs(50)).as_millis() as u64;
    assert!((day_and_more..=day_and_more + 10_000).contains(&pttl(&server)), "{}", pttl(&server));
    assert!(store.finish(&at, &lease(1), &Finish::Done(answer())).await.unwrap());
    assert_eq!(state(&store, &at).await, Some(EntryState::Done(answer())));
    assert!(pttl(&server) <= DAY.as_millis() as u64, "the time counts from the end");
    assert!(!store.finish(&at, &lease(1), &Finish::Unknown).await.unwrap(), "done is final");
    assert!(!store.renew(&at, &lease(1)).await.unwrap());
    assert!(!store.settle(&at, &Finish::Release).await.unwrap());
    assert!(matches!(reserve(&store, &at, &lost(3), WhenLost::TakeOver).await.unwrap(), Reserved::No(_)));
    assert!(store.forget(&at).await.unwrap());
    assert!(!store.forget(&at).await.unwrap());
    assert_eq!(server.command::<u64>(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn released_place_is_free() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    reserve(&store, &at, &lease(1), WhenLost::Unknown).await.unwrap();
    assert!(store.finish(&at, &lease(1), &Finish::Release).await.unwrap());
    assert_eq!(state(&store, &at).await, None);
    assert_eq!(reserve(&store, &at, &lease(2), WhenLost::Unknown).await.unwrap(), Reserved::Yes);
}

#[tokio::test]
async fn ended_lease_is_unknown_and_not_renewed() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    reserve(&store, &at, &lease(1), WhenLost::Unknown).await.unwrap();
    set_pttl(&server, DAY + Duration::from_secs(5));
    assert_eq!(state(&store, &at).await, Some(EntryState::InFlight));
    set_pttl(&server, DAY);
    assert_eq!(state(&store, &at).await, Some(EntryState::Unknown));
    assert!(!store.renew(&at, &lease(1)).await.unwrap());
    let Reserved::No(entry) = reserve(&store, &at, &lease(2), WhenLost::Unknown).await.unwrap() else {
        panic!("it ran twice");
    };
    assert_eq!(entry.state, EntryState::Unknown);
    assert!(store.finish(&at, &lease(1), &Finish::Done(answer())).await.unwrap(), "a late end counts");
    assert_eq!(state(&store, &at).await, Some(EntryState::Done(answer())));
}

#[tokio::test]
async fn lost_lease_is_taken_over_by_the_same_request() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    reserve(&store, &at, &lost(1), WhenLost::Unknown).await.unwrap();
    let other = store.reserve(&at, &lease(2), &fingerprint(2), DAY, WhenLost::TakeOver).await.unwrap();
    assert!(matches!(other, Reserved::No(Entry { state: EntryState::Unknown, .. })), "another request: {other:?}");
    assert_eq!(reserve(&store, &at, &lease(2), WhenLost::TakeOver).await.unwrap(), Reserved::Yes);
    assert!(!store.finish(&at, &lost(1), &Finish::Done(answer())).await.unwrap(), "it was taken over");
    assert_eq!(state(&store, &at).await, Some(EntryState::InFlight));
    assert!(store.finish(&at, &lease(2), &Finish::Unknown).await.unwrap());
    assert!(matches!(reserve(&store, &at, &lease(3), WhenLost::TakeOver).await.unwrap(), Reserved::No(_)));
}

#[tokio::test]
async fn unknown_entry_is_settled_once() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    assert!(!store.settle(&at, &Finish::Unknown).await.unwrap());
    for end in [Finish::Unknown, Finish::Release, Finish::Done(answer())] {
        reserve(&store, &at, &lost(1), WhenLost::Unknown).await.unwrap();
        assert!(store.settle(&at, &Finish::Unknown).await.unwrap());
        assert!(!store.finish(&at, &lost(1), &Finish::Release).await.unwrap(), "it was settled");
        assert!(store.settle(&at, &end).await.unwrap());
    }
    assert_eq!(state(&store, &at).await, Some(EntryState::Done(answer())));
    assert!(!store.settle(&at, &Finish::Release).await.unwrap());
}

#[tokio::test]
async fn extreme_durations_are_stored() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    let forever = Lease { id: [1; 16], lasts: Duration::MAX };
    store.reserve(&at, &forever, &fingerprint(1), Duration::MAX, WhenLost::Unknown).await.unwrap();
    assert!(store.renew(&at, &forever).await.unwrap());
    assert_eq!(state(&store, &at).await, Some(EntryState::InFlight));
    assert!(store.finish(&at, &forever, &Finish::Unknown).await.unwrap());
    assert!(pttl(&server) > 99_999_999_000_000, "{}", pttl(&server));
    assert!(store.forget(&at).await.unwrap());
    let reserved = store.reserve(&at, &lost(1), &fingerprint(1), Duration::ZERO, WhenLost::Unknown).await.unwrap();
    assert_eq!((reserved, state(&store, &at).await), (Reserved::Yes, None), "it expires at once");
    // A lease may last longer than its entry is kept.
    let reserved = store.reserve(&at, &lease(1), &fingerprint(1), Duration::ZERO, WhenLost::Unknown).await.unwrap();
    assert_eq!((reserved, state(&store, &at).await), (Reserved::Yes, Some(EntryState::InFlight)));
    assert!(store.finish(&at, &lease(1), &Finish::Unknown).await.unwrap());
    assert_eq!(state(&store, &at).await, None);
}
