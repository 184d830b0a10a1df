//! Candle's storage and the driver's: what [`super`] does on a GPU where candle has no way for it.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage as _;
use candle_core::cuda_backend::{CudaDType, WrapErr as _};
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor,
};
use cudarc::driver::{DeviceRepr, ValidAsZeroBits};
use half::bf16;

use super::kernels;
use super::pinned::Pinned;
use super::pool::SwapMemory;

/// Writes rows of keys and values into cells.
pub(super) fn store(
    pool: &mut CudaStorage,
    rows: &CudaStorage,
    cells: &CudaStorage,
    row_len: usize,
) -> Result<()> {
    match pool.dtype() {
        DType::F32 => store_as::<f32>(pool, rows, cells, row_len),
        DType::BF16 => store_as::<bf16>(pool, rows, cells, row_len),
        other => candle_core::bail!("keys and values are f32 or bf16, not {other:?}"),
    }
}

fn store_as<T: CudaDType + DeviceRepr>(
    pool: &mut CudaStorage,
    rows: &CudaStorage,
    cells: &CudaStorage,
    row_len: usize,
) -> Result<()> {
    let device = pool.device().clone();
    let kernel = device.get_or_load_custom_func("kv_store", "elis", ptx()?)?;
    let rows = (rows.as_cuda_slice::<T>()?, row_len);
    let (pool, cells) = (
        pool.as_cuda_slice_mut::<T>()?,
        cells.as_cuda_slice::<u32>()?,
    );
    kernels::store(&device.cuda_stream(), &kernel, pool, rows, cells).w()
}

/// Our kernels, compiled once.
fn ptx() -> Result<&'static str> {
    static PTX: OnceLock<String> = OnceLock::new();
    if let Some(ptx) = PTX.get() {
        return Ok(ptx);
    }
    let ptx = cudarc::nvrtc::compile_ptx(kernels::SOURCE).w()?;
    Ok(PTX.get_or_init(|| ptx.to_src()))
}

/// Pinned host memory for the blocks of a pool.
pub(super) fn swap_memory(
    device: &CudaDevice,
    dtype: DType,
    slots: u32,
    block_len: usize,
) -> Result<Box<dyn SwapMemory>> {
    let stream = device.cuda_stream();
    Ok(match dtype {
        DType::BF16 => Box::new(Swap(Pinned::<bf16>::new(&stream, slots, block_len).w()?)),
        _ => Box::new(Swap(Pinned::<f32>::new(&stream, slots, block_len).w()?)),
    })
}

struct Swap<T: DeviceRepr>(Pinned<T>);

impl<T: CudaDType + DeviceRepr + ValidAsZeroBits> SwapMemory for Swap<T> {
    fn copy_out(&mut self, pool: &Tensor, moves: &[(u32, u32)]) -> Result<()> {
        let (storage, _) = pool.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            candle_core::bail!("pinned memory serves pools on GPUs");
        };
        self.0.copy_out(storage.as_cuda_slice::<T>()?, moves).w()
    }

    fn copy_in(&mut self, pool: &Tensor, moves: &[(u32, u32)]) -> Result<()> {
        let slots = &self.0;
        pool.inplace_op1(&CopyIn { slots, moves })
    }
}

/// Candle lends the memory of a tensor for writing to operations only.
struct CopyIn<'a, T: DeviceRepr> {
    slots: &'a Pinned<T>,
    moves: &'a [(u32, u32)],
}

impl<T: CudaDType + DeviceRepr + ValidAsZeroBits> InplaceOp1 for CopyIn<'_, T> {
    fn name(&self) -> &'static str {
        "kv-swap-in"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("pinned memory serves pools on GPUs")
    }

    fn cuda_fwd(&self, pool: &mut CudaStorage, _: &Layout) -> Result<()> {
        self.slots
            .copy_in(pool.as_cuda_slice_mut::<T>()?, self.moves)
            .w()
    }
}
