//! Base64 as SNS writes signatures in: the standard alphabet with padding (RFC 4648, section 4), nothing else.

/// The octets, or `None` for anything that is not exactly that.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(4) {
        return None;
    }
    let mut octets = Vec::with_capacity(bytes.len() / 4 * 3);
    let quartets = bytes.len() / 4;
    for (place, quartet) in bytes.chunks_exact(4).enumerate() {
        let padding = quartet.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && place + 1 != quartets) {
            return None;
        }
        let (digits, _) = quartet.split_at(4 - padding);
        let mut bits = 0_u32;
        for digit in digits {
            bits = bits << 6 | value(*digit)?;
        }
        bits <<= 6 * padding;
        let three = bits.to_be_bytes();
        octets.extend(three.iter().skip(1).take(3 - padding));
        // Bits that no octet holds must be zero: one text for one value.
        if three.iter().skip(1 + 3 - padding).any(|octet| *octet != 0) {
            return None;
        }
    }
    Some(octets)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_standard_and_nothing_else() {
        for (text, plain) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(plain.as_bytes()), "{text}");
        }
        for text in ["Z", "Zg=", "Zg", "Zh==", "Zg==Zg==", "Zm9v\n", "Zm 9", "====", "Z===", "Zm9-"]
        {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
