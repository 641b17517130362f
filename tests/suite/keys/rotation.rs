//! docs/keys.md: the recipe that it tells.
