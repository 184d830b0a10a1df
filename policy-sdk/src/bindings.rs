//! The contract as `wit-bindgen` writes it from `wit/policy.wit`; policies need [`crate::Policy`]
//! and [`crate::export_policy!`] only.
#![expect(
    missing_docs,
    reason = "generated: what is documented in the contract is documented here"
)]

wit_bindgen::generate!({
    path: "../wit",
    world: "policy",
    pub_export_macro: true,
    default_bindings_module: "elis_policy_sdk::bindings",
    additional_derives: [PartialEq, Default],
    additional_derives_ignore: ["column", "info", "preemption"],
});

use exports::elis::policy::scheduling::{Preemption, Triggers};

impl Triggers {
    /// Every trigger.
    pub fn all() -> Self {
        Self::ARRIVAL
            | Self::FINISH
            | Self::WINDOW_END
            | Self::PREDICTION
            | Self::MEMORY_PRESSURE
            | Self::TIMER
    }
}

impl Default for Triggers {
    fn default() -> Self {
        Self::empty()
    }
}

impl Default for Preemption {
    fn default() -> Self {
        Self::Pause
    }
}
