//! Texts with places to be filled: `${name}`, and `$$` for a dollar sign. No IO.

/// A text whose places are all known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(&'static str),
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A place that nothing fills.
    Unknown(String),
    /// `${` without `}`.
    Open,
}

impl Template {
    pub(super) fn parse(text: &str, known: &[&'static str]) -> Result<Self, Malformed> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find('$') {
            let (before, tail) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = tail.strip_prefix("${") {
                let (name, after) = after.split_once('}').ok_or(Malformed::Open)?;
                let place = known.iter().find(|known| **known == name);
                let place = place.ok_or_else(|| Malformed::Unknown(name.to_owned()))?;
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                pieces.push(Piece::Place(place));
                rest = after;
            } else {
                plain.push('$');
                let after = tail.strip_prefix("$$").or_else(|| tail.strip_prefix('$'));
                rest = after.unwrap_or_default();
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    /// A text without places.
    pub fn plain(text: &str) -> Self {
        Self(vec![Piece::Text(text.to_owned())])
    }

    /// The text with every place filled by what `value` gives for its name.
    pub fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let filled = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Place(name) => value(name),
        });
        filled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_dollars_stay() {
        let template = Template::parse("a ${x}, ${y}$$ $ ${x}", &["x", "y"]).unwrap();
        assert_eq!(template.fill(str::to_uppercase), "a X, Y$ $ X");
    }

    #[test]
    fn what_nothing_fills_is_refused() {
        assert_eq!(Template::parse("${z}", &["x"]), Err(Malformed::Unknown("z".to_owned())));
        assert_eq!(Template::parse("a ${x", &["x"]), Err(Malformed::Open));
    }

    #[test]
    fn what_is_filled_in_is_not_looked_at_again() {
        let template = Template::parse("${x}", &["x"]).unwrap();
        assert_eq!(template.fill(|_| "${x} $$".to_owned()), "${x} $$");
    }
}
