//! Long lines of a source cut around the places that are spoken of, so that they fit a terminal.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// Columns shown before the place in a line that is cut at its beginning.
const LEAD: usize = 16;

/// A source as it is shown.
#[derive(Debug)]
pub(super) struct Clipped {
    name: String,
    text: String,
    /// The places asked for, where they are now.
    pub(super) spans: Vec<Range<usize>>,
    /// The first place's column in the source itself, from 0.
    column: usize,
}

impl Clipped {
    /// `text` with lines of at most `columns` characters, of which the first place is kept in sight.
    pub(super) fn new(name: &str, text: &str, spans: &[Range<usize>], columns: usize) -> Self {
        let mut out = String::with_capacity(text.len().min(1 << 20));
        let mut moved = spans.to_vec();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let own: Vec<usize> = (0..spans.len())
                .filter(|&n| spans[n].start >= start && spans[n].start < start + line.len().max(1))
                .collect();
            let body = line.strip_suffix('\n').unwrap_or(line);
            let first = own.iter().map(|&n| spans[n].start - start).min().unwrap_or(0);
            let window = window(body, first, columns);
            let lead = if window.start > 0 { "…" } else { "" };
            let base = out.len() + lead.len();
            // What lies outside is shown at the edge that it lies beyond.
            let place = |at: usize| base + at.clamp(window.start, window.end) - window.start;
            for n in own {
                let (from, to) = (spans[n].start - start, spans[n].end.max(spans[n].start) - start);
                // A place of several lines keeps its end only if no line in between is cut: its first
                // line says enough.
                moved[n] = place(from)..place(to.min(body.len()));
            }
            out.push_str(lead);
            out.push_str(&body[window.clone()]);
            if window.end < body.len() {
                out.push('…');
            }
            out.push_str(&line[body.len()..]);
            start += line.len();
        }
        for (n, span) in spans.iter().enumerate() {
            // Behind the last line end.
            if span.start >= text.len() {
                moved[n] = out.len()..out.len();
            }
        }
        let column = spans.first().map_or(0, |span| {
            let before = text.get(..span.start).unwrap_or(text);
            before.rsplit('\n').next().unwrap_or_default().chars().count()
        });
        Self { name: name.to_owned(), text: out, spans: moved, column }
    }
}

/// The bytes of a line that are shown: all, or about `columns` characters with `at` among them.
fn window(line: &str, at: usize, columns: usize) -> Range<usize> {
    let ends: Vec<usize> = line.char_indices().map(|(n, _)| n).chain([line.len()]).collect();
    let count = ends.len() - 1;
    if count <= columns {
        return 0..line.len();
    }
    let place = ends.partition_point(|&end| end < at).min(count);
    // From the beginning if the place and a bit behind it fit, else from a little before it.
    let shown = columns.saturating_sub(2).max(1);
    let first = if place + LEAD < shown { 0 } else { place.saturating_sub(LEAD) };
    let first = first.min(count.saturating_sub(shown));
    ends[first]..ends[(first + shown).min(count)]
}

impl SourceCode for Clipped {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let found = self.text.read_span(span, before, after)?;
        let first = self.spans.first().is_some_and(|first| first.start == span.offset());
        // Asked for without the lines around, the place is only named: by its column in the file.
        let column = match first && before == 0 && after == 0 {
            true => self.column,
            false => found.column(),
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            found.data(),
            *found.span(),
            found.line(),
            column,
            found.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, at: Range<usize>, columns: usize) -> (String, String) {
        let clipped = Clipped::new("f", text, &[at], columns);
        let place = clipped.text[clipped.spans[0].clone()].to_owned();
        (clipped.text, place)
    }

    #[test]
    fn short_lines_stay_as_they_are() {
        let text = "a: 1\nb: [x]\n";
        assert_eq!(shown(text, 8..11, 40), (text.to_owned(), "[x]".to_owned()));
    }

    #[test]
    fn a_long_line_is_cut_on_both_sides_of_the_place() {
        let text = format!("a: 1\n{}HERE{}\nlast: 1\n", "é".repeat(300), "y".repeat(300));
        let at = text.find("HERE").expect("is there");
        let (out, place) = shown(&text, at..at + 4, 60);
        assert_eq!(place, "HERE");
        let line = out.lines().nth(1).expect("a second line");
        assert_eq!(line.chars().count(), 60, "{line}");
        assert!(line.starts_with('…') && line.ends_with('…'), "{line}");
        assert!(out.starts_with("a: 1\n") && out.ends_with("\nlast: 1\n"), "{out}");
    }

    #[test]
    fn wherever_the_place_is_nothing_is_cut_within_a_character() {
        let text = format!("{}\nx: é\n", "aé".repeat(200));
        for start in (0..=text.len()).filter(|n| text.is_char_boundary(*n)) {
            for columns in [1, 2, 10, 80, 1_000] {
                let span = start..text.len();
                let clipped = Clipped::new("f", &text, std::slice::from_ref(&span), columns);
                assert!(clipped.text.get(clipped.spans[0].clone()).is_some(), "{start} {columns}");
            }
        }
    }
}
