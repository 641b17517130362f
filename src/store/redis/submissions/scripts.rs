//! The scripts of the submission store, one for each call.

use super::super::script::Script;

macro_rules! scripts {
    ($($name:ident: $file:literal;)+) => {
        $(pub(super) static $name: Script = Script::new(concat!(include_str!("common.lua"), include_str!($file)));)+
    };
}

scripts! {
    RESERVE: "reserve.lua";
    RENEW: "renew.lua";
    FINISH: "finish.lua";
    STATE: "state.lua";
    SETTLE: "settle.lua";
    FORGET: "forget.lua";
}
