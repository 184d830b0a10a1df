//! Finds a policy by name, so that `isrtf` works wherever the command is run from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The variable that names a folder to look in first.
pub const FOLDER_VARIABLE: &str = "ELIS_POLICIES";

/// No policy of that name.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no policy {name:?}: looked in {looked}; {found}; build them with \
     `cargo xtask policies`, or give the path of a .wasm file"
)]
pub struct NotFound {
    name: String,
    looked: String,
    found: String,
}

/// A policy that can be given by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its name: that of the file.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// The file of a policy that is given by name or by path.
///
/// # Errors
///
/// There is no such file; the message says where it was looked for and what is there.
pub fn resolve(name: &str) -> Result<PathBuf, NotFound> {
    find(name, &folders())
}

/// All policies that can be given by name.
pub fn list() -> Vec<Named> {
    list_in(&folders())
}

/// Where names are looked up, first the folder that counts most.
pub fn folders() -> Vec<PathBuf> {
    let chosen = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
    let executable = std::env::current_exe().unwrap_or_default();
    // Of target/release/elis it is target/policies; tests and benches lie one folder deeper.
    let deeper = executable
        .parent()
        .is_some_and(|dir| dir.ends_with("deps") || dir.ends_with("examples"));
    let beside = executable.ancestors().nth(if deeper { 3 } else { 2 });
    let beside = beside.map(|dir| dir.join("policies"));
    let here = PathBuf::from("target/policies");
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in [chosen, beside, Some(here)].into_iter().flatten() {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

fn find(name: &str, folders: &[PathBuf]) -> Result<PathBuf, NotFound> {
    // A path is what looks like one; a bare name never means a file of the working directory.
    let path = Path::new(name);
    let is_path = path.components().count() > 1 || path.extension().is_some();
    if is_path && path.is_file() {
        return Ok(path.to_owned());
    }
    if !is_path {
        let candidates = folders.iter().map(|dir| dir.join(format!("{name}.wasm")));
        if let Some(found) = candidates.into_iter().find(|path| path.is_file()) {
            return Ok(found);
        }
    }
    let looked = if is_path {
        "that file only, since it is a path".to_owned()
    } else {
        join(folders.iter().map(|dir| dir.display().to_string()))
    };
    let names: Vec<String> = list_in(folders).into_iter().map(|n| n.name).collect();
    let found = if names.is_empty() {
        "no policy has been built".to_owned()
    } else {
        format!("known are {}", names.join(", "))
    };
    Err(NotFound {
        name: name.to_owned(),
        looked,
        found,
    })
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn list_in(folders: &[PathBuf]) -> Vec<Named> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for entry in folders
        .iter()
        .filter_map(|dir| dir.read_dir().ok())
        .flatten()
    {
        let Ok(path) = entry.map(|entry| entry.path()) else {
            continue;
        };
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let (Some(name), Some("wasm")) = (stem, path.extension().and_then(|e| e.to_str()))
            && seen.insert(name.to_owned())
        {
            all.push(Named {
                name: name.to_owned(),
                path,
            });
        }
    }
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_counts_and_errors_say_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let folders = [dir.path().join("a"), dir.path().join("b")];
        for (folder, name) in [(0, "x"), (1, "x"), (1, "y")] {
            std::fs::create_dir_all(&folders[folder]).unwrap();
            std::fs::write(folders[folder].join(format!("{name}.wasm")), b"").unwrap();
        }
        assert_eq!(find("x", &folders).unwrap(), folders[0].join("x.wasm"));
        assert_eq!(find("y", &folders).unwrap(), folders[1].join("y.wasm"));
        let path = folders[1].join("y.wasm");
        assert_eq!(find(path.to_str().unwrap(), &folders).unwrap(), path);
        assert_eq!(list_in(&folders).len(), 2);
        let text = find("z", &folders).unwrap_err().to_string();
        assert!(
            text.contains("known are x, y") && text.contains("cargo xtask policies"),
            "{text}"
        );
        let text = find("./z.wasm", &[]).unwrap_err().to_string();
        assert!(text.contains("no policy has been built"), "{text}");
    }
}
