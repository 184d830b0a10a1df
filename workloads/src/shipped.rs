//! The specs that ship with Elis, readable without their files.

/// A spec in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// Its name, as a user writes it.
    pub name: &'static str,
    /// Its TOML.
    pub text: &'static str,
}

/// All shipped specs, the headline first.
pub const ALL: [Shipped; 5] = [
    Shipped {
        name: "industrial",
        text: include_str!("../specs/industrial.toml"),
    },
    Shipped {
        name: "steady",
        text: include_str!("../specs/steady.toml"),
    },
    Shipped {
        name: "burst",
        text: include_str!("../specs/burst.toml"),
    },
    Shipped {
        name: "tenants",
        text: include_str!("../specs/tenants.toml"),
    },
    Shipped {
        name: "paper",
        text: include_str!("../specs/paper.toml"),
    },
];

/// The shipped spec of that name.
#[must_use]
pub fn find(name: &str) -> Option<Shipped> {
    ALL.into_iter().find(|s| s.name == name)
}
