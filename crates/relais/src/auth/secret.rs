//! Random secrets, their digests, and the secret that signs tokens.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use relais_store::private;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::AuthError;

/// The longest secret file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// `N` bytes from the operating system, in hexadecimal.
pub(crate) fn random_hex<const N: usize>() -> Result<String, AuthError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| AuthError::Randomness(e.to_string()))?;
    Ok(hex::encode(bytes))
}

/// What is stored in place of a random secret. The secrets have 256 bits, so a fast digest is enough.
pub(crate) fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// Compares without telling by the time it takes where the difference is.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// Reads the secret in `file`, or generates one there that only the owner may read.
pub(crate) fn load_or_create(file: &Path) -> Result<String, AuthError> {
    let failed = |error: std::io::Error| AuthError::SecretFile(file.to_owned(), error.to_string());
    match File::open(file) {
        Ok(found) => return read(found).map_err(failed),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    private::create_folder(folder).map_err(failed)?;
    let secret = random_hex::<32>()?;
    // Written whole under another name first: two processes that start at once then agree on one secret.
    let temporary = folder.join(format!(".jwt-{}", random_hex::<8>()?));
    let linked = write_private(&temporary, &secret).and_then(|()| std::fs::hard_link(&temporary, file));
    let _ = std::fs::remove_file(&temporary);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(error)),
        _ => {
            File::open(folder).and_then(|f| f.sync_all()).map_err(failed)?;
            File::open(file).and_then(read).map_err(failed)
        }
    }
}

fn read(file: File) -> std::io::Result<String> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let secret = text.trim();
    if secret.len() < crate::config::JWT_SECRET_BYTES_MIN {
        let message = "the secret is too short; delete the file to have a new one generated";
        return Err(std::io::Error::new(ErrorKind::InvalidData, message));
    }
    Ok(secret.to_owned())
}

fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let mut file = private::create_file(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_generated_secret_is_private_and_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets/jwt");
        let secret = load_or_create(&file).unwrap();
        assert_eq!(secret.len(), 64);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&file).unwrap(), secret);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwt");
        std::fs::write(&file, "short\n").unwrap();
        assert!(matches!(load_or_create(&file), Err(AuthError::SecretFile(..))));
    }
}
