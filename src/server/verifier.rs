//! The one entry: a request goes in, the request that may reach the service comes out.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, request::Parts};

use super::{
    arriving::{Arriving, Handover},
    body::RequestBody,
    delivery::{Delivery, signed_uri},
    exemption::Exemption,
    head,
    layer::VerifyLayer,
};
use crate::{
    clock::{Clock, SteadyClock, SystemClock},
    protocol::{CanonicalRequest, Head, HeadAndQuery, Parameters, Rejection, Scheme, Window},
    store::{KeyStore, MemoryNonceStore, NonceStore},
};

/// Lets in signed, fresh, unrepeated requests, and nothing else.
///
/// It is the spine of [`VerifyLayer`], and can be called by itself. Clones share the stores and the clock.
///
/// ```
/// use countersign::{Secret, Verifier, server::UnverifiedBody, store::StaticKeys};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)]);
/// let verifier = Verifier::new(keys);
///
/// let request = http::Request::get("/").body(UnverifiedBody::new(String::new()))?;
/// let rejection = verifier.verify(request).await.unwrap_err();
/// assert_eq!(rejection.kind().code(), "missing_field");
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Verifier<K, N = MemoryNonceStore> {
    keys: Arc<K>,
    nonces: Arc<N>,
    clock: Arc<SteadyClock>,
    strict_restart: bool,
    retention: Option<Duration>,
    scheme: Arc<Scheme>,
    parameters: Parameters,
    prefix: Arc<str>,
    handover: Handover,
    exemption: Option<Exemption>,
}

impl<K: KeyStore> Verifier<K> {
    /// A verifier with the protocol's defaults, the system's clock and a [`MemoryNonceStore`].
    pub fn new(keys: K) -> Self {
        Self {
            keys: Arc::new(keys),
            nonces: Arc::new(MemoryNonceStore::new()),
            clock: Arc::new(SteadyClock::new(SystemClock::new())),
            strict_restart: false,
            retention: None,
            scheme: Arc::new(Scheme::new()),
            parameters: Parameters::default(),
            prefix: "".into(),
            handover: Handover::Whole,
            exemption: None,
        }
    }
}

impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
    /// Remembers nonces in this store, from now on: where it does not outlive the process, what was signed before is
    /// refused. Default: a [`MemoryNonceStore`] of its own.
    pub fn with_nonces<M: NonceStore>(self, nonces: M) -> Verifier<K, M> {
        Verifier {
            keys: self.keys,
            nonces: Arc::new(nonces),
            clock: Arc::new(self.clock.reborn()),
            strict_restart: self.strict_restart,
            retention: self.retention,
            scheme: self.scheme,
            parameters: self.parameters,
            prefix: self.prefix,
            handover: self.handover,
            exemption: self.exemption,
        }
    }

    /// What it has agreed on with its clients.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Where it remembers nonces.
    #[must_use]
    pub fn nonces(&self) -> &N {
        &self.nonces
    }

    /// What it has agreed on with its clients. Default: [`Scheme::new`].
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        Self { scheme: Arc::new(scheme), ..self }
    }

    /// What the service gets of a query and of a form. Default: [`Parameters::Stripped`].
    pub fn with_parameters(self, parameters: Parameters) -> Self {
        Self { parameters, ..self }
    }

    /// What a proxy takes off the paths that clients sign: `/api` for example. Default: nothing.
    ///
    /// # Errors
    ///
    /// The prefix is no path, or ends with a slash.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, PrefixError> {
        let is_path = prefix.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none() && uri.path() == prefix);
        if !prefix.is_empty() && (!is_path || !prefix.starts_with('/') || prefix.ends_with('/')) {
            return Err(PrefixError(prefix.to_owned()));
        }
        Ok(Self { prefix: prefix.into(), ..self })
    }

    /// Reads time here. Default: [`SystemClock`].
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(SteadyClock::new(clock)), ..self }
    }

    /// Refuses also what was signed up to the tolerance after the start, where nonces do not outlive the process.
    ///
    /// A process that was restarted has forgotten the nonces of requests that were stamped ahead of its start, or in
    /// the very second of it. With this, none of them can pass twice; for the tolerance's length clients with a right
    /// clock are refused too. Default: off.
    pub fn with_strict_restart(self) -> Self {
        Self { strict_restart: true, ..self }
    }

    /// How long nonces are remembered from their timestamp on, in whole seconds.
    ///
    /// Verifiers that share a store must all have what the most tolerant of them needs: its tolerance, a second, and
    /// the difference of their clocks. Never less than this verifier's own tolerance and a second. Default: that, and
    /// 60 seconds more in a store that [outlives the process](NonceStore::outlives_process).
    pub fn with_retention(self, retention: Duration) -> Self {
        Self { retention: Some(retention), ..self }
    }

    /// Calls the service while a body arrives, for bodies that are too large to be held in memory. Default: it is called
    /// when the whole body is there and has been checked.
    ///
    /// The body then ends well only if it is the one that was signed: its last data frame is held back until the digest
    /// matches, and in its place comes a [`BodyError`](super::BodyError). **Until it has ended well, the service must
    /// not act on what it has read**: it writes to a temporary file, say, and renames that at the end. A parser that is
    /// done is not the end of the body: what follows a form's last boundary, or a JSON value, may show that all of it
    /// is forged. Read on until there is no frame any more, and give axum's `Multipart` no streamed body.
    ///
    /// A body of known length that is forwarded to another server is never completed with wrong bytes. If the body is
    /// refused before the service has answered, the caller gets the rejection's answer in place of the service's. A
    /// client that waits for an answer before it sends on will wait in vain, for its last frame is not handed on.
    ///
    /// Memory holds one frame. The [limit](crate::Limits::with_body) (2 MiB by default) stands; raise it. Forms are read
    /// whole all the same, up to [theirs](crate::Limits::with_form).
    ///
    /// ```
    /// # use countersign::{Limits, Scheme, Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)]);
    /// let scheme = Scheme::new().with_limits(Limits::new().with_body(4 << 30)); // 4 GiB
    /// let uploads = Verifier::new(keys).with_scheme(scheme).with_streamed_bodies().into_layer();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_streamed_bodies(self) -> Self {
        Self { handover: Handover::Streamed, ..self }
    }

    /// Has nobody refused, for [`ReportOnlyLayer`](crate::danger::ReportOnlyLayer).
    pub(super) fn watching(self) -> Self {
        let handover = if self.handover == Handover::Whole { Handover::Whole } else { Handover::Watched };
        Self { handover, ..self }
    }

    /// Lets these requests in without a signature: what must stay open where there are no routes, gRPC's health check
    /// for example. With routes, leave the open ones outside the layer. Default: none.
    ///
    /// The service gets them as they came, without a [`Caller`](super::Caller); only headers that could make them other
    /// requests (`x-original-url`, `x-http-method-override` and their like) are removed. Compare whole paths, as the
    /// service reads them, and the method, for frameworks that look for another one in the query too. A second call
    /// replaces the first.
    ///
    /// ```
    /// # use countersign::{Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)]);
    /// let verifier = Verifier::new(keys).with_exemption(|head| head.uri.path() == "/grpc.health.v1.Health/Check");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_exemption(self, covers: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self { exemption: Some(Exemption::new(covers)), ..self }
    }

    /// The tower layer that verifies with this.
    pub fn into_layer(self) -> VerifyLayer<K, N> {
        VerifyLayer::from(self)
    }

    /// Verifies a request and returns the only one that may reach the service: stripped of what was not signed, its
    /// body checked, its [`Caller`](super::Caller) in the extensions.
    ///
    /// Dropping the future once the nonce is being claimed may have spent it: the caller then signs again.
    ///
    /// # Errors
    ///
    /// Whatever [`RejectionKind`](crate::RejectionKind) says. What is not verified is not remembered, and but
    /// for a form its body is not read.
    pub async fn verify<B: RequestBody>(&self, request: Request<B>) -> Result<Request<B::ServiceBody>, Rejection> {
        // The numbers are those of PROTOCOL.md.
        let (scheme, time) = (&*self.scheme, self.clock.read());
        let window = self.window(time.birth);
        let (parts, body) = request.into_parts();
        if let Some(waiver) = self.exemption.as_ref().and_then(|exemption| exemption.waive(&parts)) {
            return Ok(waiver.exempt(parts, body, scheme));
        }
        let uri = signed_uri(&parts);

        let (claim, head, length) = head::read(scheme, &self.prefix, uri, &parts, &body)?; // 1
        let timely = claim.timely(time.now, &window)?; // 2
        let is_form = head.is_form();
        let request = self.read_query(head)?; // 3
        let keys = self.keys.keys(timely.app_id()).await.map_err(Rejection::unavailable)?; // 4
        let body = Arriving::read_form(body, is_form, length).await?; // 5
        let request = self.read_form(request, body.form())?;
        let authentic = timely.authenticate(request, keys.as_ref())?; // 6
        let delivery = Delivery::new(&authentic, body.form(), &parts, self.parameters, scheme)?;
        let unrepeated = authentic.claim_nonce(&*self.nonces, self.clock.now(), &window).await?; // 8
        let body = body.check(delivery.digest, delivery.bound_form.clone(), length, scheme, self.handover).await?; // 9
        Ok(delivery.request::<B>(parts, body, unrepeated, scheme)) // 10
    }

    fn read_query<'r>(&self, head: Head<'r>) -> Result<HeadAndQuery<'r>, Rejection> {
        let request = head.read_query(&self.scheme)?;
        self.refuse_empty(request.query().had_empty(), "query")?;
        Ok(request)
    }

    fn read_form<'r>(
        &self,
        request: HeadAndQuery<'r>,
        form: Option<&'r Bytes>,
    ) -> Result<CanonicalRequest<'r>, Rejection> {
        let Some(form) = form else {
            return Ok(request.without_form());
        };
        let request = request.read_form(&self.scheme, form)?;
        self.refuse_empty(request.form().had_empty(), "form")?;
        if request.form().is_empty() && request.digest().is_none() {
            return Err(Rejection::malformed_parameters(
                "the form has no parameter with a name and a value: if the body is no form, set its content type; if it \
                 is meant to be empty, send its SHA-256",
            ));
        }
        Ok(request)
    }

    fn refuse_empty(&self, had_empty: bool, place: &str) -> Result<(), Rejection> {
        if had_empty && self.parameters == Parameters::RefuseEmpty {
            let detail = format!("the {place} has a parameter with an empty name or value, which would not be signed");
            return Err(Rejection::malformed_parameters(detail));
        }
        Ok(())
    }

    /// `birth` is when this verifier began to remember, in Unix seconds.
    fn window(&self, birth: u64) -> Window {
        let tolerance = self.scheme.tolerance().as_secs();
        let shared = self.nonces.outlives_process();
        let not_before = match (shared, self.strict_restart) {
            (true, _) => 0,
            (false, false) => birth,
            (false, true) => birth.saturating_add(tolerance).saturating_add(1),
        };
        let window = Window::new(tolerance).with_not_before(not_before);
        match self.retention {
            Some(retention) => window.with_retention(retention.as_secs()),
            // A minute more than its own, for the difference of the verifiers' clocks.
            None if shared => window.with_retention(tolerance.saturating_add(1 + 60)),
            None => window,
        }
    }
}

/// A proxy cannot take this off a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("prefix {0:?}: expected a path that starts with / and does not end with it, /api for example")]
pub struct PrefixError(String);

impl<K, N> Clone for Verifier<K, N> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            nonces: self.nonces.clone(),
            clock: self.clock.clone(),
            scheme: self.scheme.clone(),
            prefix: self.prefix.clone(),
            exemption: self.exemption.clone(),
            ..*self
        }
    }
}

impl<K, N> fmt::Debug for Verifier<K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("scheme", &self.scheme)
            .field("parameters", &self.parameters)
            .field("prefix", &self.prefix)
            .field("handover", &self.handover)
            .field("exempts", &self.exemption.is_some())
            .field("strict_restart", &self.strict_restart)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
