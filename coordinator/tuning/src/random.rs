//! Independent uniform draws.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use runyard_types::{Digest, Name};

use crate::{Dimension, Point, Scale, Space, Value};

/// Points drawn at random. Each hyperparameter has a generator of its own, from seed and name, and
/// each trial a stream of it: adding a hyperparameter changes none of the others' values, and trial
/// 7 is the same whether or not 0 to 6 were asked for.
///
/// A logarithmic draw goes through the platform's `ln` and `exp`, whose last bit may differ between
/// machines: the leader draws, and what is proposed is the value.
#[derive(Debug, Clone)]
pub struct Random {
    space: Space,
    seed: u64,
}

impl Random {
    /// Draws from `space`, as `seed` determines.
    pub fn new(space: Space, seed: u64) -> Self {
        Self { space, seed }
    }

    /// The point of trial `number`, from 0.
    pub fn point(&self, number: u64) -> Point {
        let draw = |(name, dimension): (&Name, &Dimension)| {
            let mut generator = self.generator(name, number);
            (name.clone(), dimension.draw(&mut generator))
        };
        self.space.dimensions().map(draw).collect()
    }

    fn generator(&self, name: &Name, number: u64) -> ChaCha20Rng {
        let mut text = self.seed.to_le_bytes().to_vec();
        text.extend_from_slice(name.as_str().as_bytes());
        let mut generator = ChaCha20Rng::from_seed(*Digest::of(&text).as_bytes());
        generator.set_stream(number);
        generator
    }
}

impl Dimension {
    fn draw(&self, generator: &mut ChaCha20Rng) -> Value {
        match self {
            Self::Choice(values) => {
                // A checked space has a value in each choice, and no more than memory holds.
                let index = below(generator, values.len() as u64) as usize;
                values[index].clone()
            }
            Self::Int { min, max } => {
                let offset = match max.abs_diff(*min).checked_add(1) {
                    Some(count) => below(generator, count),
                    None => generator.next_u64(),
                };
                // At most `max` by construction, so the sum does not wrap.
                Value::Int(min.wrapping_add_unsigned(offset))
            }
            Self::Float { min, max, scale: Scale::Linear } => {
                let unit = unit(generator);
                // The halves do not overflow where the difference would.
                Value::Float((min * (1.0 - unit) + max * unit).clamp(*min, *max))
            }
            Self::Float { min, max, scale: Scale::Log } => {
                let unit = unit(generator);
                let log = min.ln() * (1.0 - unit) + max.ln() * unit;
                Value::Float(log.exp().clamp(*min, *max))
            }
        }
    }
}

/// Uniform in [0, 1), with 53 bits.
fn unit(generator: &mut ChaCha20Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

/// Uniform below `count`, without bias: the draws that fall into the incomplete last block are thrown
/// away.
fn below(generator: &mut ChaCha20Rng, count: u64) -> u64 {
    let complete = u64::MAX - u64::MAX % count;
    loop {
        let draw = generator.next_u64();
        if draw < complete {
            return draw % count;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::space::tests::{name, space};

    fn example() -> Space {
        space(&[
            ("depth", Dimension::Int { min: 2, max: 9 }),
            ("lr", Dimension::Float { min: 1e-5, max: 1e-1, scale: Scale::Log }),
            ("momentum", Dimension::Float { min: 0.0, max: 1.0, scale: Scale::Linear }),
            ("nesterov", Dimension::Choice(vec![Value::Bool(false), Value::Bool(true)])),
        ])
        .expect("valid")
    }

    fn float(point: &Point, key: &str) -> f64 {
        match point[&name(key)] {
            Value::Float(x) => x,
            _ => panic!("{key} is a float"),
        }
    }

    #[test]
    fn a_hyperparameter_more_moves_no_other() {
        let few = Random::new(
            space(&[("lr", Dimension::Int { min: 0, max: i64::MAX })]).expect("valid"),
            7,
        );
        let more = space(&[
            ("lr", Dimension::Int { min: 0, max: i64::MAX }),
            ("batch", Dimension::Int { min: 0, max: 99 }),
        ]);
        let more = Random::new(more.expect("valid"), 7);
        for number in 0..50 {
            assert_eq!(few.point(number)[&name("lr")], more.point(number)[&name("lr")]);
        }
    }

    #[test]
    fn trials_and_seeds_differ_and_repeat() {
        let (one, two) = (Random::new(example(), 1), Random::new(example(), 2));
        assert_eq!(one.point(3), Random::new(example(), 1).point(3));
        assert_ne!(one.point(3), one.point(4));
        assert_ne!(one.point(3), two.point(3));
    }

    #[test]
    fn draws_have_the_shape_that_was_asked_for() {
        let random = Random::new(example(), 11);
        let points: Vec<Point> = (0..4_000).map(|number| random.point(number)).collect();
        let share = |hit: &dyn Fn(&Point) -> bool| {
            points.iter().filter(|point| hit(point)).count() as f64 / points.len() as f64
        };
        // Four standard errors of a share of 4,000 draws are at most 0.032.
        let near = |share: f64, expected: f64| (share - expected).abs() < 0.032;
        assert!(near(share(&|p| float(p, "momentum") < 0.25), 0.25));
        assert!(near(share(&|p| float(p, "lr") < 1e-3), 0.5), "half of the decades");
        assert!(near(share(&|p| p[&name("nesterov")] == Value::Bool(true)), 0.5));
        for depth in 2..=9 {
            assert!(near(share(&|p| p[&name("depth")] == Value::Int(depth)), 0.125));
        }
    }

    #[test]
    fn the_draws_of_a_release_are_those_of_the_next() {
        // A sweep may outlive an upgrade; whoever changes these numbers changes running sweeps.
        let point = Random::new(example(), 42).point(0);
        assert_eq!(point[&name("depth")], Value::Int(7));
        assert_eq!(point[&name("momentum")], Value::Float(0.07330012010210729));
        assert_eq!(point[&name("nesterov")], Value::Bool(true));
        // Logarithms differ in their last bit between platforms.
        assert!((float(&point, "lr") / 0.0004906774130413484 - 1.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn draws_stay_in_their_range(seed: u64, number: u64, a: i64, b: i64, x in -1e300..1e300_f64, y in -1e300..1e300_f64) {
            prop_assume!(x < y);
            let dimensions = [
                ("i", Dimension::Int { min: a.min(b), max: a.max(b) }),
                ("x", Dimension::Float { min: x, max: y, scale: Scale::Linear }),
                ("z", Dimension::Float { min: 1e-300, max: 1e300, scale: Scale::Log }),
            ];
            let point = Random::new(space(&dimensions).expect("valid"), seed).point(number);
            let Value::Int(i) = point[&name("i")] else { panic!("an int") };
            prop_assert!((a.min(b)..=a.max(b)).contains(&i));
            prop_assert!((x..=y).contains(&float(&point, "x")));
            prop_assert!((1e-300..=1e300).contains(&float(&point, "z")));
        }
    }
}
