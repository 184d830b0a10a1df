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
pub const ALL: [Shipped; 10] = [
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
    Shipped {
        name: "heavy-tail",
        text: include_str!("../specs/heavy-tail.toml"),
    },
    Shipped {
        name: "flood",
        text: include_str!("../specs/flood.toml"),
    },
    Shipped {
        name: "memory",
        text: include_str!("../specs/memory.toml"),
    },
    Shipped {
        name: "deadlines",
        text: include_str!("../specs/deadlines.toml"),
    },
    Shipped {
        name: "summaries",
        text: include_str!("../specs/summaries.toml"),
    },
];

/// The shipped spec of that name.
#[must_use]
pub fn find(name: &str) -> Option<Shipped> {
    ALL.into_iter().find(|s| s.name == name)
}
