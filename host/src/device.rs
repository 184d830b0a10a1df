//! CUDA devices, found at run time; a machine without a driver starts all the same.

use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, DriverError};

/// A device as its driver describes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Device {
    /// Its number.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Compute capability, as in 9.0.
    pub compute: (i32, i32),
    /// Memory of the device.
    pub total_bytes: u64,
    /// Memory that nobody has.
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

impl From<DriverError> for NoCuda {
    fn from(error: DriverError) -> Self {
        match error.0 {
            CUresult::CUDA_ERROR_NO_DEVICE => Self::NoDevice,
            CUresult::CUDA_ERROR_STUB_LIBRARY => Self::Stub,
            _ => Self::Driver(error.to_string()),
        }
    }
}

/// All devices.
///
/// # Errors
///
/// [`NoCuda`] in a sentence that says what to do.
pub fn devices() -> Result<Vec<Device>, NoCuda> {
    if !driver_is_there() {
        return Err(NoCuda::NoDriver);
    }
    let count = usize::try_from(CudaContext::device_count()?).unwrap_or(0);
    if count == 0 {
        return Err(NoCuda::NoDevice);
    }
    let device = |ordinal| {
        let context = CudaContext::new(ordinal)?;
        let (free, total) = context.mem_get_info()?;
        Ok(Device {
            ordinal,
            name: context.name()?,
            compute: context.compute_capability()?,
            total_bytes: total as u64,
            free_bytes: free as u64,
        })
    };
    (0..count).map(device).collect()
}

#[expect(unsafe_code, reason = "opening a library runs its initialisers")]
fn driver_is_there() -> bool {
    // SAFETY: libcuda's initialisers do nothing that Rust could notice; asking first is what keeps
    // cudarc from a panic where there is no library.
    unsafe { cudarc::driver::sys::is_culib_present() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_devices_or_there_is_a_sentence() {
        match devices() {
            Ok(devices) => assert!(devices.iter().all(|d| d.free_bytes <= d.total_bytes)),
            Err(why) => assert!(why.to_string().contains(' '), "{why}"),
        }
    }
}
