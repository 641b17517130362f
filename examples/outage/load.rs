//! Clients that sign and send at a steady pace, whatever they are answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use countersign::{Secret, Signer};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::Error;

pub(crate) const CLIENTS: usize = 12;

/// Of each client: 300 requests a second together.
const PACE: Duration = Duration::from_millis(40);

pub(crate) struct Load {
    clients: JoinSet<()>,
    rotated: Arc<AtomicUsize>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    let_in: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
}

impl Load {
    /// All sign with the first key.
    pub(crate) fn start(base: &str, keys: [&str; 2]) -> Result<Self, Error> {
        let (rotated, counts) = (Arc::new(AtomicUsize::new(0)), Arc::new(Counts::default()));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let [old, new] = keys.map(|key| Ok::<_, Error>(Signer::new("demo".parse()?, Secret::new(key)?)));
            let (signers, rotated) = ([old?, new?], rotated.clone());
            let signer = move || signers[usize::from(rotated.load(Relaxed) > number)].clone();
            clients.spawn(send_on(format!("{base}/orders/{number}"), signer, counts.clone()));
        }
        Ok(Self { clients, rotated, counts })
    }

    /// One client more takes the second key.
    pub(crate) fn rotate(&self) {
        self.rotated.fetch_add(1, Relaxed);
    }

    /// Ends it, and says how it went.
    pub(crate) async fn stop(mut self) -> String {
        self.clients.shutdown().await;
        let Counts { let_in, refused, unanswered } = &*self.counts;
        format!("{let_in:?} let in, {refused:?} refused, {unanswered:?} without an answer")
    }
}

/// At its pace: who waits for an answer does not wait with the next request.
async fn send_on(url: String, signer: impl Fn() -> Signer, counts: Arc<Counts>) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut interval = interval(PACE);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut sent = JoinSet::new();
    loop {
        interval.tick().await;
        while sent.try_join_next().is_some() {}
        let (client, counts, url, signer) = (client.clone(), counts.clone(), url.clone(), signer());
        sent.spawn(async move {
            let counter = match send(&client, &url, &signer).await {
                Ok(true) => &counts.let_in,
                Ok(false) => &counts.refused,
                Err(_) => &counts.unanswered,
            };
            counter.fetch_add(1, Relaxed);
        });
    }
}

async fn send(client: &Client<HttpConnector, Full<Bytes>>, url: &str, signer: &Signer) -> Result<bool, Error> {
    let request = signer.sign(Request::post(url).body(Bytes::from_static(b"{\"amount\":10}"))?)?;
    let (parts, body) = client.request(request.map(Full::new)).await?.into_parts();
    // To its end, so that the connection can be used again.
    body.collect().await?;
    Ok(parts.status.is_success())
}
