//! What others wrote, made harmless for a terminal: no escape sequences, no control characters, no
//! characters that reorder text.

/// A filter of a byte stream that may cut a sequence, or a character, anywhere.
#[derive(Debug, Default)]
pub(crate) struct Sanitiser {
    state: State,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
    /// Bytes swallowed in the present sequence: a stream that never ends one must not vanish whole.
    swallowed: usize,
    after_cr: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After `ESC [`, until a final byte.
    Csi,
    /// A string (OSC, DCS, APC, PM, SOS), until BEL or ST.
    String,
    /// In a string, after ESC.
    StringEscape,
}

/// The longest sequence that is swallowed, in characters.
const SEQUENCE_MAX: usize = 4096;

impl Sanitiser {
    /// The harmless text of the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len());
        let joined;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            joined = [std::mem::take(&mut self.partial).as_slice(), bytes].concat();
            joined.as_slice()
        };
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    text.chars().for_each(|c| self.step(c, &mut out));
                    return out;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    // `good` is valid by the error's own word, so nothing is lost here.
                    String::from_utf8_lossy(good).chars().for_each(|c| self.step(c, &mut out));
                    let Some(length) = error.error_len() else {
                        self.partial = bad.to_vec();
                        return out;
                    };
                    self.step(char::REPLACEMENT_CHARACTER, &mut out);
                    rest = &bad[length..];
                }
            }
        }
    }

    /// What is left when the stream has ended.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        if !std::mem::take(&mut self.partial).is_empty() {
            self.step(char::REPLACEMENT_CHARACTER, &mut out);
        }
        if std::mem::take(&mut self.after_cr) {
            out.push('\n');
        }
        out
    }

    fn step(&mut self, c: char, out: &mut String) {
        if self.state != State::Text {
            self.swallowed += 1;
            if self.swallowed > SEQUENCE_MAX || c == '\n' && self.state != State::String {
                self.state = State::Text;
            }
        }
        self.state = match (self.state, c) {
            (State::Text, '\u{1b}') => self.begin(State::Escape),
            (State::Text, '\u{9b}') => self.begin(State::Csi),
            (State::Text, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}') => {
                self.begin(State::String)
            }
            (State::Text, c) => {
                self.text(c, out);
                State::Text
            }
            (State::Escape, '[') => State::Csi,
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::String,
            // Intermediate bytes are followed by a final one.
            (State::Escape, ' '..='/' | '\u{1b}') => State::Escape,
            (State::Escape, _) => State::Text,
            (State::Csi, '@'..='~') => State::Text,
            (State::Csi, '\u{1b}') => State::Escape,
            (State::Csi, _) => State::Csi,
            (State::String, '\u{7}' | '\u{9c}') => State::Text,
            (State::String, '\u{1b}') => State::StringEscape,
            (State::String, _) => State::String,
            (State::StringEscape, '\\') => State::Text,
            (State::StringEscape, '[') => State::Csi,
            (State::StringEscape, _) => State::String,
        };
    }

    fn begin(&mut self, state: State) -> State {
        self.swallowed = 0;
        state
    }

    /// A lone carriage return would overwrite what stands on the line: it becomes a line end.
    fn text(&mut self, c: char, out: &mut String) {
        let after_cr = std::mem::take(&mut self.after_cr);
        match c {
            '\r' => {
                if after_cr {
                    out.push('\n');
                }
                self.after_cr = true;
            }
            '\n' => out.push('\n'),
            c => {
                if after_cr {
                    out.push('\n');
                }
                if c == '\t' || !is_harmful(c) {
                    out.push(c);
                }
            }
        }
    }
}

/// Control characters, and those that reorder or hide text.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A name or message on one line: controls are shown escaped, so that nothing hides.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            c if is_harmful(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> String {
        let mut sanitiser = Sanitiser::default();
        let mut out = sanitiser.push(bytes);
        out.push_str(&sanitiser.finish());
        out
    }

    const EVIL: &[(&[u8], &str)] = &[
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"a\x1b]52;c;ZXZpbA==\x07b", "ab"),
        (b"\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"),
        (b"\x1bPq#0\x1b\\x", "x"),
        (b"\x1b(Bplain", "plain"),
        ("\u{9b}31mred".as_bytes(), "red"),
        ("\u{9d}0;title\u{9c}x".as_bytes(), "x"),
        (b"safe\rEVIL", "safe\nEVIL"),
        (b"one\r\ntwo\r\n", "one\ntwo\n"),
        (b"50%\r100%\r\n", "50%\n100%\n"),
        (b"bell\x07 back\x08 del\x7f", "bell back del"),
        ("abc\u{202e}cba".as_bytes(), "abccba"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        (b"tab\tkept \xc3\xa9", "tab\tkept \u{e9}"),
        (b"cut \xc3", "cut \u{fffd}"),
    ];

    #[test]
    fn a35_escape_sequences_and_controls_do_not_reach_a_terminal() {
        for (bytes, text) in EVIL {
            assert_eq!(&all(bytes), text, "{bytes:?}");
        }
    }

    #[test]
    fn a35_a_sequence_cut_anywhere_is_still_one() {
        for (bytes, text) in EVIL {
            for cut in 0..=bytes.len() {
                let mut sanitiser = Sanitiser::default();
                let mut out = sanitiser.push(&bytes[..cut]);
                out.push_str(&sanitiser.push(&bytes[cut..]));
                out.push_str(&sanitiser.finish());
                assert_eq!(&out, text, "{bytes:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a35_a_sequence_that_never_ends_does_not_hide_the_log() {
        let mut log = b"\x1b]0;".to_vec();
        log.extend(std::iter::repeat_n(b'x', SEQUENCE_MAX + 10));
        log.extend(b" the end\n");
        assert!(all(&log).ends_with(" the end\n"));
        assert_eq!(all(b"\x1b[12;\nnext\n"), "\nnext\n", "a line end ends a CSI sequence");
    }

    #[test]
    fn a35_names_show_what_they_hide() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\u{d} ");
        assert_eq!(plain("x\u{202e}y"), "x\\u{202e}y");
    }
}
