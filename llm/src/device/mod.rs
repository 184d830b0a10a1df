//! Models on devices, over candle's tensors: [`DeviceBackend`] is to them what
//! [`crate::CpuBackend`] is to the processor.
//!
//! The same code runs on the processor, where tests compare it with the other backend, and on
//! NVIDIA GPUs, where the feature `cuda` is on. KV blocks are one candle tensor. What candle has
//! no way for goes to the driver through cudarc: finding devices and their memory, swaps to pinned
//! host memory, and one kernel of our own, which writes keys and values into their blocks. Those
//! parts do not know candle, so that tests can run them on a driver that is none. All copies and
//! kernels of a model are on one stream: they happen in the order in which they were asked for,
//! and nothing waits but the end of an iteration.

mod batch;
#[cfg(feature = "cuda")]
mod cuda;
mod driver;
#[cfg(test)]
mod fake;
#[cfg(any(test, feature = "cuda"))]
mod kernels;
mod model;
#[cfg(any(test, feature = "cuda"))]
mod pinned;
mod pool;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use candle_core::DType;

use crate::backend::{Backend, DeviceError};
use crate::cache::{Cache, slots};
use crate::config::Config;
use crate::error::LoadError;
use crate::load::Source;
use crate::model::Part;
use batch::Batch;

pub use driver::{Found, Memory, NoCuda, NoRoom, devices};
pub use model::DeviceModel;
pub use pool::DevicePool;

/// What to do where the feature is off.
const NOT_BUILT: &str = "this elis was built without CUDA; `cargo xtask cuda` builds one with it";

/// Whether this build can compute on GPUs.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// A device by name: `cpu`, or `cuda:N` by the driver's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda(usize),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let ordinal = name.strip_prefix("cuda:").map(str::parse);
        match (name, ordinal) {
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(ordinal))) => Ok(Self::Cuda(ordinal)),
            _ => Err("expected cpu or cuda:N".to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// What weights, keys and values are on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Floats {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit brain floats; scores and logits stay 32 bits wide.
    Bf16,
}

/// A device that is open.
#[derive(Debug, Clone)]
pub struct Device {
    place: Place,
    candle: candle_core::Device,
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    ///
    /// In a sentence: the build, the driver or the number.
    pub fn open(place: Place) -> Result<Self, DeviceError> {
        let candle = match place {
            Place::Cpu => candle_core::Device::Cpu,
            Place::Cuda(_) if !HAS_CUDA => return Err(DeviceError(NOT_BUILT.to_owned())),
            Place::Cuda(ordinal) => {
                let count = devices().map_err(|why| DeviceError(why.to_string()))?.len();
                if ordinal >= count {
                    return Err(DeviceError(format!(
                        "there is no {place}: the driver sees {count} devices, from cuda:0"
                    )));
                }
                candle_core::Device::new_cuda_with_stream(ordinal)?
            }
        };
        Ok(Self { place, candle })
    }

    /// Its memory; none is told of the processor's.
    ///
    /// # Errors
    ///
    /// What the driver says.
    pub fn memory(&self) -> Result<Option<Memory>, DeviceError> {
        match self.place {
            Place::Cpu => Ok(None),
            Place::Cuda(ordinal) => {
                let memory = driver::memory(ordinal);
                memory.map(Some).map_err(|why| DeviceError(why.to_string()))
            }
        }
    }
}

impl DeviceModel {
    /// Reads all weights onto a device; `each` hears of every layer that is done.
    ///
    /// # Errors
    ///
    /// Every [`LoadError`] that a tensor can have.
    pub fn load(
        source: &mut Source,
        device: &Device,
        floats: Floats,
        each: impl FnMut(usize),
    ) -> Result<Self, LoadError> {
        let dtype = match floats {
            Floats::F32 => DType::F32,
            Floats::Bf16 => DType::BF16,
        };
        Self::read(source, &device.candle, dtype, each)
    }
}

/// A model on a device, with its KV blocks.
#[derive(Debug)]
pub struct DeviceBackend {
    model: Arc<DeviceModel>,
    cache: Cache<DevicePool>,
    logits: Vec<f32>,
}

impl DeviceBackend {
    /// A model with so many KV blocks on its device, and as many as may be swapped out in host
    /// memory, pinned where the device is a GPU.
    ///
    /// # Errors
    ///
    /// If there is not that much memory.
    pub fn new(
        model: Arc<DeviceModel>,
        blocks: u32,
        swap_blocks: u32,
    ) -> Result<Self, DeviceError> {
        let (cells, place) = (model.cells(), (&model.device, model.dtype));
        // Cells have numbers of 32 bits.
        let most = u64::from(u32::MAX) / (cells.block_len() / cells.0.dim) as u64;
        let blocks = blocks.min(u32::try_from(most).unwrap_or(u32::MAX));
        let swap = swap_memory(place, cells, slots(swap_blocks))?;
        let pool = DevicePool::new(cells, blocks, place, swap)?;
        Ok(Self {
            model,
            cache: Cache::of(pool, blocks, swap_blocks),
            logits: Vec::new(),
        })
    }
}

fn swap_memory(
    (device, dtype): (&candle_core::Device, DType),
    cells: batch::Cells,
    slots: u32,
) -> candle_core::Result<Box<dyn pool::SwapMemory>> {
    #[cfg(feature = "cuda")]
    if let (candle_core::Device::Cuda(device), 1..) = (device, slots) {
        return cuda::swap_memory(device, dtype, slots, cells.block_len());
    }
    let _ = device;
    Ok(Box::new(pool::Pageable::new(cells, slots, dtype)?))
}

impl Backend for DeviceBackend {
    type Pool = DevicePool;

    fn config(&self) -> &Config {
        self.model.config()
    }

    fn cache(&mut self) -> &mut Cache<DevicePool> {
        &mut self.cache
    }

    fn forward(&mut self, parts: &[Part<'_>]) -> Result<&mut [f32], DeviceError> {
        self.logits.clear();
        if !parts.is_empty() {
            let batch = Batch::of(parts, self.model.cells());
            match self.model.forward(&batch, self.cache.pool())? {
                Some(logits) => self.logits = logits.flatten_all()?.to_vec1()?,
                // An iteration is over when its work is: its time is measured.
                None => self.model.device.synchronize()?,
            }
        }
        Ok(&mut self.logits)
    }
}

impl From<candle_core::Error> for DeviceError {
    /// The first line: what follows is a backtrace.
    fn from(error: candle_core::Error) -> Self {
        let text = error.to_string();
        Self(text.lines().next().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_names() {
        for name in ["cpu", "cuda:0", "cuda:11"] {
            assert_eq!(name.parse::<Place>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(Place::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_make_one() {
        let error = Device::open(Place::Cuda(0)).unwrap_err();
        assert!(error.to_string().contains("cargo xtask cuda"), "{error}");
    }
}
