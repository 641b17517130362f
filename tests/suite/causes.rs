//! The causes of an invalid signature, as the command line and `SignLayer` name them.

use std::{io::Write, process::Stdio};

use bytes::Bytes;
use countersign::{Refusal, Scheme, SignLayer, Signer, client::SignedBody};
use http::Request;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tower::{Layer, ServiceExt};

use crate::{
    keys::KeyFile,
    processes::{EchoServer, countersign, output_of},
    proxy::Proxy,
    reference::string::hmac_sha256,
    rig::{KEY, signer, signer_of},
};

/// What the command line made of an invalid signature.
struct Explained {
    cause: String,
    /// The cause that `countersign verify` has found.
    key: String,
}

/// A client in another language: it makes this string, and signs it with this key.
struct ForeignClient<'a> {
    app: &'a str,
    target: &'a str,
    /// The string to sign. `TIMESTAMP` and `{key}` stand for their values.
    string: &'a str,
    /// The bytes that the client uses as the key of the HMAC.
    mac_key: &'a [u8],
}

const STRING: &str = "CS1-REQUEST\nGET\n\n/api/orders\na=1&b=x%20y\n\n\n\nAPP\n\n{key}\nTIMESTAMP\nnonce-of-a-client";

impl ForeignClient<'_> {
    /// Sends the request, and asks the command line for the cause.
    async fn explained(&self, server: &EchoServer, keys: &KeyFile) -> Explained {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let string = self.string.replace("TIMESTAMP", &now.to_string()).replace("APP", self.app).replace("{key}", KEY);
        let sign = hmac_sha256_of_bytes(self.mac_key, string.as_bytes());
        let head = format!("x-app-id: {}\nx-timestamp: {now}\nx-nonce: nonce-of-a-client\nx-sign: {sign}\n", self.app);
        let mut request = Request::get(self.target);
        for line in head.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let answer = server.send(request.body(Bytes::new()).unwrap()).await;
        assert_eq!(answer.json()["code"], "invalid_signature");

        let folder = keys.folder();
        let (mine, theirs) = (folder.join("string.txt"), folder.join("answer.json"));
        std::fs::write(&mine, &string).unwrap();
        std::fs::write(&theirs, answer.json().to_string()).unwrap();
        let output = output_of(countersign().args(["explain", "--json"]).args([&mine, &theirs]));
        let shown = String::from_utf8([output.stdout.clone(), output.stderr].concat()).unwrap();
        assert!(!shown.contains(KEY), "{shown}");
        let comparison: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(comparison["same"] == false)), "{shown}");

        let saved = format!("GET {} HTTP/1.1\nhost: a\n{head}\n", self.target);
        let mut command = countersign();
        command.args(["verify", "--json", "--keys"]).arg(keys.path()).arg("-");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(saved.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(!stdout.contains(KEY) && !stdout.contains(&sign) && !stderr.contains(KEY), "{stdout}{stderr}");
        let verdict = serde_json::from_str::<Value>(&stdout).ok();
        let verdict = verdict.unwrap_or_else(|| panic!("{stdout}{stderr}"));
        let key = match &verdict["valid"] {
            Value::Bool(true) => "valid".to_owned(),
            _ => format!("{}: {}", verdict["cause"].as_str().unwrap(), verdict["advice"].as_str().unwrap()),
        };
        Explained { cause: comparison["cause"].as_str().unwrap().to_owned(), key }
    }
}

fn hmac_sha256_of_bytes(key: &[u8], text: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    hex::encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn command_line_names_each_cause_of_foreign_clients() {
    let keys = KeyFile::new(format!(
        "[apps.demo]\nkeys = [{{ secret = 'text:{KEY}' }}]\n[apps.off]\nenabled = false\nkeys = [{{ secret = 'text:{KEY}x' }}]\n"
    ));
    let server = EchoServer::start_with_keys(keys.path().to_str().unwrap());
    let target = "/api/orders?b=x%20y&a=1";
    let right = ForeignClient { app: "demo", target, string: STRING, mac_key: KEY.as_bytes() };
    let wrong_order = STRING.replace("a=1&b=x%20y", "b=x%20y&a=1");
    let plus = STRING.replace("x%20y", "x+y");
    let path = STRING.replace("/api/orders", "/shop/api/orders");
    let audience = STRING.replace("GET\n\n", "GET\norders.example.com\n");
    let decoded = hex::decode(KEY).unwrap();
    let foreign = |string| ForeignClient { string, ..right };
    let cases = [
        (foreign(&wrong_order), "parameter_order", "string_or_key: "),
        (foreign(&plus), "plus_and_space", "string_or_key: "),
        (foreign(&path), "prefix_removed", "string_or_key: "),
        (foreign(&audience), "audience", "string_or_key: "),
        (ForeignClient { mac_key: b"another key of another app", ..right }, "key", "string_or_key: "),
        (
            ForeignClient { mac_key: &decoded, ..right },
            "key",
            "key_spelling: the client uses the key decoded from hex digits",
        ),
        (ForeignClient { app: "off", ..right }, "key", "app_disabled: "),
        (ForeignClient { app: "unknown", ..right }, "key", "unknown_app: "),
    ];
    for (client, cause, key) in cases {
        let explained = client.explained(&server, &keys).await;
        assert_eq!(explained.cause, cause, "{}", client.string);
        assert!(explained.key.starts_with(key), "{}: {:?}", client.string, explained.key);
    }
}

/// The cause that `SignLayer` finds in the answer to this request, and the one that `countersign send` prints.
async fn causes(base: &str, target: &str, signer: Signer, arguments: &[&str], key: &str) -> [String; 2] {
    let client = Client::builder(TokioExecutor::new()).build_http::<SignedBody>();
    let request = Request::get(format!("{base}{target}")).body(Full::<Bytes>::default()).unwrap();
    let response = SignLayer::new(signer.clone()).layer(client).oneshot(request).await.unwrap();
    let refusal = response.extensions().get::<Refusal>().expect("a refusal").clone();
    let by_layer = refusal.comparison().and_then(|comparison| comparison.cause()).expect("a cause");
    assert!(refusal.to_string().ends_with(by_layer.advice()), "{refusal}");

    let mut command = countersign();
    command.args(["send", "--json", "--app", signer.app_id().as_str()]).args(arguments);
    let output = output_of(command.arg(format!("{base}{target}")).env("COUNTERSIGN_KEY", key).env("no_proxy", "*"));
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let by_command = shown["refusal"]["comparison"]["cause"].as_str().unwrap().to_owned();
    [by_layer.code().to_owned(), by_command]
}

#[tokio::test]
async fn sign_layer_and_send_name_causes_behind_nginx() {
    let server = EchoServer::start(&[]);
    let upstream = server.base();
    let nginx = |location: &str| {
        Proxy::nginx(&format!("server {{ listen LISTEN; location / {{ {} }} }}", location.replace("SERVER", upstream)))
    };
    let secret = |text: &str| countersign::Secret::new(text).unwrap();
    let app = |id: &str, key: &str| Signer::new(id.parse().unwrap(), secret(key));
    let audience = signer_of(Scheme::new().with_audience("other").unwrap());
    let (unchanged, wrong) = ("proxy_pass SERVER;", "w".repeat(32));
    let decoded = String::from_utf8(hex::decode("41".repeat(32)).unwrap()).unwrap();
    let cases: [(&str, Signer, &[&str], &str, &str); 9] = [
        ("rewrite ^/api/(.*)$ /$1 break; proxy_pass SERVER;", signer(), &[], KEY, "prefix_removed"),
        ("proxy_pass SERVER/v2/;", signer(), &[], KEY, "prefix_added"),
        ("rewrite ^ /other break; proxy_pass SERVER;", signer(), &[], KEY, "path_rewritten"),
        ("set $args 'a=2&a=1&q=x%20y'; proxy_pass SERVER;", signer(), &[], KEY, "repeated_parameters"),
        ("set $args 'a=1&a=2&q=x%2By'; proxy_pass SERVER;", signer(), &[], KEY, "plus_and_space"),
        ("set $args $args&source=mail; proxy_pass SERVER;", signer(), &[], KEY, "parameter_added"),
        ("proxy_set_header content-type text/plain; proxy_pass SERVER;", signer(), &[], KEY, "content_type_added"),
        (unchanged, audience, &["--audience", "other"], KEY, "audience"),
        (unchanged, app("demo", &wrong), &[], &wrong, "key"),
    ];
    for (location, signer, arguments, key, cause) in cases {
        let proxy = nginx(location);
        let base = format!("http://{}", proxy.address);
        let named = causes(&base, "/api/orders?q=x%20y&a=1&a=2", signer, arguments, key).await;
        assert_eq!(named, [cause, cause], "{location}");
    }
    // The service knows the key as hex digits, and the client decodes them.
    let keys = EchoServer::start_with_app(&format!("demo:{}", "41".repeat(32)));
    assert_eq!(causes(keys.base(), "/p", app("demo", &decoded), &[], &decoded).await, ["key", "key"]);
    assert_eq!(causes(upstream, "/p", app("unknown", KEY), &[], KEY).await, ["key", "key"]);
    assert_eq!(hmac_sha256(KEY, b"x"), hmac_sha256_of_bytes(KEY.as_bytes(), b"x"));
}
