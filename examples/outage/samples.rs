//! Metrics, read again and again.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::Error;

const EVERY: Duration = Duration::from_millis(250);

/// What was read at a time.
pub(crate) struct Sample {
    /// Seconds after the start.
    pub(crate) at: f64,
    /// By name and labels, as they are written.
    values: HashMap<String, f64>,
}

pub(crate) struct Sampler {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Vec<Sample>, Error>>,
}

impl Sampler {
    pub(crate) fn start(url: &str, start: Instant) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let url = url.to_owned();
        let task = tokio::spawn(async move {
            let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
            let mut interval = interval(EVERY);
            interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut samples = Vec::new();
            loop {
                tokio::select! {
                    _ = interval.tick() => {}
                    _ = &mut stopped => return Ok(samples),
                }
                let body = client.get(url.parse()?).await?.into_body().collect().await?.to_bytes();
                let at = start.elapsed().as_secs_f64();
                samples.push(Sample { at, values: read(std::str::from_utf8(&body)?) });
            }
        });
        Self { stop, task }
    }

    pub(crate) async fn stop(self) -> Result<Vec<Sample>, Error> {
        let _ = self.stop.send(());
        self.task.await?
    }
}

fn read(text: &str) -> HashMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

impl Sample {
    fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or(0.0)
    }

    /// A histogram's upper bounds, and what it has counted up to each.
    fn buckets(&self, name: &str, label: &str) -> Vec<(f64, f64)> {
        let prefix = format!("{name}_bucket{{{label},le=\"");
        let bucket = |(key, &count): (&String, &f64)| {
            let bound = key.strip_prefix(&prefix)?.strip_suffix("\"}")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), count))
        };
        let mut buckets: Vec<_> = self.values.iter().filter_map(bucket).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

/// How much a counter grew in a second.
pub(crate) fn rate(samples: &[Sample], name: &str) -> Vec<(f64, f64)> {
    let rate = |from: &Sample, to: &Sample| (to.value(name) - from.value(name)) / (to.at - from.at);
    over_a_second(samples, |from, to| Some(rate(from, to)))
}

/// Below what this share of a histogram lay, in between its bounds as Prometheus has it.
pub(crate) fn quantile(samples: &[Sample], share: f64, name: &str, label: &str) -> Vec<(f64, f64)> {
    over_a_second(samples, |from, to| {
        let (from, to) = (from.buckets(name, label), to.buckets(name, label));
        let before = |i: usize| from.get(i).map_or(0.0, |bucket| bucket.1);
        let counts: Vec<_> = to.iter().enumerate().map(|(i, (bound, count))| (*bound, count - before(i))).collect();
        let wanted = share * counts.last()?.1;
        let i = counts.iter().position(|(_, count)| *count >= wanted && *count > 0.0)?;
        let (low, under) = if i == 0 { (0.0, 0.0) } else { counts[i - 1] };
        let (high, within) = counts[i];
        let share = (wanted - under) / (within - under);
        Some(if high.is_finite() { low + (high - low) * share } else { low })
    })
}

/// Compares each sample with that of a second before.
fn over_a_second(samples: &[Sample], compare: impl Fn(&Sample, &Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    let pairs = samples.iter().zip(samples.iter().skip(4));
    pairs.filter_map(|(from, to)| Some((to.at, compare(from, to)?))).collect()
}
