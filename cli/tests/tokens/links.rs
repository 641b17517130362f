//! Share links: the command that presigns them, the paths for their grants, and the client in Python.

use std::process::Output;

use super::{
    python::{Nginx, is_missing},
    redis::Redis,
    *,
};

fn presign(arguments: &[&str]) -> Output {
    let mut command = command();
    command.env("COUNTERSIGN_APP", "demo").env("COUNTERSIGN_KEY", KEY).arg("presign").args(arguments);
    command.output().unwrap()
}

/// The link that the command prints.
fn presigned(arguments: &[&str]) -> String {
    let output = presign(arguments);
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

async fn open(server: &Server, link: &str) -> Answer {
    server.send(Request::new(Method::GET, link.parse().unwrap())).await
}

#[test]
fn presign_prints_the_examples() {
    let examples: Value = serde_json::from_str(include_str!("../../../tests/vectors/links.json")).unwrap();
    let mut count = 0;
    for example in examples["links"].as_array().unwrap() {
        let text = |name: &str| example[name].as_str().unwrap_or_default().to_owned();
        // The command makes its own nonces, and refuses what only verifiers take.
        if !text("nonce").is_empty() || text("note").contains("presigning refuses") {
            continue;
        }
        let (lifetime, grant) = (example["expires"].to_string(), text("grant"));
        let (uri, at, audience) = (text("uri"), text("timestamp"), text("audience"));
        let mut arguments = vec![&*uri, "--lifetime", &lifetime, "--at", &at, "--link-audience", &audience];
        if !grant.is_empty() {
            arguments.extend(["--grant", &grant]);
        }
        assert!(presigned(&arguments).ends_with(&format!("&sign={}", text("sign"))), "{example}");
        count += 1;
    }
    assert_eq!(count, 4);
    let printed = command().args(["vectors", "links"]).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&printed.stdout).unwrap(), examples);
    let json: Value =
        serde_json::from_str(&presigned(&["/a", "--lifetime", "60", "--at", "1700000000", "--json"])).unwrap();
    assert_eq!(json["expires_at"], 1_700_000_060);
    assert!(json["url"].as_str().unwrap().starts_with("/a?expires=60&appId=demo&timestamp=1700000000&sign="));
}

#[test]
fn presign_names_what_is_wrong() {
    for (arguments, code, expected) in [
        (&["/a"][..], 2, "--lifetime"),
        (&["/a", "--lifetime", "604801"], 2, "--lifetime"),
        (&["/a", "--lifetime", "0"], 2, "--lifetime"),
        (&["/a", "--lifetime", "60", "--grant", "cs1_x"], 2, "grant: expected cs1g_"),
        (&["/a", "--lifetime", "60", "--at", "1700000000", "--one-time"], 2, "--one-time"),
        (&["/a", "--lifetime", "60", "--leave-out", "sign"], 2, "--leave-out"),
        (&["/a", "--lifetime", "60", "--link-audience", "\u{e9}"], 2, "--link-audience"),
        (&["a b", "--lifetime", "60"], 3, "the URL"),
        (&["/a/../b", "--lifetime", "60"], 3, ".."),
        (&["/a?b=", "--lifetime", "60"], 3, "empty"),
        (&["/a?expires=1", "--lifetime", "60"], 3, "expires"),
        (&["/a?utm_source=x", "--lifetime", "60", "--leave-out-tracking"], 3, "utm_source"),
    ] {
        let output = presign(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
        assert!(!text.contains(KEY), "{text}");
    }
    let mut without_key = command();
    let output = without_key.args(["presign", "--app", "demo", "--lifetime", "60", "/a"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
}

#[tokio::test]
async fn server_opens_links_only_if_told() {
    let (with, without) = (Server::start(&["--links"]), Server::start(&[]));
    let link = |server: &Server| presigned(&[server.url("/a?b=1").as_str(), "--lifetime", "60"]);
    let opened = open(&with, &link(&with)).await;
    assert_eq!((opened.status, &opened.json["query"]), (200, &json!("b=1")), "{}", opened.json);
    assert_eq!(opened.json["link"]["grant"], Value::Null);
    assert_eq!(open(&without, &link(&without)).await.outcome(), (401, "unsigned"));
    let request = with.get(&demo(), "/a").await;
    assert_eq!(request.json.get("link"), None, "a request is no link");
}

#[tokio::test]
async fn options_of_links_are_those_of_both_ends() {
    let options = ["--link-audience", "files.example.com", "--leave-out", "ref", "--leave-out-tracking"];
    let server = Server::start(&[&["--links", "--cacheable-links"], &options[..]].concat());
    let url = server.url("/a?b=1");
    let link = presigned(&[&[url.as_str(), "--lifetime", "60"], &options[..]].concat());
    let opened = open(&server, &format!("{link}&ref=mail&utm_source=mail&fbclid=x")).await;
    assert_eq!((opened.status, &opened.json["query"]), (200, &json!("b=1")), "{}", opened.json);
    assert!(opened.header("cache-control").starts_with("private, max-age="), "{:?}", opened.headers);
    let elsewhere = presigned(&[url.as_str(), "--lifetime", "60"]);
    assert_eq!(open(&server, &elsewhere).await.outcome(), (401, "invalid_signature"));
}

#[tokio::test]
async fn link_for_one_use_needs_a_shared_store() {
    let redis = Redis::start();
    let (alone, shared) = (Server::start(&["--links"]), Server::start(&["--links", "--redis", redis.url()]));
    let link = |server: &Server| presigned(&[server.url("/a").as_str(), "--lifetime", "60", "--one-time"]);
    assert_eq!(open(&alone, &link(&alone)).await.outcome(), (500, "misconfigured"));
    let link = link(&shared);
    ok(open(&shared, &link).await.outcome());
    assert_eq!(open(&shared, &link).await.outcome(), (401, "replayed_nonce"));
}

async fn grant(server: &Server, signer: &Signer, body: &str) -> Answer {
    let mut request = Request::new(Method::POST, server.url("/_grants"));
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    *request.body_mut() = Some(body.to_owned().into());
    server.send(signer.sign_reqwest(request).unwrap()).await
}

#[tokio::test]
async fn grants_are_issued_listed_and_ended() {
    let server = Server::start(&["--tokens", "--links"]);
    let user = server.signer(json!({ "user": "u" })).await;
    let issued = grant(&server, &user, "{}").await;
    assert_eq!((issued.status, issued.header("cache-control")), (201, "no-store"), "{}", issued.json);
    assert_eq!((&issued.json["expires_in"], &issued.json["user"]), (&json!(86400), &json!("u")));
    let (id, text) = (issued.json["id"].as_str().unwrap(), issued.json["grant"].as_str().unwrap());
    let link = presigned(&[server.url("/a").as_str(), "--lifetime", "60", "--grant", text]);
    let opened = open(&server, &link).await;
    assert_eq!((opened.status, &opened.json["link"]["grant"]["id"]), (200, &json!(id)), "{}", opened.json);
    assert!(!opened.json.to_string().contains(text), "the service does not get the grant");

    let listed = server.get(&user, "/_grants").await;
    assert_eq!(listed.json["grants"].as_array().unwrap().len(), 1);
    assert!(!listed.json.to_string().contains(text), "the store does not keep the text");
    let other = with_token_of_other(&server).await;
    assert_eq!(server.get(&other, "/_grants").await.json["grants"], json!([]), "another app's grants");
    let path = format!("/_grants/{id}");
    assert_eq!(server.call(&other, Method::DELETE, &path).await.status, 404);
    ok(open(&server, &link).await.outcome());
    assert_eq!(server.call(&user, Method::DELETE, &path).await.status, 204);
    assert_eq!(open(&server, &link).await.outcome(), (401, "invalid_token"));
    assert_eq!(server.call(&user, Method::DELETE, &path).await.status, 404);
    assert_eq!(server.call(&user, Method::DELETE, "/_grants/x").await.status, 400);
}

/// A signer of the app `other` for the same user.
async fn with_token_of_other(server: &Server) -> Signer {
    let answer = server.ask(&other(), &json!({ "user": "u" })).await;
    other().with_token(token(&answer.json))
}

#[tokio::test]
async fn grant_needs_a_session_and_a_lifetime() {
    let server = Server::start(&["--tokens", "--links"]);
    assert_eq!(grant(&server, &demo(), "{}").await.outcome(), (401, "missing_token"));
    let once = server.signer(json!({ "user": "u", "one_time": true })).await;
    assert_eq!(grant(&server, &once, "{}").await.outcome(), (403, "token_not_allowed"));
    let user = server.signer(json!({ "user": "u" })).await;
    for body in [r#"{"ttl":0}"#, r#"{"ttl":-1}"#, r#"{"days":1}"#, "[]", "x"] {
        let answer = grant(&server, &user, body).await;
        assert_eq!((answer.status, answer.header("x-error-code")), (400, ""), "{body}: {}", answer.json);
        assert!(answer.json["detail"].as_str().unwrap().contains("expected"), "{body}: {}", answer.json);
    }
    let app = server.signer(json!({})).await;
    let issued = grant(&server, &app, r#"{"ttl":5}"#).await;
    assert_eq!((&issued.json["expires_in"], &issued.json["user"]), (&json!(5), &Value::Null));
}

#[test]
fn help_names_the_options_of_links() {
    let text = String::from_utf8(presign(&["--help"]).stdout).unwrap();
    for option in ["--lifetime", "--one-time", "--grant", "--json", "--at", "--link-audience", "--leave-out", "--keys"]
    {
        assert!(text.contains(option), "{option}");
    }
    assert!(!text.contains("--token-env"), "{text}");
}

fn run_client(base: &str, once: bool) {
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/links_client.py");
    let output = Command::new("python3").args([client, base]).args(once.then_some("once")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 6);
}

const LINKS: [&str; 4] = ["--links", "--tokens", "--leave-out", "utm_source"];

#[test]
fn python_client_opens_links() {
    if !is_missing("python3", "--version") {
        run_client(&Server::start_with_key_of_other(KEY, &LINKS).base, false);
    }
}

#[test]
fn python_client_opens_links_behind_nginx() {
    if is_missing("python3", "--version") || is_missing("nginx", "-v") {
        return;
    }
    let redis = Redis::start();
    let server = Server::start_with_key_of_other(KEY, &[&LINKS[..], &["--redis", redis.url()]].concat());
    run_client(&Nginx::start(&server.base).base, true);
}
