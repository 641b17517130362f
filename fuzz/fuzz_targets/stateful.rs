//! A verifier's life, against a simple model: which nonces are used until when, and what is broken just now.
//!
//! Apps sign requests, send them, send old ones again and changed ones; time passes, the wall clock is set, stores fail
//! before or after they have done their work, or never answer; the process is started anew. The model knows which answer is
//! due each time. So no request is let in twice, none that was changed is let in at all or uses up a nonce, and an honest
//! one is refused only with 503, and only while a store is broken or full.
//!
//! An input is four bytes of settings, then four for each step.

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
    let mut life = Life::new(*settings);
    steps.as_chunks().0.iter().take(64).for_each(|step| life.step(*step));
});

/// What becomes of nonces when the process ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Memory {
    Forgets,
    /// And the verifier refuses what it may have forgotten, and more.
    ForgetsStrictly,
    Outlives,
}

/// What can be changed on a request without the key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Method,
    Path,
    Query,
    App,
    Timestamp,
    Nonce,
    Digest,
    /// Bound by its digest alone, so the nonce is spent when that is seen.
    Body,
}

#[derive(Clone)]
struct Signed {
    app: usize,
    timestamp: u64,
    nonce: String,
    request: Request<Bytes>,
    /// In which of the process's lives it was let in last.
    let_in: Option<usize>,
}

struct Life {
    memory: Memory,
    tolerance: u64,
    capacity: usize,
    clock: ManualClock,
    store: Arc<MemoryNonceStore>,
    faults: Arc<Mutex<Faults>>,
    verifier: Verifier<Keys, Nonces>,
    signed: Vec<Signed>,
    /// Until when the nonces are used.
    used: HashMap<(usize, String), u64>,
    /// The verifier's clock, and the monotonic one, as of when it was read last.
    told: (u64, Duration),
    /// As of when the store was allowed to forget last, in this life.
    forget: u64,
    /// The same as of the start.
    born: (u64, Duration),
    /// Whether the wall was set since.
    was_set: bool,
    lives: usize,
}

impl Life {
    fn new([memory, tolerance, capacity, _]: [u8; 4]) -> Self {
        let memory = [Memory::Forgets, Memory::ForgetsStrictly, Memory::Outlives][usize::from(memory % 3)];
        let tolerance = [300, 1, 5, 30][usize::from(tolerance % 4)];
        let capacity = [MemoryNonceStore::DEFAULT_CAPACITY, 0, 1, 8, 16, 128][usize::from(capacity % 6)];
        let clock = ManualClock::at(NOW);
        let store = Arc::new(MemoryNonceStore::with_capacity(capacity));
        let faults = Arc::<Mutex<Faults>>::default();
        let verifier = verifier(memory, tolerance, &store, &faults, &clock);
        let start = (NOW, clock.monotonic());
        Self {
            memory,
            tolerance,
            capacity,
            clock,
            store,
            faults,
            verifier,
            signed: Vec::new(),
            used: HashMap::new(),
            told: start,
            forget: 0,
            born: start,
            was_set: false,
            lives: 0,
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
            // An app that takes an old nonce again.
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

    /// Somewhere in the window, and near its ends.
    fn sign(&mut self, app: usize, skew: u8, nonce: Option<String>) {
        let tolerance = self.tolerance as i64;
        let skew = (i64::from(skew as i8) * (tolerance + 2) / 128).clamp(-tolerance - 1, tolerance + 1);
        let timestamp = self.now().saturating_add_signed(skew);
        // Apps use the same ones.
        let nonce = nonce.unwrap_or_else(|| format!("nonce-{}", self.signed.iter().filter(|s| s.app == app).count()));
        let (mut parts, ()) = Request::post("/p?a=1").body(()).unwrap().into_parts();
        let body = Bytes::from_static(b"body");
        let of_request = (timestamp.try_into().unwrap(), nonce.parse().unwrap());
        signers()[app].sign_at(&mut parts, Payload::Bytes(&body), of_request.0, of_request.1).unwrap();
        self.signed.push(Signed { app, timestamp, nonce, request: Request::from_parts(parts, body), let_in: None });
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
        let got = got.map_or("nothing", |result| result.map_or_else(|refused| refused.kind().code(), |_| "accepted"));

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
            assert_eq!(answer, None, "no nonce is claimed for a request that is refused before");
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
            (_, None) => panic!("accepted or refused as {got} without its nonce being claimed"),
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
            let may_forget = self.memory == Memory::Forgets;
            let before = self.signed[index].let_in.replace(self.lives);
            assert!(before.is_none() || may_forget && before != Some(self.lives), "let in twice");
        }
    }

    /// What the store may say, by the contract of stores. Notes the nonce as used.
    fn check_answer(&mut self, signed: &Signed, now: u64, answer: Answer) {
        let forget = self.faults.lock().unwrap().forget;
        assert!(self.forget <= forget && forget <= now, "{} <= {forget} <= {now}", self.forget);
        self.forget = forget;
        self.used.retain(|_, until| *until > forget);
        let id = (signed.app, signed.nonce.clone());
        if self.used.contains_key(&id) {
            assert_eq!(answer, Answer::Repeated, "a used nonce");
            return;
        }
        let (all, of_app) = (self.used.len(), self.used.keys().filter(|(app, _)| *app == signed.app).count());
        let is_open = all < self.capacity && of_app < 3 * (self.capacity - all);
        let expected = if is_open { Answer::First } else { Answer::Full };
        assert_eq!(answer, expected, "{all} are used, {of_app} of them the app's");
        if answer == Answer::First {
            let beyond = if self.memory == Memory::Outlives { 61 } else { 1 };
            self.used.insert(id, signed.timestamp + self.tolerance + beyond);
        }
    }

    /// Reads the verifier's clock, by a request that is stale at any time, and checks it.
    fn now(&mut self) -> u64 {
        let request = Request::get("/")
            .header("x-app-id", "demo")
            .header("x-timestamp", "1")
            .header("x-nonce", "nonce-0")
            .header("x-sign", "0".repeat(64));
        let result = rig::verify_at_once(&self.verifier, &request.body(Bytes::new()).unwrap());
        let refused = result.expect("nothing was asked").expect_err("accepted without a signer");
        let now = refused.server_time().expect("it is stale");

        let ((told, then), monotonic) = (self.told, self.clock.monotonic());
        let (wall, passed) = (self.clock.wall().as_secs(), (monotonic - then).as_secs());
        assert!(now >= self.forget, "a nonce that was forgotten may be let in again");
        assert!(now >= wall, "it is behind the wall");
        assert!(now <= wall.max(told + passed + 1), "it ran ahead of time and of the wall");
        self.told = (now, monotonic);
        now
    }

    /// Below the first second everything is stale, from the second one on nothing is too old for the verifier's memory.
    fn not_before(&self, now: u64) -> (u64, u64) {
        let (born, then) = self.born;
        let by_uptime = now.saturating_sub((self.clock.monotonic() - then).as_secs());
        let (low, high) = if self.was_set { (born.min(by_uptime) - 2, born.max(by_uptime) + 2) } else { (born, born) };
        match self.memory {
            Memory::Outlives => (0, 0),
            Memory::Forgets => (low, high),
            Memory::ForgetsStrictly => (low + self.tolerance + 1, high + self.tolerance + 1),
        }
    }

    /// The wall does not go backwards from one process to the next.
    fn restart(&mut self) {
        let now = self.now();
        if self.clock.wall().as_secs() <= now {
            self.clock.set_wall(now + 1);
        }
        if self.memory != Memory::Outlives {
            self.store = Arc::new(MemoryNonceStore::with_capacity(self.capacity));
            self.used.clear();
        }
        self.verifier = verifier(self.memory, self.tolerance, &self.store, &self.faults, &self.clock);
        self.told = (self.clock.wall().as_secs(), self.clock.monotonic());
        self.born = self.told;
        self.forget = 0;
        self.was_set = false;
        self.lives += 1;
    }
}

fn verifier(
    memory: Memory,
    tolerance: u64,
    store: &Arc<MemoryNonceStore>,
    faults: &Arc<Mutex<Faults>>,
    clock: &ManualClock,
) -> Verifier<Keys, Nonces> {
    static KEYS: LazyLock<Arc<StaticKeys>> = LazyLock::new(|| Arc::new(rig::keys()));
    let nonces = Nonces { store: store.clone(), faults: faults.clone(), outlives: memory == Memory::Outlives };
    let verifier = Verifier::new(Keys(KEYS.clone(), faults.clone()))
        .with_nonces(nonces)
        .with_clock(clock.clone())
        .with_tolerance(Duration::from_secs(tolerance));
    if memory == Memory::ForgetsStrictly { verifier.with_strict_restart() } else { verifier }
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
