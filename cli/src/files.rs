//! Reading and writing the small files of this program.

use std::io::Read;
use std::path::Path;

use crate::errors::{Context, Error, Kind, Result};

/// The largest text file that is read whole, in bytes.
const TEXT_BYTES_MAX: u64 = 8 << 20;

/// Reads a text file, or stdin for `-`.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let shown = path.display().to_string();
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(fs_err::File::open(path).map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                _ => Kind::Failed,
            };
            Error::new(kind, format!("cannot open `{shown}`")).because(error)
        })?)
    };
    let mut bytes = Vec::new();
    reader
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .context(Kind::Failed, || format!("cannot read `{shown}`"))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(Error::usage(format!("`{shown}` is larger than {TEXT_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes)
        .map_err(|error| Error::usage(format!("`{shown}` is not UTF-8 text")).because(error))
}

/// Reads a file that holds a secret; one that others can read is refused, as ssh does.
pub(crate) fn read_secret(path: &Path) -> Result<String> {
    runyard_transport::read_secret(path).map_err(|error| {
        Error::new(Kind::Auth, format!("cannot take the secret in `{}`", path.display()))
            .because(error)
    })
}

/// Writes a file whole or not at all, with the given mode from its first byte on.
pub(crate) fn write_whole(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = || format!("cannot write `{}`", path.display());
    let name = path.file_name().ok_or_else(|| Error::usage(failed()))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let write = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs_err::rename(&temporary, path)
    };
    write().map_err(|error| {
        // What is half written is of no use; if it can't be removed, the first error says more.
        let _ = fs_err::remove_file(&temporary);
        Error::failed(failed()).because(error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a41_a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("token");
        write_whole(&path, "runyard_1_secret", 0o600).expect("writes");
        let mode = fs_err::metadata(&path).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "created for its owner only");
        assert_eq!(read_secret(&path).expect("is private"), "runyard_1_secret");
        for mode in [0o640, 0o604, 0o644, 0o620, 0o777] {
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
            let error = read_secret(&path).expect_err("others can reach it");
            assert_eq!(error.kind, Kind::Auth);
            let text = error.render();
            assert!(text.contains("chmod 600") && text.contains("token"), "{text}");
            assert!(!text.contains("secret\n") && !text.contains("runyard_1"), "{text}");
        }
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("tempdir");
        let missing = dir.path().join("no/such/file");
        assert!(write_whole(&missing, "x", 0o644).is_err());
        let path = dir.path().join("a");
        write_whole(&path, "one", 0o644).expect("writes");
        write_whole(&path, "two", 0o644).expect("replaces");
        assert_eq!(read_text(&path).expect("reads"), "two");
        assert_eq!(fs_err::read_dir(dir.path()).expect("lists").count(), 1, "no remains");
    }
}
