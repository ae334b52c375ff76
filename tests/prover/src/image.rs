//! The code that is proven: built, linked, disassembled, with its exception table.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use faultless_tools::process::{capture, cargo, on_path};
use faultless_tools::std_source::{self, Toolchain};
use faultless_tools::workspace;

/// Where the functions stand.
const MANIFEST: &str = "tests/prove/Cargo.toml";

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    X86_64,
    Aarch64,
    Riscv64,
}

impl Isa {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::X86_64, Self::Aarch64, Self::Riscv64];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// The target without an operating system; `None`: the host's compiler builds for the host.
    fn target(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => None,
            Self::Aarch64 => Some("aarch64-unknown-none"),
            Self::Riscv64 => Some("riscv64gc-unknown-none-elf"),
        }
    }

    fn tool(self, name: &str) -> String {
        match self {
            Self::X86_64 => name.to_owned(),
            Self::Aarch64 | Self::Riscv64 => format!("{}-linux-gnu-{name}", self.name()),
        }
    }

    /// What this machine lacks to build and read the functions, or `None`.
    pub(crate) fn missing(self) -> Option<String> {
        if self == Self::X86_64 {
            if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
                return Some("x86_64: a Linux host of that architecture".to_owned());
            }
            let tool = ["cc", "objdump"].into_iter().find(|tool| !on_path(tool))?;
            return Some(format!("{tool}: apt-get install gcc"));
        }
        let compiler = self.tool("gcc");
        if !on_path(&compiler) {
            return Some(format!("{compiler}: apt-get install gcc-{}-linux-gnu", self.name()));
        }
        std_source::missing()
    }
}

/// One instruction.
#[derive(Clone, Debug)]
pub(crate) struct Insn {
    /// Where the next one stands.
    pub(crate) next: u64,
    /// As the disassembler writes it, without symbols and comments.
    pub(crate) text: String,
    /// The first word of that, prefixes included.
    pub(crate) name: String,
    /// What stands between commas; `[…]` and `{…}` are one operand.
    pub(crate) operands: Vec<String>,
}

/// A linked program.
#[derive(Debug)]
pub(crate) struct Image {
    /// Its instruction set.
    pub(crate) isa: Isa,
    insns: BTreeMap<u64, Insn>,
    symbols: BTreeMap<String, u64>,
    fixups: BTreeMap<u64, u64>,
}

impl Image {
    /// Builds functions of `tests/prove` for an instruction set and reads them.
    pub(crate) fn build(isa: Isa, functions: &[&str]) -> Result<Self> {
        let program = link(isa, &archive(isa)?, functions)?;
        let mut dump = Command::new(isa.tool("objdump"));
        dump.args(["-d", "-z", "-w", "--no-show-raw-insn"]);
        match isa {
            Isa::X86_64 => dump.args(["-M", "intel"]),
            Isa::Aarch64 => &mut dump,
            Isa::Riscv64 => dump.args(["-M", "numeric"]),
        };
        let code = said(dump.arg(&program))?;
        let mut dump = Command::new(isa.tool("objdump"));
        let table = said(dump.args(["-s", "-j", "__ex_table"]).arg(&program))?;
        let (insns, symbols) = read_code(&code)?;
        Ok(Self { isa, insns, symbols, fixups: read_table(&table)? })
    }

    /// The instruction at an address.
    pub(crate) fn at(&self, address: u64) -> Result<&Insn> {
        self.insns.get(&address).with_context(|| format!("no instruction at {address:#x}"))
    }

    /// Where a function begins.
    pub(crate) fn symbol(&self, name: &str) -> Result<u64> {
        self.symbols.get(name).copied().with_context(|| format!("no function {name}"))
    }

    /// Where execution goes on after a fault at an address.
    pub(crate) fn fixup(&self, address: u64) -> Option<u64> {
        self.fixups.get(&address).copied()
    }

    /// All instructions.
    pub(crate) fn insns(&self) -> impl Iterator<Item = (u64, &Insn)> {
        self.insns.iter().map(|(at, insn)| (*at, insn))
    }

    /// Whether some fault goes on here.
    pub(crate) fn is_fixup(&self, address: u64) -> bool {
        self.fixups.values().any(|fixup| *fixup == address)
    }

    /// An address as function and offset.
    pub(crate) fn place(&self, address: u64) -> String {
        let before = self.symbols.iter().filter(|(_, at)| **at <= address);
        match before.max_by_key(|(_, at)| **at) {
            Some((name, at)) => format!("{}+{:#x}", short(name), address - at),
            None => format!("{address:#x}"),
        }
    }
}

/// The last part of a mangled path: the longest identifier that a length precedes and that no hash
/// is.
fn short(symbol: &str) -> &str {
    const KNOWN: [&str; 6] =
        ["copy_to_the_fault", "copy_long", "copy_blocks", "clear_blocks", "copy_small", "copy"];
    if !symbol.starts_with("_Z") && !symbol.starts_with("_R") {
        return symbol;
    }
    KNOWN.into_iter().find(|name| symbol.contains(name)).unwrap_or(symbol)
}

/// Builds the static library.
fn archive(isa: Isa) -> Result<PathBuf> {
    let output = workspace::target_dir()?.join("prove").join(isa.name());
    let args = ["--release", "--manifest-path", MANIFEST];
    let (mut build, folder) = match isa.target() {
        None => {
            let mut build = cargo(["build"]);
            build.args(args).arg("--locked").arg("--target-dir").arg(&output);
            (build, output.join("release"))
        }
        Some(target) => {
            let mut build =
                Toolchain::find().context("no toolchain")?.cargo("build", &[target], &output);
            build.args(args).arg("-Zbuild-std=core");
            if isa == Isa::Aarch64 {
                // The platform's register, which a kernel keeps to itself.
                build.env("RUSTFLAGS", "-Zfixed-x18");
            }
            (build, output.join(target).join("release"))
        }
    };
    said(&mut build)?;
    Ok(folder.join("libfaultless_prove.a"))
}

/// Links it to a program: the linker resolves the exception table's relative entries.
fn link(isa: Isa, archive: &Path, functions: &[&str]) -> Result<PathBuf> {
    let first = functions.first().context("no function")?;
    let program = archive.with_file_name(format!("prove-{first}"));
    let mut link = Command::new(if isa == Isa::X86_64 { "cc".into() } else { isa.tool("gcc") });
    link.args(["-nostdlib", "-nostartfiles", "-static", "-Wl,--gc-sections", "-Wl,-e,0"]);
    link.args(functions.iter().map(|symbol| format!("-Wl,-u,{symbol}")));
    said(link.arg("-o").arg(&program).arg(archive))?;
    Ok(program)
}

/// What a command printed; an error if it failed.
fn said(command: &mut Command) -> Result<String> {
    let finished = capture(command)?;
    if !finished.success {
        bail!("{}", finished.output);
    }
    Ok(finished.output)
}

type Code = (BTreeMap<u64, Insn>, BTreeMap<String, u64>);

fn read_code(text: &str) -> Result<Code> {
    let (mut insns, mut symbols) = (BTreeMap::<u64, Insn>::new(), BTreeMap::new());
    let mut last = None;
    for line in text.lines() {
        if let Some(head) = line.strip_suffix(">:")
            && let Some((address, name)) = head.split_once(" <")
        {
            symbols.insert(name.to_owned(), u64::from_str_radix(address, 16)?);
            continue;
        }
        let Some((address, text)) = line.split_once(":\t") else { continue };
        let Ok(address) = u64::from_str_radix(address.trim(), 16) else { continue };
        if let Some(insn) = last.and_then(|at| insns.get_mut(&at)) {
            insn.next = address;
        }
        last = Some(address);
        insns.insert(address, parse(address, text));
    }
    Ok((insns, symbols))
}

fn parse(address: u64, text: &str) -> Insn {
    let text = [" <", "//", "#"].iter().fold(text, |text, mark| {
        // A hash that a number follows is an operand of AArch64.
        let is_comment = |at: &usize| *mark != "#" || text[at + 1..].starts_with(' ');
        text.find(mark).filter(is_comment).map_or(text, |at| &text[..at])
    });
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_prefix = |word: &str| matches!(word, "rep" | "cs" | "data16" | "notrack" | "bnd");
    let mut name = String::new();
    let mut rest = text.as_str();
    while name.is_empty() || is_prefix(name.rsplit(' ').next().unwrap_or("")) {
        let (word, more) = rest.split_once(' ').unwrap_or((rest, ""));
        name = if name.is_empty() { word.to_owned() } else { format!("{name} {word}") };
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    let mut operands = vec![String::new()];
    let mut depth = 0_usize;
    for c in rest.chars() {
        depth += usize::from(c == '[');
        depth -= usize::from(c == ']');
        match operands.last_mut() {
            Some(last) if c != ',' || depth > 0 => last.push(c),
            _ => operands.push(String::new()),
        }
    }
    operands.iter_mut().for_each(|operand| *operand = operand.trim().to_owned());
    operands.retain(|operand| !operand.is_empty());
    Insn { next: address, name, operands, text }
}

/// Instruction → fix-up, from the hexadecimal dump of the section: three 32-bit words for each
/// entry, two of them relative to themselves.
fn read_table(dump: &str) -> Result<BTreeMap<u64, u64>> {
    let (mut start, mut bytes) = (None, Vec::new());
    for line in dump.lines().filter(|line| line.starts_with(' ')) {
        let mut words = line.split(' ').skip(1);
        let address = u64::from_str_radix(words.next().unwrap_or(""), 16)?;
        start.get_or_insert(address);
        // The rest of the line, past 35 columns, shows the bytes as characters.
        let columns = line.splitn(3, ' ').nth(2).unwrap_or("");
        let digits: String = columns.chars().take(35).filter(|c| *c != ' ').collect();
        for at in (0..digits.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&digits[at..at + 2], 16)?);
        }
    }
    let start = start.context("the exception table is empty")?;
    let mut fixups = BTreeMap::new();
    for (at, entry) in bytes.chunks_exact(12).enumerate() {
        let field = |n: usize| {
            let here = start + 12 * at as u64 + 4 * n as u64;
            let [a, b, c, d] = [0, 1, 2, 3].map(|byte| entry[4 * n + byte]);
            here.wrapping_add_signed(i64::from(i32::from_le_bytes([a, b, c, d])))
        };
        let other = fixups.insert(field(0), field(1));
        ensure!(other.is_none(), "two fix-ups for the instruction at {:#x}", field(0));
    }
    Ok(fixups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_each_disassembler_is_taken_apart() {
        let insn = parse(0, "rep movs BYTE PTR es:[rdi],BYTE PTR ds:[rsi]");
        assert_eq!(insn.name, "rep movs");
        assert_eq!(insn.operands, ["BYTE PTR es:[rdi]", "BYTE PTR ds:[rsi]"]);
        let insn = parse(0, "ldp\tx9, x10, [x1, #16]");
        assert_eq!((insn.name.as_str(), insn.operands.len()), ("ldp", 3));
        assert_eq!(insn.operands[2], "[x1, #16]");
        let insn = parse(0, "b.cc\t400184 <f+0x48>  // b.lo, b.ul");
        assert_eq!(insn.operands, ["400184"]);
        let insn = parse(0, "jr\t-368(x6) # 10144 <g>");
        assert_eq!(insn.operands, ["-368(x6)"]);
        assert!(parse(0, "ret").operands.is_empty());
    }

    #[test]
    fn an_entry_of_the_exception_table_is_relative_to_its_own_field() {
        let dump = "Contents of section __ex_table:\n 402000 10f0ffff 30f0ffff 01000000           ....0.......\n";
        let table = read_table(dump).expect("read");
        assert_eq!(table.into_iter().collect::<Vec<_>>(), [(0x40_1010, 0x40_1034)]);
    }
}
