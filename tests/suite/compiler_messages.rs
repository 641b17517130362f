//! Compiler messages for common mistakes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The errors that `cargo check` prints for a program in its own package.
fn errors_of(name: &str, dependencies: &str, program: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let package = target.join("compiler-messages").join(name);
    fs::create_dir_all(package.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{}\n",
        dependencies.replace("PATH", root.to_str().unwrap())
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::write(package.join("src/main.rs"), program).unwrap();
    // Use the dependency versions of this test's own build.
    let _ = fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock"));
    let mut check = Command::new(env!("CARGO"));
    check.args(["check", "--quiet", "--offline", "--color", "never"]).current_dir(&package);
    let output = check.env("CARGO_TARGET_DIR", target.join("compiler-messages/target")).output().unwrap();
    assert!(!output.status.success(), "{name} compiles");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn verifier_as_layer_error_suggests_into_layer() {
    let dependencies = r#"
        countersign = { path = "PATH", features = ["axum"] }
        axum = { version = "0.8.4", default-features = false }
    "#;
    let program = r#"
        fn app(verifier: countersign::Verifier<countersign::StaticKeys>) -> axum::Router {
            axum::Router::new().layer(verifier)
        }

        fn main() {
            let _ = app;
        }
    "#;
    let errors = errors_of("verifier-as-layer", dependencies, program);
    assert!(errors.contains("a `Verifier` is not a layer"), "{errors}");
    assert!(errors.contains(".layer(verifier.into_layer())"), "{errors}");
}

#[test]
fn missing_reqwest_feature_is_named() {
    let dependencies = r#"
        countersign = { path = "PATH" }
        reqwest = { version = "0.13.1", default-features = false }
        tower = { version = "0.5.2", features = ["util"] }
    "#;
    let program = r#"
        use tower::{Layer, ServiceExt};

        async fn send(signer: countersign::Signer, client: reqwest::Client, request: reqwest::Request) {
            let client = countersign::SignLayer::new(signer).layer(client);
            let _ = client.oneshot(request).await;
        }

        fn main() {
            let _ = send;
        }
    "#;
    let errors = errors_of("reqwest-without-feature", dependencies, program);
    assert!(errors.contains("`reqwest::Request` needs the feature `reqwest`"), "{errors}");
}
