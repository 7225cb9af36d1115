//! Tables as CSV (RFC 4180, lines end in LF), safe to open in a spreadsheet.

/// One line.
pub(super) fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for (index, value) in fields.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&field(value));
    }
    out.push('\n');
    out
}

/// A field that a spreadsheet would run as a formula gets a quote before it; numbers stay numbers.
fn field(value: &str) -> String {
    let formula =
        value.starts_with(['=', '+', '-', '@', '\t', '\r']) && value.parse::<f64>().is_err();
    let guarded = if formula { format!("'{value}") } else { value.to_owned() };
    match guarded.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", guarded.replace('"', "\"\"")),
        false => guarded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a35_formulas_are_text_and_numbers_are_numbers() {
        let fields = ["=cmd|' /C calc'!A0", "-1+1", "-0.5", "+3", "@SUM(A1)", "plain", "\r=1"];
        assert_eq!(line(fields), "'=cmd|' /C calc'!A0,'-1+1,-0.5,+3,'@SUM(A1),plain,\"'\r=1\"\n");
    }

    #[test]
    fn quotes_and_commas_are_quoted() {
        assert_eq!(
            line(["a,b", "say \"x\"", "two\nlines"]),
            "\"a,b\",\"say \"\"x\"\"\",\"two\nlines\"\n"
        );
    }
}
