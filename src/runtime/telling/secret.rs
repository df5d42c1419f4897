//! Secrets of channels: one line each.

use super::Untaken;
use crate::policy::{Address, Secret};
use crate::runtime::secret;

/// Longer than every key and address.
const SECRET_MAX: usize = 8 * 1024;

/// The secret itself, which never stands in an error.
pub(super) fn read(secret: &Secret) -> Result<String, Untaken> {
    let place = match secret {
        Secret::File(path) => format!("`{path}`"),
        Secret::Env(name) => format!("the variable `{name}`"),
    };
    let text = secret::text(secret).map_err(|error| {
        Untaken::for_good(match secret {
            Secret::File(_) => format!("read the secret {place}: {error}"),
            Secret::Env(_) => format!("{place} is not set"),
        })
    })?;
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
