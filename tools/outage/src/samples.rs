//! Samples of the service's metrics, and the rates and quantiles computed from them.

use std::{collections::HashMap, time::Duration};

use reqwest::Client;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::Error;

const PER_SECOND: u32 = 4;

pub(crate) struct Sample {
    /// Seconds after the start.
    at: f64,
    /// By name and labels, as Prometheus text has them.
    values: HashMap<String, f64>,
}

/// Reads the metrics several times per second until the end. Fails if two samples are more than 2 seconds apart.
pub(crate) async fn collect(http: &Client, url: &str, start: Instant, end: Instant) -> Result<Vec<Sample>, Error> {
    let mut interval = interval(Duration::from_secs(1) / PER_SECOND);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut samples: Vec<Sample> = Vec::new();
    while interval.tick().await < end {
        let text = http.get(url).send().await?.error_for_status()?.text().await?;
        let at = start.elapsed().as_secs_f64();
        if samples.last().is_some_and(|last| at - last.at > 2.0) {
            return Err("the machine is too busy: two samples are more than 2 s apart. Run it again".into());
        }
        samples.push(Sample { at, values: parse(&text) });
    }
    Ok(samples)
}

/// Reads Prometheus text without timestamps, as the service writes it. Skips comments, because they do not end with a
/// number. The published parser crates have had no release for years, and are longer to use than these lines.
fn parse(text: &str) -> HashMap<String, f64> {
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// How much a counter grew per second.
pub(crate) fn rate(samples: &[Sample], name: &str) -> Vec<(f64, f64)> {
    let value = |sample: &Sample| sample.values.get(name).copied().unwrap_or(0.0);
    over_a_second(samples, |from, to| Some((value(to) - value(from)) / (to.at - from.at)))
}

/// A quantile of a histogram, interpolated within its bucket as Prometheus does. No point where nothing was counted.
pub(crate) fn quantile(samples: &[Sample], quantile: f64, name: &str, label: &str) -> Vec<(f64, f64)> {
    let prefix = format!("{name}_bucket{{{label},le=\"");
    over_a_second(samples, |from, to| {
        let mut buckets: Vec<(f64, f64)> = to
            .values
            .iter()
            .filter_map(|(name, count)| {
                let bound = name.strip_prefix(&prefix)?.strip_suffix("\"}")?.parse().ok()?;
                Some((bound, count - from.values.get(name).unwrap_or(&0.0)))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let rank = quantile * buckets.last().filter(|(_, count)| *count > 0.0)?.1;
        let i = buckets.iter().position(|(_, count)| *count >= rank)?;
        let (low, below) = if i == 0 { (0.0, 0.0) } else { buckets[i - 1] };
        let (high, within) = buckets[i];
        Some(if high.is_finite() { low + (high - low) * (rank - below) / (within - below) } else { low })
    })
}

/// Compares each sample with the sample of a second earlier.
fn over_a_second(samples: &[Sample], compare: impl Fn(&Sample, &Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    let pairs = samples.iter().zip(samples.iter().skip(PER_SECOND as usize));
    pairs.filter_map(|(from, to)| Some((to.at, compare(from, to)?))).collect()
}
