//! A call of an operator's hook, and what came of it.

use serde::{Deserialize, Serialize};

use super::Purpose;
use crate::domain::{ServiceName, Split};
use crate::policy::HookPhase;

/// What a hook is told: JSON on the standard input of a program, or the body of a `POST`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookCall {
    pub service: ServiceName,
    pub hook: String,
    pub phase: HookPhase,
    /// The same for the same thing, over restarts and when it is asked again: whoever has done it knows
    /// by this that it is done.
    pub key: String,
    /// 1 for the first time that it is asked, and so on.
    pub attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub purpose: Option<Purpose>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<Split>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<Split>,
    /// The change to undo, for `rollback`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    pub because: String,
}

/// What a hook answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookAnswer {
    Yes,
    /// It said no, in so many words.
    Veto,
    /// It failed, took too long, or could not be started.
    Failed,
    /// Leeward ended while it ran: nobody knows how it went.
    Cut,
}

/// How a call of a hook ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookEnd {
    pub key: String,
    pub attempt: u32,
    pub answer: HookAnswer,
    /// What it printed or why it failed, cut to a few lines.
    pub says: String,
}
