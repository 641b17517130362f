//! The conformance suite rejects stores that break the contract.

use countersign::store::conformance;
use tokio::task::JoinHandle;

use super::faulty::{Fault, Faulty};

/// Runs the suite and returns the message of the check that failed, or "" if all passed.
async fn failure(fault: Fault) -> String {
    message(tokio::spawn(async move { conformance::token_store(|| Faulty::new(fault)).await })).await
}

async fn bounded_failure(fault: Fault, room: fn(usize) -> usize) -> String {
    let new = move |capacity| Faulty::with_capacity(fault, room(capacity));
    message(tokio::spawn(async move { conformance::bounded_token_store(new).await })).await
}

async fn message(suite: JoinHandle<()>) -> String {
    let Err(error) = suite.await else { return String::new() };
    let panic = error.into_panic();
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref().cloned()).expect("a panic with a message")
}

/// Each fault, and the message of the check that finds it.
const FAULTS: &[(Fault, &str)] = &[
    // 1: all methods are atomic.
    (Fault::RacyTake, "the number of racing calls that took one token"),
    (Fault::RacyRenewal, "racing renewals got several seeds"),
    (Fault::RacyLimit, "64 racing logins, of which the newest 3 win"),
    (Fault::RacyRefusal, "64 racing logins, of which 3 are not refused"),
    (Fault::RenewalSurvivesEnd, "a session survived its end, which raced with renewals"),
    (Fault::LoginMissedByEnd, "after an end that raced with logins"),
    (Fault::TakenAfterEnd, "tokens that were taken or ended, of 63"),
    (Fault::TouchSurvivesEnd, "a session survived its end, which raced with its use"),
    // 2: a token is found until the second before its end.
    (Fault::FindsTooShort, "token 3 was not live 1 s before its end"),
    (Fault::FindsTooLong, "token 3 was live at its end"),
    (Fault::FindsIdle, "token 3 was live at its end"),
    (Fault::ListsTooShort, "token 3 was not listed in its last second"),
    (Fault::ListsTooLong, "token 3 was listed at its end"),
    (Fault::LosesData, "find changed a record"),
    (Fault::OverlapTooShort, "the overlap was too short"),
    (Fault::OverlapTooLong, "the overlap was too long"),
    (Fault::OverlapFromRenewal, "the overlap began before the successor was used"),
    // 3: limits.
    (Fault::LimitTooHigh, "session 2, of which the newest 2 win"),
    (Fault::RefusalTooHigh, "session 2 of at most 2"),
    (Fault::EndsNewest, "the newest sessions did not win"),
    (Fault::EndsByTime, "a limit ended sessions by their times"),
    (Fault::ReplacedKeepsOld, "a token of a replaced session is live"),
    (Fault::StoresRefused, "a refused session is live"),
    (Fault::RefusalEnds, "a refusal changed the tokens of the owner"),
    (Fault::CountsExpired, "an expired session counts"),
    (Fault::MixesApps, "a limit counts sessions of another app"),
    (Fault::MixesDevices, "a limit counts sessions on another kind of device"),
    (Fault::MixesKinds, "a limit on plain sessions counts other tokens"),
    (Fault::CountsRenewedTwice, "a limit counts a renewed session twice"),
    (Fault::MaxTooHigh, "the owner has more than 3 tokens"),
    (Fault::NoMaxOfApps, "API token 1000 of at most 1,000"),
    // 4: ends.
    (Fault::EndsNothing, "an ended session is live"),
    (Fault::EndsInOtherApps, "the number of sessions that AllOf"),
    (Fault::EndsAllButNone, "the number of sessions that AllBut"),
    (Fault::EndsOneOfAnyApp, "the number of sessions that OneOf"),
    (Fault::EndsOtherOwners, "was ended with another owner's"),
    (Fault::EndKeepsSuccessor, "of a renewed session survived One"),
    (Fault::EndKeepsOld, "of a renewed session survived One"),
    (Fault::EndSkipsExpired, "a token is live after an end by a faster clock"),
    (Fault::ForgetsReason, "the reason of session 0 was forgotten"),
    (Fault::RemembersTooLong, "a reason was remembered for too long"),
    (Fault::RemembersUnasked, "a reason was remembered without a time for it"),
    (Fault::MixesReasons, "the reason of session 1"),
    (Fault::RemembersAll, "ended tokens of one app are remembered"),
    (Fault::ForgetsOtherApp, "ended tokens of one app displaced one of another app"),
    // 5: a token is taken once.
    (Fault::TakesNothing, "a live one-time token was not taken"),
    (Fault::TakesTwice, "a token was taken twice"),
    (Fault::TakenIsLive, "a token is live after it was taken"),
    // 6: renewal.
    (Fault::SeedOfEach, "a renewal did not get the seed of the first offer"),
    (Fault::RecordOfEach, "a renewal did not get the record of the first offer"),
    (Fault::SecondSuccessor, "the old token and one successor are not the live ones"),
    (Fault::RenewalEndsOld, "the old token and one successor are not the live ones"),
    (Fault::RenewalProlongsOld, "a renewal prolonged the old token"),
    (Fault::RenewalIsNoUse, "the renewal of a successor did not begin the overlap"),
    (Fault::RenewsAfterOverlap, "a token was renewed after its overlap"),
    (Fault::RenewsExpired, "the expired token was renewed"),
    (Fault::RenewsOneTime, "a one-time token was renewed"),
    (Fault::RenewsFiveTimes, "a fifth renewal in an overlap"),
    (Fault::RenewsThreeTimes, "renewal 4 in an overlap"),
    (Fault::HidesSeed, "a renewed token was found without its seed"),
    (Fault::HidesUnused, "a successor was not found as an unused one"),
    (Fault::AlwaysUnused, "a used successor was not found as a used one"),
    // 7: `touch` and `take` act on live tokens only.
    (Fault::TakesTooShort, "a token was not taken in its last second"),
    (Fault::TakesExpired, "an expired token was taken before it was removed"),
    (Fault::TakesEnded, "an ended token was taken"),
    (Fault::TouchRevives, "an expired session was touched"),
    (Fault::TouchCreates, "a touch created a token"),
    (Fault::TouchIgnoresIdle, "a touch did not move the idle end"),
    (Fault::TouchShortens, "a touch shortened session 1"),
    (Fault::TouchPassesEnd, "a touch prolonged a session beyond its end"),
    (Fault::TouchKeepsSeen, "a touch did not move the time of the last use"),
    (Fault::TouchRefusesOld, "a token in its overlap was not live to a touch"),
    (Fault::TouchChangesOld, "a touch changed a token in its overlap"),
    (Fault::TouchOfOldIsUse, "a touch of the old token used its successor"),
    // 9: absence is a refusal.
    (Fault::MixesOwners, "a token that was never put was found"),
    (Fault::ListsOtherOwners, "does not have one session"),
    (Fault::TakesUnknown, "a token that was never put was taken"),
    (Fault::TouchesUnknown, "a token that was never put was touched"),
    // 10: all methods end in bounded time, and live tokens do not fail.
    (Fault::Hangs, "a call did not return within 10s"),
    (Fault::Fails, "the store failed"),
    // 11: records are kept for 60 s after their end.
    (Fault::PurgesEarly, "was removed within 60 s after its end"),
    // Grants are apart from sessions.
    (Fault::FindsTokenAsGrant, "a token was found as a grant"),
    (Fault::FindsGrantAsToken, "a grant was found as a token"),
    (Fault::MixesListedKinds, "the records that are listed of a kind"),
    (Fault::EndsOtherKind, "an end of Session by All ended the other kind"),
    (Fault::EndsSessionsWithGrants, "an end of Grant by AllOf"),
    (Fault::SessionsCountGrants, "a limit on sessions counts grants"),
    (Fault::GrantsCountSessions, "a limit on grants counts sessions"),
    (Fault::GrantMaxTooHigh, "has more than 2 grants"),
    (Fault::StoresRefusedGrant, "a refused grant was stored"),
    // The contract is broken for grants only.
    (Fault::GrantLosesData, "find changed a record"),
    (Fault::GrantLivesTooLong, "token 3 was live at its end"),
    (Fault::GrantEndMixesOwners, "was ended with another owner's"),
    (Fault::GrantsCountExpired, "an expired session counts"),
    (Fault::GrantsMixApps, "a limit counts sessions of another app"),
    (Fault::GrantEndIgnoresApp, "the number of sessions that OneOf"),
    (Fault::GrantEndSkipsExpired, "a token is live after an end by a faster clock"),
    (Fault::GrantMissedByEnd, "after an end that raced with logins"),
];

/// Faults of full stores.
const BOUNDED_FAULTS: &[(Fault, &str)] = &[
    (Fault::DropsLive, "a full store dropped a live record"),
    (Fault::KeepsExpired, "a full store did not remove expired records"),
    (Fault::KeepsEnded, "a full store did not remove ended records"),
    (Fault::RenewalsGrow, "renewals filled the store"),
    (Fault::EndsGrow, "logins filled the store with ended records"),
    (Fault::KeepsExpiredGrants, "a full store did not remove expired records"),
    (Fault::DropsLiveGrants, "a full store dropped a live record"),
    (Fault::RacyRoom, "racing logins in a store of 10 records"),
];

/// Runs on one thread. `yield_now` determines the order of the tasks, so every run has the races. The clock of the
/// runtime advances when all tasks wait, so a deadline takes no time.
#[tokio::test(start_paused = true)]
async fn broken_token_stores_fail_the_suite() {
    assert_eq!(failure(Fault::None).await, "");
    let mut wrong = Vec::new();
    for (fault, message) in FAULTS {
        let failure = failure(*fault).await;
        if !failure.contains(message) {
            wrong.push(format!("{fault:?}: expected {message:?}, found {failure:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn broken_bounded_token_stores_fail_the_suite() {
    let same = |capacity| capacity;
    assert_eq!(bounded_failure(Fault::None, same).await, "");
    let too_large = bounded_failure(Fault::None, |capacity| capacity + 1).await;
    assert!(too_large.contains("a full store took another record"), "{too_large}");
    let too_small = bounded_failure(Fault::None, |capacity| capacity - 1).await;
    assert!(too_small.contains("the store failed"), "{too_small}");
    for (fault, message) in BOUNDED_FAULTS {
        let failure = bounded_failure(*fault, same).await;
        assert!(failure.contains(message), "{fault:?}: expected {message:?}, found {failure:?}");
    }
}
