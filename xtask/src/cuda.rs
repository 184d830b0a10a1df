//! CUDA on machines that have nothing of it: checks with a compiler that compiles nothing, the
//! compiler of our own kernels, and a toolkit to build with, all from packages of the Python index.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::workspace;

/// The toolkit. 13.0 goes with drivers from 580 on: candle's kernels are compiled further by the
/// driver, and one that is older than the toolkit refuses them. `crt` and `nvvm` are named because
/// the compiler's package takes any version of them, and newer ones do not go with it.
const TOOLKIT: &str = "cuda-toolkit[nvcc,crt,nvvm,cudart,nvrtc,cccl,cublas,curand]==13.0.2";

/// The compiler of kernels at run time, alone.
const NVRTC: &str = "nvidia-cuda-nvrtc==13.0.88";

/// Where both packages put what they have.
const INSIDE: &str = "nvidia/cu13";

/// What a type check is told of the GPU; it makes no difference there.
const COMPUTE: &str = "80";

/// The features of crates that know CUDA.
const FEATURES: &str = "elis-llm/cuda,elis-predictor/cuda";

/// Bring a CUDA toolkit and build `elis` and `elis-predictor` with it: 1.2 GB, and some ten
/// minutes of a core
#[derive(Debug, Args)]
pub(crate) struct Cuda {
    /// Compute capability of the GPU, as in 90; newer GPUs run what is built for older ones
    #[arg(long, value_name = "NUMBER", default_value = COMPUTE)]
    compute: String,
}

/// Builds `elis` with models on GPUs.
pub(crate) fn run(options: &Cuda) -> anyhow::Result<()> {
    let root = workspace::root();
    let toolkit = Toolkit::bring(&root)?;
    let mut cargo = toolkit.cargo(&root, &options.compute)?;
    cargo.args(["build", "--release", "--bins"]);
    cargo.args(["-p", "elis-host", "-p", "elis-predictor"]);
    cargo.args(["--features", "elis-host/cuda,elis-predictor/cuda"]);
    workspace::run(cargo.arg("--target-dir").arg(target_dir(&root)))?;
    let elis = target_dir(&root).join("release/elis");
    println!("built; on a machine with a GPU and a driver from 580 on:");
    let (libraries, elis) = (toolkit.libraries(), elis.display());
    println!(
        "LD_LIBRARY_PATH={} {elis} serve --device cuda:0 --model …",
        libraries.display()
    );
    Ok(())
}

/// The tests of models and of the predictor, on the GPU of this machine.
pub(crate) fn test() -> anyhow::Result<()> {
    let root = workspace::root();
    let toolkit = Toolkit::bring(&root)?;
    let mut cargo = toolkit.cargo(&root, COMPUTE)?;
    cargo.args([
        "test",
        "-p",
        "elis-llm",
        "-p",
        "elis-predictor",
        "--lib",
        "--test",
        "it",
    ]);
    cargo.args(["--features", FEATURES]);
    cargo.arg("--target-dir").arg(target_dir(&root));
    cargo.env("ELIS_TEST_DEVICE", "cuda:0");
    cargo.env("LD_LIBRARY_PATH", toolkit.libraries());
    workspace::run(&mut cargo)
}

/// A cargo for checks of everything, what only a build with CUDA compiles included: what is checked
/// needs no compiler of kernels, only one that build scripts take for it.
pub(crate) fn checking(root: &Path, command: &[&str]) -> anyhow::Result<Command> {
    let mut cargo = workspace::cargo(root);
    cargo.args(command).args(["--features", FEATURES]);
    cargo.env("CUDA_COMPUTE_CAP", COMPUTE);
    cargo.env("PATH", path_with(&root.join("xtask/cuda"))?);
    Ok(cargo)
}

/// Brings NVRTC, and says where its library is.
pub(crate) fn nvrtc() -> anyhow::Result<PathBuf> {
    let folder = workspace::target_dir(&workspace::root()).join("nvrtc");
    bring(NVRTC, &folder)?;
    Ok(folder.join(INSIDE).join("lib"))
}

/// Builds with CUDA have a folder of their own, since cargo would otherwise build much of candle
/// anew at each change between them and others.
fn target_dir(root: &Path) -> PathBuf {
    workspace::target_dir(root).join("cuda")
}

fn path_with(first: &Path) -> anyhow::Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("PATH cannot be extended")
}

/// Installs a package of the Python index into a folder, unless it is there.
fn bring(package: &str, folder: &Path) -> anyhow::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    println!("bringing {package}");
    // Under its name only when it is whole; pip does not add to what is there.
    let partial = folder.with_extension("partial");
    if partial.is_dir() {
        fs::remove_dir_all(&partial)?;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"]);
    workspace::run(pip.arg("--target").arg(&partial).arg(package))
        .context("pip is needed to bring it: install Python 3 with pip")?;
    fs::rename(&partial, folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// A CUDA toolkit.
struct Toolkit {
    home: PathBuf,
}

impl Toolkit {
    /// The one that `CUDA_HOME` names, or one from packages.
    fn bring(root: &Path) -> anyhow::Result<Self> {
        if let Some(home) = std::env::var_os("CUDA_HOME") {
            return Ok(Self { home: home.into() });
        }
        let folder = workspace::target_dir(root).join("cuda-toolkit");
        bring(TOOLKIT, &folder)?;
        let home = folder.join(INSIDE);
        let nvcc = home.join("bin/nvcc");
        ensure!(nvcc.is_file(), "{TOOLKIT} holds no {}", nvcc.display());
        let toolkit = Self { home };
        toolkit.complete(root)?;
        Ok(toolkit)
    }

    fn libraries(&self) -> PathBuf {
        self.home.join("lib")
    }

    /// Adds what packages lack and linkers want: names without versions, and a driver to link with.
    fn complete(&self, root: &Path) -> anyhow::Result<()> {
        let libraries = self.libraries();
        for entry in fs::read_dir(&libraries)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Some((stem, _)) = name.split_once(".so.") else {
                continue;
            };
            link(&name, &libraries.join(format!("{stem}.so")))?;
        }
        link("lib", &self.home.join("lib64"))?;
        let stubs = libraries.join("stubs");
        let stub = stubs.join("libcuda.so");
        if stub.is_file() {
            return Ok(());
        }
        fs::create_dir_all(&stubs)?;
        let source = stubs.join("stub.c");
        fs::write(&source, stub_source(&driver_functions(root)?))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]);
        workspace::run(compiler.arg(&stub).arg(&source))
    }

    /// A cargo that builds with it.
    fn cargo(&self, root: &Path, compute: &str) -> anyhow::Result<Command> {
        let mut cargo = workspace::cargo(root);
        cargo
            .env("CUDA_HOME", &self.home)
            .env("CUDA_PATH", &self.home)
            .env("CUDA_COMPUTE_CAP", compute)
            .env("NVCC", self.home.join("bin/nvcc"))
            .env("PATH", path_with(&self.home.join("bin"))?);
        Ok(cargo)
    }
}

fn link(to: &str, name: &Path) -> anyhow::Result<()> {
    if name.exists() {
        return Ok(());
    }
    std::os::unix::fs::symlink(to, name).with_context(|| format!("cannot make {}", name.display()))
}

/// The functions of the driver that cudarc knows, from its source.
fn driver_functions(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut cargo = workspace::cargo(root);
    // CUDA is built for Linux only, and without a platform cargo would bring the crates of all.
    cargo.args(["metadata", "--format-version", "1", "--filter-platform"]);
    let output = cargo.arg("x86_64-unknown-linux-gnu").output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let cudarc = packages.iter().find(|package| package["name"] == "cudarc");
    let manifest = cudarc.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.context("cudarc is in no lock file")?);
    let source = manifest.with_file_name("src/driver/sys/mod.rs");
    let text =
        fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let functions = functions(&text);
    ensure!(
        !functions.is_empty(),
        "{} names no function",
        source.display()
    );
    Ok(functions)
}

/// Names as in `pub unsafe fn cuInit(`.
fn functions(source: &str) -> Vec<String> {
    let names = source.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("pub unsafe fn ")?;
        let name = name.split('(').next()?;
        let upper = name.strip_prefix("cu")?.starts_with(char::is_uppercase);
        upper.then(|| name.to_owned())
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    names
}

/// A driver that says that there is no device, 100 in its language.
fn stub_source(functions: &[String]) -> String {
    let lines = functions
        .iter()
        .map(|name| format!("int {name}(void) {{ return 100; }}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stub_has_what_cudarc_may_call() {
        let functions = driver_functions(&workspace::root()).unwrap();
        assert!(functions.iter().any(|name| name == "cuInit"));
        assert!(functions.iter().any(|name| name == "cuMemHostAlloc"));
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("stub.c");
        fs::write(&source, stub_source(&functions)).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-fsyntax-only", "-Werror"]).arg(&source);
        assert!(compiler.status().unwrap().success());
    }

    #[test]
    fn the_stand_in_compiler_gives_what_build_scripts_ask_for() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("one.cu");
        fs::write(&kernel, "kernel").unwrap();
        let nvcc = || Command::new(workspace::root().join("xtask/cuda/nvcc"));
        let version = nvcc().arg("--version").output().unwrap().stdout;
        let version = String::from_utf8(version).unwrap();
        let release = version.lines().nth(3).unwrap();
        assert!(release.contains("release 13.0,"), "{release}");
        let object = folder.path().join("one.o");
        let compiled = nvcc()
            .arg("-c")
            .arg(&kernel)
            .arg("-o")
            .arg(&object)
            .status();
        assert!(compiled.unwrap().success() && object.is_file());
        let mut ptx = nvcc();
        ptx.args(["--ptx", "--output-directory"])
            .arg(folder.path())
            .arg(&kernel);
        assert!(ptx.status().unwrap().success());
        assert!(folder.path().join("one.ptx").is_file());
        let archive = folder.path().join("libone.a");
        let mut lib = nvcc();
        lib.arg("--lib").arg("-o").arg(&archive).arg(&object);
        assert!(lib.status().unwrap().success() && archive.is_file());
    }
}
