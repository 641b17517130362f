//! The example `echo_server`.

use super::*;

#[tokio::test]
async fn health_counts_accepted_requests() {
    let server = EchoServer::start(&[]);
    let health = async || server.send(get("/health")).await.json();
    assert_eq!(health().await, json!({ "handled": 0 }));

    server.send(get("/")).await.assert_outcome(401, "unsigned");
    let replayed = signer().sign(get("/")).unwrap();
    server.send(replayed.clone()).await.assert_outcome(200, "");
    server.send(replayed).await.assert_outcome(401, "replayed_nonce");
    assert_eq!(health().await, json!({ "handled": 1 }));
    server.send_signed(&signer(), post("/health", "x")).await.assert_outcome(200, "");
    assert_eq!(health().await, json!({ "handled": 2 }));
}

#[tokio::test]
async fn only_get_health_is_open() {
    let server = EchoServer::start(&[]);
    server.send(post("/health", "")).await.assert_outcome(401, "unsigned");
    let head = server.send(Request::head("/health").body(Bytes::new()).unwrap()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (401, 0));
    assert_eq!(head.headers["x-error-code"], "unsigned", "a rejected HEAD request has a code");
    assert_eq!(head.headers["www-authenticate"], "CS1-HMAC-SHA256 error=\"unsigned\"");
    server.send(get("/health/")).await.assert_outcome(401, "unsigned");
}

#[tokio::test]
async fn echo_describes_the_request() {
    let server = EchoServer::start(&[]);
    let body = r#"{"amount":10}"#;
    let request = Request::put("/a%20b/./c?side=BUY&q=x+y%2f&empty=")
        .header("content-type", "Application/JSON; charset=utf-8")
        .body(Bytes::from(body))
        .unwrap();
    let token: Token = "tok_1+/=".parse().unwrap();
    let request = signer().with_token(token).sign(request).unwrap();
    let sent = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    let expected = json!({
        "app_id": "demo",
        "method": "PUT",
        "path": "/a%20b/./c",
        "query": "side=BUY&q=x+y%2f",
        "body_sha256": sent("x-content-sha256"),
        "body_len": body.len(),
        "content_type": "Application/JSON; charset=utf-8",
        "token": "tok_1+/=",
        "nonce": sent("x-nonce"),
        "timestamp": sent("x-timestamp").parse::<u64>().unwrap(),
    });
    let answer = server.send(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), expected);

    let plain = server.send_signed(&signer(), get("/")).await.json();
    assert_eq!((&plain["query"], &plain["body_len"]), (&json!(""), &json!(0)));
    assert_eq!((&plain["content_type"], &plain["token"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn field_location_can_be_set() {
    let in_query = signer_of(Scheme::new().with_field_location(FieldLocation::Query));
    let cases = [("headers", [200, 401]), ("query", [401, 200]), ("either", [200, 200])];
    for (carrier, expected) in cases {
        let server = EchoServer::start(&["--carrier", carrier]);
        for (signer, expected) in [&signer(), &in_query].into_iter().zip(expected) {
            let answer = server.send_signed(signer, get("/orders?side=BUY")).await;
            match expected {
                200 => assert_eq!(answer.json()["query"], "side=BUY", "{carrier}: {answer:?}"),
                _ => answer.assert_outcome(401, "unsigned"),
            }
        }
    }
}

#[tokio::test]
async fn parameter_policy_can_be_set() {
    let target = "/?b=%31&a=&a=x+y";
    for (parameters, expected) in [("stripped", "b=%31&a=x+y"), ("signed", "a=x%20y&b=1")] {
        let server = EchoServer::start(&["--parameters", parameters]);
        assert_eq!(server.send_signed(&signer(), get(target)).await.json()["query"], expected, "{parameters}");
    }
    let server = EchoServer::start(&["--parameters", "refuse-empty"]);
    server.send_signed(&signer(), get(target)).await.assert_outcome(400, "malformed_parameters");
    server.send_signed(&signer(), get("/?b=%31&a=x+y")).await.assert_outcome(200, "");
}

#[tokio::test]
async fn body_limit_can_be_set() {
    let server = EchoServer::start(&["--body-limit", "10"]);
    server.send_signed(&signer(), post("/", "0123456789")).await.assert_outcome(200, "");
    server.send_signed(&signer(), post("/", "0123456789a")).await.assert_outcome(413, "body_too_large");
}

#[tokio::test]
async fn full_nonce_store_returns_503() {
    // A single app can use three quarters of the capacity.
    let server = EchoServer::start(&["--max-nonces", "8"]);
    for _ in 0..6 {
        server.send_signed(&signer(), get("/")).await.assert_outcome(200, "");
    }
    let seventh = server.send_signed(&signer(), get("/")).await;
    seventh.assert_outcome(503, "unavailable");
    assert_eq!(seventh.headers["retry-after"], "1");
    assert_eq!(server.send(get("/health")).await.json(), json!({ "handled": 6 }));
}

#[tokio::test]
async fn metrics_have_a_separate_address() {
    let server = EchoServer::start(&["--metrics", "127.0.0.1:0"]);
    let replayed = signer().sign(get("/")).unwrap();
    server.send(replayed.clone()).await.assert_outcome(200, "");
    server.send(replayed).await.assert_outcome(401, "replayed_nonce");
    server.send(get("/metrics")).await.assert_outcome(401, "unsigned");
    let metrics = server.metrics.as_ref().unwrap();
    let (base, path) = metrics.split_at(metrics.rfind('/').unwrap());
    assert_eq!(path, "/metrics");
    let answer = send_to(base, get(path)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["content-type"]),
        (200, &"text/plain; version=0.0.4".parse().unwrap())
    );
    let samples = text(&answer.body);
    for code in ["verified", "replayed_nonce", "unsigned"] {
        let sample = format!("countersign_requests_total{{code=\"{code}\",enforced=\"true\"}} 1\n");
        assert!(samples.contains(&sample), "{sample} in {samples}");
    }
    for sample in ["nonces_held 1", "nonces_capacity 8000000", "key_uses_total{app=\"demo\",key=\"#0\"} 1"] {
        assert!(samples.contains(&format!("countersign_{sample}\n")), "{sample} in {samples}");
    }
    assert!(!samples.contains(KEY));
    assert_eq!(send_to(base, get("/")).await.status, 404, "the address serves only metrics");
}

#[tokio::test]
async fn tolerance_can_be_set() {
    EchoServer::start(&[]).send(signed_ahead(200)).await.assert_outcome(200, "");
    let server = EchoServer::start(&["--tolerance", "60"]);
    server.send(signed_ahead(30)).await.assert_outcome(200, "");
    let answer = server.send(signed_ahead(200)).await;
    answer.assert_outcome(401, "stale_timestamp");
    assert!(answer.headers.contains_key("x-server-time"));
}

#[tokio::test]
async fn audience_can_be_set() {
    let server = EchoServer::start(&["--audience", "orders.example.com"]);
    let here = signer_of(Scheme::new().with_audience("orders.example.com").unwrap());
    server.send_signed(&here, get("/")).await.assert_outcome(200, "");
    server.send_signed(&signer(), get("/")).await.assert_outcome(401, "invalid_signature");
}

#[tokio::test]
async fn token_location_and_signed_headers_can_be_set() {
    for (argument, place) in [("bearer", TokenLocation::Bearer), ("cookie:sid", TokenLocation::Cookie("sid".into()))] {
        let server = EchoServer::start(&["--token-place", argument, "--signed-header", "x-tenant"]);
        let signed_headers = [http::HeaderName::from_static("x-tenant")];
        let scheme = Scheme::new().with_token_location(place).unwrap().with_signed_headers(signed_headers).unwrap();
        let signer = signer_of(scheme).with_token("tok_1".parse().unwrap());
        let mut request = get("/");
        request.headers_mut().insert("x-tenant", "blue".parse().unwrap());
        let mut request = signer.sign(request).unwrap();
        assert_eq!(server.send(request.clone()).await.json()["token"], "tok_1");
        request.headers_mut().insert("x-tenant", "red".parse().unwrap());
        server.send(request).await.assert_outcome(401, "invalid_signature");
    }
}

#[tokio::test]
async fn prefix_can_be_set() {
    let server = EchoServer::start(&["--prefix", "/api"]);
    let mut request = signer().sign(get("/api/orders")).unwrap();
    *request.uri_mut() = "/orders".parse().unwrap();
    let answer = server.send(request).await;
    assert_eq!(answer.json()["path"], "/orders", "{answer:?}");
    server.send_signed(&signer(), get("/orders")).await.assert_outcome(401, "invalid_signature");
}

#[tokio::test]
async fn key_can_be_rotated() {
    let new = "fedcba9876543210fedcba9876543210";
    let server = EchoServer::with_app(&format!("demo:{new},{KEY}"), &[]);
    let signer_with = |key: &str| Signer::new("demo".parse().unwrap(), Secret::new(key).unwrap());
    server.send_signed(&signer_with(new), get("/")).await.assert_outcome(200, "");
    server.send_signed(&signer_with(KEY), get("/")).await.assert_outcome(200, "");
    let retired = signer_with("00000000000000000000000000000000");
    server.send_signed(&retired, get("/")).await.assert_outcome(401, "invalid_signature");
}

#[tokio::test]
async fn changed_key_file_is_reloaded() {
    let new = "fedcba9876543210fedcba9876543210";
    let key = |key: &str| format!("{{ secret = 'text:{key}' }},");
    let app = |keys: &str| format!("[apps.demo]\nkeys = [{keys}]\n");
    let file = KeyFile::new(app(&key(KEY)));
    let server = EchoServer::with_keys_from(["--keys", file.path().to_str().unwrap()], &[]);
    let signer_with = |key: &str| Signer::new("demo".parse().unwrap(), Secret::new(key).unwrap());
    let (old, new_signer) = (signer_with(KEY), signer_with(new));
    server.send_signed(&old, get("/")).await.assert_outcome(200, "");
    server.send_signed(&new_signer, get("/")).await.assert_outcome(401, "invalid_signature");
    let wait_for_status = async |signer: &Signer, status: u16| {
        let end = Instant::now() + PATIENCE;
        while server.send_signed(signer, get("/")).await.status != status {
            assert!(Instant::now() < end, "the file was not reloaded");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    file.replace(app(&(key(KEY) + &key(new))));
    wait_for_status(&new_signer, 200).await;
    server.send_signed(&old, get("/")).await.assert_outcome(200, "");
    file.replace("[apps.demo]\nenabeld = false\n");
    file.replace(app(&key(new)));
    wait_for_status(&old, 401).await;
    server.send_signed(&new_signer, get("/")).await.assert_outcome(200, "");
}

#[test]
fn invalid_key_file_ends_the_server() {
    let secret = "hush-hush-hush-hush-hush-hush";
    let file = KeyFile::new(format!("[apps.demo]\nkeys = [\n  {{ secret = '{secret}' }},\n]\n"));
    let run = |path: &str| {
        let output = output_of(echo_server().args(["--listen", "127.0.0.1:0", "--keys", path]));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(output.stdout.is_empty() && !stderr.contains("hush") && stderr.lines().count() == 1, "{stderr}");
        stderr
    };
    let path = file.path().to_str().unwrap().to_owned();
    let expected = "line 3, column 14: a secret begins with text:, hex: or base64:";
    assert!(run(&path).starts_with(&format!("error: --keys: {path}, {expected}")), "{}", run(&path));
    file.write("[apps.demo]\nenabeld = false\n");
    assert!(run(&path).contains("line 2, column 1: unknown name"), "{}", run(&path));
    file.write("");
    assert!(run(&path).contains("it is empty"), "{}", run(&path));
    let folder = file.folder().to_str().unwrap().to_owned();
    assert!(run(&folder).contains("it is no regular file"), "{}", run(&folder));
    assert_eq!(run(&format!("demo:{secret}")), "error: --keys: there is no such file\n");
}

#[tokio::test]
async fn each_app_has_its_own_keys() {
    let other = "fedcba9876543210fedcba9876543210";
    let server = EchoServer::start(&["--app", &format!("other:{other}")]);
    let signer_of = |app: &str, key: &str| Signer::new(app.parse().unwrap(), Secret::new(key).unwrap());
    let answer = server.send_signed(&signer_of("other", other), get("/")).await;
    assert_eq!(answer.json()["app_id"], "other", "{answer:?}");
    server.send_signed(&signer_of("other", KEY), get("/")).await.assert_outcome(401, "invalid_signature");
}

#[tokio::test]
async fn signal_ends_the_server_within_a_second() {
    for name in ["TERM", "INT"] {
        let server = EchoServer::start(&[]);
        // An open keep-alive connection does not delay the shutdown.
        let address = server.base.strip_prefix("http://").unwrap();
        let connection = tokio::net::TcpStream::connect(address).await.unwrap();
        server.send_signed(&signer(), get("/")).await.assert_outcome(200, "");
        assert_eq!(server.end_by(name).code(), Some(0), "{name}");
        drop(connection);
    }
}

#[test]
fn invalid_arguments_show_no_secret() {
    let secret = "hush-hush-hush-hush-hush-hush";
    let app = format!("demo:{secret}");
    let app = app.as_str();
    let crowd = format!("demo:{}", [secret; 5].join(","));
    let cases: [&[&str]; 27] = [
        &["--app", app, "--frobnicate"],
        &[],
        &["--app", "demo:hush-hush"],
        &["--app", "demo:"],
        &["--app", secret],
        &["--app", &format!(":{secret}")],
        &["--app", &format!("de mo:{secret}")],
        &["--app", &crowd],
        &["--app", app, "--app", app],
        &["--app", app, "--keys", "keys.toml"],
        &["--app", app, "--listen", "somewhere"],
        &["--app", app, "--listen", "127.0.0.1"],
        &["--app", app, "--metrics", "here"],
        &["--app", app, "--max-nonces", "0"],
        &["--app", app, "--tolerance", "-1"],
        &["--app", app, "--prefix", "api"],
        &["--app", app, "--prefix", "/api/"],
        &["--app", app, "--audience", "white space"],
        &["--app", app, "--token-place", "trailer"],
        &["--app", app, "--token-place", "cookie:a=b"],
        &["--app", app, "--signed-header", "cookie"],
        &["--app", app, "--signed-header", "no name"],
        // A secret in the place of another argument.
        &[app],
        &["--app", app, app],
        &["--listen", app],
        &["--app", app, "--prefix", secret],
        &[&format!("--{app}")],
    ];
    for arguments in cases {
        let output = output_of(echo_server().args(arguments));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
        assert!(stderr.contains("\nUsage: countersign serve "), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("hush") && output.stdout.is_empty(), "{arguments:?}: {stderr}");
    }
}

#[test]
fn help_exits_successfully() {
    let output = output_of(echo_server().arg("--help"));
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(text(&output.stdout).contains("Usage: countersign serve "));
}
