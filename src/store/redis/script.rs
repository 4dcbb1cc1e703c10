//! The scripts, each a file of its own behind what all share, and how their arguments are written.

use std::sync::LazyLock;

use crate::store::Put;

/// Numbers beyond this are not exact in a script; as times they mean "never" just as well.
const MAX_NUMBER: i64 = 1 << 53;

/// A script and its name on the server.
pub(super) struct Script {
    code: &'static str,
    hash: LazyLock<String>,
}

impl Script {
    pub(super) fn code(&self) -> &'static str {
        self.code
    }
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: Script = Script {
            code: concat!(include_str!("scripts/common.lua"), include_str!(concat!("scripts/", $file))),
            hash: LazyLock::new(|| {
                let code = concat!(include_str!("scripts/common.lua"), include_str!(concat!("scripts/", $file)));
                redis::Script::new(code).get_hash().to_owned()
            }),
        };)*
    };
}

scripts! {
    CHANGES = "changes.lua";
    CLAIM = "claim.lua";
    CLAMP = "clamp.lua";
    COMMIT = "commit.lua";
    CONFIRM = "confirm.lua";
    DEPTHS = "depths.lua";
    ERASE = "erase.lua";
    GIVE_TOKENS_BACK = "give_tokens_back.lua";
    IDENTITY = "identity.lua";
    LIST = "list.lua";
    NEXT = "next.lua";
    NODES = "nodes.lua";
    OFFER = "offer.lua";
    PURGE = "purge.lua";
    REFILL = "refill.lua";
    RENEW = "renew.lua";
    REOPEN = "reopen.lua";
    REWRITE = "rewrite.lua";
    SCAN = "scan.lua";
    SETTLE = "settle.lua";
    SLOW_DOWN = "slow_down.lua";
    SWEEP = "sweep.lua";
    TAKE_TOKENS = "take_tokens.lua";
    TRIM = "trim.lua";
    UNTRACED = "untraced.lua";
}

/// A call of a script whose arguments are being written.
pub(super) struct Call {
    command: redis::Cmd,
}

impl Call {
    pub(super) fn new(script: &Script, keys: &[String; 2]) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&*script.hash).arg(keys.len()).arg(keys);
        Self { command }
    }

    pub(super) fn command(&self) -> &redis::Cmd {
        &self.command
    }

    pub(super) fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.command.arg(bytes.as_ref());
        self
    }

    pub(super) fn number(mut self, number: i64) -> Self {
        self.command.arg(number.clamp(-MAX_NUMBER, MAX_NUMBER));
        self
    }

    pub(super) fn count(self, count: usize) -> Self {
        self.number(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn flag(self, flag: bool) -> Self {
        self.bytes(if flag { "1" } else { "0" })
    }

    pub(super) fn put(self, put: &Put) -> Self {
        let call = self.number(put.table.number()).bytes(&put.key).bytes(&put.value);
        let call = match put.expires_at_ms {
            Some(expires_at_ms) => call.number(expires_at_ms),
            None => call.bytes(""),
        };
        call.flag(put.table.is_configuration())
    }

    /// Their number, and each of them. What a node keeps for itself is left out.
    pub(super) fn puts(self, puts: &[Put]) -> Self {
        let shared = || puts.iter().filter(|put| put.table.is_shared());
        shared().fold(self.count(shared().count()), Self::put)
    }
}
