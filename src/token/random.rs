//! Random bytes of the system.

use super::IssueError;

pub(super) fn random<const N: usize>() -> Result<[u8; N], IssueError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| IssueError::Random(error.into()))?;
    Ok(bytes)
}
