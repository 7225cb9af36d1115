//! Prometheus's text format.

use std::fmt::Write;

/// Writes families one after the other.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family of values that go up and down; its samples follow at once.
    pub(super) fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        // Writing to a string does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        Family { text: &mut self.text, name }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// The samples of one name.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.text.push_str(self.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.text, "{name}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = if value.is_infinite() {
            writeln!(self.text, " {}Inf", if value > 0.0 { '+' } else { '-' })
        } else {
            writeln!(self.text, " {value}")
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_prometheus() {
        let mut all = Exposition::default();
        all.gauge("a", "Back\\slash\nand line.").sample(&[], 3.0);
        let mut family = all.gauge("b", "B.");
        family
            .sample(&[("x", "a\"b\\c\nd"), ("y", "")], 0.25)
            .sample(&[("x", "1"), ("y", "2")], f64::INFINITY);
        family.sample(&[("x", "2"), ("y", "3")], f64::NAN);
        let expected = concat!(
            "# HELP a Back\\\\slash\\nand line.\n# TYPE a gauge\na 3\n",
            "# HELP b B.\n# TYPE b gauge\nb{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 0.25\n",
            "b{x=\"1\",y=\"2\"} +Inf\nb{x=\"2\",y=\"3\"} NaN\n",
        );
        assert_eq!(all.into_text(), expected);
    }
}
