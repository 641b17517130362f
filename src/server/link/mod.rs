//! Share links: `options` turns them on, `verify` has the steps of PROTOCOL.md for them, `grant` step 7, `forward` makes the request that
//! the service gets, `opened` what its caller tells, and `answer` the headers of responses.

pub(super) mod answer;
mod forward;
mod grant;
pub(super) mod opened;
pub(super) mod options;
mod verify;
