//! `$RUNYARD_OUTPUT`: values for later stages, `key=value` a line, or several lines between marks:
//!
//! ```text
//! notes<<END
//! first line
//! second line
//! END
//! ```

use std::collections::BTreeMap;

/// Bytes of the whole file.
pub(super) const FILE_BYTES_MAX: u64 = 256 << 10;
/// Values of one worker.
const VALUES_MAX: usize = 200;

/// Reads the values; the error names the line.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} of $RUNYARD_OUTPUT is not UTF-8")
    })?;
    let mut values = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let at = |why: String| format!("line {} of $RUNYARD_OUTPUT: {why}", number + 1);
        if line.trim().is_empty() {
            continue;
        }
        let heredoc = line.find("<<").filter(|mark| line.find('=').is_none_or(|eq| *mark < eq));
        let (key, value) = match heredoc {
            Some(mark) => {
                let (key, end) = (line[..mark].trim(), line[mark + 2..].trim());
                if end.is_empty() {
                    return Err(at("there is no end mark behind `<<`".into()));
                }
                let mut value = Vec::new();
                loop {
                    match lines.next() {
                        Some((_, line)) if line == end => break,
                        Some((_, line)) => value.push(line),
                        None => {
                            return Err(at(format!("its end mark `{}` is missing", shown(end))));
                        }
                    }
                }
                (key, value.join("\n"))
            }
            None => match line.split_once('=') {
                Some((key, value)) => (key.trim(), value.to_owned()),
                None => {
                    return Err(at(format!("`{}` is not of the form key=value", shown(line))));
                }
            },
        };
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if key.is_empty() || key.len() > 128 || !key.chars().all(part) {
            let key = shown(key);
            return Err(at(format!("`{key}` is not a key (1 to 128 of a-z, A-Z, 0-9, _ - .)")));
        }
        values.insert(key.to_owned(), value);
        if values.len() > VALUES_MAX {
            return Err(at(format!("there are more than {VALUES_MAX} values")));
        }
    }
    Ok(values)
}

fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_blocks_are_read() {
        let text = "a=1\nb = x=y\n\nnotes<<END\nfirst\n\nlast=1\nEND\na=2\nurl=http://h/?q=<<x\n";
        let values = read(text.as_bytes()).expect("read");
        let expected =
            [("a", "2"), ("b", " x=y"), ("notes", "first\n\nlast=1"), ("url", "http://h/?q=<<x")];
        assert_eq!(values, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert!(read(b"").expect("empty").is_empty());
    }

    #[test]
    fn what_is_malformed_is_refused_by_its_line() {
        for (text, words) in [
            (&b"a=1\nrubbish\n"[..], "line 2"),
            (b"a b=1\n", "`a b` is not a key"),
            (b"x<<END\nno end", "`END` is missing"),
            (b"x<<\n", "no end mark"),
            (b"ok=1\n\xff=2\n", "line 2 of $RUNYARD_OUTPUT is not UTF-8"),
        ] {
            let said = read(text).expect_err(words);
            assert!(said.contains(words), "{said}");
        }
        let many: String = (0..300).map(|n| format!("k{n}=1\n")).collect();
        assert!(read(many.as_bytes()).expect_err("too many").contains("more than 200"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = read(&bytes);
        }
    }
}
