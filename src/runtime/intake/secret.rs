//! Secrets of whoever sends, compared without telling by the time it takes.

use std::io;

use aws_lc_rs::hmac;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::policy::Secret;
use crate::runtime::secret;

/// Shorter secrets are guessed.
const BYTES_MIN: usize = 16;
/// Old and new, and one to spare.
const SECRETS_MAX: usize = 8;

/// All secrets that hold now: one a line, so that the old one still holds while senders change to the new.
pub(super) fn read(secret: &Secret) -> io::Result<Vec<Vec<u8>>> {
    let text = secret::text(secret)?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() || lines.len() > SECRETS_MAX {
        return Err(io::Error::other(format!("{} secrets in it", lines.len())));
    }
    if lines.iter().any(|line| line.len() < BYTES_MIN) {
        return Err(io::Error::other(format!("a secret of less than {BYTES_MIN} characters")));
    }
    Ok(lines.into_iter().map(|line| line.as_bytes().to_vec()).collect())
}

/// True if one of `secrets` is `given`. Digests are compared, so that not even the length is told.
pub(super) fn is_one_of(secrets: &[Vec<u8>], given: &[u8]) -> bool {
    let given = Sha256::digest(given);
    let same = secrets.iter().fold(Choice::from(0), |same, secret| {
        same | Sha256::digest(secret).as_slice().ct_eq(given.as_slice())
    });
    same.into()
}

/// True if `signature` (HMAC-SHA256 in hexadecimal digits) was made of `text` with one of `secrets`.
pub(super) fn signed_by_one_of(secrets: &[Vec<u8>], text: &[u8], signature: &str) -> bool {
    let Some(given) = unhex(signature) else { return false };
    let same = secrets.iter().fold(Choice::from(0), |same, secret| {
        let made = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text);
        same | made.as_ref().ct_eq(&given)
    });
    same.into()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_this_text_with_this_secret() {
        // RFC 4231, test case 2, with the text's own secret.
        let secrets = vec![b"another".to_vec(), b"Jefe".to_vec()];
        let made = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let text = b"what do ya want for nothing?";
        assert!(signed_by_one_of(&secrets, text, made));
        assert!(signed_by_one_of(&secrets, text, &made.to_uppercase()));
        assert!(!signed_by_one_of(&secrets, b"what do ya want for nothing!", made));
        assert!(!signed_by_one_of(&secrets[..1], text, made));
        assert!(!signed_by_one_of(&[], text, made));
        for odd in ["", "5bdc", &made.replace('5', "g"), &format!("{made}00"), &"+1".repeat(32)] {
            assert!(!signed_by_one_of(&secrets, text, odd), "{odd}");
        }
    }

    #[test]
    fn a_token_is_one_of_those_that_hold_now() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("token");
        let secret = Secret::File(path.display().to_string());
        assert!(read(&secret).is_err(), "no file");
        std::fs::write(&path, "an-old-secret-of-mine\n  a-new-secret-of-mine \n\n").unwrap();
        let secrets = read(&secret).unwrap();
        assert!(is_one_of(&secrets, b"an-old-secret-of-mine"));
        assert!(is_one_of(&secrets, b"a-new-secret-of-mine"));
        assert!(!is_one_of(&secrets, b"an-old-secret-of-min"));
        assert!(!is_one_of(&secrets, b""));
        for bad in ["", "\n\n", "short", "a-good-secret-of-mine\nshort"] {
            std::fs::write(&path, bad).unwrap();
            assert!(read(&secret).is_err(), "{bad:?}");
        }
        assert!(read(&Secret::Env("LEEWARD_TEST_NO_SUCH_VARIABLE".to_owned())).is_err());
    }
}
