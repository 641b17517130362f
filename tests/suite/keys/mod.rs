//! Keys: which of them sign, where they come from, and how one is changed for another.

mod spans;

use countersign::{Caller, KeyName, Rejection, Secret, Signer, server::ServiceBody};
use http::Request;

/// A secret of its own for each letter, 32 bytes long.
fn secret(letter: char) -> Secret {
    Secret::new(letter.to_string().repeat(32)).unwrap()
}

fn name(name: &str) -> KeyName {
    name.parse().unwrap()
}

fn signer(app: &str, letter: char) -> Signer {
    Signer::new(app.parse().unwrap(), secret(letter))
}

/// Whom the verifier let in, or why not.
fn caller(verdict: Result<Request<ServiceBody>, Rejection>) -> Result<Caller, Rejection> {
    verdict.map(|request| request.extensions().get::<Caller>().unwrap().clone())
}
