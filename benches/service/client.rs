//! The load: bytes that were made ahead, and as little work as can be between an answer and the next request.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;

const CONNECTIONS: usize = 64;

/// A request as it goes over the wire.
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

/// What came of a round.
pub(crate) struct Load {
    pub(crate) elapsed: Duration,
    pub(crate) in_vain: f64,
}

/// Connections that are kept, on each of which one request at a time is under way.
pub(crate) struct Client {
    connections: Vec<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            // Never asleep: to wake it would be the server's work.
            stream.set_nonblocking(true).unwrap();
            stream
        };
        Self { connections: (0..CONNECTIONS).map(|_| connect()).collect() }
    }

    /// Returns when each request has its answer, which must be 200.
    pub(crate) fn send(&mut self, requests: &[Prepared]) -> Load {
        let start = Instant::now();
        let (mut unsent, mut answered, mut looks) = (requests.iter(), 0, 0_u64);
        for (connection, request) in self.connections.iter_mut().zip(unsent.by_ref()) {
            connection.write_all(&request.0).unwrap();
        }
        while answered < requests.len() {
            for connection in &mut self.connections {
                looks += 1;
                if !answer(connection) {
                    continue;
                }
                answered += 1;
                if let Some(request) = unsent.next() {
                    connection.write_all(&request.0).unwrap();
                }
            }
        }
        Load { elapsed: start.elapsed(), in_vain: 1.0 - requests.len() as f64 / looks as f64 }
    }
}

/// Whether an answer has come. It comes whole: the server writes it in one piece, and it is short.
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
