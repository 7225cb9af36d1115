//! Text out of bytes that are cut anywhere.

/// Decodes UTF-8 piece by piece; a character that is cut in two waits for its second half.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    pending: Vec<u8>,
}

impl Utf8 {
    /// The text that is complete with these bytes; what is no UTF-8 becomes U+FFFD.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let keep = unfinished(&self.pending);
        let rest = self.pending.split_off(self.pending.len() - keep);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = rest;
        text
    }

    /// What is left when nothing follows.
    pub(super) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    /// Bytes that were taken and not yet given back as text.
    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }
}

/// How many bytes at the end begin a character that is not complete.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_gives_the_same_text() {
        let bytes = "a ö € 🙂 z".as_bytes();
        for cut in 0..=bytes.len() {
            let mut utf8 = Utf8::default();
            let mut text = utf8.push(&bytes[..cut]);
            assert!(utf8.waiting() < 4);
            text += &utf8.push(&bytes[cut..]);
            assert_eq!(text, "a ö € 🙂 z", "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_text_is_marked_and_never_held_back_for_good() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(utf8.push(b"\x80\x80\x80\x80"), "\u{fffd}".repeat(4));
        assert_eq!((utf8.push(b"c\xe2\x82"), utf8.waiting()), ("c".to_owned(), 2));
        assert_eq!((utf8.finish(), utf8.waiting()), ("\u{fffd}".to_owned(), 0));
    }
}
