//! Point 1 of the contract: concurrent calls for one owner.

use std::sync::Arc;

use super::fixtures::{END, NOW, RACERS, ROOM, all, at, list, live, offer, put, race, tag, token, user};
use crate::{
    protocol::token::RecordKind,
    store::token::{
        contract::TokenStore,
        record::{Placed, Renewed, Room, SessionLimit, TokenKind, Which},
    },
};

pub(super) async fn one_racer_takes<S: TokenStore>(store: Arc<S>) {
    let owner = user("u-1");
    put(&*store, &owner, 1, |record| record.kind = TokenKind::OneTime).await;
    let at = at(&*store, &owner, 1);
    let taken = all(race(&store, move |store, _| async move { store.take(&at, NOW).await }).await);
    let taken = taken.into_iter().filter(|taken| *taken).count();
    assert_eq!(taken, 1, "the number of racing calls that took one token");
}

pub(super) async fn racing_renewals_have_one_successor<S: TokenStore>(store: Arc<S>) {
    let owner = user("u-1");
    put(&*store, &owner, 0, |_| {}).await;
    let old = at(&*store, &owner, 0);
    let renewed = race(&store, move |store, n| {
        let offer = offer(&*store, &user("u-1"), 0, n + 1);
        async move { store.renew(&old, &offer, NOW).await }
    });
    let seeds = all(renewed.await).into_iter().map(|renewed| match renewed {
        Renewed::Kept { seed, .. } => *seed.as_bytes(),
        other => panic!("a live token was not renewed: {other:?}"),
    });
    let mut seeds: Vec<_> = seeds.collect();
    seeds.dedup();
    assert_eq!(seeds.len(), 1, "racing renewals got several seeds");
    assert_eq!(live(&*store, &owner, 1..=RACERS).await.len(), 1, "racing renewals have several live successors");
}

pub(super) async fn racing_logins_keep_the_limit<S: TokenStore>(store: Arc<S>) {
    let room = Room { limit: Some(SessionLimit::NewestWins(3)), ..ROOM };
    let ended: usize = logins(&store, room).await.into_iter().flatten().sum();
    let left = list(&*store, &user("u-1"), NOW).await.len();
    assert_eq!(left, 3, "64 racing logins, of which the newest 3 win");
    assert_eq!(ended, RACERS - left, "the number of sessions that 64 racing logins ended");
}

pub(super) async fn racing_logins_keep_the_refusing_limit<S: TokenStore>(store: Arc<S>) {
    let room = Room { limit: Some(SessionLimit::Refuse(3)), ..ROOM };
    let placed = logins(&store, room).await.into_iter().flatten().count();
    assert_eq!(placed, 3, "64 racing logins, of which 3 are not refused");
    assert_eq!(list(&*store, &user("u-1"), NOW).await.len(), 3, "the sessions after 64 racing logins");
}

/// The number of sessions that each login ended, or `None` if it was refused.
async fn logins<S: TokenStore>(store: &Arc<S>, room: Room) -> Vec<Option<usize>> {
    let placed = race(store, move |store, n| async move {
        let (at, record) = token(&*store, &user("u-1"), n);
        store.put(&at, &record, room, NOW).await
    });
    let ended = |placed| match placed {
        Placed::Done { ended } => Some(ended),
        Placed::Refused => None,
    };
    all(placed.await).into_iter().map(ended).collect()
}

pub(super) async fn no_renewal_survives_an_end<S: TokenStore>(store: Arc<S>) {
    let owner = user("u-1");
    put(&*store, &owner, 0, |_| {}).await;
    let old = at(&*store, &owner, 0);
    let ended = race(&store, move |store, n| async move {
        if is_end(n) {
            return store.end(&tag(&*store, &user("u-1")), RecordKind::Session, Which::All, 0, NOW).await.map(drop);
        }
        let offer = offer(&*store, &user("u-1"), 0, n + 1);
        store.renew(&old, &offer, NOW).await.map(drop)
    });
    all(ended.await);
    let live = live(&*store, &owner, 0..=RACERS).await;
    assert!(live.is_empty(), "a session survived its end, which raced with renewals: {live:?}");
}

pub(super) async fn a_login_is_ended_or_live<S: TokenStore>(store: Arc<S>) {
    let owner = user("u-1");
    put(&*store, &owner, RACERS, |_| {}).await;
    let ended = race(&store, move |store, n| async move {
        if is_end(n) {
            return store.end(&tag(&*store, &user("u-1")), RecordKind::Session, Which::All, 0, NOW).await;
        }
        let (at, record) = token(&*store, &user("u-1"), n);
        store.put(&at, &record, ROOM, NOW).await.map(|_| 0)
    });
    let ended: usize = all(ended.await).into_iter().sum();
    let live = live(&*store, &owner, 0..=RACERS).await;
    assert!(!live.contains(&RACERS), "a session survived its end, which raced with logins");
    assert_eq!(ended + live.len(), RACERS, "sessions that were ended or are live, after an end that raced with logins");
}

pub(super) async fn a_token_is_taken_or_ended<S: TokenStore>(store: Arc<S>) {
    let owner = user("u-1");
    for n in (0..RACERS).filter(|n| !is_end(*n)) {
        put(&*store, &owner, n, |record| record.kind = TokenKind::OneTime).await;
    }
    let counts = race(&store, move |store, n| async move {
        if is_end(n) {
            return store.end(&tag(&*store, &user("u-1")), RecordKind::Session, Which::All, 0, NOW).await;
        }
        store.take(&at(&*store, &user("u-1"), n), NOW).await.map(usize::from)
    });
    let count: usize = all(counts.await).into_iter().sum();
    assert_eq!(count, RACERS - 1, "tokens that were taken or ended, of 63");
    let live = live(&*store, &owner, 0..RACERS).await;
    assert!(live.is_empty(), "a one-time token survived its end, which raced with its use: {live:?}");
}

pub(super) async fn no_touch_survives_an_end<S: TokenStore>(store: Arc<S>) {
    let owner = user("u-1");
    put(&*store, &owner, 0, |record| record.idle_until = Some(NOW + 10)).await;
    let touched = race(&store, move |store, n| async move {
        if is_end(n) {
            return store.end(&tag(&*store, &user("u-1")), RecordKind::Session, Which::All, 0, NOW).await.map(drop);
        }
        store.touch(&at(&*store, &user("u-1"), 0), NOW, Some(END)).await.map(drop)
    });
    all(touched.await);
    let live = live(&*store, &owner, [0]).await;
    assert!(live.is_empty(), "a session survived its end, which raced with its use");
}

/// Whether a racer ends the sessions that the others use.
fn is_end(racer: usize) -> bool {
    racer == RACERS / 2
}
