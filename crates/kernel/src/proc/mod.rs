//! `/proc`: what programs read of the system and of processes.
//!
//! Nothing of it is kept. A node is a path, and what is there is looked up in a table of texts and
//! links; a text is made when it is opened. Writes to the few texts that can be written are taken
//! and forgotten. Directories of threads show their process.
//!
//! | what | module |
//! |---|---|
//! | nodes, as the rest of the kernel sees them | `node` |
//! | texts of the system, of a process, of its mappings | `system`, `process`, `areas` |
//! | how a text is made | `made` |
//!
//! To add a text: a line in the table of its module.
#![forbid(unsafe_code)]

mod areas;
mod made;
mod node;
mod process;
mod system;

pub(crate) use node::init;
