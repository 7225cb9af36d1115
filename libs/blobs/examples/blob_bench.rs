//! Publishing and fetching through a server on loopback, beside `cp` and `tar` with a sync, in one run.
//!
//! `blob_bench [DIR] [GIB] [FILES] [ROUNDS] [publish]`: a random file of GIB (4) and FILES (20,000) files of
//! 4 KiB, each figure the median of ROUNDS (3) interleaved runs; 0 GIB or FILES leave that part out, and
//! `publish` the fetching (for a profile). Ratios above 1 mean that Runyard is faster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use runyard_blobs::{BlobService, Cache, Downloader, LocalStore, RelPath, Remote, Uploader};
use runyard_proto::v1::blobs_server::BlobsServer;
use runyard_types::ProjectName;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from).join("runyard-blob-bench");
    let gib: f64 = args.next().map_or(Ok(4.0), |text| text.parse())?;
    let files: u64 = args.next().map_or(Ok(20_000), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let fetching = args.next().is_none_or(|only| only != "publish");
    let _ = fs_err::remove_dir_all(&dir);
    fs_err::create_dir_all(&dir)?;
    let sizes = Sizes { bytes: (gib * f64::from(1 << 30)) as u64, files, rounds, fetching };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bench(&dir, sizes))?;
    fs_err::remove_dir_all(&dir)?;
    Ok(())
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    bytes: u64,
    files: u64,
    rounds: usize,
    fetching: bool,
}

async fn bench(dir: &Path, sizes: Sizes) -> Result<(), Failure> {
    let (large, small) = (dir.join("large"), dir.join("small"));
    let Sizes { bytes, files, .. } = sizes;
    if bytes > 0 {
        fs_err::create_dir_all(&large)?;
        random_file(&large.join("f"), bytes)?;
        shell("sync")?;
        let what = format!("{:.1} GiB in one file", bytes as f64 / f64::from(1 << 30));
        compare(dir, &what, &large, ("cp", "cp -r $FROM $TO && sync -f $TO"), sizes).await?;
        if sizes.fetching {
            rewritten(dir, &large, bytes).await?;
        }
        fs_err::remove_dir_all(&large)?;
    }
    for n in 0..files {
        let at = small.join(format!("d{}", n / 200));
        if n % 200 == 0 {
            fs_err::create_dir_all(&at)?;
        }
        fs_err::write(at.join(format!("f{n}")), noise(n, 4_096))?;
    }
    if files > 0 {
        shell("sync")?;
        let what = format!("{files} files of 4 KiB");
        let tar = "mkdir $TO && tar -C $FROM -cf - . | tar -C $TO -xf - && sync -f $TO";
        let sizes = Sizes { bytes: 0, ..sizes };
        compare(dir, &what, &small, ("tar", tar), sizes).await?;
    }
    Ok(())
}

/// What is sent again after random runs of 64 KiB, 1 % of the bytes, were rewritten.
async fn rewritten(dir: &Path, from: &Path, bytes: u64) -> Result<(), Failure> {
    use std::os::unix::fs::FileExt as _;
    const RUN_BYTES: u64 = 64 << 10;
    let at = dir.join("rewritten");
    let upload = Uploader::new(serve(Arc::new(LocalStore::open(&at)?)).await?);
    upload.publish_dir(from, &RelPath::default()).await?;
    let file = fs_err::OpenOptions::new().write(true).open(from.join("f"))?;
    let runs = bytes / 100 / RUN_BYTES;
    for run in 0..runs {
        let place = u64::from_le_bytes(noise(run + 1, 8)[..8].try_into()?) % (bytes - RUN_BYTES);
        file.file().write_all_at(&noise(run + (1 << 40), RUN_BYTES as usize), place)?;
    }
    let again = upload.publish_dir(from, &RelPath::default()).await?.uploaded_bytes;
    let (rewritten, again) = ((runs * RUN_BYTES) >> 20, again >> 20);
    println!("  {runs} runs of 64 KiB ({rewritten} MiB) rewritten: {again} MiB sent again");
    Ok(fs_err::remove_dir_all(at)?)
}

/// Times one source in all ways, interleaved.
async fn compare(
    dir: &Path,
    what: &str,
    from: &Path,
    (peer, command): (&str, &str),
    sizes: Sizes,
) -> Result<(), Failure> {
    const NAMES: [&str; 8] = [
        "peer",
        "publish",
        "publish again",
        "fetch",
        "fetch, new cache",
        "fetch, full cache",
        "restic backup",
        "restic restore",
    ];
    let mut times: [Vec<Cost>; 8] = Default::default();
    for round in 0..sizes.rounds {
        let at = dir.join(format!("round{round}"));
        fs_err::create_dir_all(&at)?;
        shell(&format!("cat $(find {} -type f) > /dev/null", from.display()))?;
        let script = command
            .replace("$FROM", &from.display().to_string())
            .replace("$TO", &at.join("copy").display().to_string());
        times[0].push(timed(async { shell(&script) }).await?);
        let done = |what: &str| -> Result<(), Failure> {
            // Many small files stay until the end of the round: ext4 passes over inodes that were freed a short
            // while ago one by one, which would be counted to whoever comes next.
            if sizes.bytes > 0 {
                fs_err::remove_dir_all(at.join(what))?;
            }
            shell("sync")
        };
        done("copy")?;
        if sizes.fetching && shell("restic version > /dev/null 2>&1").is_ok() {
            for (time, script) in times[6..].iter_mut().zip(restic(from, &at)?) {
                time.push(timed(async { shell(&script) }).await?);
            }
            done("restic")?;
        }
        let store = Arc::new(LocalStore::open(at.join("store"))?);
        let remote = serve(store).await?;
        let upload = Uploader::new(remote.clone()).with_stat_cache(at.join("stat"));
        let mut root = None;
        for time in &mut times[1..3] {
            let publish = async {
                root = Some(upload.publish_dir(from, &RelPath::default()).await?.root);
                Ok(())
            };
            time.push(timed(publish).await?);
        }
        let root = root.ok_or("nothing was published")?;
        let cache = Cache::open(&at.join("cache"), 1 << 40)?;
        let plain = Downloader::new(remote);
        let cached = plain.clone().with_cache(cache);
        let ways = [&plain, &cached, &cached].into_iter().take(if sizes.fetching { 3 } else { 0 });
        for (n, download) in ways.enumerate() {
            shell("sync")?;
            let to = at.join(format!("to{n}"));
            let fetch = async {
                download.fetch(root, &to).await?;
                Ok(())
            };
            times[3 + n].push(timed(fetch).await?);
            shell(&format!("diff -r {} {}", from.display(), to.display()))?;
            done(&format!("to{n}"))?;
        }
        drop((plain, cached, upload));
        fs_err::remove_dir_all(at)?;
        shell("sync")?;
    }
    let median = |times: &mut Vec<Cost>| {
        times.sort_by(|a, b| a.wall.total_cmp(&b.wall));
        times.get(times.len() / 2).copied()
    };
    let peers = median(&mut times[0]).ok_or("no rounds")?;
    println!("{what}: {peer} + sync {:.2} s, CPU {:.2} s", peers.wall, peers.cpu);
    for (name, times) in NAMES.iter().zip(&mut times).skip(1) {
        let Some(Cost { wall, cpu }) = median(times) else { continue };
        let ratio = peers.wall / wall;
        println!("  {name:<18} {wall:>6.2} s, CPU {cpu:>5.2} s   {ratio:.2} of {peer}'s speed");
    }
    Ok(())
}

/// Makes a repository of restic's; answers with what backs `from` up into it, and gets it back.
fn restic(from: &Path, at: &Path) -> Result<[String; 2], Failure> {
    let at = at.join("restic");
    fs_err::create_dir_all(&at)?;
    let (from, at) = (from.display(), at.display());
    let restic = format!("RESTIC_PASSWORD=x restic -q --no-cache -r {at}/repo");
    shell(&format!("{restic} init"))?;
    Ok([
        format!("cd {from} && {restic} backup ."),
        format!("{restic} restore latest --target {at}/to"),
    ])
}

/// Wall time, and CPU time of this process (client and server) and its children, in seconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

async fn timed(work: impl Future<Output = Result<(), Failure>>) -> Result<Cost, Failure> {
    let (begin, cpu) = (Instant::now(), cpu_seconds()?);
    work.await?;
    Ok(Cost { wall: begin.elapsed().as_secs_f64(), cpu: cpu_seconds()? - cpu })
}

fn cpu_seconds() -> Result<f64, Failure> {
    use nix::sys::resource::{UsageWho, getrusage};
    let mut sum = 0.0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        for time in [usage.user_time(), usage.system_time()] {
            sum += time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        }
    }
    Ok(sum)
}

async fn serve(store: Arc<LocalStore>) -> Result<Remote, Failure> {
    let service = BlobsServer::new(BlobService::new(store, Arc::new(|_, _, _, _| Ok(()))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    runyard_transport::task::spawn("bench server", async move {
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(256 << 10)
            .add_service(service)
            .serve_with_incoming(incoming);
        server.await.expect("the server runs until the end");
    });
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .connect()
        .await?;
    Ok(Remote::new(channel, ProjectName::default_project()))
}

fn shell(script: &str) -> Result<(), Failure> {
    let status = Command::new("sh").args(["-c", script]).status()?;
    if status.success() { Ok(()) } else { Err(format!("`{script}` failed: {status}").into()) }
}

fn random_file(path: &Path, bytes: u64) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut file = fs_err::File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(8 << 20);
        file.write_all(&noise(left, piece as usize))?;
        left -= piece;
    }
    Ok(())
}

/// Bytes that do not compress (SplitMix64).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(len);
    out
}
