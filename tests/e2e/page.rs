//! The status page in a real browser, with everything on it that an attacker can name or print.

use std::time::Duration;

use runyard_harness::{Browser, Cluster, skipped, write_files};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
const OVER: Duration = Duration::from_secs(90);
const TEST: &str = "a33_hostile_names_and_logs_run_nothing_in_a_browser";

/// Texts that would run if a page took them for markup, and that would hide or colour others.
const EVIL: &str = "<img src=x onerror=window.owned=1><script>window.owned=2</script>\
    <svg onload=window.owned=3>'\"><a href=javascript:window.owned=4>";

const PIPELINE: &str = r#"version: 1
name: hostile
params:
  word: { type: string, default: none }
stages:
  say:
    run: sh say.sh
    matrix: { axes: { kind: ["<script>window.owned=5</script>", plain] } }
  fail:
    run: sh say.sh; echo '{"<img src=x onerror=window.owned=6>":1}' > "$RUNYARD_METRICS"; exit 3
"#;

/// Markup, a title that would be set, a clipboard that would be written, a link and cleared lines.
const SAY: &str = r#"printf '<script>window.owned=7</script><img src=x onerror=window.owned=8>\n'
printf '\033]0;owned\007\033]52;c;b3duZWQ=\007\033[31mred\033[0m\033[2J\033[1;1H\n'
printf '\033]8;;javascript:window.owned=9\033\\click\033]8;;\033\\\n'
printf '%s\n' "$RUNYARD_PARAM_WORD"
printf 'the end\n'
"#;

/// Logs in as a person does: the token into the form, and a press of the button.
fn log_in(browser: &mut Browser, token: &str) {
    browser.wait_until("document.getElementById('login').hidden === false");
    browser.value(&format!("document.getElementById('token').value = {}", json!(token)));
    browser.value("document.querySelector('#login button').click()");
    browser.wait_until("document.getElementById('login').hidden");
}

/// Nothing of what was named or printed has run, and the page has asked nobody else for anything.
#[track_caller]
fn assert_harmless(browser: &mut Browser, address: &str) {
    assert_eq!(browser.value("String(window.owned)"), "undefined", "a script ran");
    for method in ["Page.javascriptDialogOpening", "Page.windowOpen", "Page.downloadWillBegin"] {
        assert_eq!(browser.reported(method), Vec::<Value>::new(), "{method}");
    }
    let foreign =
        "document.querySelectorAll('main script, main img, main svg, main iframe').length";
    assert_eq!(browser.value(foreign), 0, "text became markup");
    let asked = browser.reported("Network.requestWillBeSent");
    assert!(!asked.is_empty(), "requests are seen");
    let addresses = asked.iter().filter_map(|one| one["request"]["url"].as_str());
    let strange: Vec<&str> =
        addresses.filter(|url| !url.starts_with(&format!("https://{address}/"))).collect();
    assert_eq!(strange, Vec::<&str>::new(), "the page asks others");
}

#[test]
fn a33_hostile_names_and_logs_run_nothing_in_a_browser() {
    let mut browser = match Browser::start() {
        Ok(browser) => browser,
        Err(lacks) => return skipped(TEST, &lacks),
    };
    // Without the page's care, this browser does run such a text.
    browser.visit("data:text/html,<img src=x onerror=window.owned=1>");
    browser.wait_until("window.owned === 1");
    browser.visit("about:blank");
    browser.wait_until("location.href === 'about:blank'");
    browser.forget();
    let cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = cluster.folder("repository");
    write_files(&folder, &[("runyard.yaml", PIPELINE), ("say.sh", SAY)]);
    for args in [
        &["init", "-q", "-b", "main"][..],
        &["add", "-A"],
        &["-c", "user.name=<b>x</b>", "-c", "user.email=a@b", "commit", "-qm", EVIL],
    ] {
        let done = std::process::Command::new("git").args(args).current_dir(&folder).status();
        assert!(done.expect("git is installed").success());
    }
    let run = cluster.cli(&folder, &["run", "-d", "-p", &format!("word={EVIL}")]).exits(0);
    let run = run.stdout.trim().to_owned();
    let over = cluster.wait_over(&run, OVER);
    assert_eq!(over["state"], "failed", "one stage fails, as it should: {over}");

    let address = cluster.address();
    browser.visit(&format!("https://{address}/"));
    let token = fs_err::read_to_string(cluster.coordinator_dir().join("admin.token"));
    log_in(&mut browser, token.expect("a token").trim());

    // The list: the commit's subject is text.
    browser.wait_until("document.body.innerText.includes('window.owned=2')");
    assert_harmless(&mut browser, &address);
    // The run: parameters, labels, metrics' names, events.
    browser.value(&format!("location.hash = '#/runs/{run}'"));
    browser.wait_until("document.body.innerText.includes('window.owned=5')");
    assert!(browser.text().contains("exit status 3"), "{}", browser.text());
    assert_harmless(&mut browser, &address);
    // The log: markup is text, escapes are gone, and the title is the page's own.
    browser.value(&format!("location.hash = '#/logs/{run}/fail.1:0'"));
    browser.wait_until("document.body.innerText.includes('the end')");
    let text = browser.text();
    assert!(text.contains("<script>window.owned=7</script>"), "{text}");
    assert!(text.contains("\nred\n") && text.contains("\nclick\n"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("b3duZWQ"), "{text}");
    let title = browser.value("document.title");
    assert!(title.as_str().is_some_and(|title| title.ends_with("· Runyard")), "{title}");
    assert_harmless(&mut browser, &address);
    // Places that are named by an attacker's link, too.
    for place in [EVIL, "logs/<img src=x onerror=window.owned=10>", "runs/..%2F..%2Fnodes"] {
        browser.value(&format!("location.hash = '#/' + {}", json!(place)));
        browser.wait_until("!document.body.innerText.includes('Loading')");
        assert_harmless(&mut browser, &address);
    }
}

#[test]
fn a33_the_pages_policy_stops_what_slipped_through() {
    let mut browser = match Browser::start() {
        Ok(browser) => browser,
        Err(lacks) => return skipped("a33_the_pages_policy_stops_what_slipped_through", &lacks),
    };
    let cluster = Cluster::builder(BINARY).agents(0).start();
    browser.visit(&format!("https://{}/", cluster.address()));
    browser.wait_until("document.getElementById('login').hidden === false");
    browser.value(
        "window.refused = [];
         document.addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));
         0",
    );
    // Were there a mistake in the page's own script, the browser would refuse it all the same.
    let thrown = |code: &str| {
        format!("(() => {{ try {{ {code}; return 'done' }} catch (e) {{ return e.name }} }})()")
    };
    for markup in [
        "document.body.innerHTML = '<img src=x onerror=window.owned=1>'",
        "document.body.insertAdjacentHTML('beforeend', '<svg onload=window.owned=1>')",
        "document.write('<script>window.owned=1</script>')",
        "document.createElement('script').text = 'window.owned=1'",
    ] {
        assert_eq!(browser.value(&thrown(markup)), "TypeError", "{markup}");
    }
    let append = |tag: &str, set: &str| {
        format!("const e = document.createElement('{tag}'); {set}; document.body.append(e)")
    };
    for (code, directive) in [
        (
            append("button", "e.setAttribute('onclick', 'window.owned=1')"),
            "require-trusted-types-for",
        ),
        (append("iframe", "e.src = 'https://example.org/'"), "frame-src"),
        (append("style", "e.append('body{display:none}')"), "style-src-elem"),
        (
            append("link", "e.rel = 'stylesheet'; e.href = 'https://example.org/x.css'"),
            "style-src-elem",
        ),
        ("fetch('https://example.org/').catch(() => 0)".to_owned(), "connect-src"),
        ("new Image().src = 'https://example.org/x.png'".to_owned(), "img-src"),
    ] {
        browser.value(&format!("refused.length = 0; {}; 0", thrown(&code)));
        browser.wait_until(&format!("refused.includes('{directive}')"));
    }
    assert_eq!(browser.value("String(window.owned)"), "undefined", "a script ran");
    assert_eq!(browser.value("document.cookie"), "", "the session is not for scripts");
}
