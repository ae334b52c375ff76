//! Builds the kernel's image, with the toolchain that runs this: the target is the host's own, with
//! flags that make a kernel of it. The precompiled core library uses vector registers and the red
//! zone, which the kernel's entry code allows for (`arch::entry`).

#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::{Result, bail};

use faultless_tools::process::cargo;
use faultless_tools::workspace;

/// The target, named so that the flags are not those of build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

const FLAGS: &str = "-C relocation-model=static -C code-model=kernel -C no-redzone=yes \
                     -C panic=abort -C force-unwind-tables=no -C force-frame-pointers=yes";

const PACKAGE: &str = "faultless-kernel";

/// Builds the image; where it is.
pub(super) fn build() -> Result<PathBuf> {
    let output = workspace::target_dir()?.join("kernel");
    let mut build = cargo(["build", "--quiet", "--release", "--target", TARGET]);
    build.args(["--package", PACKAGE, "--features", "bare", "--bin", PACKAGE]);
    build.arg("--target-dir").arg(&output);
    build.current_dir(workspace::root()).env("RUSTFLAGS", FLAGS);
    if !build.status()?.success() {
        bail!("the kernel cannot be built");
    }
    Ok(output.join(TARGET).join("release").join(PACKAGE))
}
