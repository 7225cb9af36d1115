//! The nodes that a class fits, cheapest first, kept current as placements change them.

use std::collections::BTreeSet;

use crate::class::Class;
use crate::predicate::fits;
use crate::score::{Typical, cost};
use crate::view::View;

/// Built at the first use by one scan; later uses look only at nodes touched since.
#[derive(Default)]
pub(crate) struct Candidates {
    /// (price, node).
    ranked: BTreeSet<(i64, usize)>,
    /// By node, its price while it is in `ranked`.
    prices: Vec<Option<i64>>,
    /// How far `View::touched` was read.
    read_to: usize,
}

impl Candidates {
    /// Nodes for a gang of `class`: the cheapest that share one network; `None` if there are too few.
    pub(crate) fn pick(
        &mut self,
        view: &View<'_>,
        class: &Class,
        typical: &Typical,
    ) -> Option<Vec<usize>> {
        self.refresh(view, class, typical);
        first_gang(view, class, self.ranked.iter().map(|&(_, number)| number))
    }

    fn refresh(&mut self, view: &View<'_>, class: &Class, typical: &Typical) {
        if self.prices.is_empty() {
            self.prices = vec![None; view.nodes.len()];
            for number in 0..view.nodes.len() {
                self.price(view, number, class, typical);
            }
        } else {
            // One node is often touched many times; more touches than nodes cost one scan.
            let new: BTreeSet<usize> = view.touched[self.read_to..].iter().copied().collect();
            for number in new {
                self.price(view, number, class, typical);
            }
        }
        self.read_to = view.touched.len();
    }

    fn price(&mut self, view: &View<'_>, number: usize, class: &Class, typical: &Typical) {
        if let Some(old) = self.prices[number].take() {
            self.ranked.remove(&(old, number));
        }
        if fits(view, number, class) {
            let price = cost(view, number, class, typical);
            self.prices[number] = Some(price);
            self.ranked.insert((price, number));
        }
    }
}

/// The cheapest place of a single worker that has a class to itself: a scan without an index.
pub(crate) fn pick_once(view: &View<'_>, class: &Class, typical: &Typical) -> Option<Vec<usize>> {
    let fitting = (0..view.nodes.len()).filter(|&number| fits(view, number, class));
    let mut ranked: Vec<(i64, usize)> =
        fitting.map(|number| (cost(view, number, class, typical), number)).collect();
    if class.gang == 1 {
        return ranked.into_iter().min().map(|(_, number)| vec![number]);
    }
    ranked.sort_unstable();
    first_gang(view, class, ranked.into_iter().map(|(_, number)| number))
}

/// Of nodes in order of preference, the gang that one network completes first.
pub(crate) fn first_gang(
    view: &View<'_>,
    class: &Class,
    ranked: impl Iterator<Item = usize>,
) -> Option<Vec<usize>> {
    let mut by_network: Vec<Vec<usize>> = vec![Vec::new(); view.networks.len()];
    for number in ranked {
        if class.gang == 1 {
            return Some(vec![number]);
        }
        for &network in &view.nodes[number].networks {
            // With a wish for a network only its own list counts.
            if class.network.is_some_and(|wanted| wanted != Some(network)) {
                continue;
            }
            let gang = &mut by_network[network];
            // A label that a node lists twice must not count it twice.
            if gang.last() != Some(&number) {
                gang.push(number);
            }
            if gang.len() == class.gang {
                return Some(std::mem::take(gang));
            }
        }
    }
    None
}
