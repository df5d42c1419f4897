//! What a human asked for: a move with an author, a reason and an end; and what takes it back. No IO.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::{Ratio, RegionName, Timestamp};
use crate::plan::Move;

/// A human's order to move. It beats what the machine would do by itself, and passes the same guards,
/// but for those that it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
    /// Not begun later than this; and until then nothing goes home by itself.
    pub until: Timestamp,
    pub what: Asked,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overrides: BTreeSet<Guard>,
    /// When the answers were seen to be as asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// This part of the answers to one region; the others keep their proportions.
    Shift { to: RegionName, share: Ratio },
    /// The weights of the policy again, in the steps of its `failback` if it has any.
    Failback,
    /// Exactly this move, if working it out anew gives the same sum.
    Reviewed { wanted: Box<Move>, checksum: String },
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shift { to, share } => write!(f, "{share} of the answers to `{to}`"),
            Self::Failback => f.write_str("home"),
            Self::Reviewed { wanted, checksum } => {
                write!(f, "plan {checksum}: {} -> {}", wanted.from, wanted.to)
            }
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, by {} until {}: {}", self.what, self.by, self.until, self.reason)?;
        if !self.overrides.is_empty() {
            let names: Vec<&str> = self.overrides.iter().map(|guard| guard.as_str()).collect();
            write!(f, " (overrides {})", names.join(", "))?;
        }
        Ok(())
    }
}

/// Takes back what is asked and what is under way, and keeps the machine from moving until its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
    pub until: Timestamp,
}

/// A guard that a human may override. Those that keep traffic from going nowhere are not among them: a
/// region that is bad or not proven fit, records that are not as read, a pin, the mode, an order that is
/// under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The pause after the last move.
    Cooldown,
    /// Shifts per window.
    Shifts,
    /// Closed after too many shifts.
    Latch,
    /// Blocked hours.
    Blocked,
    /// Replication lag of the destination, too high or unknown.
    Lag,
    /// Requests per second that the destination can take.
    Room,
    /// Windows that are not full yet.
    Warmup,
    /// How long home must have been well before traffic goes back.
    Soak,
}

impl Guard {
    pub const ALL: [Self; 8] = [
        Self::Cooldown,
        Self::Shifts,
        Self::Latch,
        Self::Blocked,
        Self::Lag,
        Self::Room,
        Self::Warmup,
        Self::Soak,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cooldown => "cooldown",
            Self::Shifts => "shifts",
            Self::Latch => "latch",
            Self::Blocked => "blocked",
            Self::Lag => "lag",
            Self::Room => "room",
            Self::Warmup => "warmup",
            Self::Soak => "soak",
        }
    }
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|guard| guard.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|guard| guard.as_str()).collect();
            format!("expected one of {}; no other guard can be overridden", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_written_as_it_is_read() {
        for guard in Guard::ALL {
            assert_eq!(guard.as_str().parse(), Ok(guard));
        }
        let refused = "destination".parse::<Guard>().unwrap_err();
        assert!(refused.contains("cooldown") && refused.contains("no other guard"), "{refused}");
    }
}
