//! Files that hold secrets: made with mode 0600, replaced whole, refused when others can read them.

use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;

use crate::explain_denied;

/// No secret of ours is larger; a larger file is not one.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Why a secret was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// Others could have read the secret already.
    #[error(
        "`{}` holds a secret but its mode is {mode:04o}, so others can read it; run `chmod 600 {}` and replace the secret if that matters",
        path.display(),
        path.display()
    )]
    TooOpen { path: PathBuf, mode: u32 },
    /// Not a file of text of at most 1 MiB.
    #[error("`{}` is not a file of at most 1 MiB of text", path.display())]
    NotText { path: PathBuf },
    /// The system refused; its message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a secret, unless its group or others may read or write the file, as `ssh` does.
pub fn read_secret(path: &Path) -> Result<String, SecretFileError> {
    // The mode is that of the file that was opened, so a swap between check and read changes nothing.
    let file = fs_err::File::open(path).map_err(|error| explain_denied(path, error))?;
    let metadata = file.metadata()?;
    let not_text = || SecretFileError::NotText { path: path.into() };
    if !metadata.is_file() || metadata.len() > SECRET_BYTES_MAX {
        return Err(not_text());
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::TooOpen { path: path.into(), mode });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| not_text())
}

/// Replaces the file at `path` by one with `text` and mode 0600: written aside, synced, renamed, the
/// folder synced. A crash leaves the old file or the new one. Missing folders are made with 0700.
pub fn write_secret(path: &Path, text: &str) -> Result<(), SecretFileError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    make_private_folder(folder)?;
    let name = path.file_name().ok_or_else(|| SecretFileError::NotText { path: path.into() })?;
    let aside =
        folder.join(format!(".{}.{:016x}.new", name.to_string_lossy(), rand::random::<u64>()));
    let written = write_aside(&aside, text).and_then(|()| fs_err::rename(&aside, path));
    if let Err(error) = written {
        // The half-made file is of no use; what stopped us is the error to tell.
        let _ = fs_err::remove_file(&aside);
        return Err(explain_denied(folder, error).into());
    }
    fs_err::File::open(folder)?.sync_all()?;
    Ok(())
}

fn write_aside(aside: &Path, text: &str) -> io::Result<()> {
    let mut file =
        fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn make_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        let error = explain_denied(folder, error);
        io::Error::new(
            error.kind(),
            format!("cannot make the folder `{}`: {error}", folder.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs_err::metadata(path).expect("it exists").mode() & 0o7777
    }

    #[test]
    fn a41_secrets_are_made_for_their_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/er/secret");
        write_secret(&path, "one").expect("written");
        write_secret(&path, "two").expect("replaced");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("deep")), 0o700);
        assert_eq!(read_secret(&path).expect("read"), "two");
        let left: Vec<_> = fs_err::read_dir(path.parent().expect("it has one"))
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(left, ["secret"], "nothing lies about");
    }

    #[test]
    fn a41_a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        write_secret(&path, "hush").expect("written");
        for open in [0o640, 0o604, 0o620, 0o644, 0o666, 0o610] {
            fs_err::set_permissions(&path, Permissions::from_mode(open)).expect("changed");
            let error = read_secret(&path).expect_err("too open");
            let text = error.to_string();
            assert!(text.contains(&format!("{open:04o}")), "{text}");
            assert!(text.contains("chmod 600"), "{text}");
        }
        fs_err::set_permissions(&path, Permissions::from_mode(0o400)).expect("changed");
        assert_eq!(read_secret(&path).expect("read-only is fine"), "hush");
    }

    #[test]
    fn folders_huge_files_and_bytes_are_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(read_secret(folder.path()), Err(SecretFileError::NotText { .. })));
        let path = folder.path().join("secret");
        write_secret(&path, "x").expect("written");
        fs_err::write(&path, [0xff, 0xfe]).expect("written");
        assert!(matches!(read_secret(&path), Err(SecretFileError::NotText { .. })));
        fs_err::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(SECRET_BYTES_MAX + 1))
            .expect("grown");
        assert!(matches!(read_secret(&path), Err(SecretFileError::NotText { .. })));
        let gone = read_secret(&folder.path().join("gone")).expect_err("absent");
        assert!(gone.to_string().contains("gone"), "{gone}");
    }
}
