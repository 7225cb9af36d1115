//! What git knows of a folder. Outside git, or without it, all is empty.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use runyard_proto::v1;
use tokio::process::Command;

/// How long git may take for each question (a huge working tree on a slow disk).
const LIMIT: Duration = Duration::from_secs(20);

/// Asks git.
pub(super) async fn state(folder: &Path) -> v1::Git {
    let Some(log) = git(folder, &["log", "-1", "--format=%H%x00%an <%ae>%x00%s"]).await else {
        return v1::Git::default();
    };
    let mut parts = log.splitn(3, '\0').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let (commit, author, subject) = (part(), part(), part());
    let branch = match git(folder, &["symbolic-ref", "--short", "-q", "HEAD"]).await {
        Some(branch) => branch,
        // A detached head, as forges check out: they say the branch in the environment.
        None => ["GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .unwrap_or_default(),
    };
    let dirty = git(folder, &["status", "--porcelain", "--untracked-files=normal", "--", "."])
        .await
        .is_some_and(|changes| !changes.is_empty());
    let remote = git(folder, &["remote", "get-url", "origin"]).await.unwrap_or_default();
    let tag = tag(folder).await;
    v1::Git { commit, branch, author, subject, dirty, remote: without_credentials(&remote), tag }
}

/// The tag of the commit that is checked out; of several the newest, versions in their order.
async fn tag(folder: &Path) -> String {
    let sorted = ["tag", "--points-at", "HEAD", "--sort=-version:refname", "--sort=-creatordate"];
    let found = git(folder, &sorted).await.unwrap_or_default();
    match found.lines().next() {
        Some(tag) => tag.to_owned(),
        // A shallow clone of a forge's runner has the commit without its tags.
        None => match std::env::var("GITHUB_REF_TYPE").as_deref() {
            Ok("tag") => std::env::var("GITHUB_REF_NAME").unwrap_or_default(),
            _ => std::env::var("CI_COMMIT_TAG").unwrap_or_default(),
        },
    }
}

async fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let child = Command::new("git")
        .arg("-C")
        .arg(folder)
        // No helper of a repository that is not ours to trust, and no lock for a mere look.
        .args(["-c", "core.fsmonitor=false"])
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, child).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.trim_end_matches('\n').to_owned())
}

/// A remote's URL without user name, password and query.
pub(super) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // `git@host:path` names a user, no secret; a password has no place there.
        return match url.split_once('@') {
            Some((user, rest)) if user.contains(':') => rest.to_owned(),
            _ => url.to_owned(),
        };
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a41_credentials_of_a_remote_are_not_told() {
        for (url, told) in [
            ("https://user:p%40ss@host/a.git", "https://host/a.git"),
            ("https://ghp_secret@host:8443/a", "https://host:8443/a"),
            ("https://a:b@c@host/x@y", "https://host/x@y"),
            ("https://host/a.git?private_token=x#y", "https://host/a.git"),
            ("ssh://git@host/a.git", "ssh://host/a.git"),
            ("git@host:a/b.git", "git@host:a/b.git"),
            ("user:secret@host:a", "host:a"),
            ("/srv/git/a.git", "/srv/git/a.git"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(url), told, "{url}");
        }
    }

    #[tokio::test]
    async fn a_repository_is_told_and_another_folder_is_empty() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert_eq!(state(dir.path()).await, v1::Git::default());
        let run = |arguments: &[&str]| {
            let status = std::process::Command::new("git")
                .arg("-C")
                .arg(dir.path())
                .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
                .args(["-c", "commit.gpgsign=false"])
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            status.is_ok_and(|status| status.success())
        };
        if !run(&["init", "-q", "-b", "main"]) {
            eprintln!("skipped: there is no git here");
            return;
        }
        fs_err::write(dir.path().join("train.py"), "print(1)\n").expect("write");
        assert!(run(&["add", "."]) && run(&["commit", "-q", "-m", "first: a start"]));
        assert!(run(&["remote", "add", "origin", "https://u:p@host/a.git"]));
        let git = state(dir.path()).await;
        assert_eq!(git.commit.len(), 40);
        assert_eq!(
            (git.branch.as_str(), git.author.as_str(), git.subject.as_str(), git.dirty),
            ("main", "Ada <ada@example.org>", "first: a start", false)
        );
        assert_eq!(git.remote, "https://host/a.git");
        assert_eq!(git.tag, "", "no tag yet");
        assert!(run(&["tag", "v1.9"]) && run(&["tag", "v1.10"]));
        assert_eq!(state(dir.path()).await.tag, "v1.10");
        fs_err::write(dir.path().join("train.py"), "print(2)\n").expect("write");
        assert!(state(dir.path()).await.dirty);
    }
}
