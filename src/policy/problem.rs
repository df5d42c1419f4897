//! What is wrong with a policy file, as plain data, and how it is shown to people and programs.
//!
//! A [`Problem`] carries the line it speaks of, so that it can be shown without the file. No IO.

use std::fmt::{self, Write as _};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// More than so many are counted, not listed: nobody reads a thousand of them.
const LISTED_MAX: usize = 100;
/// A line longer than this is named by its place only, not shown.
const SHOWN_LINE_MAX: usize = 400;

/// Whether a policy with this problem may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file works, but it will hurt on a bad day.
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $severity:ident $variant:ident = $name:literal,)+) => {
        /// The kinds of problems: a closed list, each with a name that scripts may match on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// All of them, in the order of this list.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$variant => Severity::$severity,)+
                }
            }
        }
    };
}

codes! {
    // The file as such.
    /// More bytes than any policy needs.
    Error TooLarge = "too-large",
    /// Not text: a byte that is not UTF-8, or a control character.
    Error NotText = "not-text",
    /// Nothing in it.
    Error Empty = "empty",
    /// More than one YAML document.
    Error SeveralDocuments = "several-documents",
    /// Not YAML.
    Error Syntax = "syntax",
    /// Nesting, values or aliases beyond every reasonable file.
    Error TooComplex = "too-complex",
    /// A YAML feature that policies do not use (tags, merge keys, ...).
    Error Unsupported = "unsupported",

    // The shape of its parts.
    /// The same key twice in one mapping.
    Error DuplicateKey = "duplicate-key",
    /// A key that means nothing here.
    Error UnknownField = "unknown-field",
    /// A setting without default is not there.
    Error MissingField = "missing-field",
    /// A list where a mapping is expected, and the like.
    Error WrongShape = "wrong-shape",
    /// A text that is not the number, time, name or address it should be.
    Error Malformed = "malformed",
    /// A value outside of its limits.
    Error OutOfRange = "out-of-range",
    /// A word that is not one of the choices.
    Error UnknownChoice = "unknown-choice",
    /// A version of the language that this program does not speak.
    Error UnknownVersion = "unknown-version",
    /// Settings that exclude each other, or neither of two that are needed.
    Error Conflict = "conflict",

    // References.
    /// A region that the policy does not define.
    Error UnknownRegion = "unknown-region",
    /// A balancer that the policy does not define.
    Error UnknownBalancer = "unknown-balancer",
    /// A vantage that the policy does not define.
    Error UnknownVantage = "unknown-vantage",
    /// A hook that the policy does not define.
    Error UnknownHook = "unknown-hook",

    // Regions.
    /// Nowhere to go: one region without a last resort.
    Error TooFewRegions = "too-few-regions",
    /// No primary or active region has weight.
    Error NoHome = "no-home",
    /// A role and a weight that contradict each other.
    Error RoleWeight = "role-weight",
    /// The balancers of a region do not carry 100% together.
    Error CarriesSum = "carries-sum",
    /// Two balancers of one name.
    Error DuplicateBalancer = "duplicate-balancer",
    /// Two balancers at one address.
    Error DuplicateTarget = "duplicate-target",

    // Levers.
    /// The members of a record are not exactly the regions.
    Error MembersMismatch = "members-mismatch",
    /// The same record twice.
    Error DuplicateRecord = "duplicate-record",
    /// One set identifier for two regions.
    Error DuplicateIdentifier = "duplicate-identifier",
    /// The epoch record is also a record of the service.
    Error EpochCollision = "epoch-collision",

    /// A region that carries traffic and has no switch to take it out.
    Error NoSwitch = "no-switch",
    /// A switch that stands in the region which it takes out.
    Error SwitchInRegion = "switch-in-region",

    // Signals and judgement.
    /// A probe has no address to connect to.
    Error NowhereToConnect = "nowhere-to-connect",
    /// A metric that cannot be derived from what is known of the balancer.
    Error NoMetric = "no-metric",
    /// Readings are stale before the next one can arrive.
    Error FreshTooShort = "fresh-too-short",
    /// More classes must agree than have signals.
    Error ClassesOutOfReach = "classes-out-of-reach",
    /// More vantages must agree than exist.
    Error VantagesOutOfReach = "vantages-out-of-reach",
    /// `sustain` is over before a second look.
    Error SustainTooShort = "sustain-too-short",

    // Telling.
    /// A place in a text that nothing fills.
    Error UnknownPlace = "unknown-place",
    /// A status page in the region whose outage it must announce.
    Error WatchedPage = "watched-page",

    // Movement and guards.
    /// A ramp that does not rise, or does not end at 100%.
    Error BadRamp = "bad-ramp",
    /// The latch falls before the shifts that are allowed.
    Error LatchTooEarly = "latch-too-early",
    /// A blocked window that is not a weekly window.
    Error BadWindow = "bad-window",

    // Tests.
    /// A character that means nothing in a drawn line.
    Error UnknownMark = "unknown-mark",
    /// Lines of one picture with different lengths, or none at all.
    Error UnevenLines = "uneven-lines",
    /// A diagnosis that does not exist.
    Error UnknownDiagnosis = "unknown-diagnosis",
    /// A hold that does not exist.
    Error UnknownHold = "unknown-hold",
    /// A test that cannot fail.
    Error NothingExpected = "nothing-expected",

    // Hazards.
    /// Safety rules are overridden.
    Warning SafetyOverridden = "safety-overridden",
    /// Two switches, and one health check on each record.
    Warning OneCheck = "one-check",
    /// Nobody sees whether a switch comes into force.
    Warning NoWitness = "no-witness",
    /// One class of evidence is enough, or all there is.
    Warning OneClass = "one-class",
    /// Clients keep the old answer for longer than it takes to see the outage.
    Warning LongTtl = "long-ttl",
    /// No signal looks at a region that traffic is sent to.
    Warning BlindRegion = "blind-region",
    /// A capacity is written, and nothing tells what would have to fit into it.
    Warning UnknownDemand = "unknown-demand",
    /// The only lever depends on the region it must rescue.
    Warning SelfRescue = "self-rescue",
    /// Alarms come by a queue in the region whose outage they would tell.
    Warning TriggerInRegion = "trigger-in-region",
    /// A last resort without a region, or a region of that role that is never used.
    Warning UnusedLastResort = "unused-last-resort",
    /// A channel in a region that may be down when it is needed.
    Warning WatchedChannel = "watched-channel",
    /// Mail that everybody on its way can read and change.
    Warning PlainMail = "plain-mail",
    /// A setting that has no effect here.
    Warning NoEffect = "no-effect",
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One thing that is wrong, with its place and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub code: Code,
    pub severity: Severity,
    pub message: String,
    /// Counted from 1; `None` if the file as a whole is meant.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// Written at the caret: what this very text is.
    pub label: String,
    pub help: Vec<String>,
    /// The line as written; `None` if it is too long to be shown.
    #[serde(skip)]
    source_line: Option<String>,
}

/// Where in the file, counted from 1 in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

/// Bytes `start..end` of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bytes {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A problem on its way into the list.
#[derive(Debug)]
#[must_use]
pub(super) struct Finding {
    code: Code,
    at: Option<Bytes>,
    message: String,
    label: String,
    help: Vec<String>,
}

impl Finding {
    pub(super) fn new(code: Code, at: Bytes, message: impl Into<String>) -> Self {
        Self { code, at: Some(at), message: message.into(), label: String::new(), help: Vec::new() }
    }

    /// About the file as a whole.
    pub(super) fn file(code: Code, message: impl Into<String>) -> Self {
        Self { at: None, ..Self::new(code, Bytes::default(), message) }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Help if there is something to say.
    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help.extend(help);
        self
    }
}

/// The list in the making, with the text it speaks of.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
    unlisted: usize,
    errors: usize,
}

impl<'a> Findings<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self {
            text,
            line_starts: std::iter::once(0).chain(starts).collect(),
            problems: Vec::new(),
            unlisted: 0,
            errors: 0,
        }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        let Finding { code, at, message, label, help } = finding;
        let severity = code.severity();
        self.errors += usize::from(severity == Severity::Error);
        if self.is_full() {
            self.unlisted += 1;
            return;
        }
        let (place, source_line) = match at {
            Some(bytes) => self.locate(bytes),
            None => (None, None),
        };
        self.problems.push(Problem {
            code,
            severity,
            message: printable(&message),
            place,
            label: printable(&label),
            help: help.into_iter().map(|help| printable(&help)).collect(),
            source_line,
        });
    }

    /// Errors so far, also those that are only counted.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// The line of the file, counted from 1.
    pub(super) fn line_of(&self, at: Bytes) -> usize {
        self.line_starts.partition_point(|first| *first <= at.start).max(1)
    }

    /// For what is read later, by somebody who no longer has the file.
    pub(super) fn place_of(&self, at: Bytes) -> Place {
        let whole_file = Place { line: 1, column: 1, length: 1 };
        self.locate(at).0.unwrap_or(whole_file)
    }

    /// What is written there.
    pub(super) fn written(&self, at: Bytes) -> &'a str {
        self.text.get(at.start..at.end).unwrap_or_default()
    }

    /// True if further problems are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= LISTED_MAX
    }

    pub(super) fn finish(mut self, path: &str) -> Problems {
        self.problems.sort_by_key(|problem| problem.place);
        Problems { path: path.to_owned(), list: self.problems, unlisted: self.unlisted }
    }

    /// Only the first line of what spans several.
    fn locate(&self, bytes: Bytes) -> (Option<Place>, Option<String>) {
        let mut start = bytes.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line = self.line_starts.partition_point(|first| *first <= start).max(1);
        let first = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let next = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        let whole = self.text.get(first..next).unwrap_or("").trim_end_matches(['\n', '\r']);
        let marked = self
            .text
            .get(start..bytes.end.max(start).min(first + whole.len()).max(start))
            .unwrap_or("")
            .trim_end();
        let before = self.text.get(first..start).unwrap_or("");
        let place = Place {
            line,
            column: before.chars().count() + 1,
            length: marked.chars().count().max(1),
        };
        let shown = || whole.chars().map(picture).collect();
        (Some(place), (whole.len() <= SHOWN_LINE_MAX).then(shown))
    }
}

/// All problems of one file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems {
    pub path: String,
    pub list: Vec<Problem>,
    /// Further ones that are only counted.
    pub unlisted: usize,
}

impl Problems {
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// As a terminal shows it: message, place, line, caret, help.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text: String = self
            .list
            .iter()
            .map(|problem| problem.render(&self.path, &renderer) + "\n\n")
            .collect();
        if self.unlisted > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "... and {} further problems", self.unlisted);
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

impl Problem {
    fn render(&self, path: &str, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str()).id(self.code.name());
        let mut group = match (self.place, &self.source_line) {
            (Some(place), Some(line)) => {
                let mark = AnnotationKind::Primary
                    .span(byte_at(line, place.column)..byte_at(line, place.column + place.length))
                    .label(self.label.as_str());
                let snippet = Snippet::source(line.as_str())
                    .line_start(place.line)
                    .path(path)
                    .annotation(mark);
                title.element(snippet)
            }
            (Some(place), None) => {
                let origin = Origin::path(path).line(place.line).char_column(place.column);
                title.element(origin)
            }
            (None, _) => title.element(Origin::path(path)),
        };
        for help in &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

/// The byte at which the character `column` (from 1) begins.
fn byte_at(line: &str, column: usize) -> usize {
    line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at)
}

/// What stands for a control character in a line that is shown: one for one, so that columns stay
/// right. A lone carriage return would overwrite the line on a terminal.
fn picture(character: char) -> char {
    match u32::from(character) {
        // The renderer makes spaces of it.
        0x09 => character,
        code @ ..0x20 => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        0x80..=0x9f | 0x2028 | 0x2029 => '\u{fffd}',
        _ => character,
    }
}

/// A text about the file as it may be shown: names in it come from the file, whatever they contain.
fn printable(text: &str) -> String {
    /// The longest of our own is half of it.
    const CHARS_MAX: usize = 1200;
    let mut shown = escaped(text, CHARS_MAX, char::is_control);
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// The first `most` characters, the `strange` among them written as escapes.
fn escaped(text: &str, most: usize, strange: impl Fn(char) -> bool) -> String {
    let mut shown = String::new();
    for character in text.chars().take(most) {
        if strange(character) || matches!(character, '\u{2028}' | '\u{2029}') {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A piece of the file as it may be quoted in a message: short, and without control characters.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut shown = escaped(text, SHOWN_MAX, |c| c.is_control() || c == '`');
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}
