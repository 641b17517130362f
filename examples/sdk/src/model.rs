//! The values that travel.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An order.
///
/// The key identifies it: the service carries out an order once, however often it arrives. Store the order before you
/// place it, and a program that starts again can place the same order again. A service forgets keys after some time, so
/// look for an old order in [`Client::orders`](crate::Client::orders) first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The idempotency key, which is sent as a signed header.
    pub key: Uuid,
    /// The symbol to buy, for example `BTC`.
    pub symbol: String,
    /// How much to buy.
    pub quantity: u64,
}

impl Order {
    /// Creates an order with a random key.
    #[must_use]
    pub fn new(symbol: impl Into<String>, quantity: u64) -> Self {
        Self { key: Uuid::new_v4(), symbol: symbol.into(), quantity }
    }

    /// The part of the order that is the request's body.
    pub(crate) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Body<'a> {
            symbol: &'a str,
            quantity: u64,
        }
        serde_json::to_vec(&Body { symbol: &self.symbol, quantity: self.quantity })
    }
}

/// An order that was placed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Receipt {
    /// The service's number for the order.
    pub id: u64,
    /// The symbol of the order.
    pub symbol: String,
    /// The quantity of the order.
    pub quantity: u64,
}

/// A document that is sent as a multipart form.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// The title.
    pub title: String,
    /// The name of the file.
    pub file_name: String,
    /// The file itself.
    pub bytes: Vec<u8>,
}

/// Shows the size of the file instead of the file.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("title", &self.title)
            .field("file_name", &self.file_name)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// A file that the service has stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StoredFile {
    /// The size of the file, in bytes.
    pub bytes: u64,
}
