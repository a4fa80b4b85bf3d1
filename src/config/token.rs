//! Secrets that the gateway makes for itself and keeps under `<data>/credentials`.

use std::io;
use std::path::Path;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use ring::rand::{SecureRandom, SystemRandom};

use super::files::{create_atomic, create_dir};
use super::secret::Secret;

/// 24 random bytes as base64url (32 characters).
pub fn generate() -> io::Result<Secret> {
    let mut bytes = [0; 24];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// The secret kept in a file, generated the first time. Gives whether this call generated it.
pub fn stored_or_generated(path: &Path) -> io::Result<(Secret, bool)> {
    if let Some(secret) = stored(path)? {
        return Ok((secret, false));
    }
    if let Some(dir) = path.parent() {
        create_dir(dir)?;
    }
    let secret = generate()?;
    // Two processes may be here at the same time: whoever was first has made the one that counts.
    if create_atomic(path, format!("{}\n", secret.expose()).as_bytes())? {
        return Ok((secret, true));
    }
    match stored(path)? {
        Some(secret) => Ok((secret, false)),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is empty; delete it, a new one will be made", path.display()),
        )),
    }
}

/// The secret kept in a file; `None` if there is no file or it is empty.
pub fn stored(path: &Path) -> io::Result<Option<Secret>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::new)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_made_once_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("credentials/gateway-token");
        assert_eq!(stored(&path).unwrap(), None);
        let (first, made) = stored_or_generated(&path).unwrap();
        let (second, again) = stored_or_generated(&path).unwrap();
        assert_eq!((first.expose(), made, again), (second.expose(), true, false));
        assert_eq!(first.expose().len(), 32);
        assert_ne!(generate().unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(temp.path().join("credentials")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn an_empty_file_is_an_error_that_says_what_to_do() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("t");
        std::fs::write(&path, "\n").unwrap();
        assert!(stored_or_generated(&path).unwrap_err().to_string().contains("delete it"));
    }
}
