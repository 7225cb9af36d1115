//! Secrets on their way to a stage, and the mask that keeps them out of its log.
//!
//! They come through a pipe as `NAME=VALUE` separated by NUL bytes: never on disk, never in argv.
//! The mask replaces literal occurrences in the output before it reaches the spool, also those
//! that are split over reads; encoded forms are not known to it.

use std::io::{self, Read};

/// What stands in the log where a secret stood.
const MASK: &[u8] = b"***";
/// Shorter lines of a multi-line secret are not masked by themselves: they would eat the log.
const LINE_MIN: usize = 8;
/// All secrets of a stage together, names included; a pipe holds as much without a reader.
pub(crate) const SECRETS_MAX: usize = 1 << 20;

/// Secrets of one stage; wiped when dropped.
#[derive(Default)]
pub(crate) struct Secrets {
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({} bytes)", self.bytes.len())
    }
}

impl Secrets {
    /// Reads the pipe to its end.
    pub(crate) fn read(pipe: impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        pipe.take(SECRETS_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Self { bytes })
    }

    /// The encoded form of these pairs.
    pub(crate) fn encode(pairs: &[(String, String)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in pairs {
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
            out.push(0);
        }
        out
    }

    /// `NAME=VALUE`, one by one.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|b| *b == 0).filter(|p| p.contains(&b'='))
    }

    /// A mask for one stream. `None` when there is nothing to mask.
    pub(crate) fn mask(&self) -> Option<Mask> {
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        for pair in self.pairs() {
            let at = pair.iter().position(|b| *b == b'=').map_or(0, |p| p + 1);
            let value = pair[at..].trim_ascii();
            let lines = value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
            patterns.extend(lines.filter(|l| l.len() >= LINE_MIN).map(<[u8]>::to_vec));
            patterns.push(value.to_vec());
        }
        patterns.retain(|p| !p.is_empty());
        // The longest first, so that a secret which begins with another is masked whole.
        patterns.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        patterns.dedup();
        let mut first = [false; 256];
        for p in &patterns {
            first[usize::from(p[0])] = true;
        }
        (!patterns.is_empty()).then_some(Mask { patterns, first, carry: Vec::new() })
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.bytes.fill(0);
        std::hint::black_box(&mut self.bytes);
    }
}

/// A streaming matcher: what may be the beginning of a secret is held back until it is decided.
pub(crate) struct Mask {
    patterns: Vec<Vec<u8>>,
    first: [bool; 256],
    carry: Vec<u8>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({} patterns)", self.patterns.len())
    }
}

impl Mask {
    /// Masks `input`, to which earlier bytes may have been held back.
    pub(crate) fn push(&mut self, input: &[u8]) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.carry);
        text.extend_from_slice(input);
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if !self.first[usize::from(rest[0])] {
                out.push(rest[0]);
                at += 1;
                continue;
            }
            // A longer secret that may yet become whole is waited for before a shorter one counts.
            let open = |p: &&Vec<u8>| rest.len() < p.len() && p.starts_with(rest);
            let hit = self.patterns.iter().find(|p| rest.starts_with(p) || open(p));
            match hit {
                Some(p) if rest.len() < p.len() => {
                    self.carry = rest.to_vec();
                    return out;
                }
                Some(p) => {
                    out.extend_from_slice(MASK);
                    at += p.len();
                }
                None => {
                    out.push(rest[0]);
                    at += 1;
                }
            }
        }
        out
    }

    /// What was held back, at the end of the stream. A shorter secret in it is still masked.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.carry);
        let mut out = Vec::new();
        while !rest.is_empty() {
            let whole = self.patterns.iter().find(|p| rest.starts_with(p));
            let used = whole.map_or(1, Vec::len);
            match whole {
                Some(_) => out.extend_from_slice(MASK),
                None => out.push(rest[0]),
            }
            rest.drain(..used);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(pairs: &[(&str, &str)]) -> Mask {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let bytes = Secrets::encode(&pairs);
        Secrets::read(&bytes[..]).expect("from memory").mask().expect("patterns")
    }

    #[test]
    fn a26_a_secret_split_anywhere_is_masked() {
        let text = b"a hunter22hunter2233 b hunter2 c hunter2233";
        for cut in 0..text.len() {
            for second in cut..text.len() {
                let mut m = mask(&[("A", "hunter22"), ("B", "hunter2233")]);
                let mut out = m.push(&text[..cut]);
                out.extend(m.push(&text[cut..second]));
                out.extend(m.push(&text[second..]));
                out.extend(m.finish());
                let out = String::from_utf8(out).expect("ascii");
                assert_eq!(out, "a ****** b hunter2 c ***", "cut at {cut} and {second}");
            }
        }
    }

    #[test]
    fn a26_lines_of_a_key_are_masked_one_by_one_and_held_bytes_come_back() {
        let mut m = mask(&[("PEM", "-----BEGIN-----\nabcdefgh\nxyz\n")]);
        let mut out = m.push(b"1 abcdefgh\n2 xyz\n3 abcd");
        assert_eq!(out, b"1 ***\n2 xyz\n3 ");
        out = m.finish();
        assert_eq!(out, b"abcd");
    }
}
