//! Numbers for tenants, which the core and the policies know by number only.

use std::collections::HashMap;

use elis_scheduler::limits::TENANTS_MAX;

/// The tenants that have been seen. The empty name is number 0.
#[derive(Debug, Default)]
pub(crate) struct Tenants(HashMap<String, u32>);

impl Tenants {
    /// The number of a tenant; when there are no more numbers, that of the default tenant.
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(&number) = self.0.get(name) {
            return number;
        }
        let next = self.0.len() as u32 + 1;
        if next >= TENANTS_MAX {
            return 0;
        }
        self.0.insert(name.to_owned(), next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers() {
        let mut tenants = Tenants::default();
        let numbers = ["", "a", "b", "a"].map(|name| tenants.number(name));
        assert_eq!(numbers, [0, 1, 2, 1]);
    }
}
