//! Secrets, read when they are needed: a key that was changed on disk is used at once.

use super::Untaken;
use crate::policy::{Address, Secret};

/// Longer than every key and address.
const SECRET_MAX: usize = 8 * 1024;

/// The secret itself, which never stands in an error.
pub(super) fn read(secret: &Secret) -> Result<String, Untaken> {
    let (text, place) = match secret {
        Secret::File(path) => {
            let text = std::fs::read_to_string(path);
            let text = text
                .map_err(|error| Untaken::for_good(format!("read the secret `{path}`: {error}")))?;
            (text, format!("`{path}`"))
        }
        Secret::Env(name) => {
            let text = variable(name)
                .ok_or_else(|| Untaken::for_good(format!("the variable `{name}` is not set")))?;
            (text, format!("the variable `{name}`"))
        }
    };
    let text = text.trim();
    if text.is_empty() || text.len() > SECRET_MAX || text.chars().any(char::is_control) {
        return Err(Untaken::for_good(format!("{place} holds no secret of one line")));
    }
    Ok(text.to_owned())
}

/// An address that may be a secret.
pub(super) fn address(address: &Address) -> Result<String, Untaken> {
    match address {
        Address::Open(text) => Ok(text.clone()),
        Address::Hidden(secret) => read(secret),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the policy names the variable; an argument would show what is in it"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_the_file_says_without_its_line_feed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "abc\n").unwrap();
        let secret = Secret::File(path.display().to_string());
        assert_eq!(read(&secret).unwrap(), "abc");
        std::fs::write(&path, "def\n").unwrap();
        assert_eq!(read(&secret).unwrap(), "def", "read anew");
        std::fs::write(&path, " \n").unwrap();
        assert!(!read(&secret).unwrap_err().again);
    }

    #[test]
    fn what_is_not_there_is_said_by_its_name() {
        let error = read(&Secret::Env("LEEWARD_NO_SUCH_KEY".to_owned())).unwrap_err();
        assert!(error.why.contains("LEEWARD_NO_SUCH_KEY"), "{error}");
    }
}
