//! The pipes: JSON texts, each with a NUL behind it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

#[derive(Debug)]
pub(super) struct Pipe {
    to: File,
    from: Receiver<Value>,
}

impl Pipe {
    /// Makes the pipes in a folder, and a command that runs the program named next with them as its
    /// descriptors 3 and 4, where browsers look for them.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Command)> {
        let (to, from) = (folder.join("to"), folder.join("from"));
        for path in [&to, &from] {
            mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        }
        let mut command = Command::new("sh");
        command.args(["-c", r#"to=$1 from=$2; shift 2; exec "$@" 3<"$to" 4>"$from""#, "sh"]);
        command.arg(&to).arg(&from);
        // Open for both ways: nobody waits for the other's end.
        let both = |path: &Path| File::options().read(true).write(true).open(path);
        let (to, from) = (both(&to)?, both(&from)?);
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut texts = BufReader::new(from);
            let mut text = Vec::new();
            while texts.read_until(0, &mut text).is_ok_and(|read| read > 0) {
                text.pop();
                let said = serde_json::from_slice(&text).map(|value| send.send(value));
                if !matches!(said, Ok(Ok(()))) {
                    return;
                }
                text.clear();
            }
        });
        Ok((Self { to, from: receive }, command))
    }

    pub(super) fn send(&mut self, message: &Value) -> io::Result<()> {
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.to.write_all(&text)
    }

    pub(super) fn receive(&self, patience: Duration) -> io::Result<Value> {
        self.from
            .recv_timeout(patience)
            .map_err(|_| io::Error::other("the browser does not answer"))
    }
}
