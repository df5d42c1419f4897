//! The names that a policy's tests may use, tied to the variants they stand for.

use crate::decide::{Diagnosis, Hold};

macro_rules! names {
    ($function:ident($type:ty) of $enum:ident: $($variant:ident)+) => {
        /// The variant's name, as a policy's tests write it. A new variant breaks the build here.
        pub fn $function(it: $type) -> &'static str {
            match it {
                $($enum::$variant { .. } => stringify!($variant),)+
            }
        }

        #[cfg(test)]
        pub(super) mod $function {
            pub(in super::super) const ALL: &[&str] = &[$(stringify!($variant)),+];
        }
    };
}

names! { diagnosis_name(Diagnosis) of Diagnosis:
    Well RegionDown RegionDegraded BalancerFault ZoneFault CommonCause ObserverIsolated PathBroken
    SignalsStale StandbyUnready ControlPlaneImpaired NowhereToGo Flapping
}

names! { hold_name(&Hold) of Hold:
    WarmingUp NotSustained OneClassOnly TooFewVantages EvidenceStale ObserverIsolated ModeObserves
    ApprovalNeeded Denied Pinned Cooldown ShiftsExhausted Latched Blocked DestinationUnready NoRoom
    LagTooHigh LagUnknown CommonCause DeploySuspected OrderOpen ChangeStuck LeverImpaired Drift
    AnswersUnknown NowhereToGo RefreshExhausted RefreshWatching RefreshUnderWay BalancerUnsure
    ZoneMustStay ZoneShiftPaused ZoneShiftWatching FailbackManual FailbackSoaking StepNeedsWeights
    Kept Aborted HookAsked HookVetoed
}

#[cfg(test)]
mod tests {
    use crate::policy::{DIAGNOSES, HOLDS};

    #[test]
    fn a_policy_may_name_every_diagnosis_and_every_hold() {
        assert_eq!(DIAGNOSES, super::diagnosis_name::ALL);
        assert_eq!(HOLDS, super::hold_name::ALL);
    }
}
