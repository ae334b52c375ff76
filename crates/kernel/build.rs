//! Tells the linker how the kernel's image is laid out.

#![forbid(unsafe_code)]

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=kernel.ld");
    let script = format!("-T{folder}/kernel.ld");
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie", &script] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    // One page of alignment is enough for the file: the segments say where they are loaded.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,max-page-size=4096");
}
