//! What goes to the driver, run on a driver that is none: `fake_driver.c`, compiled when the tests
//! run. cudarc finds a driver once and for a whole process, so each test starts itself anew.

// Where candle links the driver, cuBLAS would not start on this one.
#![cfg(not(feature = "cuda"))]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream};
use cudarc::nvrtc::Ptx;

use super::batch::Cells;
use super::driver::{Memory, NoCuda, devices, memory};
use super::kernels;
use super::pinned::Pinned;
use crate::backend::DeviceError;
use crate::cache::{Cache, Pool, slots};

const INSIDE: &str = "ELIS_FAKE_INSIDE";

/// Runs a test, which is called like its path, in a process of its own that has the fake driver.
#[track_caller]
fn on_fake_driver(name: &str, settings: &[(&str, &str)], test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/device/fake_driver.c");
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
    compiler.arg(folder.path().join("libcuda.so")).arg(source);
    assert!(compiler.status().unwrap().success(), "{compiler:?}");
    let mut inside = Command::new(std::env::current_exe().unwrap());
    inside
        .args(["--exact", &format!("device::fake::{name}"), "--nocapture"])
        .env(INSIDE, "1")
        .env("LD_LIBRARY_PATH", folder.path())
        .envs(settings.iter().copied());
    let output = inside.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && text.contains("1 passed");
    assert!(passed, "{text}{}", String::from_utf8_lossy(&output.stderr));
}

fn stream() -> Arc<CudaStream> {
    CudaContext::new(0).unwrap().new_stream().unwrap()
}

#[test]
fn devices_are_found_with_their_memory() {
    let settings = [("ELIS_FAKE_DEVICES", "2"), ("ELIS_FAKE_MIB", "32")];
    on_fake_driver("devices_are_found_with_their_memory", &settings, || {
        let found = devices().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].ordinal, &*found[1].name), (1, "Pretender 1"));
        assert_eq!(found[0].compute, (8, 0));
        let all = 32 << 20;
        let memory = Memory {
            total_bytes: all,
            free_bytes: all,
        };
        assert_eq!(found[1].memory, memory);
    });
}

#[test]
fn a_driver_without_a_device_is_told_apart() {
    let settings = [("ELIS_FAKE_DEVICES", "0")];
    on_fake_driver("a_driver_without_a_device_is_told_apart", &settings, || {
        assert_eq!(devices(), Err(NoCuda::NoDevice));
    });
}

#[test]
fn the_blocks_that_are_promised_fit_and_no_more_than_there_is() {
    let name = "the_blocks_that_are_promised_fit_and_no_more_than_there_is";
    on_fake_driver(name, &[("ELIS_FAKE_MIB", "64")], || {
        let stream = stream();
        let weights = stream.alloc_zeros::<u8>(10 << 20).unwrap();
        let block_bytes = 300_000;
        let blocks = memory(0).unwrap().kv_blocks(0.9, block_bytes).unwrap();
        assert_eq!(
            blocks as usize,
            ((64 << 20) * 9 / 10 - (10 << 20)) / block_bytes
        );
        let pool = stream
            .alloc_zeros::<u8>(blocks as usize * block_bytes)
            .unwrap();
        let left = memory(0).unwrap();
        assert!(
            left.free_bytes * 10 >= left.total_bytes,
            "a tenth is left: {left:?}"
        );
        assert!(left.kv_blocks(0.9, block_bytes).is_err());
        let more = stream.alloc_zeros::<u8>(16 << 20).unwrap_err();
        assert!(more.to_string().contains("OUT_OF_MEMORY"), "{more}");
        drop((pool, weights));
        let all = memory(0).unwrap();
        assert_eq!(all.free_bytes, all.total_bytes, "all of it comes back");
    });
}

/// A pool that the driver keeps, without candle.
struct Driven {
    values: cudarc::driver::CudaSlice<f32>,
    pinned: Pinned<f32>,
}

impl Pool for Driven {
    fn copy_out(&mut self, moves: &[(u32, u32)]) -> Result<(), DeviceError> {
        let copied = self.pinned.copy_out(&self.values, moves);
        copied.map_err(|error| DeviceError(error.to_string()))
    }

    fn copy_in(&mut self, moves: &[(u32, u32)]) -> Result<(), DeviceError> {
        let copied = self.pinned.copy_in(&mut self.values, moves);
        copied.map_err(|error| DeviceError(error.to_string()))
    }
}

#[test]
fn keys_and_values_survive_swaps_that_nobody_waits_for() {
    let name = "keys_and_values_survive_swaps_that_nobody_waits_for";
    on_fake_driver(name, &[], || {
        let cells = Cells(elis_ragged::KvLayout {
            layers: 2,
            heads: 2,
            dim: 6,
        });
        let (blocks, swap_blocks, len) = (4, 3, cells.block_len());
        let stream = stream();
        let module = stream.context().load_module(Ptx::from_src("")).unwrap();
        let kernel = module.load_function("kv_store").unwrap();
        let pool = Driven {
            values: stream.alloc_zeros(blocks as usize * len).unwrap(),
            pinned: Pinned::new(&stream, slots(swap_blocks), len).unwrap(),
        };
        let mut cache = Cache::of(pool, blocks, swap_blocks);
        // Writes a row into some cells of each block of a table, through the kernel.
        let write = |pool: &mut Driven, table: &[u32], first: f32| {
            let unit_cells = (len / 6) as u32;
            let named = table.iter().flat_map(|block| {
                let last = block * unit_cells + unit_cells - 1;
                [block * unit_cells, last]
            });
            let named: Vec<u32> = named.collect();
            let rows: Vec<f32> = (0..named.len() * 6).map(|i| first + i as f32).collect();
            let rows = stream.clone_htod(&rows).unwrap();
            let named = stream.clone_htod(&named).unwrap();
            kernels::store(&stream, &kernel, &mut pool.values, (&rows, 6), &named).unwrap();
        };
        let read = |pool: &Driven, table: &[u32]| -> Vec<f32> {
            let all = stream.clone_dtoh(&pool.values).unwrap();
            let own = table.iter().flat_map(|&b| &all[b as usize * len..][..len]);
            own.copied().collect()
        };
        let (mut one, mut one_out, mut two, mut two_out) = (vec![], vec![], vec![], vec![]);
        cache.grow(&mut one, 96).unwrap();
        write(cache.pool_mut(), &one, 1.0);
        let expected = read(cache.pool(), &one);
        assert_eq!(expected.iter().filter(|&&value| value != 0.0).count(), 36);
        // Nothing is waited for until the end; another sequence uses the blocks in between.
        cache.swap_out(&mut one, &mut one_out).unwrap();
        assert_eq!((one.len(), one_out.len()), (0, 3));
        cache.grow(&mut two, 128).unwrap();
        write(cache.pool_mut(), &two, 1000.0);
        cache.swap_out(&mut two, &mut two_out).unwrap();
        assert_eq!((two.len(), two_out.len()), (3, 1), "slots are short");
        cache.release(&mut two, &mut two_out);
        cache.swap_in(&mut one, &mut one_out).unwrap();
        assert_eq!(read(cache.pool(), &one), expected);
        // The memory is given back with a copy under way; the driver would notice.
        cache.swap_out(&mut one, &mut one_out).unwrap();
    });
}
