//! Kernels of our own: their source, and how they are launched.

use std::sync::Arc;

use cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, DeviceRepr, DriverError, LaunchConfig, PushKernelArg as _,
};

/// CUDA C++ for the driver's own compiler, NVRTC.
pub(super) const SOURCE: &str = include_str!("kernels.cu");

/// Writes rows of `row_len` numbers into the cells of a pool.
///
/// # Panics
///
/// If rows are no whole words, or there are not as many rows as cells.
#[expect(unsafe_code, reason = "what a kernel does, no compiler sees")]
pub(super) fn store<T: DeviceRepr>(
    stream: &Arc<CudaStream>,
    kernel: &CudaFunction,
    pool: &mut CudaSlice<T>,
    (rows, row_len): (&CudaSlice<T>, usize),
    cells: &CudaSlice<u32>,
) -> Result<(), DriverError> {
    let row_bytes = row_len * size_of::<T>();
    assert!(row_bytes.is_multiple_of(4) && rows.len() == cells.len() * row_len);
    let row_words = (row_bytes / 4) as u32;
    let count = cells.len() as u32 * row_words;
    let mut launch = stream.launch_builder(kernel);
    launch.arg(rows).arg(cells).arg(pool);
    launch.arg(&row_words).arg(&count);
    // SAFETY: the arguments are those of `kv_store`, it reads `count` words of rows and writes as
    // many, and a batch names cells of its own blocks only.
    unsafe { launch.launch(LaunchConfig::for_num_elems(count)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const INSIDE: &str = "ELIS_NVRTC_INSIDE";

    /// In a process of its own, which finds the library that `ELIS_NVRTC` names.
    #[test]
    fn our_kernels_compile() {
        if std::env::var_os(INSIDE).is_some() {
            let ptx = cudarc::nvrtc::compile_ptx(SOURCE).unwrap().to_src();
            assert!(ptx.contains(".entry kv_store("), "{ptx}");
            let wrong = SOURCE.replace("unsigned count", "unsigned");
            let error = cudarc::nvrtc::compile_ptx(wrong).unwrap_err();
            assert!(format!("{error:?}").contains("count"), "{error:?}");
            return;
        }
        let Some(libraries) = std::env::var_os("ELIS_NVRTC") else {
            eprintln!("skipped: ELIS_NVRTC names no folder; `cargo xtask test` brings one");
            return;
        };
        let mut inside = Command::new(std::env::current_exe().unwrap());
        inside
            .args(["--exact", "device::kernels::tests::our_kernels_compile"])
            .arg("--nocapture")
            .env(INSIDE, "1")
            .env("LD_LIBRARY_PATH", libraries);
        let output = inside.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let passed = output.status.success() && text.contains("1 passed");
        assert!(passed, "{text}{}", String::from_utf8_lossy(&output.stderr));
    }
}
