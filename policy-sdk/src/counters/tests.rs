//! Charges, lifts, and the state that is handed over.

use proptest::prelude::*;

use super::*;

const PRICES: Prices = Prices {
    input: 1.0,
    output: 2.0,
};

/// A tenant as (weight, input, output, waiting, edge).
type Row = (f32, u64, u64, u32, u32);

/// Counters of a worker that has served nobody yet.
fn opened() -> Counters {
    let mut counters = Counters::default();
    update(&mut counters, &[]);
    counters
}

fn update(counters: &mut Counters, rows: &[Row]) -> Vec<f64> {
    let weight: Vec<f32> = rows.iter().map(|row| row.0).collect();
    let input: Vec<u64> = rows.iter().map(|row| row.1).collect();
    let output: Vec<u64> = rows.iter().map(|row| row.2).collect();
    let waiting: Vec<u32> = rows.iter().map(|row| row.3).collect();
    let edge: Vec<u32> = rows.iter().map(|row| row.4).collect();
    let tenants = Tenants {
        weight: &weight,
        input_tokens: &input,
        output_tokens: &output,
        waiting: &waiting,
        backlogged_edge: &edge,
    };
    counters.update(0, &tenants, PRICES)
}

#[test]
fn each_pays_for_what_it_was_served_by_its_weight() {
    let mut counters = opened();
    let rows = [(1.0, 100, 10, 1, 0), (4.0, 100, 10, 1, 0)];
    assert_eq!(update(&mut counters, &rows), [120.0, 30.0]);
    // Only what is new is charged.
    let rows = [(1.0, 150, 10, 1, 0), (4.0, 100, 30, 1, 0)];
    assert_eq!(update(&mut counters, &rows), [170.0, 40.0]);
    // A weight that cannot be divided by counts as 1.
    let rows = [(f32::NAN, 151, 10, 1, 0), (0.0, 100, 31, 1, 0)];
    assert_eq!(update(&mut counters, &rows), [171.0, 42.0]);
}

#[test]
fn nobody_owes_for_what_was_before_the_first_decision() {
    let mut counters = Counters::default();
    let rows = [(1.0, 900, 900, 1, 0), (1.0, 0, 0, 1, 0)];
    assert_eq!(update(&mut counters, &rows), [0.0, 0.0]);
    let rows = [(1.0, 901, 900, 1, 0), (1.0, 0, 1, 1, 0)];
    assert_eq!(update(&mut counters, &rows), [1.0, 2.0]);
}

#[test]
fn who_joins_a_queue_gets_no_credit_for_the_time_before() {
    let mut counters = opened();
    update(&mut counters, &[(1.0, 500, 0, 1, 0), (1.0, 300, 0, 1, 0)]);
    let rows = [
        (1.0, 500, 0, 1, 0),
        (1.0, 300, 0, 1, 0),
        (1.0, 0, 0, 1, 1),
        (1.0, 0, 0, 0, 1),
    ];
    let all = update(&mut counters, &rows);
    assert_eq!(all, [500.0, 300.0, 300.0, 0.0], "the last does not wait");
}

#[test]
fn who_has_had_more_is_not_lowered() {
    let mut counters = opened();
    update(&mut counters, &[(1.0, 500, 0, 0, 0), (1.0, 300, 0, 1, 0)]);
    let rows = [(1.0, 500, 0, 1, 1), (1.0, 300, 0, 1, 0)];
    assert_eq!(update(&mut counters, &rows), [500.0, 300.0]);
}

#[test]
fn in_an_empty_queue_the_last_that_left_is_the_measure() {
    let mut counters = opened();
    update(&mut counters, &[(1.0, 500, 0, 1, 0), (1.0, 300, 0, 1, 0)]);
    counters.note_last(0, Some(1));
    let rows = [
        (1.0, 500, 0, 0, 0),
        (1.0, 400, 0, 0, 0),
        (1.0, 0, 0, 1, 1),
        (1.0, 0, 0, 1, 1),
    ];
    // Nor do those that join together lift each other.
    assert_eq!(update(&mut counters, &rows), [500.0, 400.0, 400.0, 400.0]);
}

#[test]
fn workers_keep_books_of_their_own() {
    let mut counters = opened();
    update(&mut counters, &[(1.0, 500, 0, 1, 0)]);
    let tenants = Tenants {
        weight: &[1.0],
        input_tokens: &[7],
        output_tokens: &[0],
        waiting: &[1],
        backlogged_edge: &[0],
    };
    assert_eq!(counters.update(1, &tenants, PRICES), [0.0], "a new book");
    assert_eq!(update(&mut counters, &[(1.0, 500, 0, 1, 0)]), [500.0]);
}

#[test]
fn foreign_state_is_refused() {
    let import = |words: &[u64]| Counters::import(&words::to_bytes(words.iter().copied()));
    assert_eq!(Counters::import(&[]), Ok(Counters::default()));
    assert!(Counters::import(b"hello").is_err());
    assert!(import(&[0, 0]).is_err(), "half a head");
    assert!(import(&[0, 0, 1, 2]).is_err(), "too few counters");
    assert!(import(&[0, 0, u64::MAX]).is_err(), "too many");
    assert!(import(&[0, 0, 1, f64::NAN.to_bits(), 0, 0]).is_err());
    assert!(import(&[0, 0, 1, (-1.0f64).to_bits(), 0, 0]).is_err());
}

proptest! {
    #[test]
    fn what_is_handed_over_is_all_there_is(
        rounds in prop::collection::vec(
            prop::collection::vec((0.1f32..9.0, 0u64..99, 0u64..99, 0u32..3, 0u32..2), 1..5),
            1..6,
        ),
    ) {
        let mut counters = Counters::default();
        for (round, rows) in rounds.iter().enumerate() {
            let heir = Counters::import(&counters.export());
            prop_assert_eq!(heir.as_ref(), Ok(&counters));
            update(&mut counters, rows);
            counters.note_last(0, (round % 2 == 0).then_some(0));
        }
    }
}
