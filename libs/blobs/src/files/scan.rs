//! Listing what is to be published, without following links.

use std::sync::Arc;

use nix::sys::stat::{FileStat as RawStat, SFlag};

use super::beneath::io;
use super::{FileError, FileStat, Root};
use crate::tree::{RelPath, check_name};

/// What a listing may hold.
#[derive(Debug, Clone, Copy)]
pub struct ScanLimits {
    /// Files and directories.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Directories within each other.
    pub depth: usize,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self { entries: 10_000_000, bytes: 16 << 40, depth: 128 }
    }
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Relative to the listing's root.
    pub path: RelPath,
    pub executable: bool,
    pub stat: FileStat,
}

/// Something that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub path: String,
    pub why: &'static str,
}

/// Files and directories below a root, sorted.
#[derive(Debug, Clone)]
pub struct Listing {
    pub root: Arc<Root>,
    pub dirs: Vec<RelPath>,
    pub files: Vec<Found>,
    /// Left out because it is no file; only a code snapshot leaves anything out.
    pub skipped: Vec<Skipped>,
    /// The part of each path that is dropped in the tree.
    pub(crate) strip: RelPath,
}

impl Listing {
    pub(super) fn new(root: Root) -> Self {
        let root = Arc::new(root);
        Self {
            root,
            dirs: Vec::new(),
            files: Vec::new(),
            skipped: Vec::new(),
            strip: RelPath::default(),
        }
    }

    /// Bytes of all files, as they were when listed.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.stat.size).sum()
    }

    /// The path in the tree of something found at `path`.
    pub(crate) fn in_tree(&self, path: &RelPath) -> Result<RelPath, FileError> {
        let rest = path.as_str().strip_prefix(self.strip.as_str()).unwrap_or(path.as_str());
        Ok(RelPath::parse(rest.trim_start_matches('/'))?)
    }

    pub(super) fn check(&self, limits: &ScanLimits) -> Result<(), FileError> {
        let too_large = |what, limit| {
            Err(FileError::TooLarge { path: self.root.path().to_owned(), what, limit })
        };
        if (self.files.len() + self.dirs.len()) as u64 > limits.entries {
            return too_large("files and directories", limits.entries);
        }
        Ok(())
    }
}

/// Lists `path` below `root`: a directory's content becomes the tree; a single file stands in it by its
/// name. Links, pipes, sockets and devices are refused by name.
pub fn scan_dir(root: Root, path: &RelPath, limits: ScanLimits) -> Result<Listing, FileError> {
    let mut scan = Scan::new(root, limits)?;
    let stat = scan.listing.root.stat(path)?;
    if kind(&stat) == SFlag::S_IFDIR {
        scan.listing.strip = path.clone();
        scan.directory(path.clone())?;
    } else {
        if let Some((parent, _)) = path.split() {
            scan.listing.strip = parent;
        }
        scan.file(path.clone(), &stat)?;
    }
    Ok(scan.finish())
}

/// Lists the named files and directories below `root`; each keeps its path in the tree.
pub fn scan_paths(root: Root, paths: &[RelPath], limits: ScanLimits) -> Result<Listing, FileError> {
    let mut scan = Scan::new(root, limits)?;
    for path in paths {
        let stat = scan.listing.root.stat(path)?;
        if kind(&stat) == SFlag::S_IFDIR {
            scan.directory(path.clone())?;
            if !path.is_empty() {
                scan.listing.dirs.push(path.clone());
            }
        } else {
            scan.file(path.clone(), &stat)?;
        }
    }
    Ok(scan.finish())
}

struct Scan {
    listing: Listing,
    limits: ScanLimits,
    bytes: u64,
    owner: u32,
}

impl Scan {
    fn new(root: Root, limits: ScanLimits) -> Result<Self, FileError> {
        let owner = root.stat(&RelPath::default())?.st_uid;
        Ok(Self { listing: Listing::new(root), limits, bytes: 0, owner })
    }

    /// Lists a directory and all below it; the stack is ours, not the thread's.
    fn directory(&mut self, top: RelPath) -> Result<(), FileError> {
        let mut todo = vec![(top, 0)];
        while let Some((path, depth)) = todo.pop() {
            if depth > self.limits.depth {
                let at = self.listing.root.path().to_owned();
                let limit = self.limits.depth as u64;
                return Err(FileError::TooLarge {
                    path: at,
                    what: "directories within each other",
                    limit,
                });
            }
            let fd = self.listing.root.dir(&path)?;
            let at = self.listing.root.path().join(path.as_str());
            let mut dir = nix::dir::Dir::from_fd(fd).map_err(|errno| io("list", &at, errno))?;
            let mut names = Vec::new();
            for entry in dir.iter() {
                let entry = entry.map_err(|errno| io("list", &at, errno))?;
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                names.push(utf8(&path, name.to_bytes())?);
            }
            for name in names {
                let path = path.join(&name)?;
                let flag = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
                let stat = nix::sys::stat::fstatat(&dir, name.as_str(), flag);
                let stat = stat.map_err(|errno| io("read", &at.join(&name), errno))?;
                if kind(&stat) == SFlag::S_IFDIR {
                    self.listing.dirs.push(path.clone());
                    todo.push((path, depth + 1));
                } else {
                    self.file(path, &stat)?;
                }
            }
            self.listing.check(&self.limits)?;
        }
        Ok(())
    }

    fn file(&mut self, path: RelPath, stat: &RawStat) -> Result<(), FileError> {
        if let Some(kind) = odd_kind(stat) {
            return Err(FileError::Kind { path: path.to_string(), kind });
        }
        // A stage may link what it cannot read into its outputs; its own files are its own to give.
        if stat.st_nlink > 1 && stat.st_uid != self.owner {
            return Err(FileError::HardLink(path.to_string()));
        }
        let found = Found::new(path, stat);
        self.bytes = self.bytes.saturating_add(found.stat.size);
        if self.bytes > self.limits.bytes {
            let path = self.listing.root.path().to_owned();
            return Err(FileError::TooLarge { path, what: "bytes", limit: self.limits.bytes });
        }
        self.listing.files.push(found);
        Ok(())
    }

    fn finish(mut self) -> Listing {
        self.listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.listing.files.dedup_by(|a, b| a.path == b.path);
        self.listing.dirs.sort();
        self.listing.dirs.dedup();
        self.listing
    }
}

impl Found {
    pub(super) fn new(path: RelPath, stat: &RawStat) -> Self {
        Self { path, executable: stat.st_mode & 0o100 != 0, stat: FileStat::of(stat) }
    }
}

pub(super) fn utf8(dir: &RelPath, name: &[u8]) -> Result<String, FileError> {
    use crate::tree::NameError;
    let name = std::str::from_utf8(name).map_err(|_| {
        let shown = String::from_utf8_lossy(name).into_owned();
        NameError::NotUtf8(dir.join(&shown).map_or(shown, |path| path.to_string()))
    })?;
    check_name(name)?;
    Ok(name.to_owned())
}

pub(super) fn kind(stat: &RawStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// What something is, if it is no regular file.
pub(super) fn odd_kind(stat: &RawStat) -> Option<&'static str> {
    match kind(stat) {
        SFlag::S_IFREG => None,
        SFlag::S_IFLNK => Some("a symbolic link"),
        SFlag::S_IFIFO => Some("a named pipe"),
        SFlag::S_IFSOCK => Some("a socket"),
        SFlag::S_IFDIR => Some("a directory"),
        _ => Some("a device"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).expect(text)
    }

    fn scan(dir: &std::path::Path, at: &str) -> Result<Listing, FileError> {
        scan_dir(Root::open(dir).expect("opens"), &path(at), ScanLimits::default())
    }

    #[test]
    fn a13_links_pipes_sockets_and_devices_are_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("out");
        fs_err::create_dir(&out).expect("creates");
        let odd = out.join("odd");
        let make: [(&str, &dyn Fn()); 5] = [
            ("a symbolic link", &|| symlink("/proc/1/root", &odd).expect("links")),
            ("a symbolic link", &|| symlink("self", &odd).expect("links")),
            ("a named pipe", &|| {
                nix::unistd::mkfifo(&odd, nix::sys::stat::Mode::S_IRWXU).expect("makes a pipe");
            }),
            ("a socket", &|| drop(std::os::unix::net::UnixListener::bind(&odd).expect("binds"))),
            ("a symbolic link", &|| symlink("/dev/zero", &odd).expect("links")),
        ];
        for (kind, make) in make {
            make();
            let error = scan(dir.path(), "out").expect_err(kind).to_string();
            assert!(error.contains("`out/odd`") && error.contains(kind), "{error}");
            assert!(scan(dir.path(), "out/odd").is_err(), "{kind} as the output itself");
            fs_err::remove_file(&odd).expect("removes");
        }
        symlink("/etc", dir.path().join("dir")).expect("links");
        assert!(scan(dir.path(), "dir").is_err());
        assert!(scan(dir.path(), "dir/passwd").is_err());
        let error = scan(dir.path(), "nothing").expect_err("missing").to_string();
        assert!(error.contains("`nothing` does not exist"), "{error}");
    }

    #[test]
    fn a13_what_turns_into_a_link_after_the_listing_is_not_read() {
        let dir = tempfile::tempdir().expect("a directory");
        fs_err::create_dir_all(dir.path().join("out/d")).expect("creates");
        fs_err::write(dir.path().join("out/d/f"), "mine").expect("writes");
        let listing = scan(dir.path(), "out").expect("lists");
        let outside = tempfile::tempdir().expect("a directory");
        fs_err::write(outside.path().join("f"), "secret").expect("writes");
        fs_err::rename(dir.path().join("out/d"), dir.path().join("out/old")).expect("moves");
        symlink(outside.path(), dir.path().join("out/d")).expect("links");
        assert!(matches!(listing.root.read(&listing.files[0].path), Err(FileError::Link(..))));
    }

    #[test]
    fn listings_are_sorted_and_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["b/2", "a", "b/1", "b.x"] {
            fs_err::create_dir_all(dir.path().join("b")).expect("creates");
            fs_err::write(dir.path().join(name), name).expect("writes");
        }
        fs_err::create_dir(dir.path().join("empty")).expect("creates");
        let all = scan(dir.path(), "").expect("lists");
        let names: Vec<_> = all.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(names, ["a", "b.x", "b/1", "b/2"]);
        assert_eq!(all.dirs, [path("b"), path("empty")]);
        let one = scan(dir.path(), "b/1").expect("lists");
        assert_eq!(one.in_tree(&one.files[0].path).expect("a name").as_str(), "1");
        let root = || Root::open(dir.path()).expect("opens");
        let few = ScanLimits { entries: 3, ..ScanLimits::default() };
        assert!(matches!(scan_dir(root(), &path(""), few), Err(FileError::TooLarge { .. })));
        let small = ScanLimits { bytes: 3, ..ScanLimits::default() };
        assert!(matches!(scan_dir(root(), &path(""), small), Err(FileError::TooLarge { .. })));
        let some = scan_paths(root(), &[path("b"), path("a"), path("a")], ScanLimits::default());
        assert_eq!(some.expect("lists").files.len(), 3);
    }

    #[test]
    fn a8_a_name_that_is_not_utf8_is_refused_by_name() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
        fs_err::write(dir.path().join(name), "").expect("writes");
        let error = scan(dir.path(), "").expect_err("refused").to_string();
        assert!(error.contains("caf") && error.contains("UTF-8"), "{error}");
    }
}
