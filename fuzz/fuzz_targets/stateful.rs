//! A verifier over time, against a simple model of the used nonces, their expiry, and the current faults.
//!
//! Apps sign requests, send them, and send earlier and changed ones again. Time passes, the wall clock is set, stores
//! fail before or after their work or never answer, and the process is restarted. The model determines the expected
//! result of each request. No request is accepted twice. No changed request is accepted or uses a nonce. A valid
//! request is rejected only with 503, and only while a store is broken or full.
//!
//! An input is four bytes of settings, and then four bytes for each step.

#![no_main]

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    Payload, Signer, StaticKeys, Verifier,
    clock::{Clock, ManualClock},
    store::MemoryNonceStore,
};
use countersign_fuzz::{
    broken::{Answer, Fault, Faults, Keys, Nonces},
    rig::{self, APPS, NOW},
};
use http::{Method, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((settings, steps)) = data.split_first_chunk::<4>() else { return };
    let mut scenario = Scenario::new(*settings);
    steps.as_chunks().0.iter().take(64).for_each(|step| scenario.step(*step));
});

/// The fate of nonces when the process ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Persistence {
    Volatile,
    /// Like `Volatile`, and the verifier starts with a strict restart.
    VolatileStrict,
    Persistent,
}

/// A change of a request without the key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Method,
    Path,
    Query,
    App,
    Timestamp,
    Nonce,
    Digest,
    /// Only the digest covers the body, so the nonce is used before the mismatch is detected.
    Body,
}

#[derive(Clone)]
struct Signed {
    app: usize,
    timestamp: u64,
    nonce: String,
    request: Request<Bytes>,
    /// The process, counted by restarts, that accepted the request last.
    accepted_in: Option<usize>,
}

struct Scenario {
    persistence: Persistence,
    tolerance: u64,
    capacity: usize,
    clock: ManualClock,
    store: Arc<MemoryNonceStore>,
    faults: Arc<Mutex<Faults>>,
    verifier: Verifier<Keys, Nonces>,
    signed: Vec<Signed>,
    /// The used nonces with their expiry.
    used: HashMap<(usize, String), u64>,
    /// The verifier's time and the monotonic time at the last reading.
    last_read: (u64, Duration),
    /// The latest time at which the store may have removed expired nonces, since the last restart.
    purged_at: u64,
    /// The verifier's time and the monotonic time at the start of the process.
    started: (u64, Duration),
    /// Whether the wall clock was set since the start.
    was_set: bool,
    restarts: usize,
}

impl Scenario {
    fn new([persistence, tolerance, capacity, _]: [u8; 4]) -> Self {
        let persistence =
            [Persistence::Volatile, Persistence::VolatileStrict, Persistence::Persistent][usize::from(persistence % 3)];
        let tolerance = [300, 1, 5, 30][usize::from(tolerance % 4)];
        let capacity = [MemoryNonceStore::DEFAULT_CAPACITY, 0, 1, 8, 16, 128][usize::from(capacity % 6)];
        let clock = ManualClock::at(NOW);
        let store = Arc::new(MemoryNonceStore::with_capacity(capacity));
        let faults = Arc::<Mutex<Faults>>::default();
        let verifier = verifier(persistence, tolerance, &store, &faults, &clock);
        let start = (NOW, clock.monotonic());
        Self {
            persistence,
            tolerance,
            capacity,
            clock,
            store,
            faults,
            verifier,
            signed: Vec::new(),
            used: HashMap::new(),
            last_read: start,
            purged_at: 0,
            started: start,
            was_set: false,
            restarts: 0,
        }
    }

    fn step(&mut self, [step, a, b, c]: [u8; 4]) {
        let app = usize::from(a) % APPS.len();
        let amount = u64::from(u16::from_be_bytes([b, c]));
        match step % 11 {
            0 => {
                self.sign(app, b, None);
                self.send(self.signed.len() - 1, None);
            }
            1 => self.sign(app, b, None),
            2 => {
                for _ in 0..b % 32 {
                    self.sign(app, c, None);
                    self.send(self.signed.len() - 1, None);
                }
            }
            3 if !self.signed.is_empty() => self.send(usize::from(a) % self.signed.len(), None),
            4 if !self.signed.is_empty() => {
                let all = [
                    Change::Method,
                    Change::Path,
                    Change::Query,
                    Change::App,
                    Change::Timestamp,
                    Change::Nonce,
                    Change::Digest,
                    Change::Body,
                ];
                let change = all[usize::from(b) % all.len()];
                self.send(usize::from(a) % self.signed.len(), Some(change));
            }
            // An app reuses an earlier nonce.
            5 if !self.signed.is_empty() => {
                let old = self.signed[usize::from(a) % self.signed.len()].clone();
                self.sign(old.app, b, Some(old.nonce));
                self.send(self.signed.len() - 1, None);
            }
            6 => self.clock.advance(Duration::from_millis(amount * [1, 10, 100, 1][usize::from(a % 4)])),
            7 => {
                let wall = self.clock.wall().as_secs();
                self.was_set = true;
                self.clock.set_wall(if a % 2 == 0 { wall + amount } else { wall.saturating_sub(amount) });
            }
            8 => {
                let all = [Fault::None, Fault::ErrsBefore, Fault::ErrsAfter, Fault::HangsBefore, Fault::HangsAfter];
                self.faults.lock().unwrap().nonces = all[usize::from(a) % all.len()];
            }
            9 => self.faults.lock().unwrap().keys = a % 2 == 1,
            10 => self.restart(),
            _ => {}
        }
    }

    /// Signs with a timestamp in the window or near its ends.
    fn sign(&mut self, app: usize, skew: u8, nonce: Option<String>) {
        let tolerance = self.tolerance as i64;
        let skew = (i64::from(skew as i8) * (tolerance + 2) / 128).clamp(-tolerance - 1, tolerance + 1);
        let timestamp = self.now().saturating_add_signed(skew);
        // All apps use the same nonces.
        let nonce = nonce.unwrap_or_else(|| format!("nonce-{}", self.signed.iter().filter(|s| s.app == app).count()));
        let (mut parts, ()) = Request::post("/p?a=1").body(()).unwrap().into_parts();
        let body = Bytes::from_static(b"body");
        let of_request = (timestamp.try_into().unwrap(), nonce.parse().unwrap());
        signers()[app].sign_at(&mut parts, Payload::Bytes(&body), of_request.0, of_request.1).unwrap();
        self.signed.push(Signed {
            app,
            timestamp,
            nonce,
            request: Request::from_parts(parts, body),
            accepted_in: None,
        });
    }

    fn send(&mut self, index: usize, change: Option<Change>) {
        let now = self.now();
        let mut signed = self.signed[index].clone();
        if let Some(change) = change {
            change.make(&mut signed);
        }
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            faults.answer = None;
            faults.nonces
        };
        let got = rig::verify_at_once(&self.verifier, &signed.request);
        let answer = self.faults.lock().unwrap().answer.take();
        let got =
            got.map_or("nothing", |result| result.map_or_else(|rejection| rejection.kind().code(), |_| "accepted"));

        // 2
        let (surely_stale, surely_fresh) = self.not_before(now);
        let is_near = signed.timestamp.abs_diff(now) <= self.tolerance;
        let is_stale = match signed.timestamp {
            _ if !is_near => true,
            timestamp if timestamp < surely_stale => true,
            timestamp if timestamp >= surely_fresh => false,
            _ => got == "stale_timestamp",
        };
        // 4 and 6
        let refusal = if is_stale {
            Some("stale_timestamp")
        } else if self.faults.lock().unwrap().keys {
            Some("unavailable")
        } else if change.is_some_and(|change| change != Change::Body) {
            Some("invalid_signature")
        } else {
            None
        };
        if let Some(code) = refusal {
            assert_eq!(got, code);
            assert_eq!(answer, None, "an earlier step rejects the request, so it claims no nonce");
            return;
        }
        // 8
        let expected = match (fault, answer) {
            (Fault::ErrsBefore, answer) => {
                assert_eq!(answer, None);
                "unavailable"
            }
            (Fault::HangsBefore, answer) => {
                assert_eq!(answer, None);
                "nothing"
            }
            (_, None) => panic!("accepted or rejected as {got} without a nonce claim"),
            (fault, Some(answer)) => {
                self.check_answer(&signed, now, answer);
                match (fault, answer) {
                    (Fault::ErrsAfter, _) => "unavailable",
                    (Fault::HangsAfter, _) => "nothing",
                    (_, Answer::Full) => "unavailable",
                    (_, Answer::Repeated) => "replayed_nonce",
                    // 9
                    (_, Answer::First) if change.is_some() => "body_mismatch",
                    (_, Answer::First) => "accepted",
                }
            }
        };
        assert_eq!(got, expected);
        if got == "accepted" {
            let may_forget = self.persistence == Persistence::Volatile;
            let before = self.signed[index].accepted_in.replace(self.restarts);
            assert!(before.is_none() || may_forget && before != Some(self.restarts), "accepted twice");
        }
    }

    /// Checks the store's answer by the contract of nonce stores, and records the nonce as used.
    fn check_answer(&mut self, signed: &Signed, now: u64, answer: Answer) {
        let purged_at = self.faults.lock().unwrap().purged_at;
        assert!(self.purged_at <= purged_at && purged_at <= now, "{} <= {purged_at} <= {now}", self.purged_at);
        self.purged_at = purged_at;
        self.used.retain(|_, until| *until > purged_at);
        let id = (signed.app, signed.nonce.clone());
        if self.used.contains_key(&id) {
            assert_eq!(answer, Answer::Repeated, "a used nonce");
            return;
        }
        let (all, of_app) = (self.used.len(), self.used.keys().filter(|(app, _)| *app == signed.app).count());
        let is_open = all < self.capacity && of_app < 3 * (self.capacity - all);
        let expected = if is_open { Answer::First } else { Answer::Full };
        assert_eq!(answer, expected, "{all} nonces are used, {of_app} of them by the app");
        if answer == Answer::First {
            let beyond = if self.persistence == Persistence::Persistent { 61 } else { 1 };
            self.used.insert(id, signed.timestamp + self.tolerance + beyond);
        }
    }

    /// Reads the verifier's clock with a request that is always stale, and checks it.
    fn now(&mut self) -> u64 {
        let request = Request::get("/")
            .header("x-app-id", "demo")
            .header("x-timestamp", "1")
            .header("x-nonce", "nonce-0")
            .header("x-sign", "0".repeat(64));
        let result = rig::verify_at_once(&self.verifier, &request.body(Bytes::new()).unwrap());
        let rejection = result.expect("no store is called").expect_err("accepted without a signer");
        let now = rejection.server_time().expect("the request is stale");

        let ((last_read, then), monotonic) = (self.last_read, self.clock.monotonic());
        let (wall, passed) = (self.clock.wall().as_secs(), (monotonic - then).as_secs());
        assert!(now >= self.purged_at, "the clock is behind the time at which nonces were removed");
        assert!(now >= wall, "the clock is behind the wall clock");
        assert!(now <= wall.max(last_read + passed + 1), "the clock is ahead of the elapsed time and the wall clock");
        self.last_read = (now, monotonic);
        now
    }

    /// Requests before the first second are stale. Requests from the second one on are not stale because of the
    /// restart.
    fn not_before(&self, now: u64) -> (u64, u64) {
        let (started, then) = self.started;
        let by_uptime = now.saturating_sub((self.clock.monotonic() - then).as_secs());
        let (low, high) =
            if self.was_set { (started.min(by_uptime) - 2, started.max(by_uptime) + 2) } else { (started, started) };
        match self.persistence {
            Persistence::Persistent => (0, 0),
            Persistence::Volatile => (low, high),
            Persistence::VolatileStrict => (low + self.tolerance + 1, high + self.tolerance + 1),
        }
    }

    /// The wall clock does not go backwards at a restart.
    fn restart(&mut self) {
        let now = self.now();
        if self.clock.wall().as_secs() <= now {
            self.clock.set_wall(now + 1);
        }
        if self.persistence != Persistence::Persistent {
            self.store = Arc::new(MemoryNonceStore::with_capacity(self.capacity));
            self.used.clear();
        }
        self.verifier = verifier(self.persistence, self.tolerance, &self.store, &self.faults, &self.clock);
        self.last_read = (self.clock.wall().as_secs(), self.clock.monotonic());
        self.started = self.last_read;
        self.purged_at = 0;
        self.was_set = false;
        self.restarts += 1;
    }
}

fn verifier(
    persistence: Persistence,
    tolerance: u64,
    store: &Arc<MemoryNonceStore>,
    faults: &Arc<Mutex<Faults>>,
    clock: &ManualClock,
) -> Verifier<Keys, Nonces> {
    static KEYS: LazyLock<Arc<StaticKeys>> = LazyLock::new(|| Arc::new(rig::keys()));
    let nonces =
        Nonces { store: store.clone(), faults: faults.clone(), is_persistent: persistence == Persistence::Persistent };
    let verifier = Verifier::new(Keys(KEYS.clone(), faults.clone()))
        .with_nonces(nonces)
        .with_clock(clock.clone())
        .with_tolerance(Duration::from_secs(tolerance));
    if persistence == Persistence::VolatileStrict { verifier.with_strict_restart() } else { verifier }
}

fn signers() -> &'static [Signer; 3] {
    static SIGNERS: LazyLock<[Signer; 3]> = LazyLock::new(|| APPS.map(|(app, key)| rig::signer_of(app, key)));
    &SIGNERS
}

impl Change {
    fn make(self, signed: &mut Signed) {
        let request = &mut signed.request;
        let mut set = |name: &'static str, value: &str| {
            request.headers_mut().insert(name, value.parse().unwrap());
        };
        match self {
            Self::Method => *request.method_mut() = Method::PUT,
            Self::Path => *request.uri_mut() = "/q?a=1".parse().unwrap(),
            Self::Query => *request.uri_mut() = "/p?a=1&b=2".parse().unwrap(),
            Self::App => set("x-app-id", APPS[(signed.app + 1) % APPS.len()].0),
            Self::Timestamp => {
                signed.timestamp += 1;
                set("x-timestamp", &signed.timestamp.to_string());
            }
            Self::Nonce => set("x-nonce", "another-nonce"),
            Self::Digest => set("x-content-sha256", &"0".repeat(64)),
            Self::Body => *request.body_mut() = Bytes::from_static(b"another"),
        }
    }
}
