//! The differential test: random operations on a tree and on a folder of the running Linux, the
//! answers and the whole trees compared after each. A case that differs is made smaller by leaving
//! operations out.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::linux::Linux;
use crate::ops::{HANDLES, Op, Path};
use crate::ours::Ours;

/// Operations of one case, and cases.
const OPERATIONS: usize = 60;
const CASES: u64 = 300;

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn component(rng: &mut Rng) -> String {
    match rng.below(24) {
        0 => ".".to_owned(),
        1 | 2 => "..".to_owned(),
        3 => "x".repeat(254 + rng.below(3)),
        _ => rng.of(&["a", "b", "c", "d"]).to_owned(),
    }
}

fn text(rng: &mut Rng) -> String {
    let mut path = String::new();
    if rng.one_in(40) {
        return path;
    }
    if rng.one_in(6) {
        // The root itself is not the root there.
        path = format!("/{}", rng.of(&["a", "b", "/c"]));
    } else {
        path.push_str(&component(rng));
    }
    for _ in 0..rng.of(&[0, 0, 1, 1, 2, 3]) {
        path.push_str(rng.of(&["/", "/", "/", "//"]));
        path.push_str(&component(rng));
    }
    if rng.one_in(10) {
        path.push_str(rng.of(&["/", "//"]));
    }
    path
}

/// A path of any kind; mostly one that is there, or is to be made in a directory that is there.
fn path(rng: &mut Rng, there: &[String]) -> Path {
    if rng.one_in(3) {
        return Path { handle: rng.of(&[0, 1, 1, 2, 2]), path: text(rng) };
    }
    let mut path = rng.of(there);
    if path.is_empty() || rng.one_in(3) {
        path = format!("{path}/{}", component(rng));
    }
    if rng.one_in(12) {
        path.push('/');
    }
    // From the root's descriptor, or from wherever by an absolute path.
    match rng.below(2) {
        0 => Path { handle: 0, path: path[1..].to_owned() },
        _ => Path { handle: rng.below(HANDLES), path },
    }
}

fn open_flags(rng: &mut Rng) -> i32 {
    let mut flags = rng.of(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR]);
    let some = [
        (libc::O_CREAT, 2),
        (libc::O_EXCL, 5),
        (libc::O_DIRECTORY, 6),
        (libc::O_NOFOLLOW, 6),
        (libc::O_TRUNC, 8),
        (libc::O_PATH, 12),
    ];
    for (flag, n) in some {
        if rng.one_in(n) {
            flags |= flag;
        }
    }
    flags
}

fn operation(rng: &mut Rng, there: &[String]) -> Op {
    let path = |rng: &mut Rng| path(rng, there);
    match rng.below(44) {
        0..8 => Op::Mkdir(path(rng)),
        8..11 => Op::Rmdir(path(rng)),
        11..14 => Op::Unlink(path(rng)),
        14..19 => Op::Open(path(rng), open_flags(rng)),
        19..26 => {
            let flags = rng.of(&[0, 0, 0, 0, 1, 2, 2, 3, 8]);
            Op::Rename(path(rng), path(rng), flags)
        }
        26..29 => {
            let flags = rng.of(&[0, 0, libc::AT_SYMLINK_FOLLOW]);
            Op::Link(path(rng), path(rng), flags)
        }
        29..33 => Op::Symlink(text(rng), path(rng)),
        33 => Op::Readlink(path(rng)),
        34 => Op::Stat(path(rng), rng.of(&[0, libc::AT_SYMLINK_NOFOLLOW])),
        35 => Op::List(path(rng)),
        36 | 37 => Op::Handle(1 + rng.below(HANDLES - 1), path(rng)),
        38 => Op::Cwd(rng.below(HANDLES)),
        39 => Op::Kept,
        40 | 41 => Op::LinkKept(path(rng)),
        _ => {
            let flags = rng.of(&[0, 0, libc::O_EXCL]) | rng.of(&[0, 1, 2, 2]);
            // From the root: in directories that were removed, Linux's file systems differ.
            let path = Path { handle: 0, ..path(rng) };
            Op::Open(path, libc::O_TMPFILE | flags)
        }
    }
}

/// A random case. A tree runs along, so that most paths lead somewhere.
fn case(seed: u64) -> Vec<Op> {
    let mut rng = Rng::new(seed);
    let mut ours = Ours::new();
    let mut ops = Vec::new();
    for _ in 0..OPERATIONS {
        let there: Vec<String> = ours.everything().into_keys().collect();
        let op = operation(&mut rng, &there);
        if !op.paths().into_iter().any(|path| ours.leaves(path)) {
            // Whatever it answers: a difference is found later.
            let _answer = ours.run(&op);
            ops.push(op);
        }
    }
    ops
}

/// How often each operation ended how: with 0, or an error number.
type Tally = BTreeMap<(String, i32), usize>;

/// Runs a case on both. The first difference, in words.
fn difference(ops: &[Op], tally: &mut Tally) -> Option<String> {
    let (mut ours, mut linux) = (Ours::new(), Linux::new());
    // The times of both roots are 0 from here on.
    if ours.everything().len() != linux.everything().len() {
        return Some("the folder is not empty".to_owned());
    }
    for (at, op) in ops.iter().enumerate() {
        if op.paths().into_iter().any(|path| ours.leaves(path)) {
            continue;
        }
        let (mine, theirs) = (ours.run(op), linux.run(op));
        let name = format!("{op:?}").split('(').next().unwrap_or_default().to_owned();
        let error = mine.as_ref().err().copied().unwrap_or(0);
        *tally.entry((name, error)).or_default() += 1;
        if mine != theirs {
            return Some(format!("operation {at}, {op:?}: here {mine:?}, on Linux {theirs:?}"));
        }
        let (mine, theirs) = (ours.everything(), linux.everything());
        if mine != theirs {
            return Some(format!(
                "after operation {at}, {op:?}: here {mine:#?}, on Linux {theirs:#?}"
            ));
        }
    }
    None
}

/// Leaves operations out as long as the case still differs.
fn shrink(mut ops: Vec<Op>) -> Vec<Op> {
    let mut step = ops.len() / 2;
    while step > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + step).min(ops.len()));
            if difference(&fewer, &mut Tally::new()).is_some() {
                ops = fewer;
            } else {
                at += step;
            }
        }
        step /= 2;
    }
    ops
}

#[test]
fn random_operations_do_what_linux_does() {
    let given = std::env::var("FAULTLESS_SEED").ok().and_then(|text| text.parse().ok());
    let first: u64 = given.unwrap_or(1);
    println!("FAULTLESS_SEED={first}");
    let mut tally = Tally::new();
    for seed in first..first + CASES {
        let ops = case(seed);
        if difference(&ops, &mut tally).is_some() {
            let ops = shrink(ops);
            let mut text = format!("FAULTLESS_SEED={seed}\n");
            for op in &ops {
                writeln!(text, "  {op:?}").expect("a string takes all");
            }
            panic!("{text}{}", difference(&ops, &mut tally).unwrap_or_default());
        }
    }
    // The cases reach what is easily missed.
    for (name, error) in [
        ("Cwd", libc::ENOENT),
        ("Link", libc::EPERM),
        ("Open", libc::ELOOP),
        ("Rename", libc::EISDIR),
        ("Rename", libc::EINVAL),
        ("Rename", libc::ENOTEMPTY),
        ("Rename", 0),
        ("Rmdir", libc::ENOTEMPTY),
        ("LinkKept", libc::ENOENT),
        ("LinkKept", 0),
    ] {
        let pair = (name.to_owned(), error);
        assert!(tally.contains_key(&pair), "no {pair:?} in {tally:#?}");
    }
}
