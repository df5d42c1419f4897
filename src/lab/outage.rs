//! The outages that can be played: what breaks when, and what must come of it.

use std::time::Duration;

use super::balancer::Stirred;
use super::region::Fault;
use super::setup::{CHECK_EVERY, CHECK_FAILURES, Props, Tempo};

/// An outage by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Outage {
    /// The home region is gone, and stays gone.
    RegionLoss,
    /// Half of the requests fail at home.
    Brownout,
    /// Home is gone for a moment, too short for a move.
    Blip,
    /// Home is lost while the standby only pretends to be alive.
    StandbyRotten,
    /// Home answers, but far too late.
    Slow,
    /// Home comes and goes.
    Flapping,
    /// Leeward's own network is broken; the shop is well.
    ObserverIsolated,
    /// Every region is gone at once.
    BothDown,
    /// Home is lost while the API of Route 53 is dead: only a gate moves the visitors.
    ControlPlaneDown,
    /// Every region is dark for long: visitors get a cached copy, and come home when the lights are on.
    NoPower,
    /// A new version breaks the shop everywhere: nothing is moved, and it is taken back.
    BadDeploy,
    /// Two balancers at home drop requests while their targets are well, until they are refreshed.
    GreyBalancer,
}

/// Something that is done to the world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    Break {
        region: usize,
        fault: Fault,
    },
    Heal {
        region: usize,
    },
    Isolate,
    Rejoin,
    BreakApi,
    /// Makes a region well again, once visitors have been served by the last resort for a while.
    Restore {
        region: usize,
    },
    /// A new version goes everywhere, and the pipeline says so.
    RollOut,
    /// A balancer of the region drops requests.
    Grey {
        region: usize,
        balancer: usize,
        stirred: Stirred,
    },
}

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Visitors are moved away, and all of them are served again.
    Moves,
    /// As before, but not before the destination is well again.
    MovesOnceHealed { region: usize },
    /// Nothing moves.
    Stays,
    /// Nothing moves: every balancer is cured where it stands.
    Cured,
    /// One refresh, which does harm, and then a move.
    MovesAfterHarm,
    /// It may move once, and not to and fro.
    MovesOnceAtMost,
    /// Visitors are moved to the last resort in time, and home again.
    LastResortAndHome,
    /// Nothing moves, and the pipeline is told once to take the version back, which cures it.
    TakenBack,
}

/// An outage with its times, counted from the start.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    pub title: &'static str,
    pub steps: Vec<(Duration, Act)>,
    pub demand: Demand,
    /// It is over by then, whatever happened.
    pub limit: Duration,
}

/// How long a move may take from the last step, in units of what it must at least take. A machine
/// under load is slow; the figures printed are what it really took.
const PATIENCE: u32 = 5;

const GREY_PATIENCE: u32 = 2;
/// One refresh with its waits, and the look at its effect besides the window.
const REFRESH_TAKES: Duration = Duration::from_secs(8);

fn grey(tempo: Tempo, harm: bool) -> (&'static str, Vec<(Duration, Act)>, Demand) {
    let (stirred, demand) = if harm {
        (Stirred::Worse, Demand::MovesAfterHarm)
    } else {
        (Stirred::Cured, Demand::Cured)
    };
    let grey = |balancer| Act::Grey { region: 0, balancer, stirred };
    // The second fails while the first is cured. Where that does harm the region is left soon after.
    let second = tempo.sustain + if harm { Duration::ZERO } else { tempo.window * 2 };
    let steps = vec![(tempo.calm, grey(0)), (tempo.calm + second, grey(1))];
    ("balancers drop requests", steps, demand)
}

impl Outage {
    /// What it needs besides regions.
    pub fn props(self) -> Props {
        Props {
            resort: self == Self::NoPower,
            pipeline: self == Self::BadDeploy,
            two: self == Self::GreyBalancer,
        }
    }

    /// `harm`: a refresh makes a grey balancer worse.
    pub fn script(self, regions: usize, tempo: Tempo, harm: bool) -> Script {
        let (title, steps, demand) =
            if self == Self::GreyBalancer { grey(tempo, harm) } else { self.steps(regions, tempo) };
        let last = steps.last().map_or(Duration::ZERO, |(at, _)| *at);
        let by_gate = self == Self::ControlPlaneDown;
        let gate = if by_gate { CHECK_EVERY * CHECK_FAILURES } else { Duration::ZERO };
        let needed = tempo.sustain + tempo.propagation + tempo.ttl * 2;
        let limit = match demand {
            Demand::Moves | Demand::MovesOnceHealed { .. } => {
                last + (needed + gate) * PATIENCE + tempo.after
            }
            // Two rungs for each of two balancers, each with its time to be looked at.
            Demand::Cured | Demand::MovesAfterHarm => {
                last + (needed + (tempo.window + REFRESH_TAKES) * 4) * GREY_PATIENCE + tempo.after
            }
            Demand::Stays | Demand::MovesOnceAtMost => last + needed + tempo.after,
            // There and back, and patience before either.
            Demand::LastResortAndHome => {
                last + (needed + tempo.sustain) * 2 * PATIENCE + tempo.after
            }
            Demand::TakenBack => last + needed * PATIENCE + tempo.after,
        };
        Script { title, steps, demand, limit }
    }

    fn steps(self, regions: usize, tempo: Tempo) -> (&'static str, Vec<(Duration, Act)>, Demand) {
        let calm = tempo.calm;
        let home = |fault| Act::Break { region: 0, fault };
        let well = Act::Heal { region: 0 };
        match self {
            Self::RegionLoss => {
                ("a region is lost", vec![(calm, home(Fault::Down))], Demand::Moves)
            }
            Self::Brownout => (
                "half of the requests fail",
                vec![(calm, home(Fault::Brownout(0.5)))],
                Demand::Moves,
            ),
            Self::Slow => (
                "a region answers too late",
                vec![(calm, home(Fault::Slow(Duration::from_millis(1500))))],
                Demand::Moves,
            ),
            Self::Blip => (
                "a moment's failure",
                vec![(calm, home(Fault::Down)), (calm + tempo.blip, well)],
                Demand::Stays,
            ),
            Self::StandbyRotten => {
                let rotten = Act::Break { region: 1, fault: Fault::Rotten };
                let lost = calm + tempo.window * 2;
                // Long enough to see that nothing moves although everything says "move".
                let healed = lost + tempo.sustain * 2;
                let mut steps = vec![(calm, rotten), (lost, home(Fault::Down))];
                steps.extend(
                    (2..regions).map(|region| (calm, Act::Break { region, fault: Fault::Rotten })),
                );
                steps.push((healed, Act::Heal { region: 1 }));
                steps.sort_by_key(|(at, _)| *at);
                ("lost, and the standby is rotten", steps, Demand::MovesOnceHealed { region: 1 })
            }
            Self::Flapping => {
                let half = tempo.sustain / 3;
                let beats = (0..5u32).flat_map(|beat| {
                    let at = calm + half * 2 * beat;
                    [(at, home(Fault::Down)), (at + half, well)]
                });
                ("a region comes and goes", beats.collect(), Demand::MovesOnceAtMost)
            }
            Self::ObserverIsolated => (
                "our own network breaks",
                vec![(calm, Act::Isolate), (calm + tempo.sustain * 2, Act::Rejoin)],
                Demand::Stays,
            ),
            Self::ControlPlaneDown => (
                "lost, and the API is dead",
                vec![(calm / 2, Act::BreakApi), (calm, home(Fault::Down))],
                Demand::Moves,
            ),
            Self::NoPower => {
                let dark =
                    (0..regions).map(|region| (calm, Act::Break { region, fault: Fault::Down }));
                let lights = calm + tempo.sustain * 2;
                let back = (0..regions).map(|region| (lights, Act::Restore { region }));
                ("no power anywhere", dark.chain(back).collect(), Demand::LastResortAndHome)
            }
            Self::BadDeploy => (
                "a new version breaks it everywhere",
                vec![(calm, Act::RollOut)],
                Demand::TakenBack,
            ),
            Self::GreyBalancer => grey(tempo, false),
            Self::BothDown => (
                "every region is lost",
                (0..regions)
                    .map(|region| (calm, Act::Break { region, fault: Fault::Down }))
                    .chain(
                        (0..regions).map(|r| (calm + tempo.sustain * 2, Act::Heal { region: r })),
                    )
                    .collect(),
                Demand::Stays,
            ),
        }
    }
}
