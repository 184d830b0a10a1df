//! CUDA devices and their memory, found at run time; a machine without a driver starts all the same.

use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, DriverError};

/// A device as its driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Compute capability, as in 9.0.
    pub compute: (i32, i32),
    /// Its memory.
    pub memory: Memory,
}

/// Memory of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total_bytes: u64,
    /// What nobody has.
    pub free_bytes: u64,
}

/// Why there is no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCuda {
    /// No driver is installed.
    #[error("no NVIDIA driver: libcuda was not found; install one, or serve on the CPU")]
    NoDriver,
    /// A driver without a device.
    #[error("the NVIDIA driver sees no device; check nvidia-smi and CUDA_VISIBLE_DEVICES")]
    NoDevice,
    /// The toolkit's stub in the driver's place.
    #[error("libcuda is the toolkit's stub; take its folder out of LD_LIBRARY_PATH")]
    Stub,
    /// Anything else that the driver says.
    #[error("the NVIDIA driver says: {0}")]
    Driver(String),
}

/// There is no memory for keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} of {} MiB of the device are free, and its share leaves no room for a KV block; raise \
     --gpu-memory-utilization, or serve a smaller model",
    .0.free_bytes >> 20, .0.total_bytes >> 20
)]
pub struct NoRoom(pub Memory);

impl From<DriverError> for NoCuda {
    fn from(error: DriverError) -> Self {
        match error.0 {
            CUresult::CUDA_ERROR_NO_DEVICE => Self::NoDevice,
            CUresult::CUDA_ERROR_STUB_LIBRARY => Self::Stub,
            _ => Self::Driver(error.to_string()),
        }
    }
}

impl Memory {
    /// KV blocks that fit when so much of the device, from 0 to 1, may be used altogether, weights
    /// and what else is there now included. The rest is for what a forward pass needs on its way.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] for a single one.
    pub fn kv_blocks(self, utilization: f64, block_bytes: usize) -> Result<u32, NoRoom> {
        let used = self.total_bytes.saturating_sub(self.free_bytes);
        let share = (self.total_bytes as f64 * utilization) as u64;
        let blocks = share.saturating_sub(used) / block_bytes.max(1) as u64;
        match u32::try_from(blocks).unwrap_or(u32::MAX) {
            0 => Err(NoRoom(self)),
            blocks => Ok(blocks),
        }
    }
}

/// All devices.
///
/// # Errors
///
/// [`NoCuda`] in a sentence that says what to do.
pub fn devices() -> Result<Vec<Found>, NoCuda> {
    if !driver_is_there() {
        return Err(NoCuda::NoDriver);
    }
    let count = usize::try_from(CudaContext::device_count()?).unwrap_or(0);
    if count == 0 {
        return Err(NoCuda::NoDevice);
    }
    let device = |ordinal| {
        let context = CudaContext::new(ordinal)?;
        Ok(Found {
            ordinal,
            name: context.name()?,
            compute: context.compute_capability()?,
            memory: told(&context)?,
        })
    };
    (0..count).map(device).collect()
}

/// A device's memory as it is now.
pub(super) fn memory(ordinal: usize) -> Result<Memory, NoCuda> {
    if !driver_is_there() {
        return Err(NoCuda::NoDriver);
    }
    Ok(told(&*CudaContext::new(ordinal)?)?)
}

fn told(context: &CudaContext) -> Result<Memory, DriverError> {
    let (free, total) = context.mem_get_info()?;
    Ok(Memory {
        total_bytes: total as u64,
        free_bytes: free as u64,
    })
}

#[cfg(not(feature = "cuda"))]
#[expect(unsafe_code, reason = "opening a library runs its initialisers")]
fn driver_is_there() -> bool {
    // SAFETY: libcuda's initialisers do nothing that Rust could notice; asking first is what keeps
    // cudarc from a panic where there is no library.
    unsafe { cudarc::driver::sys::is_culib_present() }
}

/// Candle links the driver: a program that runs has found it.
#[cfg(feature = "cuda")]
const fn driver_is_there() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_devices_or_there_is_a_sentence() {
        match devices() {
            Ok(devices) => {
                let sane = |m: Memory| m.free_bytes <= m.total_bytes;
                assert!(devices.iter().all(|found| sane(found.memory)));
            }
            Err(why) => assert!(why.to_string().contains(' '), "{why}"),
        }
    }

    #[test]
    fn weights_count_into_the_share() {
        let memory = |free_bytes| Memory {
            total_bytes: 1000,
            free_bytes,
        };
        assert_eq!(memory(1000).kv_blocks(0.9, 100), Ok(9));
        assert_eq!(memory(700).kv_blocks(0.9, 100), Ok(6));
        assert_eq!(memory(700).kv_blocks(1.0, 70), Ok(10));
        let none = memory(150).kv_blocks(0.9, 100).unwrap_err();
        assert!(none.to_string().contains("--gpu-memory-utilization"));
        assert!(memory(50).kv_blocks(0.9, 1).is_err(), "others have it all");
    }
}
