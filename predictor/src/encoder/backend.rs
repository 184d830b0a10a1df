//! What multiplies the matrices, and by which name a user asks for it.

use std::str::FromStr;

#[cfg(feature = "candle")]
use super::EncoderError;

/// What multiplies the matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Backend {
    /// Our kernels over packed sequences, on the CPU.
    #[default]
    Ragged,
    /// Candle on the CPU, floats only; on as many threads as candle likes.
    Candle,
    /// Candle on the NVIDIA GPU of this index, floats only; needs the feature `cuda`.
    Cuda(usize),
}

impl Backend {
    /// Candle's device for what has no other backend, training above all.
    #[cfg(feature = "candle")]
    pub(crate) fn device(self) -> Result<candle_core::Device, EncoderError> {
        match self {
            Self::Ragged | Self::Candle => Ok(candle_core::Device::Cpu),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(EncoderError::Backend {
                what: "this build has no CUDA",
                advice: "`cargo xtask cuda` makes one that has it; or take another backend",
            }),
            Self::Cuda(index) => Ok(candle_core::Device::new_cuda(index)?),
        }
    }
}

impl FromStr for Backend {
    type Err = String;

    /// `cpu`, `candle` or `cuda:N`.
    fn from_str(name: &str) -> Result<Self, String> {
        let index = name.strip_prefix("cuda:").map(str::parse);
        match (name, index) {
            ("cpu", _) => Ok(Self::Ragged),
            ("candle", _) => Ok(Self::Candle),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(index))) => Ok(Self::Cuda(index)),
            _ => Err("write cpu, candle or cuda:N".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_have_names() {
        let named = ["cpu", "candle", "cuda", "cuda:1"].map(str::parse);
        let meant = [
            Backend::Ragged,
            Backend::Candle,
            Backend::Cuda(0),
            Backend::Cuda(1),
        ];
        assert_eq!(named, meant.map(Ok));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(wrong.parse::<Backend>().is_err(), "{wrong}");
        }
    }
}
