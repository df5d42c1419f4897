//! Judgement, movement, guards and who is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::decode::{At, Written, written as written_part};
use super::super::problem::{Code, Finding, Findings};
use super::super::units::Percent;
use super::super::{
    ElbPace, Failback, Guards, Judge, LastResort, Overflow, RefreshRules, ShiftRules, Unready, raw,
};
use super::{
    DAY, HOUR, MINUTE, Names, Referred, SECOND, care, check_length, limited, limited_span, ratio,
    references, window,
};
use crate::domain::Ratio;

/// A week, in milliseconds.
const WEEK: u64 = 7 * DAY;

pub(super) fn judge(written: &At<raw::Judge>, to: &mut Findings<'_>) -> Option<Judge> {
    let judge = &written.value;
    let success_below = within(&judge.success_below, 0.01..=1.0, "success_below", to);
    let latency_above = match &judge.latency_above {
        Some(limit) => limited_span(limit, 1..=MINUTE, "latency_above", to).map(Some),
        None => Some(None),
    };
    let window = limited_span(&judge.window, SECOND..=HOUR, "window", to);
    let sustain = limited_span(&judge.sustain, SECOND..=DAY, "sustain", to);
    let vantages_min =
        limited(judge.vantages.value.0, judge.vantages.at, &(1..=64), "vantages", to);
    let classes_min = limited(judge.classes.value.0, judge.classes.at, &(1..=3), "classes", to);
    let healthy_hosts_below =
        within(&judge.healthy_hosts_below, 0.0..=1.0, "healthy_hosts_below", to);
    let deploy_guard = match &judge.deploy_guard {
        Some(guard) => limited_span(guard, SECOND..=WEEK, "deploy_guard", to).map(Some),
        None => Some(None),
    };
    Some(Judge {
        success_below: success_below?,
        latency_above: latency_above?,
        window: window?,
        sustain: sustain?,
        vantages_min: usize::try_from(vantages_min?).ok()?,
        classes_min: usize::try_from(classes_min?).ok()?,
        healthy_hosts_below: healthy_hosts_below?,
        deploy_guard: deploy_guard?,
    })
}

/// A part within its limits.
pub(super) fn within(
    written: &At<Percent>,
    limits: std::ops::RangeInclusive<f64>,
    what: &str,
    to: &mut Findings<'_>,
) -> Option<Ratio> {
    let (least, most) = (Ratio::new(*limits.start()), Ratio::new(*limits.end()));
    if limits.contains(&written.value.0) {
        return Some(ratio(written.value));
    }
    let message = format!("`{what}` is {}, out of its limits", ratio(written.value));
    to.add(
        Finding::new(Code::OutOfRange, written.at, message)
            .label(format!("expected {least} to {most}")),
    );
    None
}

pub(super) fn shift(written: &At<raw::Shift>, to: &mut Findings<'_>) -> Option<ShiftRules> {
    let shift = &written.value;
    let ramp = ramp(&shift.ramp, to);
    let demand_rps = match &shift.demand {
        Some(written) => Some(limited(written.value.0, written.at, &(1.0..=1e9), "demand", to)?),
        None => None,
    };
    let hold = limited_span(&shift.hold, 0..=DAY, "hold", to);
    let spare = within(&shift.spare, 0.0..=0.95, "spare", to);
    let overflow = match shift.overflow {
        raw::Overflow::Spill => Overflow::Spill,
        raw::Overflow::Hold => Overflow::Hold,
    };
    let last_resort = match &shift.last_resort.value {
        raw::LastResort::Never => Some(LastResort::Never),
        raw::LastResort::After(after) => {
            limited_span(after, 0..=DAY, "last_resort.after", to).map(LastResort::After)
        }
    };
    let unready = match shift.unready {
        raw::Unready::Hold => Unready::Hold,
        raw::Unready::ShiftAnyway => Unready::ShiftAnyway,
    };
    Some(ShiftRules {
        demand_rps,
        ramp: ramp?,
        hold: hold?,
        spare: spare?,
        overflow,
        last_resort: last_resort?,
        unready,
    })
}

pub(super) fn ramp(written: &At<Vec<At<Percent>>>, to: &mut Findings<'_>) -> Option<Vec<Ratio>> {
    const STEPS_MAX: usize = 20;
    let errors = to.errors();
    let mut before = 0.0;
    for step in &written.value {
        if step.value.0 <= before {
            let message = format!(
                "the ramp does not rise: {} after {}",
                ratio(step.value),
                Ratio::new(before)
            );
            to.add(
                Finding::new(Code::BadRamp, step.at, message)
                    .label("not more than the step before")
                    .help("each step is the whole part reached, like `[25%, 50%, 100%]`"),
            );
        }
        before = step.value.0;
    }
    match written.value.last() {
        None => to.add(
            Finding::new(Code::BadRamp, written.at, "the ramp has no step")
                .label("empty")
                .help("all at once is `ramp: [100%]`"),
        ),
        Some(last) if last.value.0 < 1.0 && to.errors() == errors => to.add(
            Finding::new(Code::BadRamp, last.at, "the ramp does not end at 100%")
                .label("the last step")
                .help("a region that is down must lose all of its traffic; add `100%`"),
        ),
        Some(_) => {}
    }
    if written.value.len() > STEPS_MAX {
        to.add(
            Finding::new(
                Code::BadRamp,
                written.at,
                format!("a ramp of more than {STEPS_MAX} steps"),
            )
            .label("too many"),
        );
    }
    (to.errors() == errors).then(|| written.value.iter().map(|step| ratio(step.value)).collect())
}

pub(super) fn failback(written: &raw::Failback, to: &mut Findings<'_>) -> Option<Failback> {
    match written {
        raw::Failback::Manual => Some(Failback::Manual),
        raw::Failback::Auto(auto) => {
            let hold = limited_span(&auto.hold, SECOND..=WEEK, "hold", to);
            let step_max = within(&auto.step, 0.01..=1.0, "step", to);
            let every = limited_span(&auto.every, SECOND..=DAY, "every", to);
            Some(Failback::Auto { hold: hold?, step_max: step_max?, every: every? })
        }
    }
}

pub(super) fn refresh(
    written: &raw::Refresh,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<RefreshRules> {
    let order = match &written.order {
        Some(order) => references(&order.value, Referred::Balancer, names.balancers.as_ref(), to),
        None => Some(Vec::new()),
    };
    let wait = limited_span(&written.wait, SECOND..=HOUR, "wait", to);
    let tries_max = limited(written.tries.value.0, written.tries.at, &(1..=10), "tries", to);
    let care = match &written.balancers {
        Some(balancers) => care::compile(balancers, names, to),
        None => Some(BTreeMap::new()),
    };
    let pace = match written_part(written.pace.as_ref()) {
        Written::No => Some(ElbPace::default()),
        Written::Broken => None,
        Written::Yes(pace) => care::pace(pace, to),
    };
    Some(RefreshRules {
        order: order?,
        wait: wait?,
        tries_max: tries_max?,
        pace: pace?,
        care: care?,
    })
}

pub(super) fn guards(written: &At<raw::Guards>, to: &mut Findings<'_>) -> Option<Guards> {
    let guards = &written.value;
    let cooldown = limited_span(&guards.cooldown, SECOND..=WEEK, "cooldown", to);
    let shifts = &guards.shifts.value;
    let shifts_max = limited(shifts.max.value.0, shifts.max.at, &(1..=100), "max", to);
    let shifts_window = limited_span(&shifts.within, SECOND..=30 * DAY, "within", to);
    let latch = &guards.latch.value;
    let latch_after = limited(latch.after.value.0, latch.after.at, &(1..=1000), "after", to);
    let latch_window = limited_span(&latch.within, SECOND..=30 * DAY, "within", to);
    check_latch(shifts, latch, to);
    let replication_lag_max = match &guards.replication_lag {
        Some(lag) => limited_span(lag, 1..=DAY, "replication_lag", to).map(Some),
        None => Some(None),
    };
    let standby_healthy_hosts_min =
        within(&guards.standby_healthy_hosts, 0.0..=1.0, "standby_healthy_hosts", to);
    check_length(guards.blocked.as_deref().unwrap_or_default(), "blocked windows", to)?;
    let windows = guards.blocked.iter().flatten().map(|text| window::compile(text, to));
    let blocked: Vec<Option<_>> = windows.collect();
    Some(Guards {
        cooldown: cooldown?,
        shifts_max: shifts_max?,
        shifts_window: shifts_window?,
        latch_after: latch_after?,
        latch_window: latch_window?,
        replication_lag_max: replication_lag_max?,
        needs_approval: guards.needs_approval.as_ref().map(|text| text.0.clone()),
        standby_healthy_hosts_min: standby_healthy_hosts_min?,
        blocked: blocked.into_iter().collect::<Option<_>>()?,
    })
}

/// A latch below the limit on shifts would make that limit a lie.
fn check_latch(shifts: &raw::Shifts, latch: &raw::Latch, to: &mut Findings<'_>) {
    let (max, after) = (shifts.max.value.0, latch.after.value.0);
    if after < max {
        let message = format!("the latch falls after {after}, but {max} shifts are allowed");
        to.add(
            Finding::new(Code::LatchTooEarly, latch.after.at, message)
                .label(format!("less than `shifts.max: {max}`"))
                .help(format!("`after: {max}` or more")),
        );
    }
    let (short, long): (Duration, Duration) = (latch.within.value.0, shifts.within.value.0);
    if short < long {
        to.add(
            Finding::new(
                Code::LatchTooEarly,
                latch.within.at,
                "the latch counts over a shorter time than the limit on shifts",
            )
            .label("it could never fall")
            .help(format!("`within: {}` or more", crate::domain::span(long))),
        );
    }
}
