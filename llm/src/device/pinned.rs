//! Swaps between a device and pinned host memory, through the driver.

use std::sync::Arc;

use cudarc::driver::{
    CudaSlice, CudaStream, DeviceRepr, DriverError, PinnedHostSlice, ValidAsZeroBits,
};

/// Slots of host memory that the device reads and writes by itself. Copies are put on the stream and
/// not waited for: what comes behind them there finds them done.
pub(super) struct Pinned<T: DeviceRepr> {
    stream: Arc<CudaStream>,
    slots: PinnedHostSlice<T>,
    block_len: usize,
}

impl<T: DeviceRepr + ValidAsZeroBits> Pinned<T> {
    /// So many slots, each as long as a block.
    #[expect(unsafe_code, reason = "the driver gives memory as it is")]
    pub(super) fn new(
        stream: &Arc<CudaStream>,
        slots: u32,
        block_len: usize,
    ) -> Result<Self, DriverError> {
        let len = slots as usize * block_len;
        // SAFETY: all of it becomes zeros before anybody reads it. Without flags the processor's
        // caches serve it; cudarc's own choice, write-combined memory, is slow to read.
        let slots = unsafe {
            let mut slots = stream.context().alloc_pinned_with_flags::<T>(len, 0)?;
            slots.as_mut_ptr()?.write_bytes(0, len);
            slots
        };
        Ok(Self {
            stream: stream.clone(),
            slots,
            block_len,
        })
    }

    /// Copies blocks, the first number of each pair, to slots, the second.
    pub(super) fn copy_out(
        &mut self,
        pool: &CudaSlice<T>,
        moves: &[(u32, u32)],
    ) -> Result<(), DriverError> {
        let len = self.block_len;
        let slots = self.slots.as_mut_slice()?;
        for &(block, slot) in moves {
            let block = pool.slice(block as usize * len..(block as usize + 1) * len);
            let slot = &mut slots[slot as usize * len..][..len];
            self.stream.memcpy_dtoh(&block, slot)?;
        }
        Ok(())
    }

    /// Copies slots to blocks.
    pub(super) fn copy_in(
        &self,
        pool: &mut CudaSlice<T>,
        moves: &[(u32, u32)],
    ) -> Result<(), DriverError> {
        let len = self.block_len;
        let slots = self.slots.as_slice()?;
        for &(slot, block) in moves {
            let mut block = pool.slice_mut(block as usize * len..(block as usize + 1) * len);
            let slot = &slots[slot as usize * len..][..len];
            self.stream.memcpy_htod(slot, &mut block)?;
        }
        Ok(())
    }
}

impl<T: DeviceRepr> Drop for Pinned<T> {
    /// The memory must outlive the copies that are under way.
    fn drop(&mut self) {
        if let Err(error) = self.stream.synchronize() {
            self.stream.context().record_err(Err::<(), _>(error));
        }
    }
}
