//! YAML text to a tree of values that know their place. Bounded in every direction.
//!
//! Built on the events of a YAML parser instead of serde, because serde stops at the first value that
//! does not fit, and an operator wants all of them in one run.

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Bytes, Code, Finding, Findings, quoted};

/// Mappings and lists within each other. A whole policy needs nine.
const DEPTH_MAX: usize = 24;
/// Values in the file, counting again what aliases repeat. Three thousand records need 48,000.
const NODES_MAX: usize = 50_000;
/// Text in the values, counting again what aliases repeat.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Uses of anchors.
const ALIASES_MAX: usize = 256;

/// A value of the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Of the value itself.
    pub(super) at: Bytes,
    /// Where to point when the value as a whole is meant: its key if it has one.
    pub(super) named_at: Bytes,
    pub(super) value: Value,
    weight: Size,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `key:` with nothing behind it, `~` or `null`.
    Nothing,
    Scalar(String),
    List(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: Bytes,
}

impl Value {
    /// With article, as a message names it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing at all",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.nodes += other.nodes;
        self.bytes += other.bytes;
    }
}

/// A collection whose end has not been seen.
#[derive(Debug)]
struct Open {
    start: usize,
    anchor: usize,
    size: Size,
    content: Content,
}

#[derive(Debug)]
enum Content {
    List(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, key: Option<Key> },
}

struct Builder<'f, 'a> {
    findings: &'f mut Findings<'a>,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: Vec<(usize, Node)>,
    total: Size,
    aliases: usize,
}

/// What an event led to.
enum Step {
    On,
    /// A complaint was made after which nothing sensible follows.
    Stop,
}

/// The value of the only document, or nothing after a complaint.
pub(super) fn parse(text: &str, findings: &mut Findings<'_>) -> Option<Node> {
    let mut builder = Builder {
        findings,
        open: Vec::new(),
        root: None,
        anchors: Vec::new(),
        total: Size::default(),
        aliases: 0,
    };
    let options = granit_parser::options! { emit_unresolved_aliases: true };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => {
                if matches!(builder.take(event, bytes_of(&span)), Step::Stop) {
                    return None;
                }
            }
            Err(error) => {
                builder.findings.add(not_yaml(text, &error));
                return None;
            }
        }
    }
    let empty = |node: &Node| matches!(node.value, Value::Nothing);
    match builder.root {
        Some(root) if !empty(&root) => Some(root),
        Some(_) | None => {
            builder.findings.add(
                Finding::file(Code::Empty, "the file says nothing")
                    .help("a policy begins with `version: 1`; see the examples in `policies`"),
            );
            None
        }
    }
}

fn bytes_of(span: &Span) -> Bytes {
    let start = span.start.byte_offset().unwrap_or(0);
    Bytes { start, end: span.end.byte_offset().unwrap_or(start).max(start) }
}

/// Most syntax errors have one of a few reasons.
fn not_yaml(text: &str, error: &ScanError) -> Finding {
    let at = error.marker().byte_offset().unwrap_or(0).min(text.len());
    let message = format!("this is not YAML: {}", error.kind());
    let here = Bytes { start: at, end: at + 1 };
    let line_start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    let indentation = text.get(line_start..).unwrap_or("");
    let indentation = indentation.len() - indentation.trim_start_matches([' ', '\t']).len();
    let tab = text.get(line_start..line_start + indentation).and_then(|blank| blank.find('\t'));
    match (error.kind(), tab) {
        (ErrorKind::RecursionLimitExceeded, _) => {
            Finding::new(Code::TooComplex, here, "values are nested too deep").label("too deep")
        }
        (_, Some(tab)) => {
            let start = line_start + tab;
            Finding::new(Code::Syntax, Bytes { start, end: start + 1 }, message)
                .label("a tab")
                .help("indent with spaces; YAML allows no tabs there")
        }
        (ErrorKind::MappingValueNotAllowed, None) => {
            Finding::new(Code::Syntax, here, message).label("unexpected `:`").help(
                "a text with `: ` in it needs quotes, and the keys of one mapping the same indentation",
            )
        }
        (
            ErrorKind::InvalidQuotedScalarIndent
            | ErrorKind::UnclosedQuotedScalar
            | ErrorKind::InvalidFlowScalarIndent
            | ErrorKind::UnexpectedEofFlowSequence
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::ExpectedFlowMappingSeparator
            | ErrorKind::ExpectedFlowSequenceSeparator,
            None,
        ) => Finding::new(Code::Syntax, here, message)
            .label("noticed here")
            .help("is a quote or a bracket before this not closed?"),
        (_, None) => Finding::new(Code::Syntax, here, message).label("here"),
    }
}

impl Builder<'_, '_> {
    fn take(&mut self, event: Event<'_>, at: Bytes) -> Step {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) => {
                Step::On
            }
            Event::DocumentStart(..) => {
                if self.root.is_some() {
                    return self.stop(
                        Finding::new(Code::SeveralDocuments, at, "a second document begins here")
                            .label("second document")
                            .help("one service a file: write each policy into a file of its own"),
                    );
                }
                Step::On
            }
            Event::UnresolvedAlias(name) => self.stop(
                Finding::new(
                    Code::Syntax,
                    at,
                    format!("there is no anchor {} before this", quoted(&name)),
                )
                .label("alias of nothing")
                .help("an anchor is written as `&name` in front of the value to be repeated"),
            ),
            Event::Alias(id) => self.alias(id, at),
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return self.tag(at);
                }
                let plain = matches!(style, ScalarStyle::Plain);
                let value = if plain && matches!(text.as_ref(), "" | "~" | "null") {
                    Value::Nothing
                } else {
                    Value::Scalar(text.into_owned())
                };
                let bytes = match &value {
                    Value::Scalar(text) => text.len(),
                    Value::Nothing | Value::List(_) | Value::Mapping(_) => 0,
                };
                self.finish(
                    Node { at, named_at: at, value, weight: Size { nodes: 1, bytes } },
                    anchor,
                )
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(at, anchor, tag.is_some(), Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => self.begin(
                at,
                anchor,
                tag.is_some(),
                Content::Mapping { entries: Vec::new(), key: None },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            // The parser may learn more of YAML than it knows today.
            _ => {
                self.stop(Finding::new(Code::Unsupported, at, "this part of YAML is not supported"))
            }
        }
    }

    fn begin(&mut self, at: Bytes, anchor: usize, tagged: bool, content: Content) -> Step {
        if tagged {
            return self.tag(at);
        }
        if self.expects_key() {
            return self.stop(
                Finding::new(Code::Unsupported, at, "a key must be a single word")
                    .label("not a word")
                    .help("a text that begins with `{` or `[` needs quotes"),
            );
        }
        if self.open.len() >= DEPTH_MAX {
            let message = format!("values are nested more than {DEPTH_MAX} deep");
            return self.stop(Finding::new(Code::TooComplex, at, message).label("too deep"));
        }
        self.open.push(Open {
            start: at.start,
            anchor,
            size: Size { nodes: 1, bytes: 0 },
            content,
        });
        Step::On
    }

    fn end(&mut self, at: Bytes) -> Step {
        let Some(open) = self.open.pop() else { return Step::On };
        let at = Bytes { start: open.start, end: at.end.max(open.start) };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Mapping { entries, .. } => Value::Mapping(entries),
        };
        self.finish(Node { at, named_at: at, value, weight: open.size }, open.anchor)
    }

    fn alias(&mut self, id: usize, at: Bytes) -> Step {
        self.aliases += 1;
        if self.aliases > ALIASES_MAX {
            let message = format!("more than {ALIASES_MAX} aliases");
            return self.stop(Finding::new(Code::TooComplex, at, message).label("one too many"));
        }
        let known =
            self.anchors.iter().find(|(anchor, _)| *anchor == id).map(|(_, node)| node.weight);
        let Some(size) = known else {
            return self.stop(Finding::new(
                Code::Unsupported,
                at,
                "an alias cannot stand inside of what it repeats",
            ));
        };
        if let Step::Stop = self.charge(size, at) {
            return Step::Stop;
        }
        let copy =
            self.anchors.iter().find(|(anchor, _)| *anchor == id).map(|(_, node)| node.clone());
        match copy {
            // The use is what the operator wrote, so complaints point there.
            Some(node) => self.place(Node { named_at: at, ..node }),
            None => Step::On,
        }
    }

    /// A value is whole: counts it, remembers its anchor, puts it where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Step {
        let own = match &node.value {
            Value::Nothing | Value::Scalar(_) => node.weight,
            // Its parts have been counted.
            Value::List(_) | Value::Mapping(_) => Size { nodes: 1, bytes: 0 },
        };
        if let Step::Stop = self.charge(own, node.at) {
            return Step::Stop;
        }
        if anchor != 0 {
            if let Step::Stop = self.charge(node.weight, node.at) {
                return Step::Stop;
            }
            self.anchors.push((anchor, node.clone()));
        }
        self.place(node)
    }

    fn charge(&mut self, size: Size, at: Bytes) -> Step {
        self.total.add(size);
        if self.total.nodes > NODES_MAX {
            let message = format!("more than {NODES_MAX} values");
            return self.stop(
                Finding::new(Code::TooComplex, at, message).label("one too many").maybe_help(
                    (self.aliases > 0).then(|| "each use of an alias counts as a copy".to_owned()),
                ),
            );
        }
        if self.total.bytes > TEXT_BYTES_MAX {
            let message = format!("more than {} KiB of text in the values", TEXT_BYTES_MAX / 1024);
            return self.stop(Finding::new(Code::TooComplex, at, message).label("one too many"));
        }
        Step::On
    }

    fn place(&mut self, node: Node) -> Step {
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Step::On;
        };
        parent.size.add(node.weight);
        match &mut parent.content {
            Content::List(items) => items.push(node),
            Content::Mapping { entries, key } => match key.take() {
                Some(key) => {
                    let named_at = key.at;
                    entries.push((key, Node { named_at, ..node }));
                }
                None => return self.key(node),
            },
        }
        Step::On
    }

    fn key(&mut self, node: Node) -> Step {
        let at = node.at;
        let text = match node.value {
            Value::Scalar(text) if text == "<<" => {
                return self.stop(
                    Finding::new(Code::Unsupported, at, "merge keys (`<<`) are not supported")
                        .label("merge key")
                        .help("repeat a whole value with an alias (`members: *members`), or write it out"),
                );
            }
            Value::Scalar(text) => text,
            Value::Nothing => String::new(),
            Value::List(_) | Value::Mapping(_) => {
                return self.stop(Finding::new(
                    Code::Unsupported,
                    at,
                    "a key must be a single word",
                ));
            }
        };
        if let Some(Open { content: Content::Mapping { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(Key { text, at });
        }
        Step::On
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Mapping { key: None, .. }, .. }))
    }

    fn tag(&mut self, at: Bytes) -> Step {
        self.stop(
            Finding::new(Code::Unsupported, at, "YAML tags are not supported")
                .label("this value has a tag (`!...`)")
                .help("a text that begins with `!` needs quotes"),
        )
    }

    fn stop(&mut self, finding: Finding) -> Step {
        self.findings.add(finding);
        Step::Stop
    }
}
