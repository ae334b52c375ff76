//! Names for the addresses that the kernel prints, by the symbols of its image.

#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::{STB_GLOBAL, STT_FUNC, STT_NOTYPE};
use elf::endian::AnyEndian;
use rustc_demangle::demangle;

/// The functions of an image, by address.
pub(super) struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// Those of an image.
    pub(super) fn of(image: &Path) -> Result<Self> {
        let bytes = std::fs::read(image).with_context(|| image.display().to_string())?;
        let file = ElfBytes::<AnyEndian>::minimal_parse(&bytes)?;
        let Some((table, names)) = file.symbol_table()? else { return Ok(Self(Vec::new())) };
        // Labels of the entry code have no type.
        let functions = table.iter().filter(|symbol| match symbol.st_symtype() {
            STT_FUNC => true,
            STT_NOTYPE => symbol.st_bind() == STB_GLOBAL,
            _ => false,
        });
        let mut named: Vec<(u64, String)> = functions
            .filter_map(|symbol| {
                let name = names.get(symbol.st_name as usize).ok()?;
                // Without the hash at its end.
                Some((symbol.st_value, format!("{:#}", demangle(name))))
            })
            .collect();
        named.sort();
        Ok(Self(named))
    }

    /// The line with names for its addresses, each of which stands as `<ffffffff…>`.
    pub(super) fn name(&self, line: &str) -> String {
        let Some((before, rest)) = line.split_once('<') else { return line.into() };
        let named = rest.split_once('>').and_then(|(address, after)| {
            let address = u64::from_str_radix(address, 16).ok()?;
            Some((self.function(address)?, after))
        });
        match named {
            Some((function, after)) => format!("{before}{function}{}", self.name(after)),
            None => format!("{before}<{}", self.name(rest)),
        }
    }

    /// The function that returns to `address`: the call ends before it.
    fn function(&self, address: u64) -> Option<&str> {
        let after = self.0.partition_point(|(start, _)| *start < address);
        self.0[..after].last().map(|(_, name)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_the_function_that_made_the_call() {
        let symbols = Symbols(vec![(0x10, "first".into()), (0x20, "second".into())]);
        assert_eq!(symbols.name("in <20>, in <21>"), "in first, in second");
        assert_eq!(symbols.name("<5> and <nothing>, 1 < 2"), "<5> and <nothing>, 1 < 2");
    }
}
