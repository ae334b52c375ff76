//! Violations to be planted by a feature: the checker must find each.

#[cfg(feature = "plant-alloc")]
extern crate alloc;
#[cfg(feature = "plant-std")]
extern crate std;

/// Does what the features say; zero with none.
pub(crate) fn violate() -> i32 {
    #[cfg(feature = "plant-symbol")]
    {
        unsafe extern "C" {
            fn getpid() -> i32;
        }
        // SAFETY: never reached: the link must fail.
        if unsafe { getpid() } == 0 {
            return 2;
        }
    }
    i32::from(cfg!(feature = "plant-wrong-bytes"))
}
