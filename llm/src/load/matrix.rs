//! Weights as files keep them, on their way into a layer.

use elis_ragged::{BLOCK, Block, Cpu, Format, Linear, Precision};

/// A matrix, a row for each output.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) values: Values,
}

/// What a matrix is made of, row-major.
#[derive(Debug)]
pub(crate) enum Values {
    Floats(Vec<f32>),
    /// Rows of whole blocks.
    Blocks(Format, Vec<Block>),
}

impl Matrix {
    /// One row as floats.
    pub(crate) fn row(&self, output: usize, out: &mut [f32]) {
        match &self.values {
            Values::Floats(values) => {
                out.copy_from_slice(&values[output * self.inputs..(output + 1) * self.inputs]);
            }
            Values::Blocks(format, blocks) => {
                let per_row = self.inputs / BLOCK;
                let row = &blocks[output * per_row..(output + 1) * per_row];
                for (block, out) in row.iter().zip(out.chunks_exact_mut(BLOCK)) {
                    for (out, &code) in out.iter_mut().zip(&block.codes) {
                        *out = weight(*format, block, code);
                    }
                }
            }
        }
    }

    /// All of it as floats.
    pub(crate) fn floats(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.outputs * self.inputs];
        for (output, row) in all.chunks_exact_mut(self.inputs).enumerate() {
            self.row(output, row);
        }
        all
    }

    /// The same, without a copy of what are floats already.
    pub(crate) fn into_floats(self) -> Vec<f32> {
        match self.values {
            Values::Floats(values) => values,
            Values::Blocks(..) => self.floats(),
        }
    }

    fn format(&self) -> Option<Format> {
        match &self.values {
            Values::Floats(_) => None,
            Values::Blocks(format, _) => Some(*format),
        }
    }
}

fn weight(format: Format, block: &Block, code: u8) -> f32 {
    match format {
        Format::Q8 => block.scale * (f32::from(code) - 128.0),
        Format::Min => block.scale * f32::from(code) + block.min,
    }
}

/// One layer of several matrices under one another, which have the same inputs. Blocks stay what
/// they are unless `precision` says otherwise or the parts differ.
pub(crate) fn linear(
    cpu: Cpu,
    precision: Option<Precision>,
    parts: &[Matrix],
    bias: &[f32],
) -> Linear {
    let inputs = parts[0].inputs;
    let outputs = parts.iter().map(|part| part.outputs).sum();
    let format = parts[0].format();
    let alike = parts.iter().all(|part| part.format() == format);
    if let (Some(format), true, None) = (format, alike, precision) {
        let rows = parts.iter().flat_map(|part| match &part.values {
            Values::Blocks(_, blocks) => blocks.chunks_exact(inputs / BLOCK),
            Values::Floats(_) => unreachable!("all parts have the format of the first"),
        });
        let rows: Vec<&[Block]> = rows.collect();
        return Linear::from_blocks(cpu, (outputs, inputs), format, bias, |row, i| rows[row][i]);
    }
    let floats: Vec<f32> = parts.iter().flat_map(Matrix::floats).collect();
    let quantised = parts.iter().any(|part| part.format().is_some());
    let own = if quantised {
        Precision::Q8
    } else {
        Precision::F32
    };
    let precision = precision.unwrap_or(own);
    Linear::new(cpu, precision, (outputs, inputs), &floats, bias)
}
