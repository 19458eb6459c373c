//! Between canonical boxes and the dimensions of the file, in any order.

use ndarray::{ArrayView, IxDyn};

use super::h5::Slab;
use super::variable::{Variable, with_slice};
use super::{Box4, ElementType, Values};

/// The slabs of the file that make up a box, in canonical order of time: one, unless leading dimensions were folded
/// into time.
pub(crate) fn pieces(variable: &Variable, region: &Box4) -> Vec<Slab> {
    let layout = &variable.layout;
    let len = |d: usize| variable.dims[d].len;
    let (inner, outer) = match layout.time.split_last() {
        Some((&time, outer)) => (Some(time), outer),
        None => (None, &[][..]),
    };
    let inner_len = inner.map_or(1, len);
    let mut slabs = Vec::new();
    let mut t = region.start[0];
    while t < region.end()[0] {
        let (fold, first) = (t / inner_len, t % inner_len);
        let count = (inner_len - first).min(region.end()[0] - t);
        let mut slab = Slab { start: vec![0; variable.dims.len()], count: vec![1; variable.dims.len()] };
        if let Some(time) = inner {
            (slab.start[time], slab.count[time]) = (first, count);
        }
        let mut rest = fold;
        for &d in outer.iter().rev() {
            slab.start[d] = rest % len(d);
            rest /= len(d);
        }
        for (axis, d) in layout.space.iter().enumerate().filter_map(|(a, d)| d.map(|d| (a + 1, d))) {
            (slab.start[d], slab.count[d]) = (region.start[axis], region.len[axis]);
        }
        slabs.push(slab);
        t += count;
    }
    slabs
}

/// File dimensions in canonical order: folded ones and time, then z, y, x; the dropped ones (length 1) first.
fn canonical_order(variable: &Variable) -> Vec<usize> {
    let kept: Vec<usize> =
        variable.layout.time.iter().copied().chain(variable.layout.space.into_iter().flatten()).collect();
    let dropped = (0..variable.dims.len()).filter(|d| !kept.contains(d));
    dropped.chain(kept.iter().copied()).collect()
}

/// Copies a slab, read in file order, to its place in a box in canonical order; returns where the next one goes.
pub(crate) fn place(variable: &Variable, slab: &Slab, from: &Values, to: &mut Values, at: usize) -> usize {
    let order = canonical_order(variable);
    macro_rules! copy {
        ($($variant:ident)+) => {
            match (from, &mut *to) {
                $((Values::$variant(from), Values::$variant(to)) => {
                    let view = ArrayView::from_shape(IxDyn(&slab.count), from).expect("as many values as the slab");
                    let canonical = view.permuted_axes(IxDyn(&order));
                    let out = &mut to[at..at + slab.len()];
                    match canonical.as_slice() {
                        Some(slice) => out.copy_from_slice(slice),
                        None => out.iter_mut().zip(canonical.iter()).for_each(|(o, n)| *o = *n),
                    }
                })+
                _ => unreachable!("both have the type of the variable"),
            }
        };
    }
    copy!(I8 U8 I16 U16 I32 U32 I64 U64 F32 F64);
    at + slab.len()
}

/// The numbers of a slab in file order, taken from a box in canonical order, starting at number `at`.
pub(crate) fn take(variable: &Variable, slab: &Slab, from: &Values, at: usize) -> Values {
    let order = canonical_order(variable);
    let shape: Vec<usize> = order.iter().map(|&d| slab.count[d]).collect();
    let mut back = vec![0; order.len()];
    for (canonical, &d) in order.iter().enumerate() {
        back[d] = canonical;
    }
    fn in_file_order<T: Copy>(from: &[T], shape: &[usize], back: &[usize]) -> Vec<T> {
        let view = ArrayView::from_shape(IxDyn(shape), from).expect("as many values as the slab");
        let in_file = view.permuted_axes(IxDyn(back));
        in_file.as_slice().map_or_else(|| in_file.iter().copied().collect(), <[T]>::to_vec)
    }
    let element: ElementType = from.element();
    debug_assert_eq!(element, variable.element);
    with_slice!(from, numbers => Values::from(in_file_order(&numbers[at..at + slab.len()], &shape, &back)))
}
