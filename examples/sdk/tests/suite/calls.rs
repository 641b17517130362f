//! Calls of a healthy service.

use orders_sdk::{Document, Order, Receipt, StoredFile};

use crate::{TemporaryFile, service::Service};

#[tokio::test]
async fn order_is_placed_and_listed() {
    let service = Service::start([]).await;
    let client = service.client();
    let order = Order::new("BTC", 10);
    let receipt = client.place_order(&order).await.unwrap();
    assert_eq!(receipt, Receipt { id: 0, symbol: "BTC".into(), quantity: 10 });
    assert_eq!(client.place_order(&order).await.unwrap(), receipt, "the same order");
    assert_eq!(client.place_order(&Order::new("BTC", 10)).await.unwrap().id, 1, "another order");
    assert_eq!(client.orders().await.unwrap().len(), 2);
    let arrivals = service.arrivals();
    assert_eq!(arrivals[0].header("idempotency-key"), order.key.to_string());
    assert_eq!(arrivals[0].header("content-type"), "application/json");
    assert!(arrivals.iter().all(|arrival| arrival.header("user-agent").starts_with("orders-sdk/")));
}

#[tokio::test]
async fn stored_order_keeps_its_key() {
    let order = Order::new("BTC", 10);
    let stored = serde_json::to_string(&order).unwrap();
    assert_eq!(serde_json::from_str::<Order>(&stored).unwrap(), order);
}

/// It is larger than the bodies that are buffered, which have 2 MiB.
#[tokio::test]
async fn file_is_streamed_by_its_digest() {
    let service = Service::start([]).await;
    let file = TemporaryFile::new(&vec![b'x'; 5 * 1024 * 1024]);
    let stored = service.client().upload(&file.0).await.unwrap();
    assert_eq!(stored, StoredFile { bytes: 5 * 1024 * 1024 });
    let arrival = &service.arrivals()[0];
    assert_eq!(arrival.path, format!("/v1/files/{}", arrival.header("x-content-sha256")));
    assert_eq!(arrival.header("content-length"), "5242880");
}

#[tokio::test]
async fn empty_file_is_uploaded() {
    let service = Service::start([]).await;
    let file = TemporaryFile::new(b"");
    assert_eq!(service.client().upload(&file.0).await.unwrap(), StoredFile { bytes: 0 });
}

#[tokio::test]
async fn multipart_form_is_signed_as_bytes() {
    let service = Service::start([]).await;
    let document = Document { title: "Invoice".into(), file_name: "a b.pdf".into(), bytes: b"\x00\xff".to_vec() };
    assert_eq!(service.client().upload_form(document).await.unwrap(), StoredFile { bytes: 2 });
    let arrival = &service.arrivals()[0];
    assert!(arrival.header("content-type").starts_with("multipart/form-data; boundary="));
    assert!(!arrival.header("x-content-sha256").is_empty());
}

#[tokio::test]
async fn base_url_may_end_with_a_slash() {
    let mut service = Service::start([]).await;
    service.url.push('/');
    assert_eq!(service.client().orders().await.unwrap(), []);
    assert_eq!(service.arrivals()[0].path, "/v1/orders");
}

/// Servers spawn such calls.
#[tokio::test]
async fn calls_are_send() {
    let service = Service::start([]).await;
    let (client, file) = (service.client(), TemporaryFile::new(b"file"));
    let calls = tokio::spawn(async move {
        client.place_order(&Order::new("BTC", 10)).await.unwrap();
        client.upload(&file.0).await.unwrap();
        client.upload_form(Document { title: "t".into(), file_name: "f".into(), bytes: vec![1] }).await.unwrap();
        client.orders().await.unwrap().len()
    });
    assert_eq!(calls.await.unwrap(), 1);
}
