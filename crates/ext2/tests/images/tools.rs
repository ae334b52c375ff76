//! The tools of e2fsprogs.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::NamedTempFile;

/// How an image is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) block_size: usize,
    pub(crate) inode_size: usize,
    pub(crate) kib: usize,
}

impl Format {
    /// One of each block size, with both sizes of inodes.
    pub(crate) const ALL: [Self; 3] = [
        Self { block_size: 1024, inode_size: 128, kib: 9000 },
        Self { block_size: 2048, inode_size: 256, kib: 8192 },
        Self { block_size: 4096, inode_size: 256, kib: 16384 },
    ];

    pub(crate) const SMALL: Self = Self { block_size: 1024, inode_size: 256, kib: 2048 };

    /// A new image.
    pub(crate) fn make(self, options: &[&str]) -> Vec<u8> {
        let file = NamedTempFile::new().expect("a file for the image");
        let [block_size, inode_size] = [self.block_size, self.inode_size].map(|n| n.to_string());
        let kib = format!("{}k", self.kib);
        let mut all = vec!["-q", "-F", "-t", "ext2", "-b", &block_size, "-I", &inode_size];
        all.extend(options);
        let made = run("mke2fs", &all, file.path(), &[&kib]);
        assert!(made.status.success(), "mke2fs {all:?}: {}", text(&made));
        std::fs::read(file.path()).expect("the image")
    }
}

fn run(tool: &str, options: &[&str], image: &Path, behind: &[&str]) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(tool);
    command.args(options).arg(image).args(behind).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.output().unwrap_or_else(|error| {
        panic!("{tool} does not start ({error}): it comes with `apt-get install e2fsprogs`")
    })
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}\n{out}{err}", output.status)
}

fn on_disk(image: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file for the image");
    std::fs::write(file.path(), image).expect("the image");
    file
}

/// `e2fsck -fn` finds nothing.
#[track_caller]
pub(crate) fn assert_sound(image: &[u8]) {
    let file = on_disk(image);
    let checked = run("e2fsck", &["-fn"], file.path(), &[]);
    assert!(checked.status.code() == Some(0), "e2fsck -fn: {}", text(&checked));
}

/// What `e2fsck -fy` makes of an image that a power cut has left.
#[track_caller]
pub(crate) fn repaired(image: &[u8]) -> Vec<u8> {
    let file = on_disk(image);
    let checked = run("e2fsck", &["-fy"], file.path(), &[]);
    let fixed = checked.status.code().is_some_and(|code| code & !3 == 0);
    assert!(fixed, "e2fsck -fy: {}", text(&checked));
    std::fs::read(file.path()).expect("the image")
}

/// What `debugfs` prints.
#[track_caller]
pub(crate) fn debugfs(image: &[u8], request: &str) -> Vec<u8> {
    let file = on_disk(image);
    let done = run("debugfs", &["-R", request], file.path(), &[]);
    assert!(done.status.success(), "debugfs {request}: {}", text(&done));
    done.stdout
}

/// Has `debugfs` change an image.
#[track_caller]
pub(crate) fn changed(image: &[u8], request: &str) -> Vec<u8> {
    let file = on_disk(image);
    let done = run("debugfs", &["-w", "-R", request], file.path(), &[]);
    assert!(done.status.success(), "debugfs {request}: {}", text(&done));
    std::fs::read(file.path()).expect("the image")
}
