//! Models by the name that they have on the Hugging Face hub.

use std::path::{Path, PathBuf};

use super::EncoderError;

/// What an encoder reads; the weights last, so that a folder that has them has everything.
#[cfg(feature = "hub")]
const FILES: [&str; 6] = [
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "config.json",
    "tokenizer.json",
    "model.safetensors",
];

/// The folder of a model: `name` itself where there is such a folder, else what the hub has under
/// that name, such as `BAAI/bge-small-en-v1.5`, fetched once and kept where all programs keep
/// models of the hub.
///
/// # Errors
///
/// If there is no such folder, and the hub has no such model or cannot be reached.
pub fn resolve(name: &str) -> Result<PathBuf, EncoderError> {
    let folder = Path::new(name);
    if folder.is_dir() {
        return Ok(folder.to_owned());
    }
    fetch(name).map_err(|reason| EncoderError::Hub {
        id: name.to_owned(),
        reason,
    })
}

/// Whether the name is one that the hub could have: an owner and a model.
#[cfg(feature = "hub")]
fn is_id(name: &str) -> bool {
    let fine = |part: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(known)
    };
    let parts = name.split_once('/');
    parts.is_some_and(|(owner, model)| fine(owner) && fine(model))
}

#[cfg(feature = "hub")]
fn fetch(name: &str) -> Result<PathBuf, String> {
    use hf_hub::{Cache, Repo, api::sync::ApiBuilder};

    if !is_id(name) {
        return Err("it is neither a folder nor a name like BAAI/bge-small-en-v1.5".to_owned());
    }
    // What is there already needs no network.
    let kept = Cache::from_env().repo(Repo::model(name.to_owned()));
    if let Some(weights) = kept.get("model.safetensors") {
        return folder_of(&weights);
    }
    let api = ApiBuilder::from_env().with_progress(false).build();
    let repo = api
        .map_err(|error| error.to_string())?
        .model(name.to_owned());
    let info = repo.info().map_err(|error| error.to_string())?;
    let mut weights = Err("it has no model.safetensors".to_owned());
    for file in FILES {
        if info
            .siblings
            .iter()
            .any(|sibling| sibling.rfilename == file)
        {
            weights = repo.get(file).map_err(|error| error.to_string());
            weights.as_ref().map_err(Clone::clone)?;
        }
    }
    folder_of(&weights?)
}

#[cfg(feature = "hub")]
fn folder_of(file: &Path) -> Result<PathBuf, String> {
    let folder = file
        .parent()
        .filter(|folder| folder.join("config.json").is_file());
    let folder = folder.map(Path::to_owned);
    folder.ok_or_else(|| format!("{} is not beside a config.json", file.display()))
}

#[cfg(not(feature = "hub"))]
fn fetch(_name: &str) -> Result<PathBuf, String> {
    Err("there is no such folder, and this build has no feature `hub`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_wins_and_nonsense_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_str().unwrap();
        assert_eq!(resolve(name).unwrap(), folder.path());
        for name in ["", "no-owner", "../up/there", "a/b/c", "models/../x"] {
            let text = resolve(name).unwrap_err().to_string();
            assert!(
                text.contains(&format!("cannot fetch {name} from")),
                "{text}"
            );
            assert!(text.contains("cargo xtask models"), "{text}");
        }
    }
}
