//! The scripts of the token store.

use super::super::script::Script;

macro_rules! scripts {
    ($($name:ident: $($file:literal),+;)+) => {
        $(pub(super) static $name: Script = Script::new(concat!($(include_str!($file)),+));)+
    };
}

scripts! {
    PUT: "common.lua", "owner.lua", "put.lua";
    PUT_UNLIMITED: "common.lua", "put_unlimited.lua";
    TOUCH: "common.lua", "overlap.lua", "touch.lua";
    TAKE: "common.lua", "take.lua";
    RENEW: "common.lua", "overlap.lua", "renew.lua";
    END: "common.lua", "owner.lua", "end.lua";
}
