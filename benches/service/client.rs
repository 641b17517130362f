//! The load generator: prepared bytes, and minimal work between a response and the next request.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;

const CONNECTIONS: usize = 64;

/// A request as bytes on the wire.
pub(crate) struct Prepared(Vec<u8>);

impl Prepared {
    pub(crate) fn new(request: &Request<Bytes>) -> Self {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).into_bytes();
        for (name, value) in request.headers() {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(request.body());
        Self(bytes)
    }
}

/// The result of a round.
pub(crate) struct Load {
    pub(crate) elapsed: Duration,
    pub(crate) empty_polls: f64,
}

/// Persistent connections with one request in flight each.
pub(crate) struct Client {
    connections: Vec<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            // Nonblocking, because waking a sleeping client would cost the server time.
            stream.set_nonblocking(true).unwrap();
            stream
        };
        Self { connections: (0..CONNECTIONS).map(|_| connect()).collect() }
    }

    /// Sends the requests, and returns after the last response. Each response must be a 200.
    pub(crate) fn send(&mut self, requests: &[Prepared]) -> Load {
        let start = Instant::now();
        let (mut unsent, mut answered, mut polls) = (requests.iter(), 0, 0_u64);
        for (connection, request) in self.connections.iter_mut().zip(unsent.by_ref()) {
            connection.write_all(&request.0).unwrap();
        }
        while answered < requests.len() {
            for connection in &mut self.connections {
                polls += 1;
                if !answer(connection) {
                    continue;
                }
                answered += 1;
                if let Some(request) = unsent.next() {
                    connection.write_all(&request.0).unwrap();
                }
            }
        }
        Load { elapsed: start.elapsed(), empty_polls: 1.0 - requests.len() as f64 / polls as f64 }
    }
}

/// Whether a response has arrived. It arrives in one read, because it is short and the server writes it at once.
fn answer(connection: &mut TcpStream) -> bool {
    let mut buffer = [0; 2048];
    match connection.read(&mut buffer) {
        Ok(length) => {
            assert!(buffer[..length].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&buffer[..length]));
            true
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}
