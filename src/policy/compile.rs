//! From the file as written to the checked policy. Collects every problem instead of stopping at the first.

mod care;
mod cases;
mod hazards;
mod hooks;
mod levers;
mod metrics;
mod regions;
mod rules;
mod signals;
mod site;
mod status;
mod switches;
mod tell;
mod triggers;
mod window;
mod zonal;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::decode::{At, Entries, Entry, Part, Written, did_you_mean, written};
use super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::units::{Percent, Span, Text};
use super::{Hooks, Mode, Policy, Tell, Triggers, raw};
use crate::domain::{Malformed, Ratio, span};

/// The version of the language that this program speaks.
const VERSION: u32 = 1;

/// The names that references may use. `None` if the part that defines them is broken, so that one
/// mistake does not cause a complaint at each reference.
#[derive(Debug, Default)]
struct Names {
    regions: Option<Vec<String>>,
    balancers: Option<Vec<String>>,
    vantages: Option<Vec<String>>,
    hooks: Option<Vec<String>>,
}

impl Names {
    fn of(file: &raw::File) -> Self {
        let balancers = file.regions.0.as_ref().and_then(|regions| {
            let mut all = Vec::new();
            for region in &regions.list {
                all.extend(region.value.as_ref()?.balancers.iter().flat_map(Entries::names));
            }
            Some(all.into_iter().map(str::to_owned).collect())
        });
        let vantages = match written(file.vantages.as_ref()) {
            Written::No => Some(Vec::new()),
            Written::Broken => None,
            Written::Yes(vantages) => Some(names_in(vantages)),
        };
        let hooks = match written(file.hooks.as_ref()) {
            Written::No => Some(Vec::new()),
            Written::Broken => None,
            Written::Yes(hooks) => Some(hooks::names(&hooks.value)),
        };
        Self { regions: file.regions.0.as_ref().map(names_in), balancers, vantages, hooks }
    }

    fn has_region(&self, text: &str) -> bool {
        self.regions.iter().flatten().any(|name| name == text)
    }
}

/// The policy, or nothing after a complaint.
pub(super) fn compile(file: &raw::File, to: &mut Findings<'_>) -> Option<Policy> {
    if let Part(Some(version)) = &file.version
        && version.value.0 != VERSION
    {
        let message = format!("version {} of the policy language is unknown", version.value.0);
        to.add(
            Finding::new(Code::UnknownVersion, version.at, message)
                .label("unknown version")
                .help(format!("this program speaks version {VERSION}: `version: {VERSION}`")),
        );
    }
    check_counts(file, to)?;
    let names = Names::of(file);
    let regions = file.regions.0.as_ref().and_then(|regions| regions::compile(regions, to));
    let vantages = match written(file.vantages.as_ref()) {
        Written::No => Some(BTreeMap::new()),
        Written::Broken => None,
        Written::Yes(vantages) => signals::vantages(vantages, to),
    };
    let levers = file.levers.0.as_ref().and_then(|levers| levers::compile(levers, &names, to));
    let signals = file
        .signals
        .0
        .as_ref()
        .and_then(|written| signals::compile(written, &names, regions.as_ref(), to));
    let judge = file.judge.0.as_ref().and_then(|judge| rules::judge(judge, to));
    let shift = file.shift.0.as_ref().and_then(|shift| rules::shift(shift, to));
    let failback = file.failback.0.as_ref().and_then(|failback| rules::failback(failback, to));
    let refresh = match written(file.refresh.as_ref()) {
        Written::No => Some(None),
        Written::Broken => None,
        Written::Yes(refresh) => rules::refresh(refresh, &names, to).map(Some),
    };
    let guards = file.guards.0.as_ref().and_then(|guards| rules::guards(guards, to));
    let tell = match written(file.tell.as_ref()) {
        Written::No => Some(Tell::default()),
        Written::Broken => None,
        Written::Yes(tell) => tell::tell(tell, to),
    };
    let status_page = match written(file.status_page.as_ref()) {
        Written::No => Some(None),
        Written::Broken => None,
        Written::Yes(page) => {
            let every = tell.as_ref().and_then(|tell| tell.status_every);
            // What is wrong with `tell` was said there.
            let every = every.or_else(|| tell.is_none().then_some(Duration::from_secs(1)));
            status::status_page(page, file.service.0.as_ref(), every, &names, to).map(Some)
        }
    };
    let site = file.regions.0.as_ref().and_then(|regions| site::of_regions(regions, to));
    let triggers = match written(file.triggers.as_ref()) {
        Written::No => Some(Triggers::default()),
        Written::Broken => None,
        Written::Yes(triggers) => triggers::compile(triggers, to),
    };
    let hooks = match written(file.hooks.as_ref()) {
        Written::No => Some(Hooks::default()),
        Written::Broken => None,
        Written::Yes(hooks) => hooks::compile(&hooks.value, to),
    };
    let tests = match written(file.tests.as_ref()) {
        Written::No => Some(Vec::new()),
        Written::Broken => None,
        Written::Yes(tests) => cases::compile(tests, &names, to),
    };
    hazards::together(file, signals.as_ref(), regions.as_ref(), to);

    let mode = match written(file.mode.as_ref()) {
        Written::No => Some(Mode::default()),
        Written::Broken => None,
        Written::Yes(written) => Some(mode(written)),
    };
    let policy = Policy {
        service: file.service.0.clone()?,
        mode: mode?,
        regions: regions?,
        vantages: vantages?,
        levers: levers?,
        signals: signals?,
        judge: judge?,
        shift: shift?,
        failback: failback?,
        refresh: refresh?,
        guards: guards?,
        tell: tell?,
        status_page: status_page?,
        site: site?,
        triggers: triggers?,
        hooks: hooks?,
        tests: tests?,
    };
    care::check_arns(&policy, file, to);
    zonal::check_signal(&policy, file, to);
    hazards::of(&policy, file, to);
    (to.errors() == 0).then_some(policy)
}

fn mode(written: &raw::Mode) -> Mode {
    match written {
        raw::Mode::Observe => Mode::Observe,
        raw::Mode::Advise => Mode::Advise,
        raw::Mode::Approve => Mode::Approve,
        raw::Mode::Auto => Mode::Auto,
    }
}

fn names_in<T>(entries: &Entries<T>) -> Vec<String> {
    entries.names().map(str::to_owned).collect()
}

/// The entry's key as a name.
fn name_of<N, T>(entry: &Entry<T>, to: &mut Findings<'_>) -> Option<N>
where
    N: FromStr<Err = Malformed>,
{
    parsed(&entry.name, entry.at, to)
}

/// A text as one of our types.
fn parsed<N: FromStr<Err = Malformed>>(text: &str, at: Bytes, to: &mut Findings<'_>) -> Option<N> {
    match text.parse() {
        Ok(name) => Some(name),
        Err(malformed) => {
            let message = format!("{} is not a {}", quoted(text), malformed.what);
            to.add(
                Finding::new(Code::Malformed, at, message)
                    .label(format!("not a {}", malformed.what))
                    .help(format!("expected {}", malformed.expected)),
            );
            None
        }
    }
}

/// What a reference can refer to.
#[derive(Debug, Clone, Copy)]
enum Referred {
    Region,
    Balancer,
    Vantage,
    /// What has a line in a test.
    RegionOrBalancer,
}

/// Complains if `text` is none of `known`.
fn check_reference(
    text: &str,
    at: Bytes,
    referred: Referred,
    known: Option<&Vec<String>>,
    to: &mut Findings<'_>,
) -> Option<()> {
    let known = known?;
    if known.iter().any(|name| name == text) {
        return Some(());
    }
    let (code, what, all) = match referred {
        Referred::Region => (Code::UnknownRegion, "region", "regions"),
        Referred::Balancer => (Code::UnknownBalancer, "balancer", "balancers"),
        Referred::Vantage => (Code::UnknownVantage, "vantage", "vantages"),
        Referred::RegionOrBalancer => {
            (Code::UnknownRegion, "region or balancer", "regions and balancers")
        }
    };
    let help = did_you_mean(text, known.iter().map(String::as_str), to).unwrap_or_else(|| {
        let mut names: Vec<&str> = known.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            format!("this policy has no {all}")
        } else {
            format!("its {all} are `{}`", names.join("`, `"))
        }
    });
    let message = format!("{} is not a {what} of this policy", quoted(text));
    to.add(Finding::new(code, at, message).label(format!("unknown {what}")).help(help));
    None
}

/// A list of references, each checked and none twice.
fn references<N: FromStr<Err = Malformed> + Ord>(
    written: &[At<Text>],
    referred: Referred,
    known: Option<&Vec<String>>,
    to: &mut Findings<'_>,
) -> Option<Vec<N>> {
    check_length(written, "names", to)?;
    let mut found: Vec<Option<N>> = Vec::with_capacity(written.len());
    for (place, text) in written.iter().enumerate() {
        if written.iter().take(place).any(|earlier| earlier.value == text.value) {
            let message = format!("{} is named twice", quoted(&text.value.0));
            to.add(Finding::new(Code::Conflict, text.at, message).label("again"));
        }
        let known = check_reference(&text.value.0, text.at, referred, known, to);
        found.push(known.and_then(|()| parsed(&text.value.0, text.at, to)));
    }
    found.into_iter().collect()
}

/// More of a kind than this is a mistake, and would make comparing each with each slow.
const LISTED_MAX: usize = 64;

fn check_length<T>(list: &[At<T>], what: &str, to: &mut Findings<'_>) -> Option<()> {
    let Some(first) = list.get(LISTED_MAX) else { return Some(()) };
    let message = format!("more than {LISTED_MAX} {what}");
    to.add(Finding::new(Code::TooComplex, first.at, message).label("too many"));
    None
}

fn check_entries<T>(entries: &Entries<T>, what: &str, to: &mut Findings<'_>) -> Option<()> {
    let Some(first) = entries.list.get(LISTED_MAX) else { return Some(()) };
    let message = format!("more than {LISTED_MAX} {what}");
    to.add(Finding::new(Code::TooComplex, first.at, message).label("too many"));
    None
}

/// What is compared with each other must not be many.
fn check_counts(file: &raw::File, to: &mut Findings<'_>) -> Option<()> {
    if let Some(regions) = &file.regions.0 {
        check_entries(regions, "regions", to)?;
        for region in regions.list.iter().filter_map(|region| region.value.as_ref()) {
            if let Some(balancers) = &region.balancers {
                check_entries(balancers, "balancers in a region", to)?;
            }
        }
    }
    if let Written::Yes(vantages) = written(file.vantages.as_ref()) {
        check_entries(vantages, "vantages", to)?;
    }
    if let Some(signals) = &file.signals.0 {
        check_entries(signals, "signals", to)?;
    }
    Some(())
}

/// A value within its limits.
fn limited<T: PartialOrd + Display>(
    value: T,
    at: Bytes,
    limits: &RangeInclusive<T>,
    what: &str,
    to: &mut Findings<'_>,
) -> Option<T> {
    if limits.contains(&value) {
        return Some(value);
    }
    let (least, most) = (limits.start(), limits.end());
    to.add(
        Finding::new(Code::OutOfRange, at, format!("`{what}` is {value}, out of its limits"))
            .label(format!("expected {least} to {most}")),
    );
    None
}

/// A local program by its whole path, and its arguments.
fn program(
    words: &At<Vec<Text>>,
    help: &str,
    to: &mut Findings<'_>,
) -> Option<(String, Vec<String>)> {
    match words.value.as_slice() {
        [program, arguments @ ..] if program.0.starts_with('/') => {
            Some((program.0.clone(), arguments.iter().map(|word| word.0.clone()).collect()))
        }
        [program, ..] => {
            let message = format!("{} is not the whole path of a program", quoted(&program.0));
            to.add(
                Finding::new(Code::Malformed, words.at, message).label("which program?").help(help),
            );
            None
        }
        [] => {
            to.add(Finding::new(Code::WrongShape, words.at, "there is no program").label("empty"));
            None
        }
    }
}

/// A time within its limits, both given in milliseconds.
fn limited_span(
    written: &At<Span>,
    limits: RangeInclusive<u64>,
    what: &str,
    to: &mut Findings<'_>,
) -> Option<Duration> {
    let least = Duration::from_millis(*limits.start());
    let most = Duration::from_millis(*limits.end());
    let value = written.value.0;
    if (least..=most).contains(&value) {
        return Some(value);
    }
    let message = format!("`{what}` is {}, out of its limits", span(value));
    to.add(Finding::new(Code::OutOfRange, written.at, message).label(format!(
        "expected {} to {}",
        span(least),
        span(most)
    )));
    None
}

/// Milliseconds in a second, minute, hour and day, for limits.
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn ratio(percent: Percent) -> Ratio {
    Ratio::new(percent.0)
}
