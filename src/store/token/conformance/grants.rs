//! The two kinds of records: grants are apart from tokens, and the contract holds for grants too.

use super::fixtures::{NOW, ROOM, answer, app, at, find, is_live, put, tag, take, token, touch, user};
use crate::{
    protocol::token::{Owner, OwnerKey, OwnerTag, RecordKind, TokenRef},
    store::{
        StoreError,
        token::{
            contract::TokenStore,
            record::{Found, Offer, Placed, Record, Renewed, Room, SessionLimit, TokenKind, Touched, Which},
        },
    },
};

const DONE: Placed = Placed::Done { ended: 0 };

pub(super) async fn kinds_are_separate(store: &impl TokenStore) {
    let owner = user("u-1");
    // The same digest and the same id in both kinds.
    put(store, &owner, 1, |_| {}).await;
    put_grant(store, &owner, 1, ROOM).await;
    for (kind, at) in [(TokenKind::Session, at(store, &owner, 1)), (TokenKind::Grant, grant_at(store, &owner, 1))] {
        match find(store, &at, NOW).await {
            Found::Live { record, .. } => assert_eq!(record.kind, kind, "a record of another kind was found"),
            other => panic!("a record was not found beside one of another kind: {other:?}"),
        }
        let listed = answer(store.list(at.owner(), at.kind(), NOW)).await;
        let kinds: Vec<_> = listed.into_iter().map(|record| record.kind).collect();
        assert_eq!(kinds, [kind], "the records that are listed of a kind");
    }
    put(store, &owner, 2, |record| record.kind = TokenKind::OneTime).await;
    put_grant(store, &owner, 3, ROOM).await;
    let found = find(store, &grant_at(store, &owner, 2), NOW).await;
    assert!(matches!(found, Found::Unknown), "a token was found as a grant: {found:?}");
    let grant = at(store, &owner, 3);
    let found = find(store, &grant, NOW).await;
    assert!(matches!(found, Found::Unknown), "a grant was found as a token: {found:?}");
    assert!(!take(store, &grant, NOW).await, "a grant was taken as a token");
    assert_eq!(touch(store, &grant, NOW, None).await, Touched::Gone, "a grant was touched as a token");
}

pub(super) async fn ends_leave_the_other_kind(store: &impl TokenStore) {
    let owner = user("u-1");
    let (demo, id) = (app("demo"), token(store, &owner, 1).1.id);
    let other = token(store, &owner, 2).1.id;
    let all = [Which::One(id), Which::OneOf(&demo, id), Which::AllBut(&demo, other), Which::AllOf(&demo), Which::All];
    for (kind, left) in [(RecordKind::Session, grant_at(store, &owner, 1)), (RecordKind::Grant, at(store, &owner, 1))] {
        for which in all {
            put(store, &owner, 1, |_| {}).await;
            put_grant(store, &owner, 1, ROOM).await;
            let ended = answer(store.end(left.owner(), kind, which, 0, NOW)).await;
            assert_eq!(ended, 1, "the number of records of {kind:?} that {which:?} ends");
            assert!(is_live(store, &left, NOW).await, "an end of {kind:?} by {which:?} ended the other kind");
        }
    }
}

pub(super) async fn limits_ignore_the_other_kind(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(1)), max: 1, ..ROOM };
    assert_eq!(put_grant(store, &owner, 1, room).await, DONE);
    for (n, ended) in [(1, 0), (2, 1)] {
        let (at, record) = token(store, &owner, n);
        let placed = answer(store.put(&at, &record, room, NOW)).await;
        assert_eq!(placed, Placed::Done { ended }, "a limit on sessions counts grants");
    }
    assert!(is_live(store, &grant_at(store, &owner, 1), NOW).await, "a limit on sessions ended a grant");
    let other = user("u-2");
    put(store, &other, 1, |_| {}).await;
    assert_eq!(put_grant(store, &other, 1, room).await, DONE, "a limit on grants counts sessions");
    assert!(is_live(store, &at(store, &other, 1), NOW).await, "a new grant ended a session");
}

pub(super) async fn grants_of_an_app_have_a_maximum(store: &impl TokenStore) {
    let room = Room { max: 2, ..ROOM };
    for owner in [user("u-1"), Owner::App(app("demo"))] {
        for n in 0..2 {
            assert_eq!(put_grant(store, &owner, n, room).await, DONE, "grant {n} of at most 2 of {owner:?}");
        }
        assert_eq!(put_grant(store, &owner, 2, room).await, Placed::Refused, "{owner:?} has more than 2 grants");
        let found = find(store, &grant_at(store, &owner, 2), NOW).await;
        assert!(matches!(found, Found::Unknown), "a refused grant was stored: {found:?}");
        answer(store.end(&tag(store, &owner), RecordKind::Grant, Which::All, 0, NOW)).await;
        assert_eq!(put_grant(store, &owner, 2, room).await, DONE, "an ended grant counts");
    }
}

fn grant_at(store: &impl TokenStore, owner: &Owner, n: usize) -> TokenRef {
    as_grant(&at(store, owner, n))
}

async fn put_grant(store: &impl TokenStore, owner: &Owner, n: usize, room: Room) -> Placed {
    let (at, record) = token(store, owner, n);
    let record = Record { kind: TokenKind::Grant, ..record };
    answer(store.put(&as_grant(&at), &record, room, NOW)).await
}

fn as_grant(at: &TokenRef) -> TokenRef {
    TokenRef::new(RecordKind::Grant, *at.owner(), *at.digest())
}

/// Uses the grants of a store in place of its sessions, so that checks of sessions check grants.
pub(super) struct AsGrants<S>(pub(super) S);

/// The library does not call the other methods for grants.
fn not_for_grants<T>() -> Result<T, StoreError> {
    Err(StoreError::new("a grant is not touched, taken or renewed"))
}

fn as_session(record: Record) -> Record {
    assert_eq!(record.kind, TokenKind::Grant, "the store changed the kind of a grant");
    Record { kind: TokenKind::Session, ..record }
}

impl<S: TokenStore> TokenStore for AsGrants<S> {
    fn owner_key(&self) -> &OwnerKey {
        self.0.owner_key()
    }

    async fn put(&self, at: &TokenRef, record: &Record, room: Room, now: u64) -> Result<Placed, StoreError> {
        let record = Record { kind: TokenKind::Grant, ..record.clone() };
        self.0.put(&as_grant(at), &record, room, now).await
    }

    async fn find(&self, at: &TokenRef, now: u64) -> Result<Found, StoreError> {
        Ok(match self.0.find(&as_grant(at), now).await? {
            Found::Live { record, seed, is_unused_successor } => {
                Found::Live { record: as_session((*record).clone()).into(), seed, is_unused_successor }
            }
            other => other,
        })
    }

    async fn touch(&self, _: &TokenRef, _: u64, _: Option<u64>) -> Result<Touched, StoreError> {
        not_for_grants()
    }

    async fn take(&self, _: &TokenRef, _: u64) -> Result<bool, StoreError> {
        not_for_grants()
    }

    async fn renew(&self, _: &TokenRef, _: &Offer, _: u64) -> Result<Renewed, StoreError> {
        not_for_grants()
    }

    async fn end(
        &self,
        owner: &OwnerTag,
        _: RecordKind,
        which: Which<'_>,
        remember: u64,
        now: u64,
    ) -> Result<usize, StoreError> {
        self.0.end(owner, RecordKind::Grant, which, remember, now).await
    }

    async fn list(&self, owner: &OwnerTag, _: RecordKind, now: u64) -> Result<Vec<Record>, StoreError> {
        Ok(self.0.list(owner, RecordKind::Grant, now).await?.into_iter().map(as_session).collect())
    }
}
