//! Matrices laid out for the micro kernels: panels of 32 columns, inner index next.

/// Columns of a panel: two vectors of AVX-512.
pub(crate) const WIDTH: usize = 32;

/// Writes columns of a matrix as one panel: `panel[i * 32 + j]` is element `i` of column `j`.
///
/// Column `j` is the `k` values from `columns[j * stride]`; columns that are not there are zero.
pub(crate) fn pack_transposed(
    panel: &mut [f32],
    columns: &[f32],
    stride: usize,
    k: usize,
    count: usize,
) {
    if count < WIDTH {
        panel[..k * WIDTH].fill(0.0);
    }
    for j in 0..count {
        let column = &columns[j * stride..j * stride + k];
        for (row, &value) in panel.chunks_exact_mut(WIDTH).zip(column) {
            row[j] = value;
        }
    }
}

/// Writes rows of a matrix as one panel: `panel[i * 32 + j]` is element `j` of row `i`.
///
/// Row `i` is the `count` values from `rows[i * stride]`; columns beyond them are zero.
pub(crate) fn pack(panel: &mut [f32], rows: &[f32], stride: usize, k: usize, count: usize) {
    for (i, to) in panel.chunks_exact_mut(WIDTH).take(k).enumerate() {
        to[..count].copy_from_slice(&rows[i * stride..i * stride + count]);
        to[count..].fill(0.0);
    }
}
