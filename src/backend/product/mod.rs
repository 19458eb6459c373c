//! The matrix-product kernels of the house, under `matmul` and `conv3d`.
//!
//! A kernel keeps a tile of the result in registers and walks over the contracted index, one broadcast and a few
//! multiply-adds per step. Rows of the operands are found through tables of pointers, so that a convolution needs no
//! copy of its windows: a row outside the grid points at zeros.
//!
//! | kernel | result | lanes | for |
//! |---|---|---|---|
//! | [`gather`] | out\[p\]\[n\] = start + sum_r sum_k row\[r\]\[p\]\[k\] b\[r, k\]\[n\] | n | many columns |
//! | [`dots`] | the same | k | few columns |
//! | [`outer`] | c\[m\]\[n\] += sum_p a\[p\]\[m\] b\[p\]\[n\] | n | contraction over positions |
//! | [`line`](Kernels::line), [`line_products`](Kernels::line_products) | both, of one channel by one | positions | grids of one channel |
//!
//! Every element of a result is summed in one fixed order that depends on no blocking: the same bits at every thread
//! count.

mod dots;
mod gather;
mod lines;
mod outer;
mod tile;

pub use dots::Dots;
pub use gather::Gather;
pub(crate) use gather::{PANEL_REGISTERS, pack_panels};
pub use lines::{Line, LineProducts};
pub use outer::Outer;
pub use tile::Rows;
pub(crate) use tile::Shared;

use super::simd::{Lanes, Task, Vector, dispatch};

/// The kernels of one element type.
///
/// Implemented here for f32 and f64, so that the tiles are compiled once and not in every user of a generic function.
pub trait Kernels: Lanes {
    /// Lanes of a vector on this machine.
    fn lanes() -> usize;

    /// Computes all columns of the given positions.
    ///
    /// # Safety
    /// Runs are valid for `rows.len` reads, the row of `out` of every place for `columns` writes by this thread
    /// alone.
    unsafe fn gather(job: &Gather<Self>);

    /// Computes all columns of the given positions.
    ///
    /// # Safety
    /// Runs are valid for `rows.len` reads, the row of `out` of every place for as many writes as `start` has
    /// columns, by this thread alone.
    unsafe fn dots(job: &Dots<Self>);

    /// Adds the product of the given positions to c.
    ///
    /// # Safety
    /// Elements of a and b are readable at their offsets.
    unsafe fn outer(job: &mut Outer<Self>);

    /// Computes all positions of a row.
    ///
    /// # Safety
    /// Rows are valid for `len + window - 1` reads, `out` for `len` writes by this thread alone.
    unsafe fn line(job: &Line<Self>);

    /// Adds the products of a row.
    ///
    /// # Safety
    /// Rows are valid for `len + window - 1` reads, `y` for `len`.
    unsafe fn line_products(job: &mut LineProducts<Self>);
}

/// [`Kernels::lanes`] as a task.
struct LaneCount;

macro_rules! kernels {
    ($t:ty) => {
        impl Kernels for $t {
            fn lanes() -> usize {
                dispatch::<$t, _>(LaneCount)
            }
            unsafe fn gather(job: &Gather<Self>) {
                dispatch(job);
            }
            unsafe fn dots(job: &Dots<Self>) {
                dispatch(job);
            }
            unsafe fn outer(job: &mut Outer<Self>) {
                dispatch(job);
            }
            unsafe fn line(job: &Line<Self>) {
                dispatch(job);
            }
            unsafe fn line_products(job: &mut LineProducts<Self>) {
                dispatch(job);
            }
        }
        impl Task<$t> for LaneCount {
            type Output = usize;
            #[inline(always)]
            unsafe fn run<V: Vector<Element = $t>>(self) -> usize {
                V::LANES
            }
        }
        impl Task<$t> for &Gather<'_, $t> {
            type Output = ();
            #[inline(always)]
            unsafe fn run<V: Vector<Element = $t>>(self) {
                // SAFETY: below `dispatch`; pointers by the contract of `Kernels`
                unsafe { gather::gather::<V>(self) }
            }
        }
        impl Task<$t> for &Dots<'_, $t> {
            type Output = ();
            #[inline(always)]
            unsafe fn run<V: Vector<Element = $t>>(self) {
                // SAFETY: below `dispatch`; pointers by the contract of `Kernels`
                unsafe { dots::dots::<V>(self) }
            }
        }
        impl Task<$t> for &mut Outer<'_, $t> {
            type Output = ();
            #[inline(always)]
            unsafe fn run<V: Vector<Element = $t>>(self) {
                // SAFETY: below `dispatch`; pointers by the contract of `Kernels`
                unsafe { outer::outer::<V>(self) }
            }
        }
        impl Task<$t> for &Line<'_, $t> {
            type Output = ();
            #[inline(always)]
            unsafe fn run<V: Vector<Element = $t>>(self) {
                // SAFETY: below `dispatch`; pointers by the contract of `Kernels`
                unsafe { lines::line::<V>(self) }
            }
        }
        impl Task<$t> for &mut LineProducts<'_, $t> {
            type Output = ();
            #[inline(always)]
            unsafe fn run<V: Vector<Element = $t>>(self) {
                // SAFETY: below `dispatch`; pointers by the contract of `Kernels`
                unsafe { lines::line_products::<V>(self) }
            }
        }
    };
}
kernels!(f32);
kernels!(f64);
