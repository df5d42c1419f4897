//! From the tree of values to typed parts, without stopping at the first that does not fit.
//!
//! [`record!`] and [`choice!`] declare a type of the language once: its fields, their meaning, an
//! example for each. From that one declaration come the decoder, the messages and the JSON Schema.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::tree::{Key, Node, Value};

/// Can be read from a [`Node`]. `None` means: a complaint was made.
pub(super) trait Decode: Sized {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self>;

    /// What stands for a field that is not written; `None` if it has to be.
    fn absent() -> Option<Self> {
        None
    }

    /// What stands for a field after a complaint about it.
    fn broken() -> Option<Self> {
        None
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Bytes,
}

/// A part that may be broken without breaking what it is a part of, so that the rest is still checked.
#[derive(Debug, Clone)]
pub(super) struct Part<T>(pub(super) Option<T>);

/// A mapping with names chosen by the operator, in the order of the file.
///
/// The names survive even if what they stand for is broken, so that references to them stay right.
#[derive(Debug, Clone)]
pub(super) struct Entries<T> {
    pub(super) at: Bytes,
    pub(super) list: Vec<Entry<T>>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry<T> {
    pub(super) name: String,
    pub(super) at: Bytes,
    pub(super) value: Option<T>,
}

/// One thing, or a list of such things.
#[derive(Debug, Clone)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

/// In short, or as a mapping that says more.
#[derive(Debug, Clone)]
pub(super) enum Short<T, U> {
    Short(T),
    Long(U),
}

impl<T> Entries<T> {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|entry| entry.name.as_str())
    }
}

/// A field as declared, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) example: &'static str,
    pub(super) doc: &'static str,
}

/// The fields of one mapping, taken out one after the other.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    what: &'static str,
    at: Bytes,
    entries: Vec<(&'n Key, &'n Node)>,
    /// What unknown fields were probably meant to be: these are not missing as well.
    misspelt: Vec<&'static str>,
    missing: Vec<Field>,
}

impl<'n> Fields<'n> {
    /// Complains of unknown and repeated keys at once.
    pub(super) fn open(
        what: &'static str,
        fields: &'static [Field],
        node: &'n Node,
        to: &mut Findings<'_>,
    ) -> Option<Self> {
        let entries = match &node.value {
            Value::Mapping(entries) => entries.as_slice(),
            // `pushed:` says as much as `pushed: {}`.
            Value::Nothing if fields.iter().all(|field| field.name.is_empty()) => &[],
            Value::Nothing | Value::Scalar(_) | Value::List(_) => {
                to.add(wrong_shape(node, &format!("{what} as a mapping")).help(keys_help(fields)));
                return None;
            }
        };
        let mut known: Vec<(&Key, &Node)> = Vec::new();
        let mut misspelt = Vec::new();
        for (key, value) in entries {
            if known.iter().any(|(other, _)| other.text == key.text) {
                to.add(duplicate_key(key));
            } else if fields.iter().any(|field| field.name == key.text) {
                known.push((key, value));
            } else {
                let meant = nearest(&key.text, fields.iter().map(|field| field.name), to);
                misspelt.extend(meant);
                to.add(unknown_field(key, what, meant, fields));
            }
        }
        Some(Self { what, at: node.named_at, entries: known, misspelt, missing: Vec::new() })
    }

    pub(super) fn take<T: Decode>(&mut self, field: &Field, to: &mut Findings<'_>) -> Option<T> {
        if let Some((_, node)) = self.entries.iter().find(|(key, _)| key.text == field.name) {
            return T::decode(node, to).or_else(T::broken);
        }
        T::absent().or_else(|| {
            if !self.misspelt.contains(&field.name) {
                self.missing.push(*field);
            }
            T::broken()
        })
    }

    /// Complains of all that is missing at once.
    pub(super) fn close(self, to: &mut Findings<'_>) {
        if self.missing.is_empty() {
            return;
        }
        let names: Vec<&str> = self.missing.iter().map(|field| field.name).collect();
        let names = format!("`{}`", names.join("`, `"));
        let label = match self.missing.as_slice() {
            [field] => format!("`{}` is missing", field.name),
            several => format!("{} fields are missing", several.len()),
        };
        let mut finding =
            Finding::new(Code::MissingField, self.at, format!("{} needs {names}", self.what))
                .label(label);
        for field in &self.missing {
            finding = finding.help(format!("add `{}`: {}", field.example, in_sentence(field.doc)));
        }
        to.add(finding);
    }
}

/// A doc line as the second half of a sentence.
fn in_sentence(doc: &str) -> String {
    let doc = doc.trim().trim_end_matches('.');
    let mut rest = doc.chars();
    match rest.next() {
        // A capital letter behind it: a name, not the beginning of a sentence.
        Some(first) if !rest.as_str().starts_with(|c: char| c.is_uppercase()) => {
            first.to_lowercase().chain(rest).collect()
        }
        Some(_) | None => doc.to_owned(),
    }
}

pub(super) fn duplicate_key(key: &Key) -> Finding {
    Finding::new(Code::DuplicateKey, key.at, format!("{} is written twice", quoted(&key.text)))
        .label("again")
        .help("only one of them can be meant; remove the other")
}

fn unknown_field(key: &Key, what: &str, meant: Option<&str>, fields: &[Field]) -> Finding {
    let message = format!("{what} has no field {}", quoted(&key.text));
    let help = meant.map_or_else(|| keys_help(fields), |name| format!("did you mean `{name}`?"));
    Finding::new(Code::UnknownField, key.at, message).label("unknown field").help(help)
}

fn keys_help(fields: &[Field]) -> String {
    let names: Vec<&str> = fields.iter().map(|f| f.name).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return "it has no fields: write `{}`".to_owned();
    }
    format!("its fields are `{}`", names.join("`, `"))
}

pub(super) fn wrong_shape(node: &Node, expected: &str) -> Finding {
    let nothing = matches!(node.value, Value::Nothing);
    let at = if nothing { node.named_at } else { node.at };
    let label = if nothing { "nothing is written for it" } else { node.value.kind() };
    Finding::new(Code::WrongShape, at, format!("expected {expected}, found {}", node.value.kind()))
        .label(label)
}

/// The nearest of `names`, if one is near enough to be a typing error, or the same word cut short.
pub(super) fn nearest<'n>(
    text: &str,
    names: impl IntoIterator<Item = &'n str>,
    to: &Findings<'_>,
) -> Option<&'n str> {
    /// Longer than every name that is allowed; keeps the comparison cheap.
    const COMPARED_BYTES_MAX: usize = 64;
    const COMPARED_MAX: usize = 1000;
    // After so many complaints nobody reads the advice, and finding it takes time.
    if text.len() > COMPARED_BYTES_MAX || to.is_full() {
        return None;
    }
    let lower = text.to_lowercase();
    let scored = names.into_iter().take(COMPARED_MAX).map(|name| {
        let known = name.to_lowercase();
        let shorter = lower.len().min(known.len());
        let cut = shorter >= 3 && (lower.starts_with(&known) || known.starts_with(&lower));
        (if cut { 1 } else { strsim::damerau_levenshtein(&lower, &known) }, name)
    });
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    let longest = text.chars().count().max(name.chars().count());
    (distance * 5 <= longest * 2).then_some(name)
}

pub(super) fn did_you_mean<'n>(
    text: &str,
    names: impl IntoIterator<Item = &'n str>,
    to: &Findings<'_>,
) -> Option<String> {
    nearest(text, names, to).map(|name| format!("did you mean `{name}`?"))
}

/// A mapping of the language: see the module.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $what:literal $name:ident {
            $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty = $example:literal,)*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(super) struct $name {
            $(
                $(#[doc = $field_doc])+
                #[doc = concat!("\nExample: `", $example, "`")]
                pub(super) $field: $type,
            )*
        }

        impl $name {
            const FIELDS: &[$crate::policy::decode::Field] = &[$($crate::policy::decode::Field {
                name: stringify!($field),
                example: $example,
                doc: concat!($($field_doc),+),
            },)*];
        }

        impl $crate::policy::decode::Decode for $name {
            fn decode(
                node: &$crate::policy::tree::Node,
                to: &mut $crate::policy::problem::Findings<'_>,
            ) -> Option<Self> {
                #[allow(unused_mut, unused_variables, reason = "a mapping may have no fields")]
                let mut fields =
                    $crate::policy::decode::Fields::open($what, Self::FIELDS, node, to)?;
                #[allow(unused_mut, unused_variables, reason = "a mapping may have no fields")]
                let mut declared = Self::FIELDS.iter();
                $(let $field = declared.next().and_then(|field| fields.take(field, to));)*
                fields.close(to);
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}
pub(super) use record;

/// A choice of the language: a word, or a mapping with one key that says which.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        $what:literal $name:ident {
            $($(#[doc = $variant_doc:literal])+ $variant:ident $(($type:ty))? = $key:literal $example:literal,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, schemars::JsonSchema)]
        pub(super) enum $name {
            $(
                $(#[doc = $variant_doc])+
                #[doc = concat!("\nExample: `", $example, "`")]
                #[schemars(rename = $key)]
                $variant $(($type))?,
            )+
        }

        impl $crate::policy::decode::Decode for $name {
            fn decode(
                node: &$crate::policy::tree::Node,
                to: &mut $crate::policy::problem::Findings<'_>,
            ) -> Option<Self> {
                let choices = $crate::policy::decode::Choices {
                    what: $what,
                    all: &[$(($key, $example),)+],
                };
                let (key, inner) = choices.pick(node, to)?;
                $(
                    if key == $key {
                        return choice!(@build node inner to choices $variant $key $(($type))?);
                    }
                )+
                None
            }
        }
    };
    (@build $node:ident $inner:ident $to:ident $choices:ident $variant:ident $key:literal) => {
        $choices.word($node, $inner, $key, $to).map(|()| Self::$variant)
    };
    (@build $node:ident $inner:ident $to:ident $choices:ident $variant:ident $key:literal ($type:ty)) => {
        match $inner {
            Some(inner) => {
                <$type as $crate::policy::decode::Decode>::decode(inner, $to).map(Self::$variant)
            }
            None => {
                $choices.needs_more($node, $key, $to);
                None
            }
        }
    };
}
pub(super) use choice;

/// What may be chosen, for reading a [`choice!`] and for messages about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choices {
    pub(super) what: &'static str,
    /// Name and example.
    pub(super) all: &'static [(&'static str, &'static str)],
}

impl Choices {
    /// The chosen name, and what is written behind it.
    pub(super) fn pick<'n>(
        &self,
        node: &'n Node,
        to: &mut Findings<'_>,
    ) -> Option<(&'n str, Option<&'n Node>)> {
        let (name, at, inner) = match &node.value {
            Value::Scalar(text) => (text.as_str(), node.at, None),
            Value::Mapping(entries) => match entries.as_slice() {
                [(key, inner)] => (key.text.as_str(), key.at, Some(inner)),
                [] => {
                    to.add(wrong_shape(node, self.what).help(self.help()));
                    return None;
                }
                [_, (second, _), ..] => {
                    let message =
                        format!("{} is one choice, here are {}", self.what, entries.len());
                    to.add(
                        Finding::new(Code::Conflict, second.at, message)
                            .label("second choice")
                            .help(self.help()),
                    );
                    return None;
                }
            },
            Value::Nothing | Value::List(_) => {
                to.add(wrong_shape(node, self.what).help(self.help()));
                return None;
            }
        };
        if self.all.iter().any(|(known, _)| *known == name) {
            return Some((name, inner));
        }
        let meant = nearest(name, self.all.iter().map(|(name, _)| *name), to);
        let example = self.all.iter().find(|(known, _)| Some(*known) == meant);
        let help = example
            .map_or_else(|| self.help(), |(_, example)| format!("did you mean `{example}`?"));
        let message = format!("{} is not {}", quoted(name), self.what);
        to.add(Finding::new(Code::UnknownChoice, at, message).label("unknown choice").help(help));
        None
    }

    /// A choice that is a bare word must not have anything behind it.
    pub(super) fn word(
        &self,
        node: &Node,
        inner: Option<&Node>,
        key: &str,
        to: &mut Findings<'_>,
    ) -> Option<()> {
        if inner.is_some() {
            let message = format!("`{key}` stands alone as {}", self.what);
            let help = format!("write `{key}` without a colon");
            to.add(Finding::new(Code::WrongShape, node.at, message).label("too much").help(help));
            return None;
        }
        Some(())
    }

    pub(super) fn needs_more(&self, node: &Node, key: &str, to: &mut Findings<'_>) {
        let example = self.all.iter().find(|(name, _)| *name == key).map_or("", |(_, e)| *e);
        let message = format!("`{key}` as {} needs to say more", self.what);
        to.add(
            Finding::new(Code::WrongShape, node.at, message)
                .label("only a word")
                .help(format!("for example `{example}`")),
        );
    }

    fn help(&self) -> String {
        let examples: Vec<&str> = self.all.iter().map(|(_, example)| *example).collect();
        format!("write `{}`", examples.join("` or `"))
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
        T::decode(node, to).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// What `Option<Part<T>>` stands for.
pub(super) enum Written<'a, T> {
    No,
    /// A complaint has been made.
    Broken,
    Yes(&'a T),
}

pub(super) fn written<T>(part: Option<&Part<T>>) -> Written<'_, T> {
    match part {
        None => Written::No,
        Some(Part(None)) => Written::Broken,
        Some(Part(Some(value))) => Written::Yes(value),
    }
}

impl<T: Decode> Decode for Part<T> {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
        Some(Self(T::decode(node, to)))
    }

    fn absent() -> Option<Self> {
        T::absent().map(|value| Self(Some(value)))
    }

    fn broken() -> Option<Self> {
        Some(Self(None))
    }
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
        let whole = matches!(node.value, Value::List(_) | Value::Mapping(_));
        let at = if whole { node.named_at } else { node.at };
        T::decode(node, to).map(|value| Self { value, at })
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
        T::decode(node, to).map(Box::new)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            to.add(wrong_shape(node, "a list").help("write `[one, two]`, or one `- item` a line"));
            return None;
        };
        // All are decoded before the first that failed fails the list.
        let decoded: Vec<Option<T>> = items.iter().map(|item| T::decode(item, to)).collect();
        decoded.into_iter().collect()
    }
}

impl<T: Decode> Decode for OneOrMany<T> {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::decode(node, to).map(Self),
            Value::Nothing | Value::Scalar(_) | Value::Mapping(_) => {
                T::decode(node, to).map(|one| Self(vec![one]))
            }
        }
    }
}

impl<T: Decode, U: Decode> Decode for Short<T, U> {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
        match &node.value {
            Value::Mapping(_) => U::decode(node, to).map(Self::Long),
            Value::Nothing | Value::Scalar(_) | Value::List(_) => {
                T::decode(node, to).map(Self::Short)
            }
        }
    }
}

impl<T: Decode> Decode for Entries<T> {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            to.add(
                wrong_shape(node, "a mapping with a name for each entry")
                    .help("write `name: ...` for each"),
            );
            return None;
        };
        let mut places: BTreeMap<&str, ()> = BTreeMap::new();
        let mut list = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if places.insert(&key.text, ()).is_some() {
                to.add(duplicate_key(key));
                continue;
            }
            let value = T::decode(value, to);
            list.push(Entry { name: key.text.clone(), at: key.at, value });
        }
        Some(Self { at: node.named_at, list })
    }
}

macro_rules! transparent_schema {
    ($($type:ident)+) => {$(
        impl<T: JsonSchema> JsonSchema for $type<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    )+};
}
transparent_schema!(At Part);

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": one })
    }
}

impl<T: JsonSchema, U: JsonSchema> JsonSchema for Short<T, U> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Short_{}_or_{}", T::schema_name(), U::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let short = generator.subschema_for::<T>();
        let long = generator.subschema_for::<U>();
        json_schema!({ "anyOf": [short, long] })
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}
