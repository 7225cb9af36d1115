//! Errors of permissions, with whose the thing is and what to do.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Adds to a refusal of the file system who owns `path` (or the nearest folder above it that can be
/// looked at), who this process is, and the remedy. Other errors come back as they are.
pub fn explain_denied(path: &Path, error: io::Error) -> io::Error {
    let place = path
        .ancestors()
        .map(|place| if place.as_os_str().is_empty() { Path::new(".") } else { place })
        .find_map(|place| Some((place, fs_err::metadata(place).ok()?)));
    let Some((place, metadata)) = place else { return error };
    let shown = place.display();
    let why = match error.kind() {
        ErrorKind::PermissionDenied => {
            let (owner, me) = (metadata.uid(), nix::unistd::geteuid().as_raw());
            let mode = metadata.mode() & 0o7777;
            let remedy = if owner == me {
                format!("`chmod -R u+rwX {shown}` lets it in")
            } else {
                format!("run it as uid {owner}, or `chown -R {me} {shown}`")
            };
            format!(
                "`{shown}` belongs to uid {owner} with mode {mode:04o}, and this process is uid {me}: {remedy}"
            )
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("`{shown}` is on a file system that is mounted read-only; name another folder")
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}; {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a41_a_refusal_names_the_owner_and_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("not/there/yet");
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        let text = explain_denied(&path, denied).to_string();
        let shown = folder.path().display().to_string();
        assert!(text.contains(&format!("`{shown}` belongs to uid")), "{text}");
        assert!(text.contains("chmod -R u+rwX"), "it is our own: {text}");
        let foreign = explain_denied(Path::new("/proc/1/x"), ErrorKind::PermissionDenied.into());
        assert!(foreign.to_string().contains("uid 0"), "{foreign}");
        let frozen = explain_denied(&path, ErrorKind::ReadOnlyFilesystem.into()).to_string();
        assert!(frozen.contains("mounted read-only"), "{frozen}");
        let other = explain_denied(&path, io::Error::new(ErrorKind::StorageFull, "no room"));
        assert_eq!(other.to_string(), "no room");
    }
}
