//! The seam between the generated bindings and [`Policy`]: one static instance for each component.

use core::cell::RefCell;
use core::marker::PhantomData;

use crate::bindings::exports::elis::policy::scheduling as contract;
use crate::{Column, Header, Plan, Policy, Snapshot};

/// Where a component keeps its policy; [`export_policy!`](crate::export_policy) makes one.
#[derive(Debug)]
pub struct Adapter<P>(PhantomData<P>);

impl<P: Policy> Adapter<P> {
    /// `describe` of the contract.
    pub fn describe() -> contract::Info {
        let info = P::info();
        contract::Info {
            name: info.name.to_owned(),
            version: info.version.to_owned(),
            summary: info.summary.to_owned(),
            columns: info.columns.iter().map(|&name| name.to_owned()).collect(),
            triggers: info.triggers,
            preemptive: info.preemptive,
        }
    }

    /// `configure` of the contract: a fresh policy takes the place of the old one if it is content.
    ///
    /// # Errors
    ///
    /// What the policy says is wrong with its configuration.
    pub fn configure(cell: &RefCell<P>, config: &str) -> Result<(), String> {
        let mut policy = P::default();
        policy.configure(config)?;
        cell.replace(policy);
        Ok(())
    }

    /// `decide` of the contract.
    pub fn decide(cell: &RefCell<P>, header: &Header, columns: &[contract::Column]) -> Plan {
        let columns: Vec<Column<'_>> = columns.iter().map(Column::from).collect();
        cell.borrow_mut().decide(&Snapshot::new(header, &columns))
    }
}

/// Exports a policy type as a component, on WebAssembly only: natively it expands to nothing, so
/// that a policy is an ordinary library in tests.
#[macro_export]
macro_rules! export_policy {
    ($Policy:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[expect(
            unsafe_code,
            reason = "exports of a component are `no_mangle` functions"
        )]
        mod elis_component {
            use $crate::bindings::exports::elis::policy::scheduling as contract;

            type Adapter = $crate::Adapter<super::$Policy>;

            std::thread_local! {
                static POLICY: core::cell::RefCell<super::$Policy> =
                    core::default::Default::default();
            }

            struct Component;

            impl contract::Guest for Component {
                fn describe() -> contract::Info {
                    Adapter::describe()
                }

                fn configure(config: String) -> Result<(), String> {
                    POLICY.with(|policy| Adapter::configure(policy, &config))
                }

                fn decide(
                    header: contract::Header,
                    columns: Vec<contract::Column>,
                ) -> contract::Plan {
                    POLICY.with(|policy| Adapter::decide(policy, &header, &columns))
                }

                fn export_state() -> Vec<u8> {
                    POLICY.with(|policy| $crate::Policy::export_state(&*policy.borrow()))
                }

                fn import_state(state: Vec<u8>) -> Result<(), String> {
                    POLICY.with(|policy| {
                        $crate::Policy::import_state(&mut *policy.borrow_mut(), &state)
                    })
                }
            }

            $crate::bindings::export!(Component);
        }
    };
}
