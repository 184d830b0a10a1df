//! Work shared between threads.

use std::num::NonZeroUsize;
use std::sync::Mutex;

/// Calls `work` for each item, on so many threads, each with a state of its own.
///
/// With one state, or one item, all runs in the calling thread. Threads live for the call: an item
/// should be milliseconds of work, as a group of sequences is, against tens of microseconds for a
/// thread. Items go to whichever thread is free, so `work` must not depend on the state's past.
pub fn share<S: Send, T: Send>(states: &mut [S], items: Vec<T>, work: impl Fn(&mut S, T) + Sync) {
    let threads = NonZeroUsize::new(states.len().min(items.len()));
    let Some(threads) = threads else { return };
    if threads.get() == 1 {
        let state = &mut states[0];
        return items.into_iter().for_each(|item| work(state, item));
    }
    let items = Mutex::new(items.into_iter());
    std::thread::scope(|scope| {
        for state in &mut states[..threads.get()] {
            scope.spawn(|| {
                loop {
                    // A thread that panics does so outside this lock.
                    let Ok(mut left) = items.lock() else { return };
                    let Some(item) = left.next() else { return };
                    drop(left);
                    work(state, item);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_whatever_the_threads() {
        for threads in [1, 2, 5] {
            let mut states = vec![0u64; threads];
            let mut done = [0u8; 37];
            share(&mut states, done.iter_mut().collect(), |state, item| {
                *state += 1;
                *item += 1;
            });
            assert!(done.iter().all(|&times| times == 1));
            assert_eq!(states.iter().sum::<u64>(), 37);
        }
    }
}
