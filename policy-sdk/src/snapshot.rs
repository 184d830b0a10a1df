//! What a policy sees: a header and the columns that it declared, all borrowed.

use crate::Header;
use crate::bindings::exports::elis::policy::scheduling as contract;

/// One column, borrowed from the guest's own memory or from a host's table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Column<'a> {
    /// Counts, tokens, blocks, small codes.
    U32s(&'a [u32]),
    /// Ids, times in microseconds, policy state.
    U64s(&'a [u64]),
    /// Predictions, scores, weights.
    F32s(&'a [f32]),
}

impl<'a> From<&'a contract::Column> for Column<'a> {
    fn from(column: &'a contract::Column) -> Self {
        match column {
            contract::Column::U32s(values) => Self::U32s(values),
            contract::Column::U64s(values) => Self::U64s(values),
            contract::Column::F32s(values) => Self::F32s(values),
        }
    }
}

/// What a column can hold.
pub trait Element: Sized {
    /// The values of a column of this type; `None` for a column of another one.
    fn of<'a>(column: &Column<'a>) -> Option<&'a [Self]>;
}

impl Element for u32 {
    fn of<'a>(column: &Column<'a>) -> Option<&'a [Self]> {
        match column {
            Column::U32s(values) => Some(values),
            _ => None,
        }
    }
}

impl Element for u64 {
    fn of<'a>(column: &Column<'a>) -> Option<&'a [Self]> {
        match column {
            Column::U64s(values) => Some(values),
            _ => None,
        }
    }
}

impl Element for f32 {
    fn of<'a>(column: &Column<'a>) -> Option<&'a [Self]> {
        match column {
            Column::F32s(values) => Some(values),
            _ => None,
        }
    }
}

/// One worker's queue at one boundary.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// The scalars.
    pub header: &'a Header,
    columns: &'a [Column<'a>],
}

impl<'a> Snapshot<'a> {
    /// A snapshot of those columns, in the order in which the policy declared them.
    pub fn new(header: &'a Header, columns: &'a [Column<'a>]) -> Self {
        Self { header, columns }
    }

    /// The column that was declared as number `index`. One that is missing or of another type is
    /// empty: a host that breaks the contract gets a plan without jobs, not a trap.
    pub fn column<T: Element>(&self, index: usize) -> &'a [T] {
        self.columns
            .get(index)
            .and_then(T::of)
            .unwrap_or(const { &[] })
    }
}

/// The columns of two tables in one list: a policy takes those of the second with `after`.
///
/// ```
/// use elis_policy_sdk::joined;
/// const BOTH: [&str; 3] = joined(&["job-id", "job-tenant"], &["tenant-weight"]);
/// assert_eq!(BOTH, ["job-id", "job-tenant", "tenant-weight"]);
/// ```
///
/// # Panics
///
/// The length is not that of both lists together, when it is compiled.
pub const fn joined<const N: usize>(
    first: &[&'static str],
    second: &[&'static str],
) -> [&'static str; N] {
    assert!(N == first.len() + second.len(), "count both lists");
    let mut all = [""; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() {
            first[at]
        } else {
            second[at - first.len()]
        };
        at += 1;
    }
    all
}

/// Declares the columns of a policy as a struct of slices: `NAMES` is the list for
/// [`Info::columns`](crate::Info::columns), `of` takes the slices from a snapshot.
///
/// All fields are columns of one table and come out equally long.
///
/// ```
/// elis_policy_sdk::columns! {
///     /// What the rule reads of a job.
///     struct Jobs {
///         id: u64 = "job-id",
///         arrival_us: u64 = "job-arrival-us",
///     }
/// }
/// assert_eq!(Jobs::NAMES, ["job-id", "job-arrival-us"]);
/// ```
#[macro_export]
macro_rules! columns {
    (
        $(#[$doc:meta])*
        $vis:vis struct $Name:ident {
            $first:ident : $First:ty = $first_name:literal
            $(, $field:ident : $Type:ty = $name:literal)* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        $vis struct $Name<'a> {
            $first: &'a [$First],
            $($field: &'a [$Type],)*
        }

        impl<'a> $Name<'a> {
            /// The columns by their names in the contract, in the order of the fields.
            $vis const NAMES: &'static [&'static str] = &[$first_name $(, $name)*];

            /// Takes the columns from a snapshot.
            $vis fn of(snapshot: &$crate::Snapshot<'a>) -> Self {
                Self::after(snapshot, 0)
            }

            /// Takes the columns behind the first `declared` ones, for a second table.
            $vis fn after(snapshot: &$crate::Snapshot<'a>, declared: usize) -> Self {
                let mut next = declared..;
                let mut index = || next.next().unwrap_or(usize::MAX);
                let $first: &'a [$First] = snapshot.column(index());
                $(let $field: &'a [$Type] = snapshot.column(index());)*
                let rows = $first.len() $(.min($field.len()))*;
                Self { $first: &$first[..rows], $($field: &$field[..rows],)* }
            }

            /// Number of rows.
            $vis fn len(&self) -> usize {
                self.$first.len()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    columns! {
        struct Jobs {
            id: u64 = "job-id",
            state: u32 = "job-state",
            remaining: f32 = "job-predicted-remaining-tokens",
        }
    }

    #[test]
    fn columns_come_in_the_declared_order() {
        let header = Header::default();
        let columns = [
            Column::U64s(&[7, 8]),
            Column::U32s(&[1, 2]),
            Column::F32s(&[0.5, 1.5]),
        ];
        let jobs = Jobs::of(&Snapshot::new(&header, &columns));
        assert_eq!(
            Jobs::NAMES,
            ["job-id", "job-state", "job-predicted-remaining-tokens"]
        );
        assert_eq!((jobs.id[1], jobs.state[1], jobs.remaining[1]), (8, 2, 1.5));
    }

    columns! {
        struct Tenants {
            weight: f32 = "tenant-weight",
        }
    }

    #[test]
    fn a_second_table_stands_behind_the_first_and_has_its_own_length() {
        let header = Header::default();
        let columns = [
            Column::U64s(&[7, 8]),
            Column::U32s(&[1, 2]),
            Column::F32s(&[0.5, 1.5]),
            Column::F32s(&[4.0]),
        ];
        let snapshot = Snapshot::new(&header, &columns);
        let tenants = Tenants::after(&snapshot, Jobs::NAMES.len());
        assert_eq!((Jobs::of(&snapshot).len(), tenants.weight), (2, &[4.0][..]));
        assert_eq!((Tenants::NAMES, tenants.len()), (&["tenant-weight"][..], 1));
        let alone = Snapshot::new(&header, &columns[3..]);
        assert_eq!(Tenants::of(&alone).weight, tenants.weight);
    }

    #[test]
    fn a_broken_host_gives_no_rows_instead_of_a_trap() {
        let header = Header::default();
        let wrong_type = [
            Column::U32s(&[7, 8]),
            Column::U32s(&[1, 2]),
            Column::F32s(&[0.5, 1.5]),
        ];
        assert_eq!(Jobs::of(&Snapshot::new(&header, &wrong_type)).len(), 0);
        let too_few = [Column::U64s(&[7, 8])];
        assert_eq!(Jobs::of(&Snapshot::new(&header, &too_few)).len(), 0);
        let uneven = [
            Column::U64s(&[7, 8]),
            Column::U32s(&[1]),
            Column::F32s(&[0.5, 1.5]),
        ];
        assert_eq!(Jobs::of(&Snapshot::new(&header, &uneven)).len(), 1);
    }
}
