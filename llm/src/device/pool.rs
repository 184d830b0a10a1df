//! KV blocks as one tensor on a device, and the host memory that they are swapped to.

use candle_core::{CpuStorage, CudaStorage, DType, Device, InplaceOp3, Layout, Result, Tensor};
use half::bf16;

use super::batch::Cells;
use crate::backend::DeviceError;
use crate::cache::Pool;

/// All blocks of a worker. A block is one piece of memory, so that a swap is one copy.
pub struct DevicePool {
    values: Tensor,
    cells: Cells,
    swap: Box<dyn SwapMemory>,
}

/// Host memory for blocks, and the way there and back.
pub(super) trait SwapMemory: Send {
    /// Copies blocks of `block_len` numbers, the first number of each pair, to slots, the second.
    fn copy_out(&mut self, pool: &Tensor, moves: &[(u32, u32)]) -> Result<()>;

    /// Copies slots to blocks.
    fn copy_in(&mut self, pool: &Tensor, moves: &[(u32, u32)]) -> Result<()>;
}

impl DevicePool {
    /// So many blocks. They are zeros, since what the mask hides is still multiplied, by zero.
    pub(super) fn new(
        cells: Cells,
        blocks: u32,
        (device, dtype): (&Device, DType),
        swap: Box<dyn SwapMemory>,
    ) -> Result<Self> {
        Ok(Self {
            values: Tensor::zeros((blocks as usize, cells.block_len()), dtype, device)?,
            cells,
            swap,
        })
    }

    /// The units, a row each.
    pub(super) fn units(&self) -> Result<Tensor> {
        let len = self.cells.unit_len();
        self.values.reshape(((), len))
    }

    /// Writes rows of a head's numbers into cells.
    pub(super) fn store(&self, rows: &Tensor, cells: &Tensor) -> Result<()> {
        self.values.inplace_op3(rows, cells, &Store)
    }
}

impl Pool for DevicePool {
    fn copy_out(&mut self, moves: &[(u32, u32)]) -> std::result::Result<(), DeviceError> {
        Ok(self.swap.copy_out(&self.values, moves)?)
    }

    fn copy_in(&mut self, moves: &[(u32, u32)]) -> std::result::Result<(), DeviceError> {
        Ok(self.swap.copy_in(&self.values, moves)?)
    }
}

impl std::fmt::Debug for DevicePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevicePool")
            .field("values", &self.values.shape())
            .field("cells", &self.cells)
            .finish_non_exhaustive()
    }
}

/// Writes the rows of the second tensor into those of the first that the third names.
pub(super) struct Store;

impl InplaceOp3 for Store {
    fn name(&self) -> &'static str {
        "kv-store"
    }

    fn cpu_fwd(
        &self,
        pool: &mut CpuStorage,
        pool_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
        cells: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        let len = row_len(pool_layout, rows_layout)?;
        let cells = cells.as_slice::<u32>()?;
        match (pool, rows) {
            (CpuStorage::F32(pool), CpuStorage::F32(rows)) => store(pool, rows, cells, len),
            (CpuStorage::BF16(pool), CpuStorage::BF16(rows)) => {
                store::<bf16>(pool, rows, cells, len);
            }
            _ => candle_core::bail!("keys and values are f32 or bf16, as their pool is"),
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        pool: &mut CudaStorage,
        pool_layout: &Layout,
        rows: &CudaStorage,
        rows_layout: &Layout,
        cells: &CudaStorage,
        _: &Layout,
    ) -> Result<()> {
        let len = row_len(pool_layout, rows_layout)?;
        super::cuda::store(pool, rows, cells, len)
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda_fwd(
        &self,
        _: &mut CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<()> {
        candle_core::bail!("{}", super::NOT_BUILT)
    }
}

/// Numbers of a row; both tensors must be whole pieces of memory.
fn row_len(pool: &Layout, rows: &Layout) -> Result<usize> {
    if pool
        .contiguous_offsets()
        .is_none_or(|(start, _)| start != 0)
        || rows
            .contiguous_offsets()
            .is_none_or(|(start, _)| start != 0)
    {
        candle_core::bail!("a KV pool and what is stored in it must be contiguous");
    }
    Ok(rows.shape().dims2()?.1)
}

fn store<T: Copy>(pool: &mut [T], rows: &[T], cells: &[u32], len: usize) {
    for (row, &cell) in rows.chunks_exact(len).zip(cells) {
        pool[cell as usize * len..][..len].copy_from_slice(row);
    }
}

/// Ordinary host memory; serves every device.
pub(super) struct Pageable(Tensor);

impl Pageable {
    pub(super) fn new(cells: Cells, slots: u32, dtype: DType) -> Result<Self> {
        let shape = (slots as usize, cells.block_len());
        Ok(Self(Tensor::zeros(shape, dtype, &Device::Cpu)?))
    }
}

impl SwapMemory for Pageable {
    fn copy_out(&mut self, pool: &Tensor, moves: &[(u32, u32)]) -> Result<()> {
        for &(block, slot) in moves {
            let block = pool.narrow(0, block as usize, 1)?;
            self.0
                .slice_set(&block.to_device(&Device::Cpu)?, 0, slot as usize)?;
        }
        Ok(())
    }

    fn copy_in(&mut self, pool: &Tensor, moves: &[(u32, u32)]) -> Result<()> {
        for &(slot, block) in moves {
            let slot = self.0.narrow(0, slot as usize, 1)?;
            pool.slice_set(&slot.to_device(pool.device())?, 0, block as usize)?;
        }
        Ok(())
    }
}
