//! How many instructions a call takes, and in which functions they are.
//!
//! Neighbours: [`stepper`] lists them, [`kernel`](crate::kernel) is what is called.
//! The copy itself is told apart: a byte more is not a look more.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use comfy_table::{Table, presets};
use faultless_filemap::WriteOptions;
use serde_json::{Value, json};

use crate::frames::Layout;
use crate::kernel::Rig;
use crate::memory::Arena;
use crate::rows::ReadThrough;
use crate::stepper;

/// Bytes of the file, so that its index has some depth, and where the calls are.
const FILE: usize = 64 << 20;
const MIDDLE: u64 = FILE as u64 / 2;
/// Bytes of the longest call.
const LONGEST: usize = 64 << 10;

/// A call, by its name.
type Call = (&'static str, fn(&Rig));

const CALLS: &[Call] = &[
    ("write 1 B", |rig| write(rig, 1)),
    ("write 64 B", |rig| write(rig, 64)),
    ("write 4 KiB", |rig| write(rig, 4 << 10)),
    ("write 64 KiB", |rig| write(rig, LONGEST)),
    ("append 4 KiB", |rig| rig.write(&WriteOptions::append(), 4 << 10)),
    ("read 1 B", |rig| rig.read(MIDDLE, 1)),
    ("read 64 B", |rig| rig.read(MIDDLE, 64)),
    ("read 4 KiB", |rig| rig.read(MIDDLE, 4 << 10)),
    ("read 64 KiB", |rig| rig.read(MIDDLE, LONGEST)),
];

fn write(rig: &Rig, len: usize) {
    rig.write(&WriteOptions::at(MIDDLE), len);
}

/// The instructions of one call.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) call: &'static str,
    /// All of them, the example's system call included.
    pub(crate) total: usize,
    /// Those that copy.
    pub(crate) copy: usize,
    /// The rest, by the function whose source they come from, most first. An inlined function has
    /// its own.
    functions: Vec<(String, usize)>,
}

impl Profile {
    /// Those that do not copy.
    pub(crate) fn net(&self) -> usize {
        self.total - self.copy
    }

    /// The call must have been done before: what it needs once is not counted.
    fn of(call: &'static str, run: impl Fn()) -> io::Result<Self> {
        let addresses = stepper::instructions(&run)?;
        let mut executed = BTreeMap::<usize, usize>::new();
        for &address in &addresses {
            *executed.entry(address).or_default() += 1;
        }
        let mut functions = BTreeMap::<String, usize>::new();
        let mut copy = 0;
        for (address, times) in executed {
            match function(address) {
                Place::Copy => copy += times,
                Place::Function(name) => *functions.entry(name).or_default() += times,
            }
        }
        let mut functions: Vec<_> = functions.into_iter().collect();
        functions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(Self { call, total: addresses.len(), copy, functions })
    }
}

enum Place {
    /// In the copies of this architecture.
    Copy,
    Function(String),
}

/// Where the source of the instruction is.
fn function(address: usize) -> Place {
    let mut innermost = None;
    let mut copies = false;
    // What comes next is given; the lookup takes return addresses, and looks before them.
    backtrace::resolve(std::ptr::without_provenance_mut(address + 1), |symbol| {
        let file = symbol.filename().map(|file| file.to_string_lossy().replace('\\', "/"));
        copies |= file.as_ref().is_some_and(|file| file.contains("/usercopy/src/arch/"));
        if let Some(name) = symbol.name() {
            innermost.get_or_insert_with(|| {
                let name = without_generics(&format!("{name:#}"));
                let file = file.iter().filter_map(|file| file.rsplit('/').next()).next();
                file.map_or(name.clone(), |file| format!("{file}: {name}"))
            });
        }
    });
    if copies { Place::Copy } else { Place::Function(innermost.unwrap_or_else(|| "?".to_owned())) }
}

/// The name without its type arguments.
fn without_generics(name: &str) -> String {
    let mut depth = 0_usize;
    let mut short = String::new();
    for character in name.chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => short.push(character),
            _ => {}
        }
    }
    short
}

/// A file that is cached whole, all of it dirty.
fn rig() -> io::Result<Rig> {
    const STEP: usize = 1 << 20;
    let memory = Arc::new(Arena::new(STEP)?);
    let rig = Rig::new(Arena::new(FILE + FILE / 4)?, Layout::Contiguous, memory);
    for pos in (0..FILE).step_by(STEP) {
        rig.write(&WriteOptions::at(pos as u64), STEP);
    }
    Ok(rig)
}

/// Counts the instructions of each call.
///
/// # Errors
/// The system's: memory is short, or it refuses the handler; the architecture has no trap flag.
pub(crate) fn all() -> io::Result<Vec<Profile>> {
    let names: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
    let mut profiles = of(&names)?;
    let read = ReadThrough::new()?;
    profiles.push(Profile::of("free 64 pages", || read.free())?);
    Ok(profiles)
}

/// The same of these calls, in this order.
///
/// # Errors
/// As of [`all`]; there is no such call.
pub(crate) fn of(names: &[&str]) -> io::Result<Vec<Profile>> {
    let rig = rig()?;
    let profile = |name: &&str| {
        let call = CALLS.iter().find(|(known, _)| known == name);
        let &(call, run) = call.ok_or(io::ErrorKind::NotFound)?;
        run(&rig);
        Profile::of(call, || run(&rig))
    };
    names.iter().map(profile).collect()
}

/// Fewer instructions of one function are not told apart.
const LEAST: usize = 5;

/// Where the instructions of each call go, as Markdown: the functions with most of them.
///
/// # Errors
/// As of [`all`].
pub(crate) fn text() -> io::Result<String> {
    let mut text = String::new();
    for profile in all()? {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["function", "instructions"]);
        let (many, few): (Vec<_>, Vec<_>) =
            profile.functions.iter().partition(|(_, count)| *count >= LEAST);
        for (name, count) in many {
            table.add_row([name.clone(), count.to_string()]);
        }
        let rest: usize = few.iter().map(|(_, count)| count).sum();
        table.add_row([format!("{} others", few.len()), rest.to_string()]);
        let Profile { call, total, copy, .. } = profile;
        text += &format!("{call}: {total} instructions, {copy} of which copy\n\n{table}\n\n");
    }
    Ok(text.trim_end().to_owned())
}

/// The same for programs.
pub(crate) fn json() -> io::Result<Value> {
    let calls = all()?.into_iter().map(|Profile { call, total, copy, functions }| {
        let functions: serde_json::Map<String, Value> =
            functions.into_iter().map(|(name, count)| (name, json!(count))).collect();
        (call.to_owned(), json!({ "total": total, "copy": copy, "functions": functions }))
    });
    Ok(Value::Object(calls.collect()))
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    /// What the build of the tests takes, which checks assertions: a third more than what ships. A
    /// tenth is left for other compilers. A change that needs more says why.
    const MOST: &[(&str, usize)] = &[
        ("write 1 B", 240),
        ("write 64 B", 252),
        ("append 4 KiB", 950),
        ("read 1 B", 160),
        ("read 4 KiB", 173),
    ];
    /// Instructions for each further page, likewise, with a share of what the second one takes that
    /// the first does not.
    const MOST_A_PAGE: f64 = 9.0;

    #[test]
    #[cfg(debug_assertions)]
    fn rows_15_and_16_hot_calls_take_no_more_instructions_than_they_did() {
        for (name, most) in MOST {
            let net = of(&[name]).expect("traps")[0].net();
            println!("{name}: {net}");
            assert!((50..=*most).contains(&net), "{name}: {net} instructions, not {most}");
        }
        let profiles = of(&["write 4 KiB", "write 64 KiB"]).expect("traps");
        let further = (profiles[1].net() as f64 - profiles[0].net() as f64) / 15.0;
        assert!(further <= MOST_A_PAGE, "{further} instructions for each further page");
    }

    #[test]
    fn the_count_of_a_call_is_the_same_each_time() {
        let count = || of(&["write 1 B"]).expect("traps")[0].total;
        assert_eq!(count(), count());
    }
}
