//! The policy's own tests: lines of one length, marks that mean something, names that exist.

mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::case::{Case, DIAGNOSES, Drawn, HOLDS, Happens, Lag, Line, Refreshes, Test};
use super::super::decode::{At, Entries, Part, did_you_mean};
use super::super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::super::raw;
use super::super::units::{Text, Weight};
use super::{
    DAY, HOUR, LISTED_MAX, Names, Referred, SECOND, check_entries, check_length, check_reference,
    limited_span, mode, name_of, references,
};
use crate::domain::{Timestamp, span};

/// A picture longer than this cannot be read.
const STEPS_MAX: usize = 2000;
/// The longest time that a picture may show: it is played round by round.
const SHOWN_MAX: Duration = Duration::from_secs(48 * 3600);
const STEP_DEFAULT: Duration = Duration::from_secs(10);
/// Wednesday, 8 January 2025, 12:00 UTC: a working day everywhere.
const BEGINS_DEFAULT: Timestamp = Timestamp::from_secs(1_736_337_600);

/// What the marks of a line mean.
#[derive(Debug, Clone, Copy)]
struct Legend(&'static [(char, &'static str)]);

const PROBES: Legend = Legend(&[
    ('.', "well"),
    ('x', "fails"),
    ('~', "half fail"),
    ('s', "slow"),
    ('?', "no reading"),
]);
const COUNTERS: Legend = Legend(&[
    ('.', "well"),
    ('x', "targets make errors"),
    ('b', "the balancer makes errors"),
    ('s', "slow"),
    ('z', "the hosts of a zone are gone"),
    ('h', "nearly all hosts are gone"),
    ('?', "silent"),
]);
const BEACONS: Legend = Legend(&[('.', "reached"), ('x', "not reached")]);
const CONTROL_PLANE: Legend =
    Legend(&[('.', "well"), ('x', "every call fails"), ('p', "changes stay pending")]);
const EXPECTED: Legend = Legend(&[
    ('S', "a shift"),
    ('H', "home"),
    ('L', "last resort"),
    ('R', "a refresh"),
    ('-', "nothing"),
    ('.', "anything"),
]);

pub(super) fn compile(
    written: &At<Vec<Part<At<raw::Test>>>>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<Vec<Test>> {
    let tests: Vec<&At<raw::Test>> =
        written.value.iter().map(|part| part.0.as_ref()).collect::<Option<_>>()?;
    if let Some(first) = tests.get(LISTED_MAX) {
        let message = format!("more than {LISTED_MAX} tests");
        to.add(Finding::new(Code::TooComplex, first.at, message).label("too many"));
        return None;
    }
    let mut known = BTreeSet::new();
    for test in &tests {
        let name = &test.value.name;
        if !known.insert(name.value.0.as_str()) {
            let message = format!("two tests are called {}", quoted(&name.value.0));
            to.add(Finding::new(Code::Conflict, name.at, message).label("again"));
        }
    }
    let compiled = tests.iter().map(|test| match &test.value.trace {
        Some(trace) => recorded::compile(&test.value, trace, names, to).map(Test::Recorded),
        None => {
            recorded::refuse_fields(&test.value, to);
            Drawing::new(test, names, to).case(to).map(Test::Drawn)
        }
    });
    let compiled: Vec<Option<Test>> = compiled.collect();
    compiled.into_iter().collect()
}

/// One test on its way: the length of its first line is that of all.
struct Drawing<'a> {
    test: &'a raw::Test,
    names: &'a Names,
    /// Regions and balancers.
    drawable: Option<Vec<String>>,
    at: Bytes,
    steps: Option<usize>,
}

impl<'a> Drawing<'a> {
    fn new(test: &'a At<raw::Test>, names: &'a Names, to: &mut Findings<'_>) -> Self {
        let drawable = names.regions.as_ref().zip(names.balancers.as_ref());
        let drawable = drawable.map(|(regions, balancers)| {
            let mut all = regions.clone();
            all.extend(balancers.iter().cloned());
            all
        });
        let mut drawing =
            Self { test: &test.value, names, drawable, at: test.value.name.at, steps: None };
        let counted = test.value.expect.as_ref().or_else(|| {
            let drawn = test.value.seen.iter().chain(&test.value.counters);
            drawn.flat_map(|lines| &lines.list).find_map(|entry| entry.value.as_ref())
        });
        match counted {
            Some(line) => drawing.steps = Some(marks(line).count()),
            None => to.add(
                Finding::new(Code::UnevenLines, drawing.at, "nothing is drawn in this test")
                    .label("how long does it take?")
                    .help(
                        "draw `expect`, or a line of `seen`: its length is the length of the test",
                    ),
            ),
        }
        drawing
    }

    fn case(&mut self, to: &mut Findings<'_>) -> Option<Case> {
        let test = self.test;
        let step = match &test.step {
            Some(step) => limited_span(step, SECOND..=HOUR, "step", to),
            None => Some(STEP_DEFAULT),
        };
        let begins = match &test.begins {
            Some(written) => begins(written, to),
            None => Some(BEGINS_DEFAULT),
        };
        self.check_expected(to);
        self.check_long(step, to);
        let seen = self.lines(test.seen.as_ref(), PROBES, to);
        let seen_from = self.seen_from(to);
        let counters = self.lines(test.counters.as_ref(), COUNTERS, to);
        let beacons = self.beacons(to);
        let control_plane = self.optional(test.control_plane.as_ref(), CONTROL_PLANE, to);
        let gates = self.optional(test.gates.as_ref(), CONTROL_PLANE, to);
        let arc = self.optional(test.arc.as_ref(), CONTROL_PLANE, to);
        let expect = self.optional(test.expect.as_ref(), EXPECTED, to);
        let finds = known(test.finds.as_ref(), DIAGNOSES, Code::UnknownDiagnosis, "diagnosis", to);
        let holds = known(test.holds.as_ref(), HOLDS, Code::UnknownHold, "hold", to);
        let vetoes = self.hooks(test.vetoes.as_ref(), to);
        let calls = self.hooks(test.calls.as_ref(), to);
        let capacity = by_region(test.capacity.as_ref(), self.names, |rate| rate.0, to);
        let ends = ends(test.ends.as_ref(), self.names, to);
        let events = self.events(to);
        Some(Case {
            name: test.name.value.0.clone(),
            line: to.line_of(test.name.at),
            begins: begins?,
            step: step?,
            steps: self.steps?,
            mode: test.mode.as_ref().map(mode),
            seen: seen?,
            seen_from: seen_from?,
            counters: counters?,
            beacons: beacons?,
            control_plane: control_plane?,
            gates: gates?,
            arc: arc?,
            refreshes: match test.refreshes {
                Some(raw::Refreshes::Work) => Refreshes::Work,
                Some(raw::Refreshes::Fail) | None => Refreshes::Fail,
            },
            lag: match test.lag.as_ref().map(|lag| lag.value.0) {
                Some(Some(lag)) => Lag::Known(lag),
                Some(None) => Lag::Unknown,
                None => Lag::Known(Duration::from_secs(1)),
            },
            requests_rps: test.requests.as_ref().map(|rate| rate.value.0),
            capacity_rps: capacity?,
            events: events?,
            expect: expect?,
            finds: finds?,
            holds: holds?,
            vetoes: vetoes?,
            calls: calls?,
            ends: ends?,
        })
    }

    /// Names of hooks, if the part that defines them is whole.
    fn hooks(
        &self,
        written: Option<&At<Vec<At<Text>>>>,
        to: &mut Findings<'_>,
    ) -> Option<Vec<String>> {
        let names: Vec<&str> = self.names.hooks.as_ref()?.iter().map(String::as_str).collect();
        known(written, &names, Code::UnknownHook, "hook", to)
    }

    fn check_expected(&self, to: &mut Findings<'_>) {
        let test = self.test;
        let says = |list: Option<&At<Vec<At<Text>>>>| list.is_some_and(|l| !l.value.is_empty());
        let expected = test.expect.as_ref().is_some_and(|line| marks(line).any(|(_, m)| m != '.'))
            || says(test.finds.as_ref())
            || says(test.holds.as_ref())
            || says(test.calls.as_ref())
            || test.ends.as_ref().is_some_and(|ends| !ends.list.is_empty());
        if !expected {
            to.add(
                Finding::new(Code::NothingExpected, self.at, "this test expects nothing")
                    .label("cannot fail")
                    .help("write at least one of `expect`, `finds`, `holds` and `ends`"),
            );
        }
    }

    fn check_long(&self, step: Option<Duration>, to: &mut Findings<'_>) {
        let (Some(steps), Some(step)) = (self.steps, step) else { return };
        let shown = step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        if steps > STEPS_MAX || shown > SHOWN_MAX {
            let message = format!("{steps} steps of {} are too long a test", span(step));
            let help = format!("at most {STEPS_MAX} steps, and {} in all", span(SHOWN_MAX));
            to.add(Finding::new(Code::OutOfRange, self.at, message).label("too long").help(help));
        }
    }

    fn lines(
        &self,
        written: Option<&Entries<At<Text>>>,
        legend: Legend,
        to: &mut Findings<'_>,
    ) -> Option<BTreeMap<Drawn, Line>> {
        let mut lines = Some(BTreeMap::new());
        let Some(written) = written else { return lines };
        check_entries(written, "lines", to)?;
        for entry in &written.list {
            let referred = Referred::RegionOrBalancer;
            let found =
                check_reference(&entry.name, entry.at, referred, self.drawable.as_ref(), to);
            let drawn = found.and_then(|()| {
                if self.names.has_region(&entry.name) {
                    name_of(entry, to).map(Drawn::Region)
                } else {
                    name_of(entry, to).map(Drawn::Balancer)
                }
            });
            let line = entry.value.as_ref().and_then(|line| self.line(line, legend, to));
            match (drawn.zip(line), &mut lines) {
                (Some((drawn, line)), Some(lines)) => {
                    lines.insert(drawn, line);
                }
                _ => lines = None,
            }
        }
        lines
    }

    fn seen_from(
        &self,
        to: &mut Findings<'_>,
    ) -> Option<BTreeMap<crate::domain::VantageName, BTreeMap<Drawn, Line>>> {
        let mut all = Vec::new();
        for entry in self.test.seen_from.iter().flat_map(|written| &written.list) {
            let known = self.names.vantages.as_ref();
            let found = check_reference(&entry.name, entry.at, Referred::Vantage, known, to);
            let lines =
                self.lines(entry.value.as_ref(), PROBES, to).filter(|_| entry.value.is_some());
            all.push(found.and_then(|()| name_of(entry, to)).zip(lines));
        }
        all.into_iter().collect()
    }

    fn beacons(&self, to: &mut Findings<'_>) -> Option<BTreeMap<crate::domain::VantageName, Line>> {
        let mut all = Vec::new();
        for entry in self.test.beacons.iter().flat_map(|written| &written.list) {
            let known = self.names.vantages.as_ref();
            let found = check_reference(&entry.name, entry.at, Referred::Vantage, known, to);
            let line = entry.value.as_ref().and_then(|line| self.line(line, BEACONS, to));
            all.push(found.and_then(|()| name_of(entry, to)).zip(line));
        }
        all.into_iter().collect()
    }

    fn optional(
        &self,
        written: Option<&At<Text>>,
        legend: Legend,
        to: &mut Findings<'_>,
    ) -> Option<Option<Line>> {
        match written {
            Some(line) => self.line(line, legend, to).map(Some),
            None => Some(None),
        }
    }

    fn line(&self, written: &At<Text>, legend: Legend, to: &mut Findings<'_>) -> Option<Line> {
        let (mut line, mut right) = (Vec::new(), true);
        for (place, mark) in marks(written) {
            // One complaint a line: the others are mostly the same mistake.
            if right && !legend.0.iter().any(|(known, _)| *known == mark) {
                to.add(unknown_mark(written, place, mark, legend, to));
                right = false;
            }
            line.push(mark);
        }
        let steps = self.steps?;
        if line.len() != steps {
            let message = format!("this line has {} steps, the test has {steps}", line.len());
            let counted = if self.test.expect.is_some() { "`expect`" } else { "the first line" };
            to.add(
                Finding::new(Code::UnevenLines, written.at, message)
                    .label(if line.len() < steps { "too short" } else { "too long" })
                    .help(format!(
                        "every line has as many characters as {counted}, not counting spaces"
                    )),
            );
            return None;
        }
        right.then(|| Line::new(line))
    }

    fn events(&self, to: &mut Findings<'_>) -> Option<Vec<(Duration, Happens)>> {
        let Some(written) = &self.test.events else { return Some(Vec::new()) };
        if written.value.len() > LISTED_MAX {
            let message = format!("more than {LISTED_MAX} events");
            to.add(Finding::new(Code::TooComplex, written.at, message).label("too many"));
            return None;
        }
        let events: Vec<_> = written.value.iter().map(|event| self.event(event, to)).collect();
        let mut events: Vec<_> = events.into_iter().collect::<Option<_>>()?;
        events.sort_by_key(|(at, _)| *at);
        Some(events)
    }

    fn event(
        &self,
        written: &raw::TestEvent,
        to: &mut Findings<'_>,
    ) -> Option<(Duration, Happens)> {
        let at = limited_span(&written.at, 0..=2 * DAY, "at", to);
        let what = match &written.happens {
            raw::Happening::Deploy(deploy) => {
                let known = self.names.regions.as_ref();
                let regions = references(&deploy.regions.value, Referred::Region, known, to)?;
                Happens::Deploy { regions, version: deploy.version.0.clone() }
            }
            raw::Happening::Freeze(reason) => Happens::Freeze { reason: reason.0.clone() },
            raw::Happening::Unfreeze => Happens::Unfreeze,
            raw::Happening::Approve => Happens::Approve,
            raw::Happening::Deny => Happens::Deny,
        };
        at.map(|at| (at, what))
    }
}

fn ends(
    written: Option<&Entries<At<Weight>>>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<crate::domain::RegionName, crate::domain::Weight>> {
    by_region(written, names, |weight| crate::domain::Weight(weight.0), to)
}

fn by_region<T, U>(
    written: Option<&Entries<At<T>>>,
    names: &Names,
    value: impl Fn(&T) -> U,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<crate::domain::RegionName, U>> {
    let mut all = Vec::new();
    for entry in written.iter().flat_map(|written| &written.list) {
        let known = names.regions.as_ref();
        let found = check_reference(&entry.name, entry.at, Referred::Region, known, to);
        let name = found.and_then(|()| name_of(entry, to));
        all.push(name.zip(entry.value.as_ref().map(|written| value(&written.value))));
    }
    all.into_iter().collect()
}

/// The marks of a line, with their places in the text. Spaces only group them.
fn marks(line: &At<Text>) -> impl Iterator<Item = (usize, char)> {
    line.value.0.char_indices().filter(|(_, mark)| *mark != ' ')
}

fn unknown_mark(
    line: &At<Text>,
    place: usize,
    mark: char,
    legend: Legend,
    to: &Findings<'_>,
) -> Finding {
    // Exactly the character, if the line stands in the file as it was read.
    let at = match to.written(line.at).find(line.value.0.as_str()) {
        Some(first) => {
            let start = line.at.start + first + place;
            Bytes { start, end: start + mark.len_utf8() }
        }
        None => line.at,
    };
    let meanings: Vec<String> =
        legend.0.iter().map(|(mark, meaning)| format!("`{mark}` {meaning}")).collect();
    Finding::new(
        Code::UnknownMark,
        at,
        format!("{} means nothing in this line", quoted(&mark.to_string())),
    )
    .label("unknown mark")
    .help(format!("marks are {}", meanings.join(", ")))
}

fn begins(written: &At<Text>, to: &mut Findings<'_>) -> Option<Timestamp> {
    if let Ok(time) = written.value.0.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_secs(time.as_second()));
    }
    let message = format!("{} is not a time with its offset", quoted(&written.value.0));
    to.add(
        Finding::new(Code::Malformed, written.at, message)
            .label("which moment?")
            .help("expected something like `2025-01-10T20:00:00+01:00`"),
    );
    None
}

/// Names out of a closed list.
fn known(
    written: Option<&At<Vec<At<Text>>>>,
    names: &[&str],
    code: Code,
    what: &str,
    to: &mut Findings<'_>,
) -> Option<Vec<String>> {
    let Some(written) = written else { return Some(Vec::new()) };
    check_length(&written.value, "names", to)?;
    let mut right = true;
    for name in &written.value {
        if names.contains(&name.value.0.as_str()) {
            continue;
        }
        right = false;
        let help = did_you_mean(&name.value.0, names.iter().copied(), to)
            .unwrap_or_else(|| format!("a {what} is one of `{}`", names.join("`, `")));
        let message = format!("{} is not a {what}", quoted(&name.value.0));
        to.add(Finding::new(code, name.at, message).label(format!("unknown {what}")).help(help));
    }
    right.then(|| written.value.iter().map(|name| name.value.0.clone()).collect())
}
