//! `--submit-once`: a client sees that its submission ran once.

use std::time::Duration;

use super::*;

fn signer() -> Signer {
    demo().with_scheme(Scheme::new().with_signed_headers(["idempotency-key".parse().unwrap()]).unwrap())
}

async fn submit(server: &Server, signer: &Signer, path: &str, key: Option<&str>, body: &'static str) -> Answer {
    let mut request = Request::new(Method::POST, server.url(path));
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    if let Some(key) = key {
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    }
    *request.body_mut() = Some(body.into());
    server.send(signer.sign_reqwest(request).unwrap()).await
}

fn by_key() -> Server {
    Server::start(&["--signed-header", "idempotency-key", "--submit-once", "key"])
}

#[tokio::test]
async fn submission_with_a_key_runs_once() {
    let (server, signer) = (by_key(), signer());
    let first = submit(&server, &signer, "/orders", Some("k"), "order").await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, "false"));
    assert_eq!((&first.json["run"], &first.json["idempotency_key"]), (&1.into(), &"k".into()));
    let again = submit(&server, &signer, "/orders", Some("k"), "order").await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
    assert_eq!(again.json, first.json);
    let other = submit(&server, &signer, "/orders", Some("k"), "other").await;
    assert_eq!(other.outcome(), (422, "idempotency_key_reused"));
    assert_eq!(submit(&server, &signer, "/orders", None, "order").await.outcome(), (400, "missing_field"));
    let next = submit(&server, &signer, "/orders", Some("k2"), "order").await;
    assert_eq!(next.json["run"], 2);
}

#[tokio::test]
async fn clients_see_each_outcome() {
    let (server, signer) = (by_key(), signer());
    let send = |path: &'static str| submit(&server, &signer, path, Some("k"), "");
    assert_eq!(send("/_answer/502").await.status, 502);
    assert_eq!(send("/_answer/502").await.outcome(), (409, "submission_outcome_unknown"));
    assert_eq!(send("/_answer/201?no_store=true").await.status, 201);
    let again = send("/_answer/201?no_store=true").await;
    assert_eq!((again.outcome(), &again.json["first_status"]), ((409, "duplicate_submission"), &201.into()));
    // The client gives up. The server goes on, for a minute.
    let slow = "/_answer/200?delay=60";
    assert!(tokio::time::timeout(Duration::from_secs(1), send(slow)).await.is_err());
    let again = send(slow).await;
    assert_eq!((again.outcome(), again.header("retry-after")), ((409, "submission_in_progress"), "1"));
    for path in ["/_answer/100", "/_answer/1000", "/_answer/204?delay=x", "/_answer/205?other=1"] {
        assert_eq!(send(path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn equal_submissions_without_keys_run_once() {
    let server = Server::start(&["--submit-once", "60", "--tokens"]);
    let user = server.signer(json!({ "user": "u-17" })).await;
    let first = submit(&server, &user, "/orders", None, "order").await;
    let again = submit(&server, &user, "/orders", None, "order").await;
    assert_eq!((again.header("idempotency-replayed"), &again.json), ("true", &first.json));
    assert_eq!(again.json["session"]["user"], "u-17");
    // Without a token, callers share no answers.
    assert_eq!(submit(&server, &demo(), "/orders", None, "order").await.status, 200);
    assert_eq!(submit(&server, &demo(), "/orders", None, "order").await.outcome(), (409, "duplicate_submission"));
}

#[test]
fn options_that_do_not_fit_are_refused() {
    for (arguments, expected) in [
        (&["--submit-once", "key"][..], "add --signed-header idempotency-key"),
        (&["--submit-once", "0"][..], "a number of seconds from 1 to 86400"),
        (&["--submit-once", "keys"][..], "expected the word key"),
    ] {
        let output = command().args(["serve", "--app", &format!("demo:{KEY}")]).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && stderr.contains(expected), "{stderr}");
    }
}
