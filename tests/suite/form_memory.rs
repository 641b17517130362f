//! The memory that forms share while they arrive.

use bytes::Bytes;
use countersign::{Limits, StaticKeys, Verifier, server::UnverifiedBody};
use http_body_util::channel::{Channel, Sender};
use tokio::task::JoinHandle;

use crate::rig::{self, form, post, signed, verifier};

const KIB: usize = 1024;

/// A form that arrives piece by piece.
struct Arriving {
    sender: Option<Sender<Bytes>>,
    verdict: JoinHandle<&'static str>,
}

impl Arriving {
    /// Its body is not the signed one, so that its code is another one once it has ended.
    async fn start(verifier: &Verifier<StaticKeys>, bytes: usize) -> Self {
        let (sender, body) = Channel::<Bytes>::new(1);
        let request = signed(form("/", "a=1")).map(|_| UnverifiedBody::new(body));
        let verifier = verifier.clone();
        let verdict = tokio::spawn(async move {
            verifier.verify(request).await.map_or_else(|rejection| rejection.kind().code(), |_| "accepted")
        });
        let mut arriving = Self { sender: Some(sender), verdict };
        arriving.send(bytes).await;
        arriving
    }

    async fn send(&mut self, bytes: usize) {
        let _ = self.sender.as_mut().unwrap().send_data(Bytes::from(vec![b'a'; bytes])).await;
        settle().await;
    }

    fn is_ended(&self) -> bool {
        self.verdict.is_finished()
    }

    /// Its code, though no more of it has come.
    async fn ended(self) -> &'static str {
        assert!(self.is_ended());
        self.verdict.await.unwrap()
    }

    /// What becomes of it when no more comes.
    async fn end(mut self) -> &'static str {
        drop(self.sender.take());
        self.verdict.await.unwrap()
    }
}

/// Every task has done what it can do.
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
    let small = Arriving::start(&verifier, 10 * KIB).await;
    let large = Arriving::start(&verifier, 60 * KIB).await;
    let mut medium = Arriving::start(&verifier, 20 * KIB).await;
    assert!(![&small, &large, &medium].iter().any(|form| form.is_ended()));
    medium.send(20 * KIB).await;
    assert!(large.is_ended(), "it is woken, though none of its bytes came");
    assert_eq!(large.ended().await, "unavailable");
    assert_eq!((small.end().await, medium.end().await), ("invalid_signature", "invalid_signature"));
}

#[tokio::test]
async fn oldest_of_equal_forms_is_ended() {
    let verifier = verifier_with(100 * KIB);
    let mut forms = Vec::new();
    for _ in 0..10 {
        forms.push(Arriving::start(&verifier, 10 * KIB).await);
    }
    assert!(!forms.iter().any(Arriving::is_ended));
    // Newcomers are let in for as long as there is a larger one.
    for count in 1..=10 {
        let newest = Arriving::start(&verifier, 5 * KIB).await;
        let ended = forms.iter().take_while(|form| form.is_ended()).count();
        assert_eq!(ended, usize::div_ceil(count, 2), "{count}");
        assert_eq!(forms.iter().filter(|form| form.is_ended()).count(), ended, "the oldest of them");
        assert!(!newest.is_ended());
        forms.push(newest);
    }
}

#[tokio::test]
async fn form_beyond_the_memory_is_ended_itself() {
    let verifier = verifier_with(50 * KIB);
    let small = Arriving::start(&verifier, 10 * KIB).await;
    let mut large = Arriving::start(&verifier, 30 * KIB).await;
    large.send(30 * KIB).await;
    assert_eq!(large.ended().await, "unavailable");
    assert_eq!(small.end().await, "invalid_signature");
}

#[tokio::test]
async fn memory_comes_back() {
    let verifier = verifier_with(50 * KIB);
    for _ in 0..20 {
        let given_up = Arriving::start(&verifier, 40 * KIB).await;
        given_up.verdict.abort();
        assert_eq!(Arriving::start(&verifier, 40 * KIB).await.end().await, "invalid_signature");
        let ended = Arriving::start(&verifier, 45 * KIB).await;
        assert_eq!(Arriving::start(&verifier, 10 * KIB).await.end().await, "invalid_signature");
        assert_eq!(ended.ended().await, "unavailable");
    }
}

#[tokio::test]
async fn clones_share_the_memory() {
    let one = verifier_with(50 * KIB);
    let first = Arriving::start(&one, 40 * KIB).await;
    let _elsewhere = Arriving::start(&verifier_with(50 * KIB), 45 * KIB).await;
    let _apart = Arriving::start(&one.clone().with_form_memory(50 * KIB), 45 * KIB).await;
    assert!(!first.is_ended());
    let _second =
        Arriving::start(&one.clone().with_nonces(countersign::store::MemoryNonceStore::new()), 20 * KIB).await;
    assert_eq!(first.ended().await, "unavailable");
}

#[tokio::test]
async fn form_in_one_frame_takes_no_memory() {
    let none = verifier_with(0);
    assert_eq!(rig::code(&none, signed(form("/", "a=1"))).await, "accepted");
    assert_eq!(Arriving::start(&none, 1).await.end().await, "unavailable");
    // Nor does any other body: it is read when its request has proved itself.
    let (mut sender, body) = Channel::<Bytes>::new(4);
    for piece in ["te", "xt"] {
        sender.send_data(Bytes::from(piece)).await.unwrap();
    }
    drop(sender);
    let request = signed(post("/", "text/plain", "text")).map(|_| UnverifiedBody::new(body));
    assert_eq!(rig::bytes(none.verify(request).await.unwrap().into_body()).await, "text");
}

#[tokio::test]
async fn whole_memory_goes_to_one_form() {
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
