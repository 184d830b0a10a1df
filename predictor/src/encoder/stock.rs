//! The same model as candle has it: a yardstick on a CPU, and the way to a GPU.

use std::path::Path;

use candle_core::{DType, Device, IndexOp as _, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

use super::EncoderError;
use super::folder::{Pooling, bytes};

/// Texts that pass through the model together, each padded to the longest of them.
const BATCH: usize = 32;

/// Candle's model, where it runs.
pub(super) struct Stock {
    model: BertModel,
    device: Device,
}

impl Stock {
    /// `weights` are those of the folder, as they were read.
    pub(super) fn new(
        folder: &Path,
        weights: Vec<u8>,
        device: Device,
    ) -> Result<Self, EncoderError> {
        let path = folder.join("config.json");
        let config: Config = serde_json::from_slice(&bytes(&path)?)
            .map_err(|source| EncoderError::Json { path, source })?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &device)?;
        let model = BertModel::load(weights, &config)?;
        Ok(Self { model, device })
    }

    /// Fills `out`, `dim` numbers for each text.
    pub(super) fn encode(
        &self,
        texts: &[&[u32]],
        pooling: Pooling,
        dim: usize,
        out: &mut [f32],
    ) -> Result<(), EncoderError> {
        for (texts, out) in texts.chunks(BATCH).zip(out.chunks_mut(BATCH * dim)) {
            let rows = self.batch(texts, pooling)?.flatten_all()?;
            out.copy_from_slice(&rows.to_vec1()?);
        }
        Ok(())
    }

    fn batch(&self, texts: &[&[u32]], pooling: Pooling) -> candle_core::Result<Tensor> {
        let (ids, mask) = padded(texts, &self.device)?;
        let hidden = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        pooled(&hidden, &mask, pooling)
    }
}

/// Texts padded to the longest of them, and 1 where a token is theirs, 0 behind their end.
pub(super) fn padded(texts: &[&[u32]], device: &Device) -> candle_core::Result<(Tensor, Tensor)> {
    let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let shape = (texts.len(), longest);
    let mut ids = vec![0u32; texts.len() * longest];
    let mut mask = vec![0f32; ids.len()];
    for (i, text) in texts.iter().enumerate() {
        ids[i * longest..][..text.len()].copy_from_slice(text);
        mask[i * longest..][..text.len()].fill(1.0);
    }
    let ids = Tensor::from_vec(ids, shape, device)?;
    Ok((ids, Tensor::from_vec(mask, shape, device)?))
}

/// One vector for each text, of those of its tokens.
pub(super) fn pooled(
    hidden: &Tensor,
    mask: &Tensor,
    pooling: Pooling,
) -> candle_core::Result<Tensor> {
    match pooling {
        Pooling::Cls => hidden.i((.., 0))?.contiguous(),
        Pooling::Mean => {
            let sums = hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
            sums.broadcast_div(&mask.sum_keepdim(1)?)
        }
    }
}
