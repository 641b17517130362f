//! Redis over TLS.

use std::{path::Path, process::Command};

use redis::{Client, TlsCertificates};

use super::*;

/// A self-signed certificate for `localhost`.
fn certificate(directory: &Path) -> Vec<u8> {
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
    let names = [
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ];
    let output = Command::new("openssl").args(request).args(names).current_dir(directory).output();
    assert!(output.expect("this test needs openssl").status.success());
    std::fs::read(directory.join("cert.pem")).unwrap()
}

#[tokio::test]
async fn server_certificate_is_verified() {
    let port = server::free_port().to_string();
    let mut root = Vec::new();
    let server = RedisServer::start_prepared(
        |directory| root = certificate(directory),
        &[
            "--tls-port",
            &port,
            "--tls-cert-file",
            "cert.pem",
            "--tls-key-file",
            "key.pem",
            "--tls-ca-cert-file",
            "cert.pem",
            "--tls-auth-clients",
            "no",
        ],
    );
    let url = format!("rediss://localhost:{port}/");
    let trusting = TlsCertificates { client_tls: None, root_cert: Some(root) };
    let store = RedisNonceStore::new(Client::build_with_tls(&*url, trusting).unwrap());
    assert_eq!(store.check().await.unwrap().servers, 1);
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::New);
    assert_eq!(claim(&store, "nonce-1").await.unwrap(), NonceStatus::Replayed);
    let without_root = RedisNonceStore::new(Client::open(&*url).unwrap());
    assert!(format!("{:?}", claim(&without_root, "nonce-2").await.unwrap_err()).contains("certificate"));
    assert_eq!(server.command::<i64>(&["DBSIZE"]), 1);
}

/// This program enables only the `ring` provider of rustls. If the feature `redis-tls` enabled a second provider,
/// rustls would panic here, because it could not choose one.
#[test]
fn redis_tls_selects_no_crypto_provider() {
    let config = rustls::ClientConfig::builder();
    let supported = config.crypto_provider().cipher_suites.len();
    assert_eq!(supported, rustls::crypto::ring::default_provider().cipher_suites.len());
}
