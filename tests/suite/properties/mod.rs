//! Properties that hold for every request.

mod by_hand;
mod edits;
mod injective;
mod kinds;
mod lines;
mod seen;

use proptest::{collection::vec, prelude::*, sample::select};

use crate::reference::parameters::decode;

/// Decoded parameters, each a name and a value.
type Decoded = Vec<(Vec<u8>, Vec<u8>)>;

fn parameters() -> impl Strategy<Value = Decoded> {
    // Few letters, so that names repeat and requests are similar. All bytes with a special meaning are included.
    let byte = || prop_oneof![4 => select(b"ab1&=%+ ;~".to_vec()), 1 => any::<u8>()];
    vec((vec(byte(), 0..4), vec(byte(), 0..4)), 0..5)
}

/// Writes parameters in one of the equivalent spellings of the protocol.
fn spelled(parameters: &Decoded, spelling: &[u8]) -> String {
    let mut spelling = spelling.iter().copied().cycle();
    let mut text = |bytes: &[u8]| {
        let spell = |byte: &u8| match (spelling.next().unwrap_or(0) % 3, *byte) {
            (0, b' ') => "+".to_owned(),
            (1, b) => format!("%{b:02x}"),
            (_, b) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            (_, b) => format!("%{b:02X}"),
        };
        bytes.iter().map(spell).collect::<String>()
    };
    parameters.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>().join("&")
}

fn decoded(text: &[u8]) -> Decoded {
    let text = String::from_utf8_lossy(text);
    let pieces = text.split('&').filter(|piece| !piece.is_empty());
    let pairs = pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "")));
    pairs.map(|(name, value)| (decode(name.as_bytes()).unwrap(), decode(value.as_bytes()).unwrap())).collect()
}

fn is_signed((name, value): &(Vec<u8>, Vec<u8>)) -> bool {
    !name.is_empty() && !value.is_empty()
}

/// The meaning of parameters: the non-empty ones, in any order except among equal names.
fn meaning(parameters: &Decoded) -> Decoded {
    let mut meaning: Decoded = parameters.iter().filter(|parameter| is_signed(parameter)).cloned().collect();
    meaning.sort_by(|a, b| a.0.cmp(&b.0));
    meaning
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
