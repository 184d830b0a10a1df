//! What the processor can do, found out once when a model is loaded.

/// Which kernels run. A value is a proof: only detection makes one above the portable level, so
/// kernels for wider instructions can be called safely with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What the target of the build promises.
    Portable,
    /// AVX2 and fused multiply-add: the portable code, compiled again.
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VNNI: micro kernels of their own.
    Avx512,
}

impl Cpu {
    /// The widest kernels that this processor runs.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx512 && avx2 {
                return Self(Level::Avx512);
            }
            if avx2 {
                return Self(Level::Avx2);
            }
        }
        Self(Level::Portable)
    }

    /// The kernels that every processor runs.
    pub const fn portable() -> Self {
        Self(Level::Portable)
    }

    /// All levels that this processor runs, slowest first: what tests compare.
    pub fn all() -> Vec<Self> {
        let best = Self::detect();
        let levels = [Level::Portable, Level::Avx2, Level::Avx512];
        let runs = levels.into_iter().filter(|&level| level <= best.0);
        runs.map(Self).collect()
    }

    pub(crate) fn level(self) -> Level {
        self.0
    }

    /// The name of the level, for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512-vnni",
        }
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::detect()
    }
}

/// Compiles one body for each level and makes a function that picks by a [`Cpu`].
///
/// The body is a generic function over `const FMA: bool`, inlined into each version.
macro_rules! versions {
    ($(#[$doc:meta])* $name:ident = $body:ident($($arg:ident: $type:ty),* $(,)?)
        $(-> $result:ty)?) => {
        $(#[$doc])*
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "a function for a wider processor is called")
        )]
        pub(crate) fn $name(cpu: $crate::cpu::Cpu, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn wide($($arg: $type),*) $(-> $result)? {
                $body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn middle($($arg: $type),*) $(-> $result)? {
                $body::<true>($($arg),*)
            }
            match cpu.level() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Cpu` of this level is made only where the features were detected.
                $crate::cpu::Level::Avx512 => unsafe { wide($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Cpu` of this level is made only where the features were detected.
                $crate::cpu::Level::Avx2 => unsafe { middle($($arg),*) },
                _ => $body::<false>($($arg),*),
            }
        }
    };
}

pub(crate) use versions;
