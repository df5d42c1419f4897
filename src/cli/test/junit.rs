//! Results as XML, in the form that JUnit made common: a suite for each policy, a case for each test.

use std::fmt::Write as _;

use super::{Tested, What, show};

pub(super) fn xml(tested: &[Tested]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for one in tested {
        // A file that cannot be read is a suite of one case that failed.
        let invalid = matches!(one.what, What::Invalid(_));
        let tests = if invalid { 1 } else { one.played().len() };
        let failed = one.played().iter().filter(|played| !played.ran.passed()).count();
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"{}\">",
            escaped(&one.path),
            u8::from(invalid)
        );
        if let What::Invalid(problems) = &one.what {
            let said = escaped(&problems.render(false));
            let _ = writeln!(
                text,
                "    <testcase name=\"valid\" classname=\"{}\"><error message=\"not valid\">{said}</error></testcase>",
                escaped(&one.path)
            );
        }
        for played in one.played() {
            let name = escaped(&played.case.name);
            let class = escaped(&one.path);
            let _ = write!(text, "    <testcase name=\"{name}\" classname=\"{class}\"");
            let Some(first) = played.ran.faults.first() else {
                text.push_str("/>\n");
                continue;
            };
            let _ = writeln!(
                text,
                "><failure message=\"{}\">{}</failure></testcase>",
                escaped(&show::fault(&played.case, first)),
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
