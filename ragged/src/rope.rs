//! Rotary position embeddings (Su et al., 2021), from a table.

/// Which elements of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Neighbours: 0 and 1, 2 and 3. Llama's weights as GGUF has them.
    Neighbours,
    /// An element of the first half and its place in the second. Weights as Hugging Face has them.
    Halves,
}

/// Cosines and sines of all positions.
#[derive(Debug, Clone)]
pub struct Rope {
    pairing: Pairing,
    /// Pairs in a head.
    pairs: usize,
    /// For each position the cosines and then the sines of all pairs.
    table: Vec<f32>,
}

impl Rope {
    /// A table for so many positions; pair `i` turns by `frequencies[i]` radians a position.
    pub fn new(pairing: Pairing, frequencies: &[f64], positions: usize) -> Self {
        let mut table = Vec::with_capacity(positions * frequencies.len() * 2);
        for position in 0..positions {
            let angles = frequencies.iter().map(|f| position as f64 * f);
            table.extend(angles.clone().map(|angle| angle.cos() as f32));
            table.extend(angles.map(|angle| angle.sin() as f32));
        }
        Self {
            pairing,
            pairs: frequencies.len(),
            table,
        }
    }

    /// Positions in the table.
    pub fn positions(&self) -> usize {
        self.table.len() / (2 * self.pairs).max(1)
    }

    /// Turns heads of `2 * pairs` values, one after another, as for a position.
    ///
    /// # Panics
    ///
    /// If the position is not in the table or the values are not whole heads.
    pub fn turn(&self, position: usize, values: &mut [f32]) {
        let pairs = self.pairs;
        let row = &self.table[position * 2 * pairs..(position + 1) * 2 * pairs];
        let (cosines, sines) = row.split_at(pairs);
        assert!(values.len().is_multiple_of(2 * pairs));
        for head in values.chunks_exact_mut(2 * pairs) {
            match self.pairing {
                Pairing::Neighbours => {
                    let pairs = head.as_chunks_mut::<2>().0;
                    for ((pair, cos), sin) in pairs.iter_mut().zip(cosines).zip(sines) {
                        let [x, y] = *pair;
                        *pair = [x * cos - y * sin, x * sin + y * cos];
                    }
                }
                Pairing::Halves => {
                    let (first, second) = head.split_at_mut(pairs);
                    for (i, (x, y)) in first.iter_mut().zip(second).enumerate() {
                        let (a, b) = (*x, *y);
                        *x = a * cosines[i] - b * sines[i];
                        *y = a * sines[i] + b * cosines[i];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_keeps_lengths_and_only_distances_count() {
        for pairing in [Pairing::Neighbours, Pairing::Halves] {
            let rope = Rope::new(pairing, &[1.0, 0.1, 0.01], 100);
            assert_eq!(rope.positions(), 100);
            let dot = |p: usize, q: usize| {
                let mut x = [0.3, -1.0, 0.5, 2.0, 0.1, 0.7];
                let mut y = [1.0, 0.2, -0.4, 0.6, 0.9, -0.3];
                rope.turn(p, &mut x);
                rope.turn(q, &mut y);
                x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>()
            };
            assert!((dot(3, 7) - dot(53, 57)).abs() < 1e-5);
            assert!((dot(0, 0) - dot(99, 99)).abs() < 1e-5);
        }
    }

    #[test]
    fn pairings_are_the_same_turn_of_permuted_heads() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let mut near = [values[0], values[2], values[1], values[3]];
        let mut far = values;
        Rope::new(Pairing::Neighbours, &[0.7, 0.2], 5).turn(4, &mut near);
        Rope::new(Pairing::Halves, &[0.7, 0.2], 5).turn(4, &mut far);
        assert_eq!([near[0], near[2], near[1], near[3]], far);
    }
}
