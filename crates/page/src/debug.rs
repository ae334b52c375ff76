//! `Debug` for types generic over the kernel, without asking the kernel for `Debug`.
#![forbid(unsafe_code)]

/// Implements `Debug` for `$name<$lt.., K>`, naming the listed fields (each by an expression over
/// `$this`).
macro_rules! kernel_debug {
    ($name:ident < $($lt:lifetime,)? K >, |$this:ident| { $($field:ident: $value:expr),* $(,)? }) => {
        impl<K: $crate::Kernel> ::core::fmt::Debug for $name<$($lt,)? K> {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                let $this = self;
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &$value))*
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use kernel_debug;
