//! What bytes are, found out without running or compiling them: the kind, the imports, the exports.

use wasmparser::{Encoding, Parser, Payload};

use crate::LoadError;

/// The version of the contract that this host speaks.
pub const CONTRACT_VERSION: &str = "0.1.0";

const PACKAGE: &str = "elis:policy";

/// How a policy came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A component with typed exports.
    Component,
    /// A core module with the description of its component inside, as cargo builds it; the host
    /// makes the component.
    CoreModule,
    /// A component that exports the packed interface for interpreted languages.
    Packed,
}

impl Kind {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::CoreModule => "core module",
            Self::Packed => "packed component",
        }
    }
}

/// Refuses what cannot be a policy and says what the rest is.
pub(crate) fn inspect(bytes: &[u8], limit: usize) -> Result<Kind, LoadError> {
    if bytes.len() > limit {
        return Err(LoadError::TooLarge {
            size: bytes.len(),
            limit,
        });
    }
    if !bytes.starts_with(b"\0asm") {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
        return Err(LoadError::NotWasm { start });
    }
    let outline = Outline::read(bytes).map_err(|e| LoadError::Malformed(e.to_string()))?;
    if !outline.imports.is_empty() {
        return Err(LoadError::Imports(outline.imports));
    }
    if !outline.component {
        return if outline.described {
            Ok(Kind::CoreModule)
        } else {
            Err(LoadError::NotAPolicy)
        };
    }
    interface(&outline.exports)
}

/// The full name of an interface of the contract.
pub(crate) fn export_name(interface: &str) -> String {
    format!("{PACKAGE}/{interface}@{CONTRACT_VERSION}")
}

fn interface(exports: &[String]) -> Result<Kind, LoadError> {
    if exports.contains(&export_name("scheduling")) {
        return Ok(Kind::Component);
    }
    if exports.contains(&export_name("packed")) {
        return Ok(Kind::Packed);
    }
    let found = exports.iter().map(|export| contract_of(export)).collect();
    Err(LoadError::Contract {
        expected: format!("{PACKAGE}@{CONTRACT_VERSION}"),
        found,
    })
}

/// `elis:policy@0.2.0` of `elis:policy/scheduling@0.2.0`; another package keeps its full name.
fn contract_of(export: &str) -> String {
    match export.split_once('@') {
        Some((name, version)) if name.starts_with(&format!("{PACKAGE}/")) => {
            format!("{PACKAGE}@{version}")
        }
        _ => export.to_owned(),
    }
}

/// The outermost layer of a binary.
#[derive(Debug, Default)]
struct Outline {
    component: bool,
    imports: Vec<String>,
    exports: Vec<String>,
    /// Whether it carries the `component-type` section that wit-bindgen leaves in a core module.
    described: bool,
}

impl Outline {
    fn read(bytes: &[u8]) -> wasmparser::Result<Self> {
        let mut outline = Self::default();
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { encoding, .. } if depth == 0 => {
                    outline.component = encoding == Encoding::Component;
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ImportSection(section) if depth == 0 => {
                    for import in section.into_imports() {
                        let import = import?;
                        outline
                            .imports
                            .push(format!("{}.{}", import.module, import.name));
                    }
                }
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        outline.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        outline.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::CustomSection(section) if depth == 0 => {
                    outline.described |= section.name().starts_with("component-type");
                }
                _ => {}
            }
        }
        Ok(outline)
    }
}

/// Makes a component of a core module that describes one.
pub(crate) fn componentise(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let encode = || {
        wit_component::ComponentEncoder::default()
            .module(module)?
            .validate(true)
            .encode()
    };
    let component = encode().map_err(|e| LoadError::Malformed(format!("{e:#}")))?;
    // The description may be one of another version, or of no policy at all.
    inspect(&component, usize::MAX)?;
    Ok(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wat: &str) -> Result<Kind, LoadError> {
        inspect(&wat::parse_str(wat).unwrap(), 1 << 20)
    }

    fn exporting(name: &str) -> String {
        format!(r#"(component (instance $i) (export "{name}" (instance $i)))"#)
    }

    #[test]
    fn components_are_told_apart_by_what_they_export() {
        let typed = exporting("elis:policy/scheduling@0.1.0");
        assert_eq!(of(&typed).unwrap(), Kind::Component);
        let packed = exporting("elis:policy/packed@0.1.0");
        assert_eq!(of(&packed).unwrap(), Kind::Packed);
    }

    #[test]
    fn another_version_is_named() {
        let error = of(&exporting("elis:policy/scheduling@0.2.0")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(
                "this host speaks elis:policy@0.1.0, the component exports elis:policy@0.2.0"
            ),
            "{text}"
        );
    }

    #[test]
    fn every_import_is_listed() {
        let wat = r#"(component
            (import "wasi:clocks/wall-clock@0.2.0" (instance))
            (import "wasi:random/random@0.2.0" (instance)))"#;
        let Err(LoadError::Imports(names)) = of(wat) else {
            panic!("imports were not refused");
        };
        assert_eq!(
            names,
            ["wasi:clocks/wall-clock@0.2.0", "wasi:random/random@0.2.0"]
        );
        let module = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#;
        assert!(
            of(module)
                .unwrap_err()
                .to_string()
                .contains("wasi_snapshot_preview1.fd_write")
        );
    }

    #[test]
    fn imports_inside_a_component_are_its_own_business() {
        let wat = r#"(component
            (core module $m (import "a" "b" (func)))
            (instance $i)
            (export "elis:policy/scheduling@0.1.0" (instance $i)))"#;
        assert_eq!(of(wat).unwrap(), Kind::Component);
    }

    #[test]
    fn what_is_no_policy_is_refused_with_a_reason() {
        assert!(matches!(of("(module)"), Err(LoadError::NotAPolicy)));
        let text = inspect(b"(component)", 100).unwrap_err().to_string();
        assert!(text.contains("not a WebAssembly binary"), "{text}");
        let cut = &wat::parse_str("(component (core module))").unwrap()[..12];
        assert!(matches!(inspect(cut, 100), Err(LoadError::Malformed(_))));
        assert!(matches!(
            inspect(&[0; 9], 8),
            Err(LoadError::TooLarge { size: 9, limit: 8 })
        ));
    }
}
