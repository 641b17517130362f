//! What operators see of an outage, drawn: a Redis that is killed and then one that hangs, and a change of keys, under load.
//!
//! ```sh
//! scripts/plot-outage docs/outage.svg
//! ```
//!
//! It starts redis-server and the echo server (`--redis --metrics`), sends it signed requests, and reads its metrics four
//! times a second, as Prometheus would.

mod load;
mod plot;
mod processes;
mod samples;

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep_until};

use self::{
    load::Load,
    plot::{Event, draw},
    processes::{EchoServer, RedisServer},
    samples::Sampler,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

const NEW_KEY: &str = "fedcba9876543210fedcba9876543210";
const OLD_KEY: &str = "0123456789abcdef0123456789abcdef";

/// Seconds after the start.
const KILLED: f64 = 8.0;
const RESTARTED: f64 = 14.0;
const FROZEN: f64 = 20.0;
const THAWED: f64 = 24.0;
const ROTATED: f64 = 30.0;
const CHANGED: f64 = 36.0;
const END: f64 = 42.0;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).ok_or("usage: outage FILE.svg")?;
    let mut redis = RedisServer::start()?;
    let server = EchoServer::start(&redis.url(), &[NEW_KEY, OLD_KEY])?;

    let start = Instant::now();
    let load = Load::start(&server.base, [OLD_KEY, NEW_KEY])?;
    let samples = Sampler::start(&server.metrics, start);
    let at = |seconds: f64| sleep_until(start + Duration::from_secs_f64(seconds));
    at(KILLED).await;
    redis.kill()?;
    at(RESTARTED).await;
    redis.restart()?;
    at(FROZEN).await;
    redis.signal("STOP")?;
    at(THAWED).await;
    redis.signal("CONT")?;
    for client in 0..load::CLIENTS {
        at(ROTATED + (CHANGED - ROTATED) * client as f64 / load::CLIENTS as f64).await;
        load.rotate();
    }
    at(END).await;

    let events = [
        Event { from: KILLED, to: RESTARTED, text: "Redis is killed" },
        Event { from: FROZEN, to: THAWED, text: "Redis hangs" },
        Event { from: ROTATED, to: CHANGED, text: "clients change keys" },
    ];
    let samples = samples.stop().await?;
    if samples.windows(2).any(|pair| pair[1].at - pair[0].at > 2.0) {
        return Err("the machine stood still for more than 2 s: draw it again".into());
    }
    fs::write(&path, draw(&samples, &events, END))?;
    println!("{path}: {} samples, {}", samples.len(), load.stop().await);
    Ok(())
}
