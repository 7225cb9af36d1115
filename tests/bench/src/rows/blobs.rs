//! Publish through a coordinator, and fetch into a new folder.

use std::path::Path;
use std::time::Instant;

use runyard_blobs::{Downloader, RelPath, Remote, Uploader};
use runyard_types::ProjectName;

use crate::Failure;
use crate::args::Args;
use crate::cluster::Cluster;
use crate::figures::{Goal, Values, goal, heading, line, skipped};
use crate::peers::{shell, timed_shell};

pub(crate) async fn measure(args: &Args) -> Result<(), Failure> {
    heading(&format!(
        "{} MiB of random bytes in one file: publish and fetch, seconds",
        args.blob_mib
    ));
    let (mut publish, mut fetch, mut again) =
        (Values::default(), Values::default(), Values::default());
    let mut copy = Values::default();
    for _ in 0..args.rounds {
        let cluster = Cluster::start(args, 0, 0, "error").await?;
        let client = cluster.client().await?;
        let at = cluster.marks()?;
        let (from, to, copied) = (at.join("from"), at.join("to"), at.join("copied"));
        std::fs::create_dir(&from)?;
        shell(&format!(
            "head -c {}M /dev/urandom > '{}/f' && sync -f '{}'",
            args.blob_mib,
            from.display(),
            from.display()
        ))?;
        copy.push(timed_shell(&format!(
            "cp -r '{}' '{}' && sync -f '{}'",
            from.display(),
            copied.display(),
            copied.display()
        ))?);
        std::fs::remove_dir_all(&copied)?;
        let remote = Remote::new(client.channel.clone(), ProjectName::default_project())
            .with_metadata(client.metadata());
        let uploader = Uploader::new(remote.clone());
        let (root, seconds) = published(&uploader, &from).await?;
        publish.push(seconds);
        again.push(published(&uploader, &from).await?.1);
        let begun = Instant::now();
        Downloader::new(remote).fetch(root, &to).await?;
        fetch.push(begun.elapsed().as_secs_f64());
        shell(&format!("cmp '{}/f' '{}/f'", from.display(), to.display()))?;
    }
    line("cp and sync", &copy.spread(2));
    line("publish", &publish.spread(2));
    line("publish again, unchanged", &again.spread(2));
    line("fetch into a new folder", &fetch.spread(2));
    skipped(
        "restic, rclone",
        "`libs/blobs/examples/blob_bench` has trees of small files beside tar",
    );
    goal("of cp's speed, publish", copy.median() / publish.median(), Goal::AtLeast(0.8), 2);
    goal("of cp's speed, fetch", copy.median() / fetch.median(), Goal::AtLeast(0.8), 2);
    Ok(())
}

async fn published(
    uploader: &Uploader,
    from: &Path,
) -> Result<(runyard_types::Digest, f64), Failure> {
    let begun = Instant::now();
    let done = uploader.publish_dir(from, &RelPath::default()).await?;
    Ok((done.root, begun.elapsed().as_secs_f64()))
}
