//! A cached answer never exceeds its maximum age, for any sequence of events.

use proptest::{collection::vec, prelude::*};

use super::*;

const GRACE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
enum Step {
    LookUp,
    Rotate,
    Remove,
    Break(Behavior),
    Repair,
    Invalidate,
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let broken = prop::sample::select(vec![Behavior::Failing, Behavior::Hanging, Behavior::Panicking]);
    prop_oneof![
        8 => Just(Step::LookUp),
        2 => Just(Step::Rotate),
        1 => Just(Step::Remove),
        1 => broken.prop_map(Step::Break),
        2 => Just(Step::Repair),
        1 => Just(Step::Invalidate),
        4 => prop_oneof![0..200_u64, 0..70_000_u64].prop_map(Step::Advance),
    ]
}

/// The answers of the database over time, as a model of the cache's permitted answers.
#[derive(Default)]
struct History {
    now: Duration,
    /// Each answer, with the time since when the database has given it.
    held: Vec<(Duration, String)>,
    /// The index of the oldest answer that is valid after the last invalidation.
    first: usize,
}

impl History {
    fn record(&mut self, what: String) {
        self.held.push((self.now, what));
    }

    fn invalidate(&mut self) {
        self.first = self.held.len() - 1;
    }

    /// Whether the database gave this answer less than `age` ago, and not only before the last invalidation.
    fn held(&self, what: &str, age: Duration) -> bool {
        let ends = self.held.iter().skip(1).map(|(from, _)| *from).chain([Duration::MAX]);
        let mut held = self.held.iter().zip(ends).skip(self.first);
        held.any(|((_, held), end)| held == what && end.saturating_add(age) > self.now)
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (keys, database, clock) = cached();
    let keys = keys.with_grace(GRACE);
    let mut history = History::default();
    history.record("key 1".to_owned());
    let (mut key, mut is_broken, mut failed) = (1, false, None);
    for step in steps {
        match step {
            Step::LookUp => {
                let lookups = database.lookups();
                let answer = look_up(&keys, "demo").await;
                settle().await;
                let is_outage = is_broken || failed.is_some_and(|at| history.now - at < SECOND + DEADLINE + SECOND);
                let age = match &*answer {
                    "none" => UNKNOWN_TTL,
                    _ if is_outage => TTL + GRACE,
                    _ => TTL,
                };
                match answer.starts_with("the key store") {
                    true => prop_assert!(is_outage, "{answer}"),
                    false => prop_assert!(history.held(&answer, age), "{} at {:?}", answer, history.now),
                }
                if database.lookups() > lookups {
                    failed = is_broken.then_some(history.now);
                }
            }
            Step::Rotate => {
                key = key % 12 + 1;
                database.set("demo", key);
                history.record(format!("key {key}"));
            }
            Step::Remove => {
                database.remove("demo");
                history.record("none".to_owned());
            }
            Step::Break(behavior) => {
                database.set_behavior(behavior);
                is_broken = true;
            }
            Step::Repair => {
                database.set_behavior(Behavior::Healthy);
                is_broken = false;
            }
            Step::Invalidate => {
                keys.invalidate(&app("demo"));
                history.invalidate();
            }
            Step::Advance(milliseconds) => {
                let time = Duration::from_millis(milliseconds);
                // Tokio's clock, not the manual one, ends a hanging lookup at its deadline.
                let until_deadlines = time.min(DEADLINE + Duration::from_millis(1));
                for part in [until_deadlines, time - until_deadlines] {
                    history.now += part;
                    clock.advance(part);
                    tokio::time::advance(part).await;
                    settle().await;
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_is_older_than_its_bound(steps in vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(run(steps))?;
    }
}
