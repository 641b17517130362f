//! The cost of tokens: `Verifier::verify` of a GET with a token, without a token store and with a memory store that holds
//! 100,000 sessions. Each request has another of 1,000 live tokens. The last case is signed by session keys.
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

const SESSIONS: usize = 100_000;
const USED: usize = 1000;

fn main() {
    let mut criterion = rig::criterion();
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_idle_timeout(Duration::from_secs(1800));
    let issued = sessions(&tokens);
    let verifiers = [
        verifier(),
        verifier(),
        verifier().with_tokens(tokens.clone()),
        verifier().with_tokens(tokens.clone().with_session_keys()),
    ];
    let by_app_key = signers(&issued, |issued| rig::signer().with_token(issued.token().clone()));
    let by_session_key = signers(&issued, |issued| {
        let key = issued.session_key(&KeyRing::from(rig::secret()), "").unwrap();
        Signer::for_session("demo".parse().unwrap(), issued.token().clone(), key)
    });
    let without_token = vec![rig::signer()];
    let signers = [&without_token, &by_app_key, &by_app_key, &by_session_key];
    let medians = rig::medians(&mut criterion, "tokens/GET, 8 parameters", |count| {
        std::array::from_fn(|i| {
            let requests = incoming(signers[i], count);
            time(requests, |request| verifiers[i].verify(request).now_or_never().unwrap().unwrap()).0
        })
    });
    if let Some([without, unchecked, checked, session]) = medians {
        println!("verify without a token {without:.0} ns; with a token that is not checked {unchecked:.0} ns");
        println!("with the memory store {checked:.0} ns: {:.0} ns more than unchecked", checked - unchecked);
        println!("signed by a session key {session:.0} ns: {:.0} ns more than by the app's key", session - checked);
    }
    criterion.final_summary();
}

fn verifier() -> Verifier<StaticKeys> {
    Verifier::new(StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap())
}

/// Fills the store, and returns some of its sessions.
fn sessions(tokens: &Tokens) -> Vec<Issued> {
    let (app, mut used) = ("demo".parse().unwrap(), Vec::new());
    // Without the flag, cargo runs the bench as a test.
    let count = if std::env::args().any(|argument| argument == "--bench") { SESSIONS } else { USED };
    for i in 0..count {
        let new = NewToken::for_user(format!("user-{i}").parse().unwrap()).on("web".parse().unwrap());
        let issued = tokens.issue_for(&app, new).now_or_never().unwrap().unwrap();
        if i % (count / USED) == 0 {
            used.push(issued);
        }
    }
    used
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
