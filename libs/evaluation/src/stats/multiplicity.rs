//! Adjusting p values for the number of questions asked.

/// Holm's step-down adjustment (1979), in the order given: bounds the chance of any false
/// rejection.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let (m, mut adjusted, mut largest) = (p.len(), vec![0.0; p.len()], 0.0_f64);
    for (rank, index) in order.into_iter().enumerate() {
        largest = largest.max((p[index] * (m - rank) as f64).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's step-up adjustment (1995): bounds the expected share of false
/// rejections among the rejections.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let (m, mut adjusted, mut smallest) = (p.len(), vec![0.0; p.len()], 1.0_f64);
    for (rank, index) in order.into_iter().enumerate().rev() {
        smallest = smallest.min(p[index] * m as f64 / (rank + 1) as f64);
        adjusted[index] = smallest;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    order
}
