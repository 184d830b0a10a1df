//! llama.cpp, from a library that somebody else built.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use libloading::{Library, Symbol};

/// A struct of parameters whose fields move from one release to the next. It is larger than any of
/// them: C writes and reads only its own part of what lies on the stack.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters([u32; 64]);

/// `llama_batch`.
#[repr(C)]
struct Batch {
    n_tokens: i32,
    token: *mut i32,
    embd: *mut f32,
    pos: *mut i32,
    n_seq_id: *mut i32,
    seq_id: *mut *mut i32,
    logits: *mut i8,
}

/// Where the context's parameters lie, in words, and what release 0.5.0 has there by default.
const CONTEXT: [(usize, u32); 8] = [
    (N_CTX, 512),
    (N_BATCH, 2048),
    (N_UBATCH, 512),
    (N_SEQ_MAX, 1),
    (N_THREADS, 4),
    (N_THREADS + 1, 4),
    (KV_TYPES, F16),
    (KV_TYPES + 1, F16),
];
const N_CTX: usize = 0;
const N_BATCH: usize = 1;
const N_UBATCH: usize = 2;
const N_SEQ_MAX: usize = 3;
const N_THREADS: usize = 7;
const KV_TYPES: usize = 26;
const F16: u32 = 1;
const F32: u32 = 0;

/// Tokens of one sequence that are computed now, behind `context` others.
pub struct Part<'a> {
    pub tokens: &'a [u32],
    pub context: usize,
    /// Logits after each of them, or after the last one only.
    pub all_logits: bool,
}

/// The library.
pub struct Llama {
    library: Library,
    // Its CPU kernels are plug-ins that this one loads.
    _ggml: Library,
}

type Raw = *mut c_void;

impl Llama {
    /// Loads `libllama` and `libggml` of a folder, and the kernels there that fit this processor.
    pub fn open(folder: &Path) -> Result<Self> {
        let find = |stem: &str| {
            let entries = std::fs::read_dir(folder)?
                .flatten()
                .map(|entry| entry.path());
            let named = |path: &Path| {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let rest = name.strip_prefix(stem).map(str::to_owned);
                rest.is_some_and(|rest| rest.starts_with(".so") || rest.starts_with(".v"))
            };
            let mut found = entries.filter(|path| named(path));
            found
                .next()
                .with_context(|| format!("no {stem} in {}", folder.display()))
        };
        // SAFETY: their initialisers only register themselves.
        let (ggml, library) = unsafe {
            (
                Library::new(find("libggml")?)?,
                Library::new(find("libllama")?)?,
            )
        };
        let path = CString::new(folder.to_string_lossy().as_bytes())?;
        let all = Self {
            library,
            _ggml: ggml,
        };
        extern "C" fn silent(_: c_int, _: *const c_char, _: Raw) {}
        type Log = extern "C" fn(c_int, *const c_char, Raw);
        // SAFETY: signatures as in llama.h and ggml-backend.h; the path lives through the call.
        unsafe {
            let log: Symbol<unsafe extern "C" fn(Log, Raw)> = all.symbol(b"llama_log_set")?;
            log(silent, std::ptr::null_mut());
            let load: Symbol<unsafe extern "C" fn(*const c_char)> =
                all._ggml.get(b"ggml_backend_load_all_from_path")?;
            load(path.as_ptr());
        }
        Ok(all)
    }

    /// # Safety
    ///
    /// `T` is the signature of the function in this library.
    unsafe fn symbol<T>(&self, name: &[u8]) -> Result<Symbol<'_, T>> {
        // SAFETY: as the caller promises.
        Ok(unsafe { self.library.get(name)? })
    }

    /// Its version and what it found in the processor.
    pub fn description(&self) -> Result<String> {
        // SAFETY: both return static strings.
        unsafe {
            type Text = unsafe extern "C" fn() -> *const c_char;
            let version: Symbol<Text> = self.symbol(b"llama_version")?;
            let system: Symbol<Text> = self.symbol(b"llama_print_system_info")?;
            let [version, system] = [CStr::from_ptr(version()), CStr::from_ptr(system())];
            Ok(format!(
                "{}; {}",
                version.to_string_lossy(),
                system.to_string_lossy()
            ))
        }
    }

    fn defaults(&self, of: &[u8]) -> Result<Parameters> {
        // SAFETY: a struct of more than two words comes back through a hidden pointer to memory of
        // the caller, of which C fills the front.
        unsafe {
            let defaults: Symbol<unsafe extern "C" fn() -> Parameters> = self.symbol(of)?;
            Ok(defaults())
        }
    }

    /// Writes a model with all its weights as 32-bit floats.
    pub fn write_floats(&self, from: &Path, to: &Path) -> Result<()> {
        let mut parameters = self.defaults(b"llama_model_quantize_default_params")?;
        // Threads, `LLAMA_FTYPE_ALL_F32`, and in the fifth word four flags, of which the first
        // allows a file that is quantised.
        (parameters.0[0], parameters.0[1]) = (1, 0);
        parameters.0[4] |= 1;
        let [from, to] = [path(from)?, path(to)?];
        type Quantize =
            unsafe extern "C" fn(*const c_char, *const c_char, *const Parameters) -> u32;
        // SAFETY: the signature of llama.h; all three live through the call.
        let failed = unsafe {
            let quantize: Symbol<Quantize> = self.symbol(b"llama_model_quantize")?;
            quantize(from.as_ptr(), to.as_ptr(), &parameters)
        };
        ensure!(failed == 0, "llama.cpp cannot write the weights as floats");
        Ok(())
    }

    /// Loads a model for so many sequences on one thread; keys and values as 32-bit floats if
    /// `floats`, else as llama.cpp has them by default, in 16.
    pub fn load(&self, file: &Path, sequences: u32, floats: bool) -> Result<Context<'_>> {
        let model = self.defaults(b"llama_model_default_params")?;
        let mut context = self.defaults(b"llama_context_default_params")?;
        for (word, expected) in CONTEXT {
            let found = context.0[word];
            ensure!(
                found == expected,
                "word {word} of the context's parameters is {found}, not {expected}: this is not \
                 the release that README.md names"
            );
        }
        context.0[N_CTX] = 1024 * sequences;
        (context.0[N_BATCH], context.0[N_UBATCH]) = (1024 * sequences, 512);
        context.0[N_SEQ_MAX] = sequences;
        (context.0[N_THREADS], context.0[N_THREADS + 1]) = (1, 1);
        if floats {
            (context.0[KV_TYPES], context.0[KV_TYPES + 1]) = (F32, F32);
        }
        let file = path(file)?;
        type Load = unsafe extern "C" fn(*const c_char, Parameters) -> Raw;
        type Init = unsafe extern "C" fn(Raw, Parameters) -> Raw;
        type Of = unsafe extern "C" fn(Raw) -> Raw;
        type Count = unsafe extern "C" fn(Raw) -> i32;
        // SAFETY: signatures as in llama.h; pointers are tested before they are used.
        unsafe {
            let load: Symbol<Load> = self.symbol(b"llama_model_load_from_file")?;
            let model = load(file.as_ptr(), model);
            ensure!(!model.is_null(), "llama.cpp cannot load the model");
            let init: Symbol<Init> = self.symbol(b"llama_init_from_model")?;
            let raw = init(model, context);
            ensure!(!raw.is_null(), "llama.cpp cannot make a context");
            let vocab: Symbol<Of> = self.symbol(b"llama_model_get_vocab")?;
            let vocab = vocab(model);
            let count: Symbol<Count> = self.symbol(b"llama_vocab_n_tokens")?;
            let memory: Symbol<Of> = self.symbol(b"llama_get_memory")?;
            Ok(Context {
                raw,
                vocab,
                memory: memory(raw),
                vocabulary: count(vocab) as usize,
                decode: self.symbol(b"llama_decode")?,
                logits: self.symbol(b"llama_get_logits_ith")?,
                remove: self.symbol(b"llama_memory_seq_rm")?,
                tokenize: self.symbol(b"llama_tokenize")?,
            })
        }
    }
}

fn path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.to_string_lossy().as_bytes())?)
}

type Tokenize = unsafe extern "C" fn(Raw, *const c_char, i32, *mut i32, i32, bool, bool) -> i32;

/// A model with its memory. It is never freed: it lives as long as the program.
pub struct Context<'l> {
    raw: Raw,
    vocab: Raw,
    memory: Raw,
    vocabulary: usize,
    decode: Symbol<'l, unsafe extern "C" fn(Raw, Batch) -> i32>,
    logits: Symbol<'l, unsafe extern "C" fn(Raw, i32) -> *const f32>,
    remove: Symbol<'l, unsafe extern "C" fn(Raw, i32, i32, i32) -> bool>,
    tokenize: Symbol<'l, Tokenize>,
}

impl Context<'_> {
    /// Computes a part of each sequence in one call; what lay behind their contexts is forgotten.
    /// `each` gets the logits in order.
    pub fn forward(&self, parts: &[Part<'_>], mut each: impl FnMut(&[f32])) -> Result<()> {
        let count = parts.iter().map(|part| part.tokens.len()).sum();
        let (mut tokens, mut positions) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (mut sequences, mut wanted) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (part, sequence) in parts.iter().zip(0i32..) {
            // SAFETY: the memory is that of this context.
            unsafe { (self.remove)(self.memory, sequence, part.context as i32, -1) };
            for (i, &token) in part.tokens.iter().enumerate() {
                tokens.push(token as i32);
                positions.push((part.context + i) as i32);
                sequences.push(sequence);
                let last = i + 1 == part.tokens.len();
                wanted.push(i8::from(part.all_logits || last));
            }
        }
        let mut lists: Vec<*mut i32> = sequences.iter_mut().map(std::ptr::from_mut).collect();
        let mut ones = vec![1; count];
        let batch = Batch {
            n_tokens: count as i32,
            token: tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: positions.as_mut_ptr(),
            n_seq_id: ones.as_mut_ptr(),
            seq_id: lists.as_mut_ptr(),
            logits: wanted.as_mut_ptr(),
        };
        // SAFETY: all arrays have `count` elements and outlive the call.
        let failed = unsafe { (self.decode)(self.raw, batch) };
        ensure!(failed == 0, "llama_decode says {failed}");
        for (i, _) in wanted
            .iter()
            .enumerate()
            .filter(|(_, wanted)| **wanted == 1)
        {
            // SAFETY: logits were asked for at `i`; they are as long as the vocabulary and stay
            // until the next call, which needs this borrow to end.
            let row = unsafe {
                let row = (self.logits)(self.raw, i as i32);
                ensure!(!row.is_null(), "llama.cpp has no logits at {i}");
                std::slice::from_raw_parts(row, self.vocabulary)
            };
            each(row);
        }
        Ok(())
    }

    /// The tokens of a text. Names of special tokens in it count as these if `special`.
    pub fn tokens(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let mut tokens = vec![0; text.len() + 8];
        // SAFETY: the text is given with its length, the buffer with its own.
        let count = unsafe {
            (self.tokenize)(
                self.vocab,
                text.as_ptr().cast(),
                text.len() as i32,
                tokens.as_mut_ptr(),
                tokens.len() as i32,
                false,
                special,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            bail!("llama.cpp cannot tokenize {text:?}");
        };
        tokens.truncate(count);
        Ok(tokens.into_iter().map(|token| token as u32).collect())
    }
}
