//! `SubmitOnceLayer`: each submission runs once, and a repeated one gets what became of the first.

mod answers;
mod endings;
mod failures;
mod keys;
mod places;
mod races;
mod redis;
mod scopes;
mod shop;
mod stacks;
mod states;
