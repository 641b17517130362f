//! The cost of tokens: `Verifier::verify` of a GET with a token, without a token store and with memory stores of 100 and of
//! 100,000 sessions. Each request has another of 100 or of 1,000 live tokens. The records of the small store are in the CPU
//! caches, most of those of the large one are not. The last case is signed by session keys.
//!
//! ```sh
//! cargo bench --all-features --bench tokens
//! ```
//!
//! The cases take turns in the same run. The final line has the medians and the differences, which matter here.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;

use std::time::Duration;

use axum::body::Body;
use countersign::{
    KeyRing, Signer, StaticKeys, Verifier,
    store::MemoryTokenStore,
    token::{Issued, NewToken, Tokens},
};
use futures_util::FutureExt;
use http::Request;

use self::rig::time;

fn main() {
    let mut criterion = rig::criterion();
    let [(few, of_few), (many, of_many)] = [(100, 100), (100_000, 1000)].map(|(sessions, used)| store(sessions, used));
    let verifiers = [
        verifier(),
        verifier(),
        verifier().with_tokens(few.clone()),
        verifier().with_tokens(many),
        verifier().with_tokens(few.with_session_keys()),
    ];
    let by_app_key = |issued: &[Issued]| signers(issued, |issued| rig::signer().with_token(issued.token().clone()));
    let signers = [
        vec![rig::signer()],
        by_app_key(&of_few),
        by_app_key(&of_few),
        by_app_key(&of_many),
        signers(&of_few, |issued| {
            let key = issued.session_key(&KeyRing::from(rig::secret()), "").unwrap();
            Signer::for_session("demo".parse().unwrap(), issued.token().clone(), key)
        }),
    ];
    let medians = rig::medians(&mut criterion, "tokens/GET, 8 parameters", |count| {
        std::array::from_fn(|i| {
            let requests = incoming(&signers[i], count);
            time(requests, |request| verifiers[i].verify(request).now_or_never().unwrap().unwrap()).0
        })
    });
    if let Some([without, unchecked, few, many, session]) = medians {
        println!("verify without a token {without:.0} ns; with a token that is not checked {unchecked:.0} ns");
        println!("with 100 sessions in memory {few:.0} ns: {:.0} ns more", few - unchecked);
        println!("with 100,000 sessions in memory {many:.0} ns: {:.0} ns more", many - unchecked);
        println!("signed by a session key, 100 sessions {session:.0} ns: {:.0} ns more", session - few);
    }
    criterion.final_summary();
}

fn verifier() -> Verifier<StaticKeys> {
    Verifier::new(StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap())
}

/// Fills a store with this many sessions, and returns some of them.
fn store(sessions: usize, used: usize) -> (Tokens, Vec<Issued>) {
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_idle_timeout(Duration::from_secs(1800));
    let (app, mut issued_and_used) = ("demo".parse().unwrap(), Vec::new());
    // Without the flag, cargo runs the bench as a test.
    let sessions = if std::env::args().any(|argument| argument == "--bench") { sessions } else { used };
    for i in 0..sessions {
        let new = NewToken::for_user(format!("user-{i}").parse().unwrap()).on("web".parse().unwrap());
        let issued = tokens.issue_for(&app, new).now_or_never().unwrap().unwrap();
        if i % (sessions / used) == 0 {
            issued_and_used.push(issued);
        }
    }
    (tokens, issued_and_used)
}

fn signers(issued: &[Issued], signer: impl Fn(&Issued) -> Signer) -> Vec<Signer> {
    issued.iter().map(signer).collect()
}

/// Requests, each signed by the next signer.
fn incoming(signers: &[Signer], count: usize) -> Vec<Request<Body>> {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let unsigned = rig::get();
    let signer = || &signers[NEXT.fetch_add(1, Relaxed) % signers.len()];
    (0..count).map(|_| signer().sign(unsigned.clone()).unwrap().map(Body::from)).collect()
}
