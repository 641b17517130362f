//! Draws metrics of a service under load while Redis is killed, Redis hangs, and clients change keys.
//!
//! `scripts/plot-outage` runs it with `countersign serve --redis --metrics` as the service.

mod plot;
mod processes;
mod samples;

use std::time::Duration;

use countersign::{Secret, Signer};
use futures_util::future::try_join_all;
use reqwest::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use self::processes::{Redis, Service};

type Error = Box<dyn std::error::Error + Send + Sync>;

const NEW_KEY: &str = "fedcba9876543210fedcba9876543210";
const OLD_KEY: &str = "0123456789abcdef0123456789abcdef";
const CLIENTS: u32 = 12;
/// The time between two requests of a client. All clients together send 300 requests per second.
const PERIOD: Duration = Duration::from_millis(40);

/// Seconds after the start.
const KILLED: f64 = 8.0;
const RESTARTED: f64 = 14.0;
const FROZEN: f64 = 20.0;
const THAWED: f64 = 24.0;
const FIRST_ROTATED: f64 = 30.0;
const ALL_ROTATED: f64 = 36.0;
const END: f64 = 42.0;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(program), Some(picture)) = (arguments.next(), arguments.next()) else {
        return Err("expected two arguments: the path of the program countersign, and FILE.svg".into());
    };
    let mut redis = Redis::start().await?;
    let service = Service::start(&program, &redis.url(), &[NEW_KEY, OLD_KEY]).await?;

    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let outage = async {
        sleep_until(at(KILLED)).await;
        redis.kill().await?;
        sleep_until(at(RESTARTED)).await;
        redis.restart()?;
        sleep_until(at(FROZEN)).await;
        redis.signal("STOP").await?;
        sleep_until(at(THAWED)).await;
        redis.signal("CONT").await
    };
    let http = Client::new();
    let load = try_join_all((0..CLIENTS).map(|number| {
        let rotation = FIRST_ROTATED + (ALL_ROTATED - FIRST_ROTATED) * f64::from(number) / f64::from(CLIENTS);
        send(&http, format!("{}/orders/{number}", service.url), at(rotation), at(END))
    }));
    let (samples, ..) = tokio::try_join!(samples::collect(&http, &service.metrics, start, at(END)), load, outage)?;
    plot::draw(&picture, &samples)
}

/// Sends one request per period, without waiting for earlier responses. Signs with the new key from `rotation` on. Fails
/// if a request gets no response.
async fn send(http: &Client, url: String, rotation: Instant, end: Instant) -> Result<(), Error> {
    let [old, new] = [OLD_KEY, NEW_KEY].map(|key| Ok::<_, Error>(Signer::new("demo".parse()?, Secret::new(key)?)));
    let (old, new) = (old?, new?);
    let mut interval = interval(PERIOD);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut requests = JoinSet::new();
    while Instant::now() < end {
        let signer = if interval.tick().await < rotation { &old } else { &new };
        let request = signer.sign_reqwest(http.post(&url).body(r#"{"amount":10}"#).build()?)?;
        let response = http.execute(request);
        // The connection can be used again after the body is read.
        requests.spawn(async { response.await?.bytes().await });
        while let Some(response) = requests.try_join_next() {
            response??;
        }
    }
    Ok(())
}
