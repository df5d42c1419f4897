//! Results as XML, in the form that JUnit made common: a suite for each policy, a case for each test.

use std::fmt::Write as _;

use super::{How, Tested, show};

pub(super) fn xml(tested: &[Tested]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for one in tested {
        // A file that cannot be read is a suite of one case that failed.
        let invalid = one.invalid();
        let tests = if invalid.is_some() { 1 } else { one.played().len() };
        let broken = |played: &&super::Played| matches!(played.how, How::Broken(_));
        let errors = usize::from(invalid.is_some()) + one.played().iter().filter(broken).count();
        let failed =
            one.played().iter().filter(|played| !played.passed() && !broken(played)).count();
        let class = escaped(&one.path);
        let _ = writeln!(
            text,
            "  <testsuite name=\"{class}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"{errors}\">",
        );
        if let Some(said) = invalid {
            let said = escaped(&said);
            let _ = writeln!(
                text,
                "    <testcase name=\"valid\" classname=\"{class}\"><error message=\"not valid\">{said}</error></testcase>",
            );
        }
        for played in one.played() {
            let name = escaped(&played.name);
            let _ = write!(text, "    <testcase name=\"{name}\" classname=\"{class}\"");
            let Some(first) = show::first_fault(played) else {
                text.push_str("/>\n");
                continue;
            };
            let element = if broken(&played) { "error" } else { "failure" };
            let _ = writeln!(
                text,
                "><{element} message=\"{}\">{}</{element}></testcase>",
                escaped(&first),
                escaped(&show::failure(played))
            );
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// For text and for attributes in double quotes. What XML 1.0 cannot carry at all becomes `?`.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(character),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => safe.push('?'),
            _ => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_in_a_name_can_end_an_attribute_or_an_element() {
        assert_eq!(super::escaped("a<b>&\"c\u{7}\n"), "a&lt;b&gt;&amp;&quot;c?\n");
    }
}
