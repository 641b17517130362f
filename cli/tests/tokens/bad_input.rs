//! Bad bodies, paths and options.

use super::*;

/// Sends a body to `POST /_tokens`, and returns the status and the detail.
async fn detail(server: &Server, content_type: &str, body: &str) -> (u16, String) {
    let mut request = Request::new(Method::POST, server.url("/_tokens"));
    if !content_type.is_empty() {
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
    }
    *request.body_mut() = Some(body.to_owned().into());
    let answer = server.send(demo().sign_reqwest(request).unwrap()).await;
    assert_eq!((answer.header("x-error-code"), answer.header("cache-control")), ("", "no-store"), "{}", answer.json);
    (answer.status, answer.json["detail"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn malformed_body_names_what_was_expected() {
    let server = Server::start(&["--tokens"]);
    let long = format!("{{\"user\":\"{}\"}}", "u".repeat(129));
    let cases = [
        ("{\"usr\":\"u\"}", "unknown field `usr`"),
        ("{\"user\":17}", "expected a string"),
        ("{\"user\":\"no spaces\"}", "user: "),
        ("{\"user\":\"\"}", "user: "),
        (&*long, "user: "),
        ("{\"device\":\"Web\"}", "device: "),
        ("{\"ttl\":0}", "ttl: expected a number of seconds from 1 on"),
        ("{\"ttl\":-1}", "expected u64"),
        ("{\"ttl\":\"9\"}", "expected u64"),
        ("{\"one_time\":1}", "expected a boolean"),
        ("{\"one_time\":true,\"bearer\":true}", "expected at most one of the two"),
        ("{\"cookie\":true}", "--token-place"),
        ("{\"user\":\"u\",\"user\":\"v\"}", "duplicate field"),
        ("[]", "expected a JSON object"),
        ("\"u\"", "expected a JSON object"),
        ("{\"user\":\"u\"", "expected a JSON object"),
        ("{} x", "expected a JSON object"),
        ("\u{0}", "expected a JSON object"),
    ];
    for (body, expected) in cases {
        let (status, detail) = detail(&server, "application/json; charset=utf-8", body).await;
        assert!(status == 400 && detail.contains(expected), "{body}: {status} {detail}");
    }
    for content_type in ["", "text/plain"] {
        let (status, detail) = detail(&server, content_type, "{}").await;
        assert_eq!((status, &*detail), (400, "content-type: expected application/json"), "{content_type}");
    }
    // The largest lifetime ends with the session.
    let longest = server.issue(json!({ "user": "u", "ttl": u64::MAX })).await;
    assert_eq!(longest["expires_in"], longest["session_expires_in"]);
}

#[tokio::test]
async fn malformed_path_names_what_was_expected() {
    let server = Server::start(&["--tokens"]);
    let signer = server.signer(json!({ "user": "u" })).await;
    for (signer, path, expected) in
        [(&signer, "/_sessions/17", "expected 22 characters"), (&demo(), "/_users/a%20b/sessions", "user: ")]
    {
        let answer = server.call(signer, Method::DELETE, path).await;
        assert_eq!(answer.outcome(), (400, ""), "{path}");
        assert!(answer.json["detail"].as_str().unwrap().contains(expected), "{}", answer.json);
    }
    assert_eq!(server.call(&demo(), Method::DELETE, "/_users/%FF/sessions").await.status, 400);
    assert_eq!(server.call(&demo(), Method::PUT, "/_tokens").await.status, 405);
    let unsigned = server.send(Request::new(Method::POST, server.url("/_tokens"))).await;
    assert_eq!(unsigned.outcome(), (401, "unsigned"));
}

#[test]
fn options_for_tokens_need_tokens() {
    let serve = |arguments: &[&str]| {
        let app = format!("demo:{KEY}");
        let mut command = command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--app", &app]).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A server that has started would not end by itself.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if !line.is_empty() {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("hush"), "{stderr}");
        stderr
    };
    for arguments in [
        &["--session-keys"][..],
        &["--session-limit", "1"],
        &["--token-lifetime", "1"],
        &["--renewal-overlap", "1"],
        &["--idle-timeout", "1"],
        &["--max-tokens", "1"],
    ] {
        assert!(serve(arguments).contains("--tokens"), "{arguments:?}");
    }
    for limit in ["0", "refuse:", "refuse:0", "-1", "hush"] {
        let expected = "--session-limit: expected a number from 1 on, or refuse: and a number";
        assert!(serve(&["--tokens", &format!("--session-limit={limit}")]).contains(expected), "{limit}");
    }
    for option in ["--token-lifetime", "--idle-timeout", "--max-tokens"] {
        serve(&["--tokens", option, "0"]);
        serve(&["--tokens", option, "hush"]);
    }
    for place in ["cookie:sid", "field-or-cookie:sid", "cookie:__Host-"] {
        assert!(serve(&["--tokens", "--token-place", place]).contains("begins with __Host-"), "{place}");
    }
}
