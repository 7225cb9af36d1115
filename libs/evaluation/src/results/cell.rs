//! One value of a results file, as it stood there.

/// How a cell was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Absent, or null.
    Null,
    /// A JSON boolean.
    Bool,
    /// A JSON number.
    Number,
    /// A JSON string.
    Text,
    /// A cell of a csv file, where everything is text.
    Untyped,
    /// A JSON list or object.
    Nested,
}

/// A value and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) text: Box<str>,
}

impl Cell {
    pub(crate) fn new(kind: Kind, text: &str) -> Self {
        Self { kind, text: text.into() }
    }

    pub(crate) fn null() -> Self {
        Self::new(Kind::Null, "")
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_blank(&self) -> bool {
        self.kind == Kind::Null || self.text.trim().is_empty()
    }

    /// The value as a number: NaN for a missing one, 0 and 1 for booleans, infinite beyond the
    /// range of a double. None: it is text.
    pub(crate) fn number(&self) -> Option<f64> {
        let text = self.text.trim();
        match self.kind {
            Kind::Null => Some(f64::NAN),
            Kind::Bool => Some(f64::from(u8::from(text == "true"))),
            Kind::Number => text.parse().ok(),
            Kind::Nested => None,
            // JSON has no NaN, so Python's writers put it in as a word.
            Kind::Text => not_finite(text),
            Kind::Untyped if text.is_empty() => Some(f64::NAN),
            Kind::Untyped => match text {
                "True" | "true" | "TRUE" => Some(1.0),
                "False" | "false" | "FALSE" => Some(0.0),
                "NA" | "N/A" | "<NA>" | "null" | "NULL" | "None" => Some(f64::NAN),
                _ => not_finite(text).or_else(|| text.parse().ok()),
            },
        }
    }

    /// Whether an `error` column with this cell marks its row.
    pub(crate) fn marks_error(&self) -> bool {
        !self.is_blank() && self.number().is_none_or(|number| number != 0.0 && !number.is_nan())
    }

    /// The value as a class label: 7, 7.0 and "7" are one class, as are true, True and 1 in a column
    /// of numbers.
    pub(crate) fn label(&self) -> Option<String> {
        match self.number() {
            Some(number) if number.is_nan() => None,
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Some(format!("{}", number as i64))
            }
            Some(number) => Some(format!("{number}")),
            None => {
                let text = self.text.trim();
                // "7" as a JSON string is the class 7.
                match text.parse::<f64>() {
                    Ok(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                        Some(format!("{}", number as i64))
                    }
                    _ => Some(text.to_owned()),
                }
            }
        }
    }
}

fn not_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" | "nan" | "NAN" => Some(f64::NAN),
        "Infinity" | "+Infinity" | "inf" | "Inf" | "+inf" => Some(f64::INFINITY),
        "-Infinity" | "-inf" | "-Inf" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_however_it_is_written() {
        let labels = [
            Cell::new(Kind::Number, "7"),
            Cell::new(Kind::Number, "7.0"),
            Cell::new(Kind::Text, "7"),
            Cell::new(Kind::Untyped, " 7.0 "),
        ]
        .map(|cell| cell.label());
        assert!(labels.iter().all(|label| label.as_deref() == Some("7")), "{labels:?}");
        assert_eq!(Cell::new(Kind::Untyped, "nan").label(), None);
        assert_eq!(Cell::new(Kind::Text, "cat").label().as_deref(), Some("cat"));
    }

    #[test]
    fn a7_numbers_beyond_range_are_infinite_not_wrong() {
        assert_eq!(Cell::new(Kind::Number, "1e309").number(), Some(f64::INFINITY));
        assert_eq!(Cell::new(Kind::Untyped, "-1e309").number(), Some(f64::NEG_INFINITY));
        assert!(Cell::new(Kind::Untyped, "NaN").number().is_some_and(f64::is_nan));
    }

    #[test]
    fn error_columns_as_people_fill_them() {
        let marks = |text| Cell::new(Kind::Untyped, text).marks_error();
        assert!(marks("timeout") && marks("True") && marks("1"));
        assert!(!marks("") && !marks("False") && !marks("nan") && !marks("None") && !marks("0"));
    }
}
