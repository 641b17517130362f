//! Renewing tokens.

use super::*;

async fn renew(server: &Server, signer: &Signer) -> Answer {
    server.call(signer, Method::POST, "/_tokens/renew").await
}

#[tokio::test]
async fn lost_renewal_can_be_repeated() {
    let server = Server::start(&["--tokens", "--renewal-overlap", "0"]);
    let first = server.issue(json!({ "user": "u", "device": "phone" })).await;
    let old = with_token(&first);
    let (one, two) = (renew(&server, &old).await, renew(&server, &old).await);
    assert_eq!((one.status, one.header("cache-control")), (200, "no-store"));
    assert_eq!(one.json["token"], two.json["token"]);
    assert_ne!(one.json["token"], first["token"]);
    assert_eq!(one.json["session_id"], first["session_id"]);
    assert!(one.json["session_expires_in"].as_u64() > one.json["expires_in"].as_u64());
    // The overlap begins with the first use of the successor.
    ok(server.get(&old, "/").await.outcome());
    assert_eq!(server.get(&with_token(&one.json), "/").await.json["session"]["device"], "phone");
    assert_eq!(server.get(&old, "/").await.reason(), "");
}

#[tokio::test]
async fn old_token_works_in_the_overlap() {
    let server = Server::start(&["--tokens"]);
    let old = server.signer(json!({ "user": "u" })).await;
    let new = with_token(&renew(&server, &old).await.json);
    ok(server.get(&new, "/").await.outcome());
    ok(server.get(&old, "/").await.outcome());
    assert_eq!(server.call(&new, Method::DELETE, "/_tokens").await.status, 204);
    // The end of a session ends all of its tokens.
    for signer in [new, old] {
        assert_eq!(server.get(&signer, "/").await.reason(), "revoked");
    }
}

#[tokio::test]
async fn renewal_needs_a_token() {
    let server = Server::start(&["--tokens"]);
    assert_eq!(renew(&server, &demo()).await.outcome(), (401, "missing_token"));
}

#[tokio::test]
async fn too_many_renewals_get_429() {
    let server = Server::start(&["--tokens"]);
    let mut signer = server.signer(json!({ "user": "u" })).await;
    for _ in 0..10 {
        let renewed = renew(&server, &signer).await;
        if renewed.status != 200 {
            assert_eq!(renewed.outcome(), (429, "too_many_sessions"), "{}", renewed.json);
            assert!(renewed.json["detail"].as_str().unwrap().contains("renewed too often"));
            ok(server.get(&signer, "/").await.outcome());
            return;
        }
        signer = with_token(&renewed.json);
        ok(server.get(&signer, "/").await.outcome());
    }
    panic!("ten renewals in one overlap");
}
