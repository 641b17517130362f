//! The bytes on the wire match the signature. The tests parse the request and compute its signature by hand.

use std::net::SocketAddr;

use countersign::{FieldLocation, Scheme, SignLayer, Signer, Verifier};
use http::{HeaderName, Request, Uri};
use http_body_util::Full;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use crate::{
    reference::string::hmac_sha256,
    rig::{self, KEY, signer_of},
};

/// Sends with hyper-util, to this address for every URL.
async fn by_hyper(address: SocketAddr, signer: Signer, url: String) -> Result<u16, BoxError> {
    let connect =
        service_fn(move |_: Uri| Box::pin(async move { TcpStream::connect(address).await.map(TokioIo::new) }));
    let client = Client::builder(TokioExecutor::new()).build::<_, countersign::client::SignedBody>(connect);
    let request = Request::get(url).body(Full::default())?;
    let response = ServiceBuilder::new().layer(SignLayer::new(signer)).service(client).oneshot(request).await?;
    Ok(response.status().as_u16())
}

/// Sends with reqwest, to this address for URLs of `example.com` with a default port.
async fn by_reqwest(address: SocketAddr, signer: Signer, url: String) -> Result<u16, BoxError> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = client.resolve("example.com", address).build()?;
    let request = client.get(url).build()?;
    let response = ServiceBuilder::new().layer(SignLayer::new(signer)).service(client).oneshot(request).await?;
    Ok(response.status().as_u16())
}

/// A request as read from the wire.
struct Sent {
    target: String,
    headers: Vec<(String, String)>,
}

impl Sent {
    /// Receives the single request of this future and responds with 204.
    async fn by<F>(listener: &TcpListener, sending: F) -> Self
    where
        F: Future<Output = Result<u16, BoxError>> + Send + 'static,
    {
        let mut sending = tokio::spawn(sending);
        let mut stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
                        nothing = &mut sending => panic!("no request was sent: {nothing:?}"),
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert_eq!(sending.await.unwrap().unwrap(), 204);
        let head = String::from_utf8(head).unwrap();
        let (first, headers) = head.trim_end().split_once("\r\n").unwrap();
        let headers = headers.lines().map(|line| line.split_once(": ").unwrap());
        Self {
            target: first.strip_prefix("GET ").unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The value of a field, by its header name or its parameter name.
    fn field(&self, header: &str, parameter: &str) -> &str {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let value = query.split('&').find_map(|pair| pair.strip_prefix(parameter)?.strip_prefix('='));
        value.unwrap_or_else(|| self.header(header))
    }

    fn target_without_fields(&self) -> String {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let fields = ["appId=", "timestamp=", "nonce=", "sign="];
        let is_field = |pair: &&str| fields.iter().any(|field| pair.starts_with(field));
        let rest: Vec<_> = query.split('&').filter(|pair| !is_field(pair)).collect();
        match self.target.contains('?') && !rest.is_empty() {
            true => format!("{path}?{}", rest.join("&")),
            false => path.to_owned(),
        }
    }

    /// Computes the signature with the reference implementation and compares.
    fn assert_signed(&self, signed_headers: &str) {
        let target = self.target_without_fields();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = rig::canonical_parameters(query);
        let (timestamp, nonce) = (self.field("x-timestamp", "timestamp"), self.field("x-nonce", "nonce"));
        let string =
            format!("CS1-REQUEST\nGET\n\n{path}\n{query}\n\n\n{signed_headers}\ndemo\n\n{KEY}\n{timestamp}\n{nonce}");
        assert_eq!(self.field("x-sign", "sign"), hmac_sha256(KEY, string.as_bytes()), "{}", self.target);
    }

    async fn assert_accepted(&self, scheme: Scheme, verifier: &Verifier<countersign::StaticKeys>) {
        let mut request = Request::get(&self.target).body("").unwrap();
        for (name, value) in &self.headers {
            request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        assert_eq!(rig::code(&verifier.clone().with_scheme(scheme), request).await, "accepted", "{}", self.target);
    }
}

/// Targets that hyper and reqwest send unchanged.
const FOR_BOTH: [&str; 8] = [
    "/%e4%F6?%C3%A9=1&a=%41",
    "/p?b=2&a=1&b=1",
    "/p?q=a?b/c&d=e=f",
    "/~u/(x)@y:$&,=",
    "/p?a=%00%0a",
    "/p?",
    "/p?a=1&&b=&",
    "/*",
];

/// URLs, and the targets that hyper sends for them. hyper sends a URI unchanged.
const FOR_HYPER: [(&str, &str); 10] = [
    ("http://example.com/p;x/%2e%2e/a%20b/./c?q='a|b", "/p;x/%2e%2e/a%20b/./c?q='a|b"),
    ("http://example.com/a/../b//c?x=*~!+", "/a/../b//c?x=*~!+"),
    ("http://example.com", "/"),
    ("http://example.com?x=1", "/?x=1"),
    ("http://example.com/é/日?ü=本", "/é/日?ü=本"),
    ("http://example.com/{\"a\"}|^[]?q={b}|^[]`", "/{\"a\"}|^[]?q={b}|^[]`"),
    ("http://example.com/a\\b?c=\\", "/a\\b?c=\\"),
    ("http://example.com:80/p#frag", "/p"),
    ("http://[::1]:8080/p", "/p"),
    ("http://user:pw@example.com/p", "/p"),
];

/// URLs, and the targets that reqwest sends for them. reqwest escapes, resolves dots and replaces backslashes.
const FOR_REQWEST: [(&str, &str); 9] = [
    ("http://example.com/p;x/%2e%2e/a%20b/./c?q='a|b", "/a%20b/c?q=%27a|b"),
    ("http://example.com/a/../b//c?x=*~!+", "/b//c?x=*~!+"),
    ("http://example.com", "/"),
    ("http://example.com?x=1", "/?x=1"),
    ("http://example.com/é/日 x?ü=本 y", "/%C3%A9/%E6%97%A5%20x?%C3%BC=%E6%9C%AC%20y"),
    ("http://example.com/{\"a\"}|[]'<>`?q={\"b\"}|^[]'<>`", "/%7B%22a%22%7D|[]'%3C%3E%60?q={%22b%22}|^[]%27%3C%3E`"),
    ("http://example.com/a\\b?c=\\", "/a/b?c=\\"),
    ("http://example.com:80/p?a=1#frag?b=2", "/p?a=1"),
    ("http://EXAMPLE.com/P", "/P"),
];

#[tokio::test]
async fn wire_bytes_match_the_signature() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let verifier = Verifier::new(rig::keys());
    for carrier in [FieldLocation::Headers, FieldLocation::Query] {
        let scheme = Scheme::new().with_field_location(carrier);
        let signer = || signer_of(scheme.clone());
        let check = async |sent: Sent, url: &str, target: &str| {
            // With fields in the query, an empty query does not stay empty.
            let target = if carrier == FieldLocation::Query { target.trim_end_matches('?') } else { target };
            assert_eq!(sent.target_without_fields(), target, "{url}");
            sent.assert_signed("");
            sent.assert_accepted(scheme.clone(), &verifier).await;
        };
        let both: Vec<_> = FOR_BOTH.iter().map(|target| (format!("http://example.com{target}"), *target)).collect();
        let both = || both.iter().map(|(url, target)| (url.as_str(), *target));
        for (url, target) in both().chain(FOR_HYPER) {
            check(Sent::by(&listener, by_hyper(address, signer(), url.to_owned())).await, url, target).await;
        }
        for (url, target) in both().chain(FOR_REQWEST) {
            check(Sent::by(&listener, by_reqwest(address, signer(), url.to_owned())).await, url, target).await;
        }
    }
}

#[tokio::test]
async fn wire_host_matches_the_signature() {
    let scheme = Scheme::new().with_signed_headers([HeaderName::from_static("host")]).unwrap();
    let verifier = Verifier::new(rig::keys());
    let check = async |sent: Sent, host: &str| {
        assert_eq!(sent.header("host"), host);
        sent.assert_signed(&format!("\nhost:{host}"));
        sent.assert_accepted(scheme.clone(), &verifier).await;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for host in ["example.com", "EXAMPLE.com:8080", "[::1]", "[::1]:8080", "127.0.0.1:81"] {
        let sending = by_hyper(address, signer_of(scheme.clone()), format!("http://{host}/p"));
        check(Sent::by(&listener, sending).await, host).await;
    }
    for host in ["example.com", "EXAMPLE.com:80", "user:pw@example.com"] {
        let sending = by_reqwest(address, signer_of(scheme.clone()), format!("http://{host}/p"));
        check(Sent::by(&listener, sending).await, "example.com").await;
    }
    // IPv6 is not available on every machine.
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let sending = by_reqwest(address, signer_of(scheme.clone()), format!("http://[0:0::1]:{port}/p"));
    check(Sent::by(&listener, sending).await, &format!("[::1]:{port}")).await;
}
