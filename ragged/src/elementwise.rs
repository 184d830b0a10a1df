//! What is done to each value or to each row: activation functions, norms, softmax.

use crate::cpu::{Cpu, versions};

/// Lanes that sums over a row are kept in: the order is the same whatever the vectors are.
const LANES: usize = 16;

/// `a * b + c`, fused where the processor does that in one instruction.
#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn least(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn most(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Adds up lanes in pairs.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `(Phi(x) - 1/2) / x` as a polynomial in `s = 2 x^2 / 25 - 1`, by interpolation at Chebyshev's
/// points for |x| up to 5. With it GELU is right to 2e-6 for all x.
#[expect(clippy::excessive_precision, reason = "as they were computed")]
const PHI: [f32; 13] = [
    0.141_363_799_571_990_97,
    -0.070_295_937_359_333_04,
    0.051_518_943_160_772_324,
    -0.040_450_710_803_270_34,
    0.031_464_871_019_124_985,
    -0.023_216_344_416_141_51,
    0.016_287_069_767_713_547,
    -0.011_299_743_317_067_623,
    0.006_667_809_095_233_679,
    -0.002_534_322_440_624_237,
    0.001_462_631_626_054_644_6,
    -0.001_674_031_023_867_428_3,
    0.000_705_952_988_937_497_1,
];
const PHI_MOST: f32 = 5.0;

/// Replaces each value by GELU of it, `x * Phi(x)`, the form with the error function.
pub fn gelu(cpu: Cpu, values: &mut [f32]) {
    gelu_by_cpu(cpu, values);
}

versions! { gelu_by_cpu = gelu_all(values: &mut [f32]) }

#[inline(always)]
fn gelu_all<const FMA: bool>(values: &mut [f32]) {
    for value in values {
        let x = *value;
        let inside = most(least(x, PHI_MOST), -PHI_MOST);
        let s = fma::<FMA>(inside * inside, 2.0 / (PHI_MOST * PHI_MOST), -1.0);
        let mut p = PHI[12];
        for i in (0..12).rev() {
            p = fma::<FMA>(p, s, PHI[i]);
        }
        *value = x * fma::<FMA>(inside, p, 0.5);
    }
}

/// Adds `residual` to `x`, both rows x `gain.len()`, and normalises each row to mean 0 and variance
/// 1, then scales and shifts it by `gain` and `shift`.
///
/// # Panics
///
/// If the lengths do not match.
pub fn add_layer_norm(
    cpu: Cpu,
    x: &mut [f32],
    residual: &[f32],
    gain: &[f32],
    shift: &[f32],
    epsilon: f32,
) {
    assert_eq!((x.len(), gain.len()), (residual.len(), shift.len()));
    assert!(x.len().is_multiple_of(gain.len()));
    norm_by_cpu(cpu, x, residual, gain, shift, epsilon);
}

versions! {
    norm_by_cpu = norm_rows(
        x: &mut [f32],
        residual: &[f32],
        gain: &[f32],
        shift: &[f32],
        epsilon: f32,
    )
}

#[inline(always)]
fn norm_rows<const FMA: bool>(
    x: &mut [f32],
    residual: &[f32],
    gain: &[f32],
    shift: &[f32],
    epsilon: f32,
) {
    let width = gain.len();
    for (row, residual) in x.chunks_exact_mut(width).zip(residual.chunks_exact(width)) {
        for (value, residual) in row.iter_mut().zip(residual) {
            *value += residual;
        }
        let mean = sum_of(row, |value| value) / width as f32;
        let variance = sum_of(row, |value| (value - mean) * (value - mean)) / width as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for ((value, gain), shift) in row.iter_mut().zip(gain).zip(shift) {
            *value = fma::<FMA>((*value - mean) * inverse, *gain, *shift);
        }
    }
}

/// Fills `out` with rows of `x` divided by the root of their mean square, times `gain` (RMSNorm,
/// Zhang and Sennrich, 2019). Rows are as long as `gain`.
///
/// # Panics
///
/// If the lengths do not match.
pub fn rms_norm(cpu: Cpu, x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
    assert!(x.len() == out.len() && x.len().is_multiple_of(gain.len()));
    rms_by_cpu(cpu, x, gain, epsilon, out);
}

versions! { rms_by_cpu = rms_rows(x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) }

#[inline(always)]
fn rms_rows<const FMA: bool>(x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = gain.len();
    for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let square = sum_of(row, |value| value * value) / width as f32;
        let inverse = 1.0 / (square + epsilon).sqrt();
        for ((out, value), gain) in out.iter_mut().zip(row).zip(gain) {
            *out = value * inverse * gain;
        }
    }
}

/// Adds `more` to `x`, value by value.
///
/// # Panics
///
/// If the lengths differ.
pub fn add(x: &mut [f32], more: &[f32]) {
    assert_eq!(x.len(), more.len());
    for (value, more) in x.iter_mut().zip(more) {
        *value += more;
    }
}

/// Fills `out`, rows x width, from `gate_up`, rows x two widths: `gate * sigmoid(gate) * up`
/// (SwiGLU, Shazeer, 2020).
///
/// # Panics
///
/// If the lengths do not match.
pub fn silu_product(cpu: Cpu, gate_up: &[f32], width: usize, out: &mut [f32]) {
    assert!(gate_up.len() == 2 * out.len() && out.len().is_multiple_of(width));
    silu_by_cpu(cpu, gate_up, width, out);
}

versions! { silu_by_cpu = silu_rows(gate_up: &[f32], width: usize, out: &mut [f32]) }

#[inline(always)]
fn silu_rows<const FMA: bool>(gate_up: &[f32], width: usize, out: &mut [f32]) {
    for (row, out) in gate_up
        .chunks_exact(2 * width)
        .zip(out.chunks_exact_mut(width))
    {
        let (gate, up) = row.split_at(width);
        for ((out, &gate), up) in out.iter_mut().zip(gate).zip(up) {
            // The exponent is taken below zero only, where it is accurate and cannot overflow.
            let e = exp::<FMA>(-gate.abs());
            let part = if gate < 0.0 { e } else { 1.0 };
            *out = gate * (part / (1.0 + e)) * up;
        }
    }
}

/// Replaces scores by `exp((score - largest) / temperature)` and returns their sum.
pub fn exponentials(cpu: Cpu, temperature: f32, scores: &mut [f32]) -> f32 {
    // Ever colder, only the largest is left.
    exponentials_by_cpu(cpu, scores, (1.0 / temperature).min(f32::MAX))
}

versions! { exponentials_by_cpu = exponential_row(scores: &mut [f32], scale: f32) -> f32 }

#[inline(always)]
fn exponential_row<const FMA: bool>(scores: &mut [f32], scale: f32) -> f32 {
    let mut lanes = [f32::MIN; LANES];
    let (whole, rest) = scores.as_chunks::<LANES>();
    for values in whole {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane = most(value, *lane);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = most(value, *lane);
    }
    let largest = lanes.into_iter().fold(f32::MIN, most);
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = scores.as_chunks_mut::<LANES>();
    for values in whole {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *value = exp::<FMA>((*value - largest) * scale);
            *lane += *value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *value = exp::<FMA>((*value - largest) * scale);
        *lane += *value;
    }
    total(lanes)
}

/// The sum of `term` over a row, in lanes.
#[inline(always)]
fn sum_of(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for values in whole {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane += term(value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += term(value);
    }
    total(lanes)
}

versions! {
    /// Replaces the first `count` scores of each row of `stride` by `exp(score - largest)` and
    /// writes the reciprocal of each row's sum.
    softmax = softmax_rows(scores: &mut [f32], stride: usize, count: usize, inverses: &mut [f32])
}

#[inline(always)]
fn softmax_rows<const FMA: bool>(
    scores: &mut [f32],
    stride: usize,
    count: usize,
    inverses: &mut [f32],
) {
    for (row, inverse) in scores.chunks_mut(stride).zip(inverses) {
        *inverse = 1.0 / exponential_row::<FMA>(&mut row[..count], 1.0);
    }
}

/// `exp(x)` for x of at most 0: `2^n * e^r` with |r| at most half of ln 2, where a Taylor series of
/// degree 6 is right to 2e-7.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    /// Adding this rounds to an integer in the lowest bits: 1.5 * 2^23.
    const ROUNDER: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with few bits, so that `n` times it is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = most(x, -87.0);
    let rounded = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUNDER);
    let n = rounded - ROUNDER;
    let r = fma::<FMA>(n, -LN_2_LOW, fma::<FMA>(n, -LN_2_HIGH, x));
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma::<FMA>(p, r, c);
    }
    let exponent = (rounded.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    p * f32::from_bits((exponent.wrapping_add(127) as u32) << 23)
}

versions! {
    /// Multiplies each row of `width` values, `stride` apart, by its factor.
    scale_rows = scale_all(values: &mut [f32], stride: usize, width: usize, factors: &[f32])
}

#[inline(always)]
fn scale_all<const FMA: bool>(values: &mut [f32], stride: usize, width: usize, factors: &[f32]) {
    for (row, factor) in values.chunks_mut(stride).zip(factors) {
        for value in &mut row[..width] {
            *value *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phi by Simpson's rule, in doubles.
    fn phi(x: f64) -> f64 {
        let steps = 2000;
        let h = x / f64::from(steps);
        let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let inner = (1..steps).map(|i| {
            let weight = if i % 2 == 1 { 4.0 } else { 2.0 };
            weight * density(f64::from(i) * h)
        });
        0.5 + h / 3.0 * (density(0.0) + density(x) + inner.sum::<f64>())
    }

    #[test]
    fn gelu_is_close_everywhere() {
        let xs: Vec<f32> = (-800..=800).map(|i| i as f32 * 0.0125).collect();
        for cpu in Cpu::all() {
            let mut ys = xs.clone();
            gelu(cpu, &mut ys);
            for (&x, &y) in xs.iter().zip(&ys) {
                let truth = f64::from(x) * phi(f64::from(x));
                assert!((f64::from(y) - truth).abs() < 5e-6, "{x}: {y} {truth}");
            }
        }
    }

    #[test]
    fn exp_is_close_below_zero() {
        for i in 0..=8600 {
            let x = -(i as f32) * 0.01;
            let truth = f64::from(x).exp();
            for y in [exp::<true>(x), exp::<false>(x)] {
                assert!(
                    (f64::from(y) / truth - 1.0).abs() < 1e-6,
                    "{x}: {y} {truth}"
                );
            }
        }
        assert!(exp::<true>(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn the_colder_the_fewer_are_left() {
        for cpu in Cpu::all() {
            let weigh = |temperature| {
                let mut scores = [2.0, 1.0, 2.5];
                let sum = exponentials(cpu, temperature, &mut scores);
                (scores, sum)
            };
            let (warm, sum) = weigh(0.5);
            let truth = [(-1.0f32).exp(), (-3.0f32).exp(), 1.0];
            assert!(
                warm.iter().zip(truth).all(|(w, t)| (w - t).abs() < 1e-6),
                "{warm:?}"
            );
            assert!((sum - truth.iter().sum::<f32>()).abs() < 1e-6);
            for cold in [1e-3, 1e-30, f32::MIN_POSITIVE, f32::from_bits(1)] {
                let (scores, sum) = weigh(cold);
                assert!(scores[0] < 1e-30 && scores[1] < 1e-30, "{scores:?}");
                assert_eq!((scores[2], sum), (1.0, 1.0));
            }
            assert_eq!(exponentials(cpu, 1.0, &mut []), 0.0);
        }
    }

    #[test]
    fn softmax_sums_to_one_and_heeds_only_the_count() {
        for cpu in Cpu::all() {
            let mut scores: Vec<f32> = (0..60).map(|i| (i * 7 % 13) as f32).collect();
            scores[19] = 1e9;
            let mut inverses = [0.0; 3];
            softmax(cpu, &mut scores, 20, 19, &mut inverses);
            for (row, inverse) in scores.chunks(20).zip(inverses) {
                let sum: f32 = row[..19].iter().sum();
                assert!((sum * inverse - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn normed_rows_have_mean_zero_and_variance_one() {
        for cpu in Cpu::all() {
            let mut x: Vec<f32> = (0..2 * 37).map(|i| (i * i % 17) as f32).collect();
            let residual = vec![100.0; x.len()];
            add_layer_norm(cpu, &mut x, &residual, &[1.0; 37], &[0.5; 37], 1e-12);
            for row in x.chunks(37) {
                let mean = row.iter().sum::<f32>() / 37.0;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 37.0;
                assert!((mean - 0.5).abs() < 1e-4 && (variance - 1.0).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn rms_normed_rows_have_mean_square_one() {
        for cpu in Cpu::all() {
            let x: Vec<f32> = (0..2 * 37).map(|i| (i * i % 17) as f32 - 5.0).collect();
            let mut out = vec![0.0; x.len()];
            rms_norm(cpu, &x, &[2.0; 37], 1e-6, &mut out);
            for row in out.chunks(37) {
                let square = row.iter().map(|v| v * v).sum::<f32>() / 37.0;
                assert!((square - 4.0).abs() < 1e-3, "{square}");
            }
        }
    }

    #[test]
    fn silu_is_close_everywhere() {
        for cpu in Cpu::all() {
            for i in -2000..2000 {
                let gate = i as f32 * 0.05;
                let mut out = [0.0];
                silu_product(cpu, &[gate, 3.0], 1, &mut out);
                let truth = 3.0 * f64::from(gate) / (1.0 + (-f64::from(gate)).exp());
                let error = (f64::from(out[0]) - truth).abs();
                assert!(
                    error < 1e-6 * (1.0 + truth.abs()),
                    "{gate}: {} {truth}",
                    out[0]
                );
            }
        }
    }
}
