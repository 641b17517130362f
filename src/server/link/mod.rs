//! Share links: `options` turns them on, and `verify` has the steps of PROTOCOL.md for them, of which `grant` is one. `forward`
//! makes the request that the service gets, `opened` is what its caller tells, and `answer` has the headers of responses.

pub(super) mod answer;
mod forward;
mod grant;
pub(super) mod opened;
pub(super) mod options;
mod verify;
