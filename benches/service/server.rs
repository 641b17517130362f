//! The services. All run in one thread on one core.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
    serve::ListenerExt,
};
use core_affinity::CoreId;
use countersign::{StaticKeys, VerifyLayer};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, runtime};

use crate::rig;

pub(crate) struct Server {
    /// Without the layer, and with it.
    pub(crate) orders: [SocketAddr; 2],
    pub(crate) empty: [SocketAddr; 2],
    /// The file in /proc with the processor time of the thread.
    times: PathBuf,
}

impl Server {
    /// Starts the server. It runs until the process ends.
    pub(crate) fn start(core: CoreId) -> Self {
        let (started, starts) = mpsc::channel();
        thread::spawn(move || {
            assert!(core_affinity::set_for_current(core));
            let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
            runtime.block_on(async {
                let orders = [serve(orders()).await, serve(orders().layer(layer())).await];
                let empty = [serve(empty()).await, serve(empty().layer(layer())).await];
                let thread = fs::read_link("/proc/thread-self").unwrap();
                let times = PathBuf::from("/proc").join(thread).join("schedstat");
                started.send(Self { orders, empty, times }).unwrap();
                std::future::pending::<()>().await;
            });
        });
        starts.recv().unwrap()
    }

    /// The processor time in seconds.
    pub(crate) fn processor_time(&self) -> f64 {
        let times = fs::read_to_string(&self.times).unwrap();
        times.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    }
}

async fn serve(service: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    tokio::spawn(async { axum::serve(listener, service).await.unwrap() });
    address
}

fn layer() -> VerifyLayer<StaticKeys> {
    VerifyLayer::new(StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap())
}

fn empty() -> Router {
    Router::new().route("/api/v1/orders", get(async || ()).post(async || ()))
}

fn orders() -> Router {
    let book = Arc::new(AtomicU64::new(1_000_000_000));
    Router::new().route("/api/v1/orders", get(find).post(place)).with_state(book)
}

type Book = State<Arc<AtomicU64>>;

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Side {
    Buy,
    Sell,
}

/// The query of the GET.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderQuery {
    symbol: String,
    side: Side,
    r#type: String,
    time_in_force: String,
    quantity: f64,
    price: f64,
    note: String,
    client_order_id: String,
}

#[derive(Deserialize)]
struct Order {
    symbol: String,
    side: Side,
    note: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacedOrder {
    id: u64,
    symbol: String,
    client_order_id: Option<String>,
    value: f64,
    buys: bool,
    remarks: usize,
}

async fn find(State(book): Book, Query(query): Query<OrderQuery>) -> Json<PlacedOrder> {
    Json(PlacedOrder {
        id: book.fetch_add(1, Ordering::Relaxed),
        symbol: query.symbol,
        client_order_id: Some(query.client_order_id),
        value: query.price * query.quantity,
        buys: matches!(query.side, Side::Buy),
        remarks: query.note.len() + query.r#type.len() + query.time_in_force.len(),
    })
}

async fn place(State(book): Book, Json(order): Json<Order>) -> Json<PlacedOrder> {
    Json(PlacedOrder {
        id: book.fetch_add(1, Ordering::Relaxed),
        symbol: order.symbol,
        client_order_id: None,
        value: 0.0,
        buys: matches!(order.side, Side::Buy),
        remarks: order.note.len(),
    })
}
