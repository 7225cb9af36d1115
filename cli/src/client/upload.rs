//! Code and inputs up, outputs down.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runyard_blobs::{Downloader, Published, RelPath, Remote, TransferError, Uploader};
use runyard_types::{Digest, ProjectName};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;

use super::Client;
use crate::context::Paths;
use crate::errors::{Context as _, Error, Kind, Result};
use crate::output::Progress;

/// A tree that the store has now.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// Its digest.
    pub(crate) root: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Bytes that had to be sent; the rest was there.
    pub(crate) sent_bytes: u64,
}

impl From<Published> for Sent {
    fn from(published: Published) -> Self {
        Self {
            root: published.root.to_string(),
            files: published.files,
            bytes: published.bytes,
            sent_bytes: published.uploaded_bytes,
        }
    }
}

impl Client {
    /// Sends the code in a folder: what neither .gitignore nor .runyardignore excludes.
    pub(crate) async fn send_code(
        &self,
        folder: &Path,
        paths: &Paths,
        progress: &Progress,
    ) -> Result<Sent> {
        let folder = whole(folder)?;
        let uploader = self.uploader("code", &folder, "code", paths, progress)?;
        let sent = uploader.1.snapshot_code(&folder).await;
        uploader.0.finish();
        let published = sent.map_err(|error| {
            transfer(error, &format!("cannot send the code in `{}`", folder.display()))
        })?;
        for skipped in &published.skipped {
            progress.line(&format!("left out of the code: {} ({})", skipped.path, skipped.why));
        }
        Ok(published.into())
    }

    /// Sends a `file:` input: a file or folder below `folder`, whatever git ignores.
    pub(crate) async fn send_input(
        &self,
        folder: &Path,
        path: &str,
        paths: &Paths,
        progress: &Progress,
    ) -> Result<Sent> {
        let folder = whole(folder)?;
        let within = RelPath::parse(path).context(Kind::Usage, || {
            format!("`file:{path}` is no path beside the pipeline file")
        })?;
        let uploader = self.uploader("input", &folder, path, paths, progress)?;
        let sent = uploader.1.publish_dir(&folder, &within).await;
        uploader.0.finish();
        let published =
            sent.map_err(|error| transfer(error, &format!("cannot send `file:{path}`")))?;
        Ok(published.into())
    }

    /// Fetches a tree into a folder that appears whole or not at all.
    pub(crate) async fn fetch_tree(
        &self,
        root: &str,
        place: &Path,
        replace: bool,
        progress: &Progress,
    ) -> Result<()> {
        let root = Digest::parse(root)
            .context(Kind::Internal, || format!("the coordinator names no digest: `{root}`"))?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let part = place.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let bar = progress.bytes("fetching");
        let told = bar.clone();
        let downloader = Downloader::new(self.remote()?)
            .with_progress(Arc::new(move |now| told.set(now.bytes, now.bytes_total)));
        let fetched = downloader.fetch(root, &part).await;
        bar.finish();
        let put = match fetched {
            Ok(_) => put_in_place(&part, place, replace),
            Err(error) => Err(transfer(error, &format!("cannot fetch `{}`", place.display()))),
        };
        if put.is_err() {
            // What is left of it is no use to anybody; the error above says more than this one's.
            let _ = fs_err::remove_dir_all(&part);
        }
        put
    }

    pub(super) fn uploader(
        &self,
        kind: &str,
        folder: &Path,
        what: &str,
        paths: &Paths,
        progress: &Progress,
    ) -> Result<(crate::output::Bytes, Uploader)> {
        let bar = progress.bytes("sending");
        let told = bar.clone();
        // One cache for each folder and input: it remembers what of it was read.
        let key = Digest::of(format!("{kind}\0{}\0{what}", folder.display()).as_bytes());
        let cache = paths.cache.join("stat").join(key.short());
        let uploader = Uploader::new(self.remote()?)
            .with_stat_cache(cache)
            .with_progress(Arc::new(move |now| told.set(now.bytes, now.bytes_total)));
        Ok((bar, uploader))
    }

    fn remote(&self) -> Result<Remote> {
        let project =
            ProjectName::new(&self.project).map_err(|error| Error::usage(error.to_string()))?;
        let request = self.auth.clone().call(tonic::Request::new(()))?;
        let metadata: MetadataMap = request.metadata().clone();
        Ok(Remote::new(self.channel.clone(), project).with_metadata(metadata))
    }
}

/// The folder's own path, without links, so that each is known by one name.
pub(super) fn whole(folder: &Path) -> Result<PathBuf> {
    fs_err::canonicalize(folder)
        .context(Kind::NotFound, || format!("there is no folder `{}`", folder.display()))
}

fn put_in_place(part: &Path, place: &Path, replace: bool) -> Result<()> {
    if let Ok(there) = place.symlink_metadata() {
        if !replace {
            let error = format!("`{}` is there already", place.display());
            return Err(Error::new(Kind::Conflict, error).help("--force replaces it"));
        }
        let removed = match there.is_dir() {
            true => fs_err::remove_dir_all(place),
            false => fs_err::remove_file(place),
        };
        removed.context(Kind::Failed, || format!("cannot replace `{}`", place.display()))?;
    }
    fs_err::rename(part, place)
        .context(Kind::Failed, || format!("cannot put `{}` in its place", place.display()))
}

/// A transfer's error as one of ours.
pub(super) fn transfer(error: TransferError, tried: &str) -> Error {
    match error {
        TransferError::Remote { source, .. } => {
            let error = Error::from(source);
            let told = format!("{tried}: {}", error.message());
            error.saying(told)
        }
        TransferError::File(_) | TransferError::Tree(_) => {
            let help = "what is a link elsewhere can be named by `mount:`; .runyardignore leaves files out of the code";
            Error::usage(tried).because(error).help(help)
        }
        other => Error::failed(tried).because(other),
    }
}
