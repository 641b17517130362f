//! The memory that forms share while they arrive.

use bytes::Bytes;
use countersign::{Limits, StaticKeys, Verifier, server::UnverifiedBody};
use http_body_util::channel::{Channel, Sender};
use tokio::task::JoinHandle;

use crate::rig::{self, form, post, signed, verifier};

const KIB: usize = 1024;

/// A form that arrives in pieces.
struct Upload {
    sender: Option<Sender<Bytes>>,
    verdict: JoinHandle<&'static str>,
}

impl Upload {
    /// The body does not match the signed form, so the request ends with `invalid_signature` once the body is complete.
    async fn start(verifier: &Verifier<StaticKeys>, bytes: usize) -> Self {
        let (sender, body) = Channel::<Bytes>::new(1);
        let request = signed(form("/", "a=1")).map(|_| UnverifiedBody::new(body));
        let verifier = verifier.clone();
        let verdict = tokio::spawn(async move {
            verifier.verify(request).await.map_or_else(|rejection| rejection.kind().code(), |_| "accepted")
        });
        let mut upload = Self { sender: Some(sender), verdict };
        upload.send(bytes).await;
        upload
    }

    async fn send(&mut self, bytes: usize) {
        let _ = self.sender.as_mut().unwrap().send_data(Bytes::from(vec![b'a'; bytes])).await;
        settle().await;
    }

    fn is_ended(&self) -> bool {
        self.verdict.is_finished()
    }

    /// The code of a request that ended before its body was complete.
    async fn ended(self) -> &'static str {
        assert!(self.is_ended());
        self.verdict.await.unwrap()
    }

    /// Ends the body and returns the code.
    async fn end(mut self) -> &'static str {
        drop(self.sender.take());
        self.verdict.await.unwrap()
    }
}

/// Lets all tasks run until they wait.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn verifier_with(memory: usize) -> Verifier<StaticKeys> {
    verifier().0.with_form_memory(memory)
}

#[tokio::test]
async fn largest_form_is_ended_with_503() {
    let verifier = verifier_with(100 * KIB);
    let small = Upload::start(&verifier, 10 * KIB).await;
    let large = Upload::start(&verifier, 60 * KIB).await;
    let mut medium = Upload::start(&verifier, 20 * KIB).await;
    assert!(![&small, &large, &medium].iter().any(|form| form.is_ended()));
    medium.send(20 * KIB).await;
    assert!(large.is_ended(), "it is woken although no bytes arrive");
    assert_eq!(large.ended().await, "unavailable");
    assert_eq!((small.end().await, medium.end().await), ("invalid_signature", "invalid_signature"));
}

#[tokio::test]
async fn oldest_of_equal_forms_is_ended() {
    let verifier = verifier_with(100 * KIB);
    let mut forms = Vec::new();
    for _ in 0..10 {
        forms.push(Upload::start(&verifier, 10 * KIB).await);
    }
    assert!(!forms.iter().any(Upload::is_ended));
    // New forms are accepted as long as a larger form exists.
    for count in 1..=10 {
        let newest = Upload::start(&verifier, 5 * KIB).await;
        let ended = forms.iter().take_while(|form| form.is_ended()).count();
        assert_eq!(ended, usize::div_ceil(count, 2), "{count}");
        assert_eq!(forms.iter().filter(|form| form.is_ended()).count(), ended, "the oldest forms are ended");
        assert!(!newest.is_ended());
        forms.push(newest);
    }
}

#[tokio::test]
async fn form_larger_than_the_memory_is_ended() {
    let verifier = verifier_with(50 * KIB);
    let small = Upload::start(&verifier, 10 * KIB).await;
    let mut large = Upload::start(&verifier, 30 * KIB).await;
    large.send(30 * KIB).await;
    assert_eq!(large.ended().await, "unavailable");
    assert_eq!(small.end().await, "invalid_signature");
}

#[tokio::test]
async fn form_memory_is_released() {
    let verifier = verifier_with(50 * KIB);
    for _ in 0..20 {
        let cancelled = Upload::start(&verifier, 40 * KIB).await;
        cancelled.verdict.abort();
        assert_eq!(Upload::start(&verifier, 40 * KIB).await.end().await, "invalid_signature");
        let ended = Upload::start(&verifier, 45 * KIB).await;
        assert_eq!(Upload::start(&verifier, 10 * KIB).await.end().await, "invalid_signature");
        assert_eq!(ended.ended().await, "unavailable");
    }
}

#[tokio::test]
async fn clones_share_the_memory() {
    let one = verifier_with(50 * KIB);
    let first = Upload::start(&one, 40 * KIB).await;
    let _other_verifier = Upload::start(&verifier_with(50 * KIB), 45 * KIB).await;
    let _other_memory = Upload::start(&one.clone().with_form_memory(50 * KIB), 45 * KIB).await;
    assert!(!first.is_ended());
    let _second = Upload::start(&one.clone().with_nonces(countersign::store::MemoryNonceStore::new()), 20 * KIB).await;
    assert_eq!(first.ended().await, "unavailable");
}

#[tokio::test]
async fn form_in_one_frame_needs_no_memory() {
    let none = verifier_with(0);
    assert_eq!(rig::code(&none, signed(form("/", "a=1"))).await, "accepted");
    assert_eq!(Upload::start(&none, 1).await.end().await, "unavailable");
    // Other bodies need no form memory, because they are read after the signature is verified.
    let (mut sender, body) = Channel::<Bytes>::new(4);
    for piece in ["te", "xt"] {
        sender.send_data(Bytes::from(piece)).await.unwrap();
    }
    drop(sender);
    let request = signed(post("/", "text/plain", "text")).map(|_| UnverifiedBody::new(body));
    assert_eq!(rig::bytes(none.verify(request).await.unwrap().into_body()).await, "text");
}

#[tokio::test]
async fn one_form_can_use_the_whole_memory() {
    let length = 256 * KIB;
    let verifier = verifier_with(length).with_limits(Limits::new().with_form(length));
    for piece in [1, 1000, 16 * KIB, length - 1] {
        let body = "a=".to_owned() + &"x".repeat(length - 2);
        let (mut sender, channel) = Channel::<Bytes>::new(1);
        let request = http::Request::post("/").header("content-type", "application/x-www-form-urlencoded");
        let request = signed(request.body(body.clone()).unwrap()).map(|_| UnverifiedBody::new(channel));
        let sending = async {
            for piece in body.as_bytes().chunks(piece) {
                sender.send_data(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            drop(sender);
        };
        let (verified, ()) = tokio::join!(verifier.verify(request), sending);
        assert_eq!(rig::bytes(verified.unwrap().into_body()).await, body, "in pieces of {piece}");
    }
}
