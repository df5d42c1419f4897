//! Inaction has a type: each hold prints as half a sentence and says what would flip it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{BalancerName, Ratio, RegionName, Split, Timestamp, VantageName, span};
use crate::memory::Guard;
use crate::policy::{Class, LeverKind, Mode};

/// Why nothing was done, or less than the diagnosis asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The windows are not full yet after the start.
    WarmingUp {
        until: Timestamp,
    },
    NotSustained {
        region: RegionName,
        since: Timestamp,
        needs: Duration,
    },
    OneClassOnly {
        region: RegionName,
        seen: Vec<Class>,
        needs: usize,
    },
    TooFewVantages {
        region: RegionName,
        seen: usize,
        needs: usize,
    },
    EvidenceStale {
        region: RegionName,
    },
    ObserverIsolated {
        vantages: Vec<VantageName>,
    },
    ModeObserves {
        mode: Mode,
    },
    ApprovalNeeded {
        why: String,
    },
    Denied {
        since: Timestamp,
    },
    Pinned {
        by: String,
        reason: String,
        until: Option<Timestamp>,
    },
    Cooldown {
        until: Timestamp,
    },
    ShiftsExhausted {
        done: usize,
        max: u32,
        until: Timestamp,
    },
    Latched {
        since: Timestamp,
    },
    Blocked {
        window: String,
    },
    DestinationUnready {
        region: RegionName,
        why: String,
    },
    NoRoom {
        region: RegionName,
        room_rps: f64,
        needs_rps: f64,
    },
    LagTooHigh {
        lag: Duration,
        max: Duration,
    },
    LagUnknown {
        region: RegionName,
    },
    CommonCause {
        change: Option<String>,
    },
    DeploySuspected {
        version: String,
        age: Duration,
    },
    OrderOpen {
        since: Timestamp,
        to: Split,
    },
    ChangeStuck {
        since: Timestamp,
    },
    LeverImpaired {
        lever: LeverKind,
        why: String,
        retry_at: Timestamp,
    },
    Drift {
        what: String,
    },
    AnswersUnknown,
    NowhereToGo,
    RefreshExhausted {
        balancer: BalancerName,
    },
    RefreshWatching {
        balancer: BalancerName,
        until: Timestamp,
    },
    /// A refresh is made of steps, and this many of them are over.
    RefreshUnderWay {
        balancer: BalancerName,
        done: usize,
        steps: usize,
    },
    /// It is bad while its targets are well, not yet for as long or as steadily as a refresh needs. Until
    /// then its region is kept.
    BalancerUnsure {
        balancer: BalancerName,
        until: Timestamp,
    },
    /// A zone is bad and stays in use all the same.
    ZoneMustStay {
        balancer: BalancerName,
        zone: String,
        why: StayWhy,
    },
    /// No call about zones of this balancer is made before then.
    ZoneShiftPaused {
        balancer: BalancerName,
        why: String,
        until: Timestamp,
    },
    /// A zone was taken out of a region that fails: whether that helps is seen first.
    ZoneShiftWatching {
        balancer: BalancerName,
        zone: String,
        until: Timestamp,
    },
    FailbackManual {
        home: RegionName,
    },
    FailbackSoaking {
        home: RegionName,
        until: Timestamp,
    },
    /// A part of the traffic is to move, and the lever that works knows no half.
    StepNeedsWeights,
    /// A human asked for these answers: nothing goes home by itself before the end.
    Kept {
        by: String,
        reason: String,
        until: Timestamp,
    },
    /// A human stopped what was under way.
    Aborted {
        by: String,
        reason: String,
        since: Timestamp,
        until: Timestamp,
    },
    /// A hook of the operator is being asked.
    HookAsked {
        hook: String,
        until: Timestamp,
    },
    /// A hook of the operator said no, or failed where that counts as a no.
    HookVetoed {
        hook: String,
        why: String,
        until: Timestamp,
    },
}

/// Why a bad zone is not taken out of its balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StayWhy {
    /// Its targets do not tell their zones.
    NotTold,
    /// The policy has no id for it.
    NoId,
    /// Nothing from outside tells how users are served.
    Unseen,
    /// One zone of a region at a time, whoever took it out.
    OneAway {
        zone: String,
    },
    /// This one is not well either.
    OthersBad {
        zone: String,
    },
    RestTooSmall {
        healthy: u32,
        all: u32,
        needs: Ratio,
    },
    NoRoom {
        room_rps: f64,
        needs_rps: f64,
    },
    /// A balancer of the region is being refreshed: what is missing in a zone may be missing for that.
    Refreshed {
        balancer: BalancerName,
    },
}

impl StayWhy {
    fn flips_when(&self) -> String {
        match self {
            Self::NotTold => {
                "its targets are registered by address: only these tell their zones".to_owned()
            }
            Self::NoId => "the policy's `zones` name its id".to_owned(),
            Self::Unseen => "probes tell how users are served".to_owned(),
            Self::OneAway { zone } => format!("zone {zone} is in use again"),
            Self::OthersBad { zone } => format!("zone {zone} is well"),
            Self::RestTooSmall { .. } => "more targets of the other zones are healthy".to_owned(),
            Self::NoRoom { .. } => "fewer requests arrive, or the other zones grow".to_owned(),
            Self::Refreshed { balancer } => format!("the refresh of `{balancer}` is over"),
        }
    }
}

impl fmt::Display for StayWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTold => f.write_str("its targets do not tell in which zone they are"),
            Self::NoId => f.write_str("the policy has no id for it"),
            Self::Unseen => f.write_str("nothing tells how users are served"),
            Self::OneAway { zone } => write!(f, "zone {zone} is shifted away already"),
            Self::OthersBad { zone } => write!(f, "zone {zone} is not well either"),
            Self::RestTooSmall { healthy, all, needs } => {
                write!(f, "the other zones have {healthy} of {all} targets, {needs} are needed")
            }
            Self::NoRoom { room_rps, needs_rps } => write!(
                f,
                "the other zones have room for {room_rps:.0} of {needs_rps:.0} requests per second"
            ),
            Self::Refreshed { balancer } => write!(f, "balancer `{balancer}` is being refreshed"),
        }
    }
}

impl fmt::Display for Hold {
    /// Half a sentence: why nothing moves.
    #[expect(clippy::too_many_lines, reason = "one arm for each hold, each a sentence")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WarmingUp { until } => {
                write!(f, "observing only until {until}: the windows are not full yet")
            }
            Self::NotSustained { region, since, needs } => {
                write!(f, "`{region}` has been bad since {since}, not yet for {}", span(*needs))
            }
            Self::OneClassOnly { region, seen, needs } => {
                let names: Vec<String> =
                    seen.iter().map(|c| format!("{c:?}").to_lowercase()).collect();
                let names = names.join(" and ");
                if seen.len() < *needs {
                    write!(f, "only {names} speaks against `{region}`, {needs} classes are needed")
                } else {
                    write!(f, "{names} speak against `{region}`, counters of its users for it")
                }
            }
            Self::TooFewVantages { region, seen, needs } => {
                write!(f, "{seen} of the needed {needs} vantages see `{region}` bad")
            }
            Self::EvidenceStale { region } => {
                write!(f, "evidence about `{region}` is too old to act on")
            }
            Self::ObserverIsolated { vantages } => {
                let names: Vec<&str> = vantages.iter().map(VantageName::as_str).collect();
                write!(f, "our own view is broken at {}", names.join(", "))
            }
            Self::ModeObserves { mode } => {
                write!(f, "mode is `{}`", format!("{mode:?}").to_lowercase())
            }
            Self::ApprovalNeeded { why } => write!(f, "a human must approve: {why}"),
            Self::Denied { since } => write!(f, "a human said no at {since}"),
            Self::Pinned { by, reason, until } => {
                write!(f, "pinned by {by}: {reason}")?;
                until.map_or(Ok(()), |until| write!(f, " (until {until})"))
            }
            Self::Cooldown { until } => write!(f, "cooling down until {until}"),
            Self::ShiftsExhausted { done, max, until } => {
                write!(f, "{done} of at most {max} shifts are used up until {until}")
            }
            Self::Latched { since } => write!(f, "latched since {since}: too many shifts"),
            Self::Blocked { window } => write!(f, "blocked window `{window}`"),
            Self::DestinationUnready { region, why } => write!(f, "`{region}` is not ready: {why}"),
            Self::NoRoom { region, room_rps, needs_rps } => {
                write!(
                    f,
                    "`{region}` has room for {room_rps:.0} of {needs_rps:.0} requests per second"
                )
            }
            Self::LagTooHigh { lag, max } => {
                write!(
                    f,
                    "replication is {} behind, at most {} is accepted",
                    span(*lag),
                    span(*max)
                )
            }
            Self::LagUnknown { region } => write!(f, "replication lag of `{region}` is unknown"),
            Self::CommonCause { change: Some(change) } => {
                write!(
                    f,
                    "the same fault everywhere, {change} is the suspect: moving would not help"
                )
            }
            Self::CommonCause { change: None } => {
                f.write_str("the same fault in every region: moving would not help")
            }
            Self::DeploySuspected { version, age } => {
                write!(f, "`{version}` was deployed {} ago and is the first suspect", span(*age))
            }
            Self::OrderOpen { since, to } => {
                write!(f, "the order of {since} ({to}) is not in force yet")
            }
            Self::ChangeStuck { since } => write!(f, "a change has been pending since {since}"),
            Self::LeverImpaired { lever, why, retry_at } => {
                write!(
                    f,
                    "lever `{}` fails: {why}; next try {retry_at}",
                    format!("{lever:?}").to_lowercase()
                )
            }
            Self::Drift { what } => write!(f, "the records are not as ordered: {what}"),
            Self::AnswersUnknown => f.write_str("the records could not be read"),
            Self::NowhereToGo => f.write_str("no region is fit to take the traffic"),
            Self::RefreshExhausted { balancer } => {
                write!(f, "`{balancer}` was refreshed as often as allowed")
            }
            Self::RefreshWatching { balancer, until } => {
                write!(f, "watching the effect of the refresh of `{balancer}` until {until}")
            }
            Self::RefreshUnderWay { balancer, done, steps } => {
                write!(f, "`{balancer}` is being refreshed: {done} of {steps} steps are over")
            }
            Self::BalancerUnsure { balancer, until } => write!(
                f,
                "`{balancer}` fails while its targets are well, not yet for long enough to refresh \
                 it; its region is kept until {until} at most"
            ),
            Self::ZoneMustStay { balancer, zone, why } => {
                write!(f, "zone {zone} of `{balancer}` is not shifted away: {why}")
            }
            Self::ZoneShiftPaused { balancer, why, until } => {
                write!(f, "zones of `{balancer}` stay as they are until {until}: {why}")
            }
            Self::ZoneShiftWatching { balancer, zone, until } => write!(
                f,
                "zone {zone} is taken out of `{balancer}`; the region is not left until {until}"
            ),
            Self::Kept { by, reason, until } => {
                write!(f, "kept as {by} asked until {until}: {reason}")
            }
            Self::Aborted { by, reason, until, .. } => {
                write!(f, "aborted by {by} until {until}: {reason}")
            }
            Self::FailbackManual { home } => write!(f, "going home to `{home}` waits for a human"),
            Self::FailbackSoaking { home, until } => {
                write!(f, "`{home}` must stay well until {until} before traffic goes home")
            }
            Self::StepNeedsWeights => f.write_str(
                "only a part is to move, which takes weights of ours: a gate knows no half",
            ),
            Self::HookAsked { hook, until } => {
                write!(f, "hook `{hook}` is being asked, until {until} at most")
            }
            Self::HookVetoed { hook, why, .. } => write!(f, "hook `{hook}` said no: {why}"),
        }
    }
}

impl Hold {
    /// The guard that a human may override, if this is one. Written out for every hold: a new one must
    /// be thought about here.
    pub fn guard(&self) -> Option<Guard> {
        match self {
            Self::Cooldown { .. } => Some(Guard::Cooldown),
            Self::ShiftsExhausted { .. } => Some(Guard::Shifts),
            Self::Latched { .. } => Some(Guard::Latch),
            Self::Blocked { .. } => Some(Guard::Blocked),
            Self::LagTooHigh { .. } | Self::LagUnknown { .. } => Some(Guard::Lag),
            Self::NoRoom { .. } => Some(Guard::Room),
            Self::WarmingUp { .. } => Some(Guard::Warmup),
            Self::FailbackSoaking { .. } => Some(Guard::Soak),
            Self::NotSustained { .. }
            | Self::OneClassOnly { .. }
            | Self::TooFewVantages { .. }
            | Self::EvidenceStale { .. }
            | Self::ObserverIsolated { .. }
            | Self::ModeObserves { .. }
            | Self::ApprovalNeeded { .. }
            | Self::Denied { .. }
            | Self::Pinned { .. }
            | Self::DestinationUnready { .. }
            | Self::CommonCause { .. }
            | Self::DeploySuspected { .. }
            | Self::OrderOpen { .. }
            | Self::ChangeStuck { .. }
            | Self::LeverImpaired { .. }
            | Self::Drift { .. }
            | Self::AnswersUnknown
            | Self::NowhereToGo
            | Self::RefreshExhausted { .. }
            | Self::RefreshWatching { .. }
            | Self::RefreshUnderWay { .. }
            | Self::BalancerUnsure { .. }
            | Self::ZoneMustStay { .. }
            | Self::ZoneShiftPaused { .. }
            | Self::ZoneShiftWatching { .. }
            | Self::FailbackManual { .. }
            | Self::StepNeedsWeights
            | Self::Kept { .. }
            | Self::Aborted { .. }
            | Self::HookAsked { .. }
            | Self::HookVetoed { .. } => None,
        }
    }

    /// What would have to change for this hold to go away.
    pub fn flips_when(&self) -> String {
        match self {
            Self::WarmingUp { until } => format!("the windows are full at {until}"),
            Self::NotSustained { since, needs, .. } => {
                format!("it is still bad at {} or later", since.plus(*needs))
            }
            Self::OneClassOnly { seen, needs, .. } if seen.len() < *needs => {
                "another class of signal agrees".to_owned()
            }
            Self::OneClassOnly { .. } => {
                "these counters tell of lost users too, or do not cover the time of the trouble"
                    .to_owned()
            }
            Self::TooFewVantages { needs, seen, .. } => match needs.saturating_sub(*seen) {
                1 => "one more vantage sees it".to_owned(),
                more => format!("{more} more vantages see it"),
            },
            Self::EvidenceStale { .. } => "fresh readings arrive".to_owned(),
            Self::ObserverIsolated { .. } => "beacons can be reached again".to_owned(),
            Self::ModeObserves { .. } => "the policy's `mode` is `approve` or `auto`".to_owned(),
            Self::ApprovalNeeded { .. } => "somebody approves".to_owned(),
            Self::Denied { .. } => "somebody approves after all".to_owned(),
            Self::Pinned { until: Some(until), .. } => {
                format!("the pin ends at {until}, or `leeward resume`")
            }
            Self::Pinned { until: None, .. } => {
                "somebody lifts it with `leeward resume`".to_owned()
            }
            Self::Cooldown { until }
            | Self::ShiftsExhausted { until, .. }
            | Self::ZoneShiftPaused { until, .. } => {
                format!("it is {until}")
            }
            Self::Latched { .. } => "a human opens it with `leeward resume --unlatch`".to_owned(),
            Self::Blocked { .. } => "the window ends".to_owned(),
            Self::DestinationUnready { region, .. } => format!("`{region}` proves fit"),
            Self::NoRoom { region, .. } => {
                format!("`{region}` grows, or the policy allows `overflow: spill`")
            }
            Self::LagTooHigh { max, .. } => {
                format!("the lag falls below {}, or a human approves", span(*max))
            }
            Self::LagUnknown { .. } => "the lag is known again, or a human approves".to_owned(),
            Self::CommonCause { .. } => "one region is well while another is not".to_owned(),
            Self::DeploySuspected { .. } => {
                "another region that runs the old version stays well, or the guard time ends"
                    .to_owned()
            }
            Self::OrderOpen { .. } => "it is in force, or given up".to_owned(),
            Self::ChangeStuck { .. } => "the provider brings it into force".to_owned(),
            Self::LeverImpaired { retry_at, .. } => {
                format!("a call succeeds at or after {retry_at}")
            }
            Self::Drift { .. } => {
                "the records are put back, or the policy is changed to match them".to_owned()
            }
            Self::AnswersUnknown => "the records can be read".to_owned(),
            Self::NowhereToGo => "a region proves fit".to_owned(),
            Self::RefreshExhausted { .. } => "a human refreshes it or raises the limit".to_owned(),
            Self::RefreshWatching { until, .. } => format!("it is {until}"),
            Self::RefreshUnderWay { .. } => "its last step is over, or it is undone".to_owned(),
            Self::BalancerUnsure { balancer, until } => {
                format!("`{balancer}` goes on failing, and is refreshed, or it is {until}")
            }
            Self::ZoneMustStay { why, .. } => why.flips_when(),
            Self::ZoneShiftWatching { until, .. } => {
                format!("it is {until} and the region is still bad")
            }
            Self::FailbackManual { .. } => "somebody says `leeward failback`".to_owned(),
            Self::Kept { until, .. } => format!("it is {until}, or `leeward failback`"),
            Self::Aborted { until, .. } => {
                format!("it is {until}, or somebody approves, or asks for another move")
            }
            Self::FailbackSoaking { until, .. } => format!("it is {until} and nothing went wrong"),
            Self::StepNeedsWeights => {
                "weights can be changed, or the policy lets all of it move in one step".to_owned()
            }
            Self::HookAsked { hook, .. } => format!("`{hook}` says yes"),
            Self::HookVetoed { hook, until, .. } => {
                format!("`{hook}` says yes; it is asked again at {until}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_classes_that_counters_contradict_are_not_called_too_few() {
        let hold = |seen: &[Class]| Hold::OneClassOnly {
            region: "dublin".parse().unwrap(),
            seen: seen.to_vec(),
            needs: 2,
        };
        let few = hold(&[Class::Outside]);
        assert_eq!(few.to_string(), "only outside speaks against `dublin`, 2 classes are needed");
        assert_eq!(few.flips_when(), "another class of signal agrees");
        let contradicted = hold(&[Class::Outside, Class::Inside]);
        assert_eq!(
            contradicted.to_string(),
            "outside and inside speak against `dublin`, counters of its users for it"
        );
        assert!(contradicted.flips_when().starts_with("these counters tell of lost users too"));
    }
}
