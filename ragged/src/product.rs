//! Products of matrices by the crate `gemm`, for processors without a micro kernel of ours.
#![expect(unsafe_code, reason = "gemm takes pointers")]

use gemm::{Parallelism, gemm};

/// A matrix inside a slice, strides in elements.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl Matrix<'_> {
    fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = (rows - 1) * self.row_stride + (columns - 1) * self.column_stride;
        last < self.values.len()
    }
}

/// `out = left * right`, or `out += left * right`, where left is m x k and right k x n.
///
/// # Panics
///
/// If a matrix leaves its slice.
pub(crate) fn product(
    (m, n, k): (usize, usize, usize),
    left: Matrix<'_>,
    right: Matrix<'_>,
    out: &mut [f32],
    out_stride: usize,
    add: bool,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(left.holds(m, k) && right.holds(k, n));
    assert!((m - 1) * out_stride + n <= out.len());
    // SAFETY: all elements of the three matrices lie inside their slices, and the output, which is
    // borrowed mutably, overlaps neither of the others.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
