//! The submission store in Redis. `commands` makes one command of each call, `scripts` are the commands, in Lua, and
//! `layout` is the format of the values.

mod commands;
mod layout;
mod scripts;
pub(in crate::store) mod store;
