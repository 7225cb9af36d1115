//! Markdown that text of others can't break out of.

/// A table; headings as given.
pub(super) fn table(titles: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut out = line(titles);
    out.push_str(&format!("|{}\n", "---|".repeat(titles.len())));
    for row in rows {
        out.push_str(&line(&row));
    }
    out
}

/// Text inside a table's cell or a sentence.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in super::plain(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '|' | '`' | '*' | '[' | ']' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            // A mention or an issue number of a forge would notify people.
            '@' | '#' => {
                out.push(c);
                out.push('\u{200b}');
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a35_text_stays_in_its_cell() {
        let rows = [vec!["a|b\nc".to_owned(), "<img src=x>".to_owned()]];
        insta::assert_snapshot!(table(&["X".into(), "Y".into()], rows.into_iter()), @r"
        | X | Y |
        |---|---|
        | a\|b c | &lt;img src=x> |
        ");
    }
}
