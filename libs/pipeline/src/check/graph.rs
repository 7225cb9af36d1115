//! The order of the stages, or the circle that forbids one. Loops only: a file may have thousands of
//! stages (RELIABILITY A2).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::codes::Code;
use crate::model::Stage;
use crate::read::{Cx, Draft, StageDraft};

/// A stage with the names of all that it waits for.
pub(super) fn with_needs(draft: StageDraft) -> Stage {
    let needs: BTreeSet<_> = draft.links.into_iter().map(|link| link.to).collect();
    Stage { needs: needs.into_iter().collect(), ..draft.stage }
}

/// The indexes of the stages, each behind what it needs, else in the order of the file.
pub(super) fn order(cx: &mut Cx<'_>, draft: &Draft) -> Option<Vec<usize>> {
    let index: BTreeMap<_, _> =
        draft.stages.iter().enumerate().map(|(i, s)| (s.stage.name.as_str(), i)).collect();
    let needs: Vec<Vec<usize>> = draft
        .stages
        .iter()
        .map(|stage| {
            let to = stage.links.iter().filter_map(|link| index.get(link.to.as_str()).copied());
            to.collect::<BTreeSet<_>>().into_iter().collect()
        })
        .collect();
    match topological(&needs) {
        Ok(order) => Some(order),
        Err(circle) => {
            report(cx, draft, &circle);
            None
        }
    }
}

/// The path of the circle, each edge with its place.
fn report(cx: &mut Cx<'_>, draft: &Draft, circle: &[usize]) {
    let name = |index: usize| &draft.stages[index].stage.name;
    let path: Vec<_> = circle.iter().chain(circle.first()).map(|i| name(*i).as_str()).collect();
    let message = match circle {
        [one] => format!("the stage `{}` needs itself", name(*one)),
        _ => format!("stages need each other: {}", shorten(&path)),
    };
    let mut edges = circle.iter().zip(circle.iter().cycle().skip(1)).filter_map(|(from, to)| {
        let stage = &draft.stages[*from];
        let link = stage.links.iter().find(|link| link.to == draft.stages[*to].stage.name)?;
        Some((link, format!("`{}` {} `{}`", name(*from), link.kind.verb(), name(*to))))
    });
    let Some((first, text)) = edges.next() else { return };
    cx.error(Code::Cycle, &first.span, message);
    cx.note(text);
    for (link, text) in edges.take(EDGES_SHOWN - 1) {
        cx.also(&link.span, text);
    }
    cx.help("remove one of these needs");
}

/// The most edges of a circle that are shown, each with its place.
const EDGES_SHOWN: usize = 10;

fn shorten(path: &[&str]) -> String {
    if path.len() <= EDGES_SHOWN + 1 {
        return path.join(" -> ");
    }
    let (head, tail) = (&path[..EDGES_SHOWN - 2], &path[path.len() - 2..]);
    let left_out = path.len() - head.len() - tail.len();
    format!("{} -> ({left_out} more) -> {}", head.join(" -> "), tail.join(" -> "))
}

/// Orders `0..needs.len()` so that each stands behind its needs, the smallest first where there is a
/// choice; or gives a circle, each of whose members needs the next. O((V + E) log V), no recursion.
pub(crate) fn topological(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut dependants: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (index, list) in needs.iter().enumerate() {
        for need in list {
            dependants[*need].push(index);
        }
    }
    let ready = waiting.iter().enumerate().filter(|(_, count)| **count == 0);
    let mut ready: BinaryHeap<_> = ready.map(|(index, _)| Reverse(index)).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for dependant in &dependants[index] {
            waiting[*dependant] -= 1;
            if waiting[*dependant] == 0 {
                ready.push(Reverse(*dependant));
            }
        }
    }
    if order.len() == needs.len() {
        return Ok(order);
    }
    Err(circle(needs, &waiting))
}

/// Follows unmet needs until a stage comes again. Each stage left over has one.
fn circle(needs: &[Vec<usize>], waiting: &[usize]) -> Vec<usize> {
    let mut position: BTreeMap<usize, usize> = BTreeMap::new();
    let mut path = Vec::new();
    let mut next = waiting.iter().position(|count| *count > 0);
    while let Some(index) = next {
        if let Some(start) = position.get(&index) {
            let mut circle = path.split_off(*start);
            // From the stage that stands first in the file.
            let first = circle.iter().enumerate().min_by_key(|(_, i)| **i).map_or(0, |(p, _)| p);
            circle.rotate_left(first);
            return circle;
        }
        position.insert(index, path.len());
        path.push(index);
        next = needs[index].iter().copied().find(|need| waiting[*need] > 0);
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_of_the_file_decides_where_needs_do_not() {
        let needs = [vec![2], vec![], vec![], vec![0, 1]];
        assert_eq!(topological(&needs), Ok(vec![1, 2, 0, 3]));
    }

    #[test]
    fn a2_a_circle_is_named_from_its_first_stage() {
        // 3 only leads into the circle 0 -> 2 -> 1 -> 0.
        let needs = [vec![2], vec![0], vec![1], vec![2]];
        assert_eq!(topological(&needs), Err(vec![0, 2, 1]));
        assert_eq!(topological(&[vec![], vec![1]]), Err(vec![1]));
    }

    #[test]
    fn a2_a_hundred_thousand_stages_in_a_row_need_no_stack() {
        const COUNT: usize = 100_000;
        let chain: Vec<_> =
            (0..COUNT).map(|i| Vec::from_iter((i + 1 < COUNT).then_some(i + 1))).collect();
        let order = topological(&chain).expect("a chain has an order");
        assert!(order.iter().rev().copied().eq(0..COUNT));
        let ring: Vec<_> = (0..COUNT).map(|i| vec![(i + 1) % COUNT]).collect();
        assert_eq!(topological(&ring).expect_err("a ring has none").len(), COUNT);
    }

    proptest! {
        #[test]
        fn every_graph_is_ordered_or_has_a_true_circle(
            edges in prop::collection::btree_set((0..12_usize, 0..12_usize), 0..30)
        ) {
            let mut needs = vec![Vec::new(); 12];
            for (from, to) in edges {
                needs[from].push(to);
            }
            match topological(&needs) {
                Ok(order) => {
                    let mut place = [0; 12];
                    for (at, index) in order.iter().enumerate() { place[*index] = at; }
                    prop_assert_eq!(order.len(), 12);
                    for (from, list) in needs.iter().enumerate() {
                        for to in list { prop_assert!(place[*to] < place[from]); }
                    }
                }
                Err(circle) => {
                    prop_assert!(!circle.is_empty());
                    for (at, from) in circle.iter().enumerate() {
                        let to = circle[(at + 1) % circle.len()];
                        prop_assert!(needs[*from].contains(&to));
                    }
                }
            }
        }
    }
}
