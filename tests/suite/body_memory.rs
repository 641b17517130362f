//! The memory that buffered bodies share.

use bytes::Bytes;
use countersign::{Secret, Signer, StaticKeys, Verifier, server::UnverifiedBody};
use http_body_util::channel::{Channel, Sender};
use tokio::task::{JoinHandle, yield_now};

use crate::rig::{self, NOW, post, signed_by, verifier};

const KIB: usize = 1024;

fn signer(app: &str) -> Signer {
    match app {
        "demo" => rig::signer(),
        other => Signer::new(other.parse().unwrap(), Secret::new("ffffffffffffffffffffffffffffffff").unwrap()),
    }
}

/// A body that arrives in pieces and does not match the signed digest.
struct Upload {
    sender: Option<Sender<Bytes>>,
    verdict: JoinHandle<&'static str>,
}

impl Upload {
    async fn start(verifier: &Verifier<StaticKeys>, app: &str, bytes: usize) -> Self {
        let (sender, body) = Channel::<Bytes>::new(1);
        let request = signed_by(&signer(app), NOW, post("/", "text/plain", "text"));
        let request = request.map(|_| UnverifiedBody::new(body));
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
        for _ in 0..100 {
            yield_now().await;
        }
    }

    fn is_ended(&self) -> bool {
        self.verdict.is_finished()
    }

    async fn end(mut self) -> &'static str {
        drop(self.sender.take());
        self.verdict.await.unwrap()
    }
}

fn verifier_with(memory: usize) -> Verifier<StaticKeys> {
    verifier().0.with_body_memory(memory)
}

#[tokio::test]
async fn largest_body_of_the_largest_app_is_ended() {
    let verifier = verifier_with(98 * KIB);
    let mut largest_of_all = Upload::start(&verifier, "other", 40 * KIB).await;
    let small = Upload::start(&verifier, "demo", 20 * KIB).await;
    let large = Upload::start(&verifier, "demo", 30 * KIB).await;
    assert!(![&largest_of_all, &small, &large].iter().any(|upload| upload.is_ended()));
    largest_of_all.send(9 * KIB).await;
    assert!(large.is_ended(), "demo has 50 KiB, other 49");
    assert_eq!(large.end().await, "unavailable");
    largest_of_all.send(29 * KIB).await;
    assert!(!small.is_ended() && !largest_of_all.is_ended());
    largest_of_all.send(10 * KIB).await;
    assert_eq!(largest_of_all.end().await, "unavailable", "now other uses the most memory");
    assert_eq!(small.end().await, "body_mismatch");
}

#[tokio::test]
async fn flood_of_one_app_ends_only_its_uploads() {
    let verifier = verifier_with(1000 * KIB);
    let kept = Upload::start(&verifier, "demo", 100 * KIB).await;
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(Upload::start(&verifier, "other", 50 * KIB).await);
    }
    assert!(!kept.is_ended());
    let ended = flood.iter().filter(|upload| upload.is_ended()).count();
    assert!((82..=90).contains(&ended), "{ended}");
    assert!(flood.iter().take(ended).all(Upload::is_ended), "the oldest of the equal ones are ended");
    assert_eq!(kept.end().await, "body_mismatch");
}

#[tokio::test]
async fn body_memory_is_released() {
    let verifier = verifier_with(50 * KIB);
    for app in ["demo", "other"].into_iter().cycle().take(40) {
        let cancelled = Upload::start(&verifier, app, 40 * KIB).await;
        cancelled.verdict.abort();
        assert_eq!(Upload::start(&verifier, app, 40 * KIB).await.end().await, "body_mismatch");
        let ended = Upload::start(&verifier, "demo", 45 * KIB).await;
        assert_eq!(Upload::start(&verifier, "other", 10 * KIB).await.end().await, "body_mismatch");
        assert_eq!(ended.end().await, "unavailable");
    }
}

#[tokio::test]
async fn forms_and_bodies_have_separate_memory() {
    let verifier = verifier_with(50 * KIB).with_form_memory(0);
    assert_eq!(Upload::start(&verifier, "demo", 40 * KIB).await.end().await, "body_mismatch");
}
