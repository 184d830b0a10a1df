//! What is still to come of a response, as a distribution, and its Gittins index.
//!
//! A law is cut into cells: the tokens between two edges, and how likely the response ends there.
//! The arithmetic is the same to the bit natively and in the sandbox.

/// Edges of the cells of a predicted law, from this many standard deviations below the mean on;
/// what lies beyond the outer edges counts to the outer cells.
const FIRST_EDGE: f32 = -2.4;

/// From one edge to the next, in standard deviations.
const STEP: f32 = 0.3;

/// The mass of the standard normal law in each cell.
const NORMAL: [f32; 16] = [
    0.017_864, 0.018_066, 0.030_877, 0.048_262, 0.068_990, 0.090_193, 0.107_835, 0.117_911,
    0.117_911, 0.107_835, 0.090_193, 0.068_990, 0.048_262, 0.030_877, 0.018_066, 0.017_864,
];

/// The law of what is still to come of a response, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Law<'a> {
    /// So much, for certain.
    Known(f32),
    /// A normal law.
    Normal {
        /// Its mean.
        mean: f32,
        /// Its standard deviation.
        sigma: f32,
    },
    /// A log-normal law.
    LogNormal {
        /// The mean of the tokens, not of their logarithm.
        mean: f32,
        /// The standard deviation of the tokens.
        sigma: f32,
    },
    /// As often as others had it.
    Histogram {
        /// How many, by bin.
        counts: &'a [u32],
        /// Width of a bin.
        bin_tokens: f32,
    },
}

/// The tokens between two edges, and how likely the response ends there.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    lower: f32,
    upper: f32,
    mass: f32,
}

/// Finds Gittins indices; keeps its working memory from one job to the next.
#[derive(Debug, Clone, Default)]
pub struct Gittins {
    cells: Vec<Cell>,
}

impl Gittins {
    /// The index of a response of that law that has gone on for `spent_tokens`; lower sooner.
    ///
    /// It is the least that an end can cost, over all ways to set a limit and give up there:
    /// `min over d of E[min(R, d)] / P(R <= d)`, where `R` is what remains given that the response
    /// has not ended yet. It is never above the mean of `R`, where one would never give up. A
    /// response that has outlived its law counts as one more cell; NaN is for one of which nothing
    /// is known.
    pub fn index(&mut self, law: Law<'_>, spent_tokens: f32) -> f32 {
        self.cells.clear();
        match law {
            Law::Known(tokens) => return floor_at_zero(tokens - spent_tokens),
            Law::Normal { mean, sigma } => {
                let edge = |i: f32| mean + sigma * (FIRST_EDGE + STEP * i);
                self.cells.extend(predicted(edge));
            }
            Law::LogNormal { mean, sigma } => {
                let ratio = sigma / mean;
                let variance = libm::log1pf(ratio * ratio);
                let deviation = libm::sqrtf(variance);
                let median = mean * libm::expf(-0.5 * variance);
                let edge = |i: f32| median * libm::expf(deviation * (FIRST_EDGE + STEP * i));
                self.cells.extend(predicted(edge));
            }
            Law::Histogram { counts, bin_tokens } => {
                let cell = |(bin, &count): (usize, &u32)| Cell {
                    lower: bin as f32 * bin_tokens,
                    upper: (bin + 1) as f32 * bin_tokens,
                    mass: count as f32,
                };
                let seen = counts.iter().enumerate().filter(|(_, count)| **count > 0);
                self.cells.extend(seen.map(cell));
            }
        }
        self.least(spent_tokens)
    }

    fn least(&mut self, spent_tokens: f32) -> f32 {
        let Some(mut tail) = self.cells.pop() else {
            return f32::NAN;
        };
        // The last cell has no end: whoever has come there needs one cell more, however long ago.
        let one_more = tail.upper - tail.lower;
        tail.lower = floor_at_zero(tail.lower - spent_tokens);
        let mut beyond = tail.mass;
        // Given that it has not ended: what lies behind is gone, and the cell in between is cut.
        self.cells.retain_mut(|cell| {
            let whole = cell.upper - cell.lower;
            cell.upper -= spent_tokens;
            cell.lower = floor_at_zero(cell.lower - spent_tokens);
            let left = cell.upper - cell.lower;
            if left > 0.0 {
                cell.mass *= left / whole;
                beyond += cell.mass;
            }
            left > 0.0
        });
        let (mut within, mut cost_within) = (0.0, 0.0);
        let mut least = f32::INFINITY;
        for cell in &self.cells {
            within += cell.mass;
            beyond -= cell.mass;
            cost_within += cell.mass * 0.5 * (cell.lower + cell.upper);
            let cost = (cost_within + beyond * cell.upper) / within;
            if cost < least {
                least = cost;
            }
        }
        let mean = (cost_within + tail.mass * (tail.lower + one_more)) / (within + tail.mass);
        if mean < least { mean } else { least }
    }
}

/// Tokens of one bin of the column `length-histogram`.
pub const BIN_TOKENS: f32 = 64.0;

/// Added to the count of every bin, so that a prediction is believed where nothing was seen.
const DOUBT: f32 = 0.25;

/// Beyond this many variances of an error, a length does not explain a prediction.
const REACH: f32 = 8.0;

/// The lengths of other responses: what a prediction means among them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    counts: Vec<f32>,
}

impl Seen {
    /// Of the column `length-histogram`.
    pub fn of(histogram: &[u32]) -> Self {
        let counts = histogram.iter().map(|&count| count as f32).collect();
        Self { counts }
    }

    /// The tokens still to come of a response that has made so many, given that its whole length
    /// was predicted with an error of that standard deviation: the mean over the lengths of others,
    /// each as likely as it is common and as it explains the prediction (Bayes). `None` where
    /// nothing explains it, or the prediction is missing or certain.
    pub fn remaining(&self, predicted_total: f32, sigma: f32, made_tokens: f32) -> Option<f32> {
        if !(predicted_total.is_finite() && sigma.is_finite() && sigma > 0.0) {
            return None;
        }
        let variances = REACH * sigma * sigma;
        let reach = libm::sqrtf(variances);
        let bin = |tokens: f32| (tokens / BIN_TOKENS).clamp(0.0, self.counts.len() as f32) as usize;
        let (first, last) = (
            bin(made_tokens.max(predicted_total - reach)),
            bin(predicted_total + reach),
        );
        // What lies beyond the last bin has no length of its own.
        let counts = self.counts.get(first..=last)?;
        let (mut mass, mut sum) = (0.0, 0.0);
        let inverse = 1.0 / variances;
        let mut lower = made_tokens.max(first as f32 * BIN_TOKENS);
        let mut upper = (first + 1) as f32 * BIN_TOKENS;
        for &count in counts {
            let middle = 0.5 * (lower + upper);
            let off = middle - predicted_total;
            // Nearly a normal law, without an exponential.
            let fits = 1.0 - off * off * inverse;
            if fits > 0.0 {
                let likely = (count + DOUBT) * (fits * fits) * (fits * fits);
                mass += likely;
                sum += likely * middle;
            }
            lower = upper;
            upper += BIN_TOKENS;
        }
        (mass > 0.0).then(|| sum / mass - made_tokens)
    }

    /// The mean length, by the middles of the bins; `None` where nothing was seen.
    pub fn mean(&self) -> Option<f32> {
        let (all, tokens) = self.sums();
        (all > 0.0).then(|| tokens / all)
    }

    /// How many were seen, and their tokens.
    fn sums(&self) -> (f32, f32) {
        let middles = (0..).map(|bin| (bin as f32 + 0.5) * BIN_TOKENS);
        let tokens = self
            .counts
            .iter()
            .zip(middles)
            .map(|(n, tokens)| n * tokens);
        (self.counts.iter().sum(), tokens.sum())
    }

    /// A length that at most one in `one_in` exceeds and that is at least `times` the mean;
    /// infinite where nothing was seen.
    pub fn giant(&self, one_in: f32, times: f32) -> f32 {
        let (all, tokens) = self.sums();
        if all <= 0.0 {
            return f32::INFINITY;
        }
        let mut above = 0.0;
        let mut bins = self.counts.len();
        while bins > 0 && above + self.counts[bins - 1] <= all / one_in {
            bins -= 1;
            above += self.counts[bins];
        }
        (times * tokens / all).max(bins as f32 * BIN_TOKENS)
    }
}

/// The cells between edges that are numbered from 0.
fn predicted(edge: impl Fn(f32) -> f32) -> impl Iterator<Item = Cell> {
    let mut lower = edge(0.0);
    NORMAL.iter().zip(1u8..).map(move |(&mass, i)| {
        let upper = edge(f32::from(i));
        let cell = Cell { lower, upper, mass };
        lower = upper;
        cell
    })
}

/// Zero for what is below it; a NaN stays one.
fn floor_at_zero(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(law: Law<'_>, spent: f32) -> f32 {
        Gittins::default().index(law, spent)
    }

    /// By the definition, for a cumulative distribution: every limit tried, in small steps.
    fn by_definition(cumulative: impl Fn(f64) -> f64, spent: f64, longest: f64) -> f64 {
        let alive = 1.0 - cumulative(spent);
        let step = longest / 20_000.0;
        let (mut worked, mut least) = (0.0, f64::INFINITY);
        for i in 1..=20_000 {
            let limit = f64::from(i) * step;
            let survives = (1.0 - cumulative(spent + limit)) / alive;
            worked += survives * step;
            least = (worked / (1.0 - survives)).min(least);
        }
        least
    }

    fn standard_normal(z: f64) -> f64 {
        0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
    }

    #[test]
    fn what_is_known_is_its_own_index() {
        assert_eq!(index(Law::Known(80.0), 30.0), 50.0);
        assert_eq!(index(Law::Known(80.0), 90.0), 0.0);
        assert!(index(Law::Known(f32::NAN), 1.0).is_nan());
    }

    #[test]
    fn of_two_equal_means_the_one_that_may_end_soon_comes_first() {
        let bin_tokens = 10.0;
        // Between 0 and 10 or between 190 and 200, as likely; and surely between 90 and 110.
        let mut coin = [0; 20];
        (coin[0], coin[19]) = (5, 5);
        let mut sure = [0; 20];
        (sure[9], sure[10]) = (5, 5);
        let [coin, sure] = [&coin, &sure].map(|counts| Law::Histogram { counts, bin_tokens });
        // Ten tokens, of which five are spent on average if it ends there: 7.5 for half a chance.
        assert_eq!(index(coin, 0.0), 15.0);
        assert_eq!(index(sure, 0.0), 102.5);
        // It has not ended early, so it is a long one.
        assert_eq!(index(coin, 10.0), 190.0);
        assert_eq!(index(coin, 195.0), 10.0);
        assert_eq!(index(coin, 900.0), 10.0);
        assert!(
            index(
                Law::Histogram {
                    counts: &[0, 0],
                    bin_tokens
                },
                0.0
            )
            .is_nan()
        );
    }

    #[test]
    fn a_response_without_memory_never_changes_its_index() {
        let counts: Vec<u32> = (0..15).map(|bin| 1 << (20 - bin)).collect();
        let law = Law::Histogram {
            counts: &counts,
            bin_tokens: 64.0,
        };
        let first = index(law, 0.0);
        for bin in 1..8u8 {
            let later = index(law, 64.0 * f32::from(bin));
            assert!(
                (later / first - 1.0).abs() < 0.02,
                "{bin}: {later} and {first}"
            );
        }
    }

    proptest! {
        #[test]
        fn predicted_laws_have_the_index_of_the_definition(
            mean in 5.0f32..500.0,
            spread in 0.05f32..2.0,
            deviations in -1.0f32..1.0,
            log in any::<bool>(),
        ) {
            let sigma = mean * spread;
            let (m, s, z) = (f64::from(mean), f64::from(sigma), f64::from(deviations));
            let (ours, exact) = if log {
                let variance = f64::from(spread * spread).ln_1p();
                let (centre, deviation) = (m.ln() - 0.5 * variance, variance.sqrt());
                let spent = (centre + deviation * z).exp();
                let longest = (centre + deviation * 4.0).exp();
                let law = |x: f64| standard_normal((x.ln() - centre) / deviation);
                let exact = by_definition(law, spent, longest);
                (index(Law::LogNormal { mean, sigma }, spent as f32), exact)
            } else {
                let spent = (m + s * z).max(0.0);
                let law = |x: f64| standard_normal((x - m) / s);
                let exact = by_definition(law, spent, 6.0 * s + m);
                (index(Law::Normal { mean, sigma }, spent as f32), exact)
            };
            // Cells of a log-normal law grow with the tokens, and so does what they blur.
            let blur = if log { 0.3 } else { 0.02 };
            let error = (f64::from(ours) / exact - 1.0).abs();
            prop_assert!(error < blur, "{} and {}", ours, exact);
        }

        #[test]
        fn it_grows_with_the_mean(
            mean in 1.0f32..400.0,
            more in 1.0f32..100.0,
            sigma in 1.0f32..200.0,
            spent in 0.0f32..60.0,
        ) {
            let index = |mean| index(Law::Normal { mean, sigma }, spent);
            prop_assert!(index(mean) <= index(mean + more) * 1.000_1);
        }

        #[test]
        fn without_a_spread_to_speak_of_it_is_what_is_left(mean in 1.0f32..400.0) {
            let sigma = mean * 1e-4;
            let law = [Law::Normal { mean, sigma }, Law::LogNormal { mean, sigma }];
            for law in law {
                prop_assert!((index(law, 0.0) / mean - 1.0).abs() < 1e-3);
            }
        }

        #[test]
        fn nothing_that_a_predictor_says_makes_it_negative(
            mean in 0.0f32..f32::MAX,
            sigma in 0.0f32..f32::MAX,
            spent in 0u32..5_000,
        ) {
            let laws = [Law::Normal { mean, sigma }, Law::LogNormal { mean, sigma }];
            for law in laws.into_iter().chain([Law::Known(mean)]) {
                let index = index(law, spent as f32);
                prop_assert!(index.is_nan() || index >= 0.0, "{}", index);
            }
        }
    }

    #[test]
    fn a_prediction_means_what_others_of_that_length_had() {
        let mut histogram = [0; 64];
        histogram[0] = 10_000;
        let short = Seen::of(&histogram);
        // A guess of 150 with an error of 80 is most likely one of the many that have 32.
        let likely = short.remaining(150.0, 80.0, 0.0).unwrap();
        assert!((32.0..40.0).contains(&likely), "{likely}");
        // One that has made 100 is none of them, and the prediction is all there is.
        let later = short.remaining(300.0, 80.0, 100.0).unwrap();
        assert!((180.0..220.0).contains(&later), "{later}");
        for (total, sigma) in [(150.0, 0.0), (f32::NAN, 80.0), (1e6, 80.0)] {
            assert_eq!(short.remaining(total, sigma, 0.0), None);
        }
        assert_eq!(Seen::of(&[]).remaining(150.0, 80.0, 0.0), None);
    }

    #[test]
    fn a_giant_is_rare_and_many_times_the_mean() {
        let mut histogram = [0; 64];
        assert_eq!(Seen::of(&histogram).giant(200.0, 10.0), f32::INFINITY);
        histogram[0] = 996;
        histogram[50] = 4;
        // The mean is 32 and a little.
        let giant = Seen::of(&histogram).giant(200.0, 10.0);
        assert!((320.0..500.0).contains(&giant), "{giant}");
        histogram[50] = 40;
        assert_eq!(Seen::of(&histogram).giant(200.0, 10.0), 51.0 * BIN_TOKENS);
    }
}
