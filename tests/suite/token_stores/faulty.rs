//! A token store that breaks one law of the contract.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use countersign::{
    store::{
        Found, MemoryTokenStore, Offer, OwnerTag, Placed, Record, RecordKind, Renewed, Room, StoreError, TokenStore,
        Touched, Which,
    },
    token::{EndReason, Owner, OwnerKey, SessionId, SessionLimit, TokenKind, TokenRef},
};

/// What the store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    // 1: calls that pause between reading and writing.
    RacyTake,
    RacyRenewal,
    RacyLimit,
    RacyRefusal,
    RacyRoom,
    RenewalSurvivesEnd,
    LoginMissedByEnd,
    TakenAfterEnd,
    TouchSurvivesEnd,
    // 2: how long a token is found.
    FindsTooShort,
    FindsTooLong,
    FindsIdle,
    ListsTooShort,
    ListsTooLong,
    LosesData,
    OverlapTooShort,
    OverlapTooLong,
    OverlapFromRenewal,
    // 3: limits.
    LimitTooHigh,
    RefusalTooHigh,
    EndsNewest,
    EndsByTime,
    ReplacedKeepsOld,
    StoresRefused,
    RefusalEnds,
    CountsExpired,
    MixesApps,
    MixesDevices,
    MixesKinds,
    CountsRenewedTwice,
    MaxTooHigh,
    NoMaxOfApps,
    // 4: ends.
    EndsNothing,
    EndsInOtherApps,
    EndsAllButNone,
    EndsOneOfAnyApp,
    EndsOtherOwners,
    EndKeepsSuccessor,
    EndKeepsOld,
    EndSkipsExpired,
    ForgetsReason,
    RemembersTooLong,
    RemembersUnasked,
    MixesReasons,
    RemembersAll,
    ForgetsOtherApp,
    // 5: one-time tokens.
    TakesNothing,
    TakesTwice,
    TakenIsLive,
    TakesTooShort,
    TakesExpired,
    TakesEnded,
    // 6: renewal.
    SeedOfEach,
    RecordOfEach,
    SecondSuccessor,
    RenewalEndsOld,
    RenewalProlongsOld,
    RenewalIsNoUse,
    RenewsAfterOverlap,
    RenewsExpired,
    RenewsOneTime,
    RenewsFiveTimes,
    RenewsThreeTimes,
    HidesSeed,
    HidesUnused,
    AlwaysUnused,
    // 7: touch.
    TouchRevives,
    TouchCreates,
    TouchIgnoresIdle,
    TouchShortens,
    TouchPassesEnd,
    TouchKeepsSeen,
    TouchRefusesOld,
    TouchChangesOld,
    TouchOfOldIsUse,
    // 8: full stores.
    DropsLive,
    KeepsExpired,
    KeepsEnded,
    RenewalsGrow,
    EndsGrow,
    // 9: absence.
    MixesOwners,
    ListsOtherOwners,
    TakesUnknown,
    TouchesUnknown,
    // 10: failures.
    Hangs,
    Fails,
    // 11: records are kept after their end.
    PurgesEarly,
    // Grants are apart from sessions.
    FindsTokenAsGrant,
    FindsGrantAsToken,
    MixesListedKinds,
    EndsOtherKind,
    EndsSessionsWithGrants,
    SessionsCountGrants,
    GrantsCountSessions,
    GrantMaxTooHigh,
    StoresRefusedGrant,
    // The contract is broken for grants only.
    GrantLosesData,
    GrantLivesTooLong,
    GrantEndMixesOwners,
    GrantsCountExpired,
    GrantsMixApps,
    GrantEndIgnoresApp,
    GrantEndSkipsExpired,
    GrantMissedByEnd,
    KeepsExpiredGrants,
    DropsLiveGrants,
}

pub(super) struct Faulty {
    fault: Fault,
    inner: MemoryTokenStore,
    /// For records that a full store should not take.
    spare: MemoryTokenStore,
    puts: AtomicUsize,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    put: HashMap<TokenRef, Record>,
    /// When the reason of a token would be forgotten.
    reasons: HashMap<TokenRef, u64>,
    taken: HashSet<TokenRef>,
    /// The old record and the offer, by the old token.
    renewed: HashMap<TokenRef, (Record, Offer)>,
    /// The records of the successors.
    successors: HashMap<TokenRef, Record>,
    /// Successors that were touched.
    used: HashSet<TokenRef>,
    touched: HashMap<TokenRef, (u64, Option<u64>)>,
    /// Old tokens that stay live, by a fault.
    kept: HashSet<TokenRef>,
    /// Tokens that a touch has created.
    created: HashSet<TokenRef>,
    owners: HashSet<OwnerTag>,
    latest: u64,
    dummies: u64,
    room: Option<Room>,
}

impl Notes {
    /// A room without limits. Only the crate makes a new `Room`, so this is a changed copy.
    fn room(&self) -> Room {
        let mut room = self.room.expect("a put comes first");
        (room.limit, room.max, room.remember) = (None, usize::MAX, 0);
        room
    }
}

impl Faulty {
    pub(super) fn new(fault: Fault) -> Self {
        Self::with_capacity(fault, MemoryTokenStore::DEFAULT_CAPACITY)
    }

    pub(super) fn with_capacity(fault: Fault, capacity: usize) -> Self {
        Self {
            fault,
            inner: MemoryTokenStore::with_capacity(capacity).unwrap(),
            spare: MemoryTokenStore::new().unwrap(),
            puts: AtomicUsize::new(0),
            notes: Mutex::default(),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// Gives the other tasks time to act, on one thread too.
    async fn pause(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// The place where a token is stored.
    fn place(&self, at: &TokenRef) -> TokenRef {
        match self.fault {
            Fault::MixesOwners => TokenRef::new(at.kind(), OwnerTag::from_bytes([0; 16]), *at.digest()),
            _ => *at,
        }
    }

    async fn is_live(&self, at: &TokenRef, now: u64) -> bool {
        matches!(self.inner.find(at, now).await, Ok(Found::Live { .. }))
    }

    /// The live sessions that the limit counts with this one.
    async fn counted(&self, at: &TokenRef, record: &Record, now: u64) -> Vec<Record> {
        let mut all = self.inner.list(at.owner(), at.kind(), now).await.unwrap();
        all.retain(|other| other.is_plain() && other.app_id == record.app_id && other.device == record.device);
        all
    }

    /// Puts another token, of a session of its own.
    async fn put_dummy(&self, owner: &OwnerTag, record: &Record, now: u64) {
        let (number, room) = {
            let mut notes = self.notes();
            notes.dummies += 1;
            (notes.dummies, notes.room())
        };
        let (mut digest, mut id) = ([0; 32], [0; 16]);
        digest[..8].copy_from_slice(&number.to_be_bytes());
        id[..8].copy_from_slice(&number.to_be_bytes());
        let record = Record { id: SessionId::from_bytes(id), ..record.clone() };
        let _ = self.inner.put(&TokenRef::new(RecordKind::Session, *owner, digest), &record, room, now).await;
    }
}

impl TokenStore for Faulty {
    fn owner_key(&self) -> &OwnerKey {
        self.inner.owner_key()
    }

    async fn put(&self, at: &TokenRef, record: &Record, room: Room, now: u64) -> Result<Placed, StoreError> {
        let (original, mut room, mut record, mut now) = (record, room, record.clone(), now);
        let counted = match room.limit {
            Some(_) => self.counted(at, &record, now).await,
            None => Vec::new(),
        };
        let renewals = {
            let mut notes = self.notes();
            notes.room = Some(room);
            notes.latest = notes.latest.max(now);
            notes.owners.insert(*at.owner());
            notes.put.insert(*at, original.clone());
            notes.renewed.keys().filter(|old| old.owner() == at.owner()).count()
        };
        let unlimited = self.notes().room();
        let is_grant = at.kind() == RecordKind::Grant;
        let others = self.inner.list(at.owner(), other(at.kind()), now).await?.len();
        match (self.fault, room.limit) {
            (Fault::Hangs, _) => std::future::pending().await,
            (Fault::Fails, _) => return Err(StoreError::new("no route")),
            (Fault::RacyLimit, Some(SessionLimit::NewestWins(limit)))
            | (Fault::RacyRefusal, Some(SessionLimit::Refuse(limit))) => {
                self.pause().await;
                if counted.len() < limit {
                    room.limit = None;
                }
            }
            (Fault::LimitTooHigh, Some(SessionLimit::NewestWins(limit))) => {
                room.limit = Some(SessionLimit::NewestWins(limit + 1));
            }
            (Fault::RefusalTooHigh, Some(SessionLimit::Refuse(limit))) => {
                room.limit = Some(SessionLimit::Refuse(limit + 1));
            }
            (Fault::EndsNewest | Fault::EndsByTime, Some(SessionLimit::NewestWins(limit))) => {
                let mut counted = counted.clone();
                match self.fault {
                    Fault::EndsByTime => counted.sort_by_key(|record| record.issued_at),
                    _ => counted.reverse(),
                }
                if counted.len() >= limit && record.is_plain() {
                    let ended = counted.remove(0);
                    self.inner.end(at.owner(), at.kind(), Which::One(ended.id), room.remember, now).await?;
                    self.inner.put(at, &record, unlimited, now).await?;
                    return Ok(Placed::Done { ended: 1 });
                }
            }
            (Fault::CountsExpired, _) => now = record.issued_at,
            (Fault::MixesApps, _) => record.app_id = "all".parse().unwrap(),
            (Fault::MixesDevices, _) => record.device = None,
            (Fault::MixesKinds, _) if record.kind != TokenKind::OneTime => record.kind = TokenKind::Session,
            (Fault::CountsRenewedTwice, Some(SessionLimit::Refuse(limit))) => {
                room.limit = Some(SessionLimit::Refuse(limit.saturating_sub(renewals)));
            }
            (Fault::MaxTooHigh, _) => room.max += 1,
            (Fault::NoMaxOfApps, _) if matches!(record.owner, Owner::App(_)) => room.max = usize::MAX,
            (Fault::RemembersTooLong, _) if room.remember > 0 => room.remember += 1,
            (Fault::KeepsExpired, _) => now = now.min(1_700_000_000),
            (Fault::SessionsCountGrants, _) if !is_grant => room.max = room.max.saturating_sub(others),
            (Fault::GrantsCountSessions, _) if is_grant => room.max = room.max.saturating_sub(others),
            (Fault::KeepsExpiredGrants, _) if is_grant => now = now.min(1_700_000_000),
            (Fault::GrantMaxTooHigh, _) if is_grant => room.max += 1,
            (Fault::GrantsCountExpired, _) if is_grant => now = record.issued_at,
            (Fault::GrantsMixApps, _) if is_grant => {
                let all = self.inner.list(at.owner(), at.kind(), now).await?;
                let elsewhere = all.iter().filter(|other| other.app_id != record.app_id).count();
                room.max = room.max.saturating_sub(elsewhere);
            }
            _ => {}
        }
        let at = self.place(at);
        let racing = self.puts.fetch_add(1, SeqCst) > 0;
        if self.fault == Fault::RacyRoom {
            self.pause().await;
        }
        let placed = self.inner.put(&at, &record, room, now).await;
        self.puts.fetch_sub(1, SeqCst);
        match (self.fault, &placed) {
            (Fault::RacyRoom, Err(_)) if racing => return self.spare.put(&at, &record, room, now).await,
            (Fault::DropsLive, Err(_)) | (Fault::DropsLiveGrants, Err(_))
                if is_grant || self.fault == Fault::DropsLive =>
            {
                let owners: Vec<OwnerTag> = self.notes().owners.iter().copied().collect();
                for owner in owners {
                    self.inner.end(&owner, at.kind(), Which::All, 0, now).await?;
                }
            }
            (Fault::StoresRefusedGrant, Ok(Placed::Refused)) if is_grant => {
                self.inner.put(&at, &record, unlimited, now).await?;
            }
            (Fault::StoresRefused, Ok(Placed::Refused)) => {
                self.inner.put(&at, &record, unlimited, now).await?;
            }
            (Fault::RefusalEnds, Ok(Placed::Refused)) if room.remember > 0 => {
                self.inner.end(at.owner(), at.kind(), Which::One(counted[0].id), 0, now).await?;
            }
            (Fault::ReplacedKeepsOld, Ok(Placed::Done { ended: 1.. })) => {
                let left = self.inner.list(at.owner(), at.kind(), now).await?;
                let is_replaced = |id| left.iter().all(|other| other.id != id);
                let mut notes = self.notes();
                let kept = notes.renewed.iter().filter(|(_, (old, _))| is_replaced(old.id)).map(|(old, _)| *old);
                let kept: Vec<_> = kept.collect();
                notes.kept.extend(kept);
            }
            (Fault::RemembersAll, Ok(Placed::Done { .. })) if room.remember > 0 => {
                self.notes().reasons.insert(at, now + room.remember);
            }
            (Fault::EndsGrow, _) if room.remember > 0 => {
                record.kind = TokenKind::Bearer;
                self.put_dummy(at.owner(), &record, now).await;
            }
            _ => {}
        }
        placed
    }

    async fn find(&self, at: &TokenRef, now: u64) -> Result<Found, StoreError> {
        let at = &self.place(at);
        let asked = match self.fault {
            Fault::FindsTooShort => now + 1,
            Fault::FindsTooLong => now.saturating_sub(1),
            Fault::GrantLivesTooLong if at.kind() == RecordKind::Grant => now - 1,
            _ => now,
        };
        let is_mixed = match at.kind() {
            RecordKind::Grant => self.fault == Fault::FindsTokenAsGrant,
            RecordKind::Session => self.fault == Fault::FindsGrantAsToken,
        };
        let found = match self.inner.find(at, asked).await? {
            Found::Unknown if is_mixed => {
                self.inner.find(&TokenRef::new(other(at.kind()), *at.owner(), *at.digest()), now).await?
            }
            Found::Unknown if self.fault == Fault::RacyRoom => self.spare.find(at, now).await?,
            found => found,
        };
        let mut notes = self.notes();
        notes.latest = notes.latest.max(now);
        let renewed = notes.renewed.get(at).cloned();
        Ok(match (self.fault, found, notes.put.get(at).cloned()) {
            (Fault::GrantLosesData, Found::Live { mut record, seed, is_unused_successor }, _)
                if record.kind == TokenKind::Grant =>
            {
                Arc::make_mut(&mut record).data = None;
                Found::Live { record, seed, is_unused_successor }
            }
            (Fault::LosesData, Found::Live { mut record, seed, is_unused_successor }, _) => {
                let changed = Arc::make_mut(&mut record);
                changed.data = None;
                Found::Live { record, seed, is_unused_successor }
            }
            (Fault::MixesApps | Fault::MixesDevices | Fault::MixesKinds, live, Some(record)) => match live {
                Found::Live { seed, is_unused_successor, .. } => {
                    Found::Live { record: record.into(), seed, is_unused_successor }
                }
                other => other,
            },
            (Fault::FindsIdle, Found::Unknown, Some(mut record))
                if record.idle_until.is_some_and(|idle| idle <= now) =>
            {
                record.idle_until = None;
                if record.is_live(now) { live(record) } else { Found::Unknown }
            }
            (Fault::OverlapFromRenewal, Found::Live { record, seed, .. }, _) => {
                let is_unused_successor = notes.successors.contains_key(at) && !notes.used.contains(at);
                Found::Live { record, seed, is_unused_successor }
            }
            (Fault::AlwaysUnused, Found::Live { record, seed: None, .. }, _) => {
                Found::Live { record, seed: None, is_unused_successor: notes.successors.contains_key(at) }
            }
            (Fault::HidesUnused, Found::Live { record, seed, .. }, _) => {
                Found::Live { record, seed, is_unused_successor: false }
            }
            (Fault::HidesSeed, Found::Live { record, is_unused_successor, .. }, _) => {
                Found::Live { record, seed: None, is_unused_successor }
            }
            (Fault::RenewalEndsOld, Found::Live { .. }, _) if renewed.is_some() => Found::Unknown,
            (Fault::RenewalProlongsOld, Found::Unknown, _)
                if renewed.as_ref().is_some_and(|(old, offer)| old.end() <= now && now < offer.record.end()) =>
            {
                live(renewed.unwrap().0)
            }
            (Fault::ReplacedKeepsOld | Fault::EndKeepsOld | Fault::RenewalIsNoUse, Found::Unknown, _)
                if notes.kept.contains(at) =>
            {
                live(renewed.unwrap().0)
            }
            (Fault::ForgetsReason, Found::Ended { .. }, _) => Found::Unknown,
            (Fault::MixesReasons, Found::Ended { app_id, .. }, _) => {
                Found::Ended { app_id, reason: EndReason::Replaced }
            }
            (Fault::ForgetsOtherApp, Found::Ended { app_id, .. }, _) if app_id.as_str() == "other" => Found::Unknown,
            (Fault::RemembersAll, Found::Unknown, Some(record))
                if notes.reasons.get(at).is_some_and(|until| now < *until) =>
            {
                Found::Ended { app_id: record.app_id, reason: EndReason::Replaced }
            }
            (Fault::TakenIsLive, Found::Unknown, Some(record)) if notes.taken.contains(at) => live(record),
            (Fault::TouchShortens, Found::Live { .. }, _)
                if notes.touched.get(at).is_some_and(|(_, until)| until.is_some_and(|until| until <= now)) =>
            {
                Found::Unknown
            }
            (Fault::TouchPassesEnd, Found::Unknown, Some(record))
                if notes.touched.get(at).is_some_and(|(_, until)| until.is_some_and(|until| now < until)) =>
            {
                live(record)
            }
            (Fault::TouchKeepsSeen, Found::Live { mut record, seed, is_unused_successor }, _) => {
                let changed = Arc::make_mut(&mut record);
                changed.seen_at = changed.issued_at;
                Found::Live { record, seed, is_unused_successor }
            }
            (Fault::TouchChangesOld, Found::Live { mut record, seed: Some(seed), .. }, _) => {
                let changed = Arc::make_mut(&mut record);
                if let Some((now, Some(until))) = notes.touched.get(at) {
                    (changed.seen_at, changed.idle_until) = (*now, Some(*until));
                }
                Found::Live { record, seed: Some(seed), is_unused_successor: false }
            }
            (Fault::TouchCreates, Found::Unknown, None) if notes.created.contains(at) => {
                Found::Ended { app_id: "demo".parse().unwrap(), reason: EndReason::Revoked }
            }
            (Fault::PurgesEarly, Found::Live { record, .. }, _) if notes.latest >= record.end() + 30 => Found::Unknown,
            (_, found, _) => found,
        })
    }

    async fn touch(&self, at: &TokenRef, now: u64, until: Option<u64>) -> Result<Touched, StoreError> {
        let at = &self.place(at);
        let was_live = self.is_live(at, now).await;
        if self.fault == Fault::TouchSurvivesEnd {
            self.pause().await;
        }
        let stored = until.filter(|_| self.fault != Fault::TouchIgnoresIdle);
        let touched = self.inner.touch(at, now, stored).await?;
        let (put, renewed) = {
            let mut notes = self.notes();
            notes.latest = notes.latest.max(now);
            notes.used.insert(*at);
            if touched == Touched::Done {
                notes.touched.insert(*at, (now, until));
            }
            (notes.put.get(at).cloned(), notes.renewed.get(at).cloned())
        };
        match (self.fault, touched, put, renewed) {
            (Fault::TouchSurvivesEnd, Touched::Gone, Some(record), _) if was_live => {
                let room = self.notes().room();
                self.inner.put(at, &record, room, now).await?;
            }
            (Fault::TouchRevives, Touched::Gone, Some(mut record), _) if record.idle_until.is_some() => {
                record.idle_until = None;
                let room = self.notes().room();
                self.inner.put(at, &record, room, now).await?;
                return Ok(Touched::Done);
            }
            (Fault::TouchesUnknown, Touched::Gone, None, _) => return Ok(Touched::Done),
            (Fault::TouchCreates, Touched::Gone, None, _) => {
                self.notes().created.insert(*at);
            }
            (Fault::TouchRefusesOld, Touched::Done, _, Some(_)) => return Ok(Touched::Gone),
            (Fault::TouchOfOldIsUse, Touched::Done, _, Some((_, offer))) => {
                self.inner.touch(&offer.successor, now, None).await?;
            }
            _ => {}
        }
        Ok(touched)
    }

    async fn take(&self, at: &TokenRef, now: u64) -> Result<bool, StoreError> {
        let at = &self.place(at);
        let was_live = self.is_live(at, now).await;
        if matches!(self.fault, Fault::RacyTake | Fault::TakenAfterEnd) {
            self.pause().await;
        }
        let put = self.notes().put.get(at).cloned();
        let asked = match (self.fault, &put) {
            (Fault::TakesTooShort, _) => now + 1,
            (Fault::TakesExpired, Some(record)) => record.issued_at,
            _ => now,
        };
        let is_taken = self.inner.take(at, asked).await?;
        let mut notes = self.notes();
        let was_taken = notes.taken.contains(at);
        if is_taken {
            notes.taken.insert(*at);
        }
        Ok(match self.fault {
            Fault::RacyTake => was_live,
            Fault::TakenAfterEnd => is_taken || was_live && !was_taken,
            Fault::TakesNothing => false,
            Fault::TakesTwice => is_taken || was_taken,
            Fault::TakesEnded => is_taken || put.is_some_and(|record| !was_taken && record.is_live(now)),
            Fault::TakesUnknown => is_taken || put.is_none(),
            _ => is_taken,
        })
    }

    async fn renew(&self, old: &TokenRef, offer: &Offer, now: u64) -> Result<Renewed, StoreError> {
        let found = self.inner.find(old, now).await?;
        if matches!(self.fault, Fault::RacyRenewal | Fault::RenewalSurvivesEnd) {
            self.pause().await;
        }
        let mut offered = offer.clone();
        match self.fault {
            Fault::OverlapTooShort => offered.overlap -= 1,
            Fault::OverlapTooLong => offered.overlap += 1,
            Fault::MixesApps => offered.record.app_id = "all".parse().unwrap(),
            Fault::RenewalsGrow => self.put_dummy(old.owner(), &offer.record, now).await,
            _ => {}
        }
        let mut renewed = self.inner.renew(old, &offered, now).await?;
        if let (Fault::MixesApps, Renewed::Kept { record, .. }) = (self.fault, &mut renewed) {
            record.app_id = offer.record.app_id.clone();
            self.notes().put.entry(offer.successor).or_insert_with(|| record.clone());
        }
        let (put, room, sessions) = {
            let mut notes = self.notes();
            if let (Renewed::Kept { .. }, Found::Live { record, seed: None, .. }) = (&renewed, &found) {
                if notes.successors.contains_key(old) && !notes.used.contains(old) {
                    let first =
                        notes.renewed.iter().find(|(_, (_, offer))| offer.successor == *old).map(|(old, _)| *old);
                    notes.kept.extend(first.filter(|_| self.fault == Fault::RenewalIsNoUse));
                }
                notes.renewed.insert(*old, ((**record).clone(), offer.clone()));
                notes.successors.insert(offer.successor, offer.record.clone());
            }
            let sessions = notes.renewed.values().filter(|(record, _)| record.id == offer.record.id).count();
            (notes.put.get(old).cloned(), notes.room(), sessions)
        };
        let own = Renewed::Kept { seed: offer.seed, record: offer.record.clone() };
        match (self.fault, &renewed, &found) {
            (Fault::RacyRenewal, Renewed::Kept { seed, .. }, Found::Live { seed: None, .. })
                if seed.as_bytes() != offer.seed.as_bytes() =>
            {
                self.inner.put(&offer.successor, &offer.record, room, now).await?;
                return Ok(own);
            }
            (Fault::RenewalSurvivesEnd, Renewed::NotLive, Found::Live { record, .. })
                if record.kind != TokenKind::OneTime =>
            {
                self.inner.put(&offer.successor, &offer.record, room, now).await?;
            }
            (Fault::OverlapFromRenewal, Renewed::Kept { .. }, _) => {
                self.inner.touch(&offer.successor, now, None).await?;
            }
            (Fault::SeedOfEach, Renewed::Kept { record, .. }, _) => {
                return Ok(Renewed::Kept { seed: offer.seed, record: record.clone() });
            }
            (Fault::RecordOfEach, Renewed::Kept { seed, .. }, _) => {
                return Ok(Renewed::Kept { seed: *seed, record: offer.record.clone() });
            }
            (Fault::SecondSuccessor, Renewed::Kept { .. }, Found::Live { seed: Some(_), .. }) => {
                self.inner.put(&offer.successor, &offer.record, room, now).await?;
            }
            (Fault::RenewsAfterOverlap, Renewed::NotLive, Found::Unknown) if self.notes().renewed.contains_key(old) => {
                return Ok(own);
            }
            (Fault::RenewsExpired, Renewed::NotLive, Found::Unknown)
                if put.is_some_and(|record| !record.is_live(now)) =>
            {
                return Ok(own);
            }
            (Fault::RenewsOneTime, Renewed::NotLive, Found::Live { .. }) => return Ok(own),
            (Fault::RenewsFiveTimes, Renewed::TooOften, _) => return Ok(own),
            (Fault::RenewsThreeTimes, Renewed::Kept { .. }, _) if sessions == 4 => return Ok(Renewed::TooOften),
            _ => {}
        }
        Ok(renewed)
    }

    async fn end(
        &self,
        owner: &OwnerTag,
        kind: RecordKind,
        which: Which<'_>,
        remember: u64,
        now: u64,
    ) -> Result<usize, StoreError> {
        let (mut which, mut remember) = (which, remember);
        let before = self.inner.list(owner, kind, now).await?;
        match (self.fault, which) {
            (Fault::LoginMissedByEnd, Which::All) => {
                self.pause().await;
                self.inner.end(owner, kind, which, remember, now).await?;
                return Ok(before.len());
            }
            (Fault::GrantMissedByEnd, Which::All) if kind == RecordKind::Grant => {
                self.pause().await;
                self.inner.end(owner, kind, which, remember, now).await?;
                return Ok(before.len());
            }
            (Fault::EndsOtherKind, Which::All) if kind == RecordKind::Session => {
                self.inner.end(owner, other(kind), which, remember, now).await?;
            }
            (Fault::EndsSessionsWithGrants, Which::AllOf(_)) if kind == RecordKind::Grant => {
                self.inner.end(owner, other(kind), which, remember, now).await?;
            }
            (Fault::GrantEndIgnoresApp, Which::OneOf(_, id)) if kind == RecordKind::Grant => which = Which::One(id),
            (Fault::GrantEndSkipsExpired, _) if kind == RecordKind::Grant && before.is_empty() => return Ok(0),
            (Fault::EndsNothing, _) => return Ok(before.len()),
            (Fault::EndsInOtherApps, Which::AllOf(_)) => which = Which::All,
            (Fault::EndsAllButNone, Which::AllBut(app_id, _)) => which = Which::AllOf(app_id),
            (Fault::EndsOneOfAnyApp, Which::OneOf(_, id)) => which = Which::One(id),
            (Fault::EndsOtherOwners, Which::All) | (Fault::GrantEndMixesOwners, Which::All)
                if self.fault == Fault::EndsOtherOwners || kind == RecordKind::Grant =>
            {
                let others: Vec<_> = self.notes().owners.iter().copied().filter(|other| other != owner).collect();
                for other in others {
                    self.inner.end(&other, kind, which, remember, now).await?;
                }
            }
            (Fault::EndSkipsExpired, _) if before.is_empty() => return Ok(0),
            (Fault::RemembersTooLong, _) if remember > 0 => remember += 1,
            (Fault::RemembersUnasked, _) => remember = remember.max(100),
            (Fault::KeepsEnded, _) => remember = 1000,
            _ => {}
        }
        let ended = self.inner.end(owner, kind, which, remember, now).await?;
        let successors = {
            let mut notes = self.notes();
            let olds: Vec<_> = notes.renewed.keys().filter(|old| old.owner() == owner).copied().collect();
            notes.kept.extend(olds.into_iter().filter(|_| self.fault == Fault::EndKeepsOld));
            notes.successors.clone()
        };
        for (at, record) in successors {
            let was_live = before.contains(&record);
            if self.fault == Fault::EndKeepsSuccessor && at.owner() == owner && was_live {
                let room = self.notes().room();
                self.inner.put(&at, &record, room, now).await?;
            }
        }
        Ok(ended)
    }

    async fn list(&self, owner: &OwnerTag, kind: RecordKind, now: u64) -> Result<Vec<Record>, StoreError> {
        let asked = match self.fault {
            Fault::ListsTooShort => now + 1,
            Fault::ListsTooLong => now - 1,
            _ => now,
        };
        {
            let mut notes = self.notes();
            notes.latest = notes.latest.max(now);
        }
        let owners: Vec<OwnerTag> = match self.fault {
            Fault::ListsOtherOwners => self.notes().owners.iter().copied().collect(),
            _ => vec![*owner],
        };
        let mut listed = Vec::new();
        for owner in owners {
            let owner = self.place(&TokenRef::new(kind, owner, [0; 32]));
            listed.extend(self.inner.list(owner.owner(), kind, asked).await?);
        }
        if self.fault == Fault::MixesListedKinds {
            listed.extend(self.inner.list(owner, other(kind), asked).await?);
        }
        if matches!(self.fault, Fault::MixesApps | Fault::MixesDevices | Fault::MixesKinds) {
            let notes = self.notes();
            let original =
                |record: Record| notes.put.values().find(|put| put.id == record.id).cloned().unwrap_or(record);
            return Ok(listed.into_iter().map(original).collect());
        }
        Ok(listed)
    }
}

fn other(kind: RecordKind) -> RecordKind {
    match kind {
        RecordKind::Session => RecordKind::Grant,
        RecordKind::Grant => RecordKind::Session,
    }
}

fn live(record: Record) -> Found {
    Found::Live { record: record.into(), seed: None, is_unused_successor: false }
}
