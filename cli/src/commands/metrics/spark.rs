//! Sparklines.

/// The widest line, in characters.
const WIDTH: usize = 24;
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Values as a line: each character the mean of its part, scaled between least and greatest; what is
/// not finite is a gap.
pub(super) fn line(values: &[f64]) -> String {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (Some(low), Some(high)) = (finite().reduce(f64::min), finite().reduce(f64::max)) else {
        return String::new();
    };
    let width = values.len().min(WIDTH);
    (0..width)
        .map(|index| {
            let part = &values[index * values.len() / width..(index + 1) * values.len() / width];
            let (sum, count) = part
                .iter()
                .filter(|value| value.is_finite())
                .fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            if count == 0.0 {
                return ' ';
            }
            // Halves, so that the span of two extremes does not overflow.
            let span = high / 2.0 - low / 2.0;
            let ratio = if span > 0.0 { (sum / count / 2.0 - low / 2.0) / span } else { 0.5 };
            STEPS[((ratio * 8.0) as usize).min(7)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!(line(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), "▁▂▃▄▅▆▇█");
        assert_eq!(line(&[3.0, 3.0]), "▅▅");
        assert_eq!(line(&[]), "");
        assert_eq!(line(&[f64::NAN]), "");
        assert_eq!(line(&[0.0, f64::NAN, 1.0]), "▁ █");
        assert_eq!(line(&[-f64::MAX, f64::MAX]), "▁█");
        let ramp: Vec<f64> = (0..10_000).map(f64::from).collect();
        assert_eq!(line(&ramp).chars().count(), WIDTH);
    }
}
