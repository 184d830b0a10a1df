//! The heap of a component. Every column of a snapshot and every list of a plan is one block, so
//! that a general allocator costs a short decision more than its rule does.
//!
//! Blocks have sizes that are powers of two. A freed block goes to the list of its size and serves
//! the next request of that size; it is never split or merged. A policy asks for the same few sizes
//! at each decision, so the lists settle at once, and what it ever takes is a small multiple of
//! what it held at its peak.
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::null_mut;

/// The smallest block: it has room for the link of a free list and is aligned for vectors.
const SMALLEST: usize = 16;
/// Blocks are aligned to their size but not beyond this; who asks for more gets nothing.
const MAX_ALIGN: usize = 4096;
/// What memory grows by, and the least that it grows by at once.
const PAGE: usize = 64 << 10;
/// One list for each power of two that fits an address.
const LISTS: usize = usize::BITS as usize;

/// Memory in blocks; for one thread only.
pub(crate) struct Heap {
    /// The first free block of each size; each begins with the address of the next one.
    free: [Cell<*mut u8>; LISTS],
    /// Between the two lies memory that has not been part of a block yet.
    next: Cell<usize>,
    end: Cell<usize>,
    /// Adds a number of pages and gives the address of the first.
    grow: fn(usize) -> Option<usize>,
}

/// The power of two that a block for a layout has as its size; `None` where there cannot be one.
fn order(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST);
    let fits = size <= isize::MAX as usize / 2 && layout.align() <= MAX_ALIGN;
    fits.then(|| (usize::BITS - (size - 1).leading_zeros()) as usize)
}

impl Heap {
    pub(crate) const fn new(grow: fn(usize) -> Option<usize>) -> Self {
        Self {
            free: [const { Cell::new(null_mut()) }; LISTS],
            next: Cell::new(0),
            end: Cell::new(0),
            grow,
        }
    }

    /// A block that no list has. Memory between blocks that alignment skips stays unused: a heap
    /// carves each of its blocks once, so that is little.
    #[cold]
    fn carve(&self, order: usize) -> *mut u8 {
        let size = 1usize << order;
        let align = size.min(MAX_ALIGN);
        let mut start = self.next.get().next_multiple_of(align);
        if start + size > self.end.get() {
            let pages = size.div_ceil(PAGE);
            let Some(first) = (self.grow)(pages) else {
                return self.larger(order);
            };
            // Nobody else grows this memory, so new pages follow the old ones, except the first.
            if first != self.end.get() {
                start = first.next_multiple_of(align);
            }
            self.end.set(first + pages * PAGE);
        }
        self.next.set(start + size);
        start as *mut u8
    }

    /// A free block larger than asked for: where memory is exhausted, better that than nothing. Its
    /// owner gives it back as one of the size that it asked for.
    fn larger(&self, order: usize) -> *mut u8 {
        let mut lists = self.free[order..].iter();
        lists.find_map(take).unwrap_or(null_mut())
    }
}

/// Takes the first block of a list.
fn take(list: &Cell<*mut u8>) -> Option<*mut u8> {
    let block = list.get();
    if block.is_null() {
        return None;
    }
    // SAFETY: a block in a list is free and begins with the address of the next; `dealloc` wrote
    // it there, and a block is large enough and aligned for it.
    list.set(unsafe { block.cast::<*mut u8>().read() });
    Some(block)
}

// SAFETY: a block is carved from memory that `grow` handed over and nobody else has, once, with the
// size and alignment of its order, and is in a list only while nobody owns it.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(order) = order(layout) else {
            return null_mut();
        };
        take(&self.free[order]).unwrap_or_else(|| self.carve(order))
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(order) = order(layout) else {
            return;
        };
        let list = &self.free[order];
        // SAFETY: the block came from `alloc` and its owner gives it up; it is large enough and
        // aligned for an address.
        unsafe { block.cast::<*mut u8>().write(list.get()) };
        list.set(block);
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that the size is not 0 and, rounded up, fits an address.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if order(wanted) == order(layout) {
            return block;
        }
        // SAFETY: the old block is the caller's and stays so if there is no new one; the new one is
        // another block, and both have at least the bytes that are copied.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
mod component {
    use super::{Heap, PAGE};

    #[global_allocator]
    static HEAP: Heap = Heap::new(grow);

    // SAFETY: without the threads proposal, which a component cannot use, there is one thread.
    unsafe impl Sync for Heap {}

    fn grow(pages: usize) -> Option<usize> {
        let before = core::arch::wasm32::memory_grow::<0>(pages);
        (before != usize::MAX).then(|| before * PAGE)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// Pages that all heaps of these tests have together; then there are no more.
    static LEFT: AtomicUsize = AtomicUsize::new(4096);

    fn grow(pages: usize) -> Option<usize> {
        LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(pages)
        })
        .ok()?;
        let layout = Layout::from_size_align(pages * PAGE, PAGE).ok()?;
        // SAFETY: the layout has a size. The memory is never freed: a heap does not give any back.
        let memory = unsafe { std::alloc::alloc(layout) };
        (!memory.is_null()).then(|| memory.expose_provenance())
    }

    fn no_memory(_: usize) -> Option<usize> {
        None
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// A block, what it was asked for, and the byte that fills it.
    type Owned = (*mut u8, Layout, u8);

    fn intact(&(block, layout, fill): &Owned) -> bool {
        // SAFETY: the block is owned and was filled.
        let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
        bytes.iter().all(|&byte| byte == fill)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_two_owned_blocks_overlap(
            steps in prop::collection::vec((0u8..4, 1usize..9000, 0u32..8, any::<usize>()), 1..120),
        ) {
            let heap = Heap::new(grow);
            let mut owned: Vec<Owned> = Vec::new();
            for (fill, (what, size, align, which)) in (0u8..).zip(steps) {
                let at = which % owned.len().max(1);
                // SAFETY: sizes are not 0, blocks are given back once and with their layout, and
                // only bytes that were asked for are written.
                unsafe {
                    match what {
                        0 if !owned.is_empty() => {
                            let (block, layout, _) = owned.swap_remove(at);
                            heap.dealloc(block, layout);
                        }
                        1 if !owned.is_empty() => {
                            let (block, old, fill) = owned[at];
                            let new = heap.realloc(block, old, size);
                            prop_assert!(!new.is_null());
                            let kept = layout(old.size().min(size), old.align());
                            prop_assert!(intact(&(new, kept, fill)));
                            new.write_bytes(fill, size);
                            owned[at] = (new, layout(size, old.align()), fill);
                        }
                        _ => {
                            let layout = layout(size, 1 << align);
                            let block = heap.alloc(layout);
                            prop_assert!(!block.is_null());
                            prop_assert_eq!(block.addr() % layout.align(), 0);
                            block.write_bytes(fill, size);
                            owned.push((block, layout, fill));
                        }
                    }
                }
                prop_assert!(owned.iter().all(intact));
            }
        }
    }

    #[test]
    fn a_freed_block_serves_the_next_request_of_its_size() {
        let heap = Heap::new(grow);
        // SAFETY: blocks are given back once and with their layout.
        unsafe {
            let block = heap.alloc(layout(1000, 8));
            let other = heap.alloc(layout(1000, 8));
            heap.dealloc(block, layout(1000, 8));
            assert_eq!(heap.alloc(layout(600, 4)), block);
            assert_eq!(heap.realloc(block, layout(600, 4), 1024), block);
            assert_ne!(other, block);
        }
    }

    #[test]
    fn without_memory_there_is_no_block() {
        let heap = Heap::new(no_memory);
        // SAFETY: sizes are not 0.
        unsafe {
            assert!(heap.alloc(layout(1, 1)).is_null());
            assert!(heap.alloc(layout(isize::MAX as usize / 2 + 1, 1)).is_null());
            assert!(heap.alloc(layout(8, 2 * MAX_ALIGN)).is_null());
        }
    }
}
