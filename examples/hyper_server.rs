//! Plain hyper behind the verifier, without a framework, and two calls: a good one, and one that was tampered with.
//!
//! ```sh
//! cargo run --example hyper_server
//! ```

use std::{convert::Infallible, net::Ipv4Addr, process::ExitCode, time::Duration};

use bytes::Bytes;
use countersign::{Caller, Secret, Signer, StaticKeys, VerifyLayer, server::ServiceBody};
use http::{Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};

type Error = Box<dyn std::error::Error>;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn serve(request: Request<ServiceBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(caller) = request.extensions().get::<Caller>() {
        println!("{} calls {} {}", caller.app_id(), request.method(), request.uri());
    }
    Ok(Response::new(Full::default()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Error> {
    // The service: made once, for its clones share one memory of nonces. Each connection gets a clone.
    let keys = StaticKeys::new([("demo".parse()?, Secret::new(SECRET)?)])?;
    let service = ServiceBuilder::new().layer(VerifyLayer::new(keys)).service(service_fn(serve));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let orders = format!("http://{}/orders", listener.local_addr()?);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let service = TowerToHyperService::new(service.clone());
                    // With a timer hyper gives up on a head that takes more than half a minute.
                    let mut server = http1::Builder::new();
                    let connection = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                    tokio::spawn(connection);
                }
                Err(error) => {
                    eprintln!("accept: {error}");
                    // Most often the process has too many files open: give those that are done time to close.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });

    // The client.
    let signer = Signer::new("demo".parse()?, Secret::new(SECRET)?);
    let order = || Request::post(&orders).body(Bytes::from("10"));
    let good = signer.sign(order()?)?;
    let mut tampered = signer.sign(order()?)?;
    *tampered.body_mut() = Bytes::from("99");

    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut as_expected = true;
    for (call, request, expected) in [("a good call", good, 200), ("a changed body", tampered, 401)] {
        let status = client.request(request.map(Full::new)).await?.status();
        println!("{call:<22}{}", status.as_u16());
        as_expected &= status == expected;
    }
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
