//! A real browser, driven over a pair of pipes by its own debugging protocol.

mod pipe;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use pipe::Pipe;

/// A browser on a loaded machine starts slowly.
const ANSWER: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const FLAGS: [&str; 12] = [
    "--remote-debugging-pipe",
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    // The group's CA is not the browser's; all else of TLS stays.
    "--ignore-certificate-errors",
];

/// A browser with one page. It ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    pipe: Pipe,
    session: String,
    number: u64,
    /// What the page reported so far.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one, if this host has one.
    ///
    /// # Errors
    /// In words: what is missing, or what it answered.
    pub fn start() -> Result<Self, String> {
        let program = find().ok_or("there is no chromium on the PATH")?;
        let profile = tempfile::tempdir().map_err(|error| error.to_string())?;
        let said = profile.path().join("said");
        let log = std::fs::File::create(&said).map_err(|error| error.to_string())?;
        let (pipe, command) = Pipe::open(profile.path()).map_err(|error| error.to_string())?;
        let mut command: Command = command;
        let child = command
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        // Its helpers go with it.
        let child = std::os::unix::process::CommandExt::process_group(child, 0)
            .spawn()
            .map_err(|error| error.to_string())?;
        let (session, events) = (String::new(), Vec::new());
        let mut browser = Self { child, pipe, session, number: 0, events, _profile: profile };
        browser.attach().map_err(|error| {
            let said = std::fs::read(&said).unwrap_or_default();
            format!("{error}; it said: {}", String::from_utf8_lossy(&said))
        })?;
        Ok(browser)
    }

    /// Opens the page.
    fn attach(&mut self) -> Result<(), String> {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", attach)?;
        self.session = attached["sessionId"].as_str().ok_or("no session")?.to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(())
    }

    /// Calls a method of the debugging protocol.
    ///
    /// # Errors
    /// What the browser answered, or that it did not.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.pipe.send(&message).map_err(|error| format!("{method}: {error}"))?;
        let give_up = Instant::now() + ANSWER;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let answer = self.pipe.receive(left).map_err(|error| format!("{method}: {error}"))?;
            if answer["id"] != self.number {
                self.events.push(answer);
            } else if answer["error"].is_null() {
                return Ok(answer["result"].clone());
            } else {
                return Err(format!("{method}: {}", answer["error"]));
            }
        }
    }

    /// The value of an expression in the page; a promise is waited for.
    ///
    /// # Panics
    /// When it throws.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer =
            self.call("Runtime.evaluate", params).unwrap_or_else(|error| panic!("{error}"));
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression} throws {thrown}");
        answer["result"]["value"].clone()
    }

    /// Goes to an address.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn visit(&mut self, address: &str) {
        let answer = self.call("Page.navigate", json!({ "url": address }));
        let answer = answer.unwrap_or_else(|error| panic!("{error}"));
        assert!(answer["errorText"].is_null(), "{address}: {}", answer["errorText"]);
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When that takes too long; the page's text is in the message.
    #[track_caller]
    pub fn wait_until(&mut self, condition: &str) {
        let give_up = Instant::now() + ANSWER;
        // A page that is not there yet has no element to ask.
        let asked = format!(
            "(() => {{ try {{ return Boolean({condition}) }} catch {{ return false }} }})()"
        );
        while self.value(&asked) != true {
            if Instant::now() >= give_up {
                let text = self.text();
                panic!("waited in vain for {condition}; the page: {text}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What a person reads on the page.
    #[track_caller]
    pub fn text(&mut self) -> String {
        self.value("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Forgets what was reported so far.
    pub fn forget(&mut self) {
        let _ = self.call("Runtime.evaluate", json!({ "expression": "0" }));
        self.events.clear();
    }

    /// What was reported so far under a method's name, such as `Page.javascriptDialogOpening`.
    pub fn reported(&mut self, method: &str) -> Vec<Value> {
        // All that the page did before is reported before an answer.
        let _ = self.call("Runtime.evaluate", json!({ "expression": "0" }));
        let of = |event: &&Value| event["method"] == method;
        self.events.iter().filter(of).map(|event| event["params"].clone()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.into_iter().find(|candidate| candidate.is_file())
}
