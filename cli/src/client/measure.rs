//! What a submission would send, with nothing sent.

use std::path::Path;

use runyard_blobs::{Measured, RelPath};

use super::Client;
use super::upload::{transfer, whole};
use crate::context::Paths;
use crate::errors::{Context as _, Kind, Result};
use crate::output::Progress;

impl Client {
    /// The code in a folder, as `send_code` would send it.
    pub(crate) async fn measure_code(
        &self,
        folder: &Path,
        paths: &Paths,
        progress: &Progress,
    ) -> Result<Measured> {
        let folder = whole(folder)?;
        let (bar, uploader) = self.uploader("code", &folder, "code", paths, progress)?;
        let measured = uploader.measure_code(&folder).await;
        bar.finish();
        measured.map_err(|error| {
            transfer(error, &format!("cannot read the code in `{}`", folder.display()))
        })
    }

    /// A `file:` input, as `send_input` would send it.
    pub(crate) async fn measure_input(
        &self,
        folder: &Path,
        path: &str,
        paths: &Paths,
        progress: &Progress,
    ) -> Result<Measured> {
        let folder = whole(folder)?;
        let within = RelPath::parse(path).context(Kind::Usage, || {
            format!("`file:{path}` is no path beside the pipeline file")
        })?;
        let (bar, uploader) = self.uploader("input", &folder, path, paths, progress)?;
        let measured = uploader.measure_dir(&folder, &within).await;
        bar.finish();
        measured.map_err(|error| transfer(error, &format!("cannot read `file:{path}`")))
    }
}
